"""Defaults that were taken out of main: their record, and how long it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from netbond.kernel.client import Kernel
from netbond.kernel.taken_defaults import DefaultStore, from_json, give_back, merged, still_valid, to_json
from netbond.model import Route
from netbond.plan import Operation
from tests.unit.boxes import address, box, default6, main_default, six

OURS = main_default("usb0", "10.0.0.1", metric=5)
FACTS = replace(box("usb0"), routes=(OURS,))


def test_the_record_reads_back() -> None:
    path = (("lock", 4), ("mtu", 1430), ("congctl", "reno"))
    routes = (OURS, default6("usb0", "fe80::1"), replace(OURS, scope="123", metric=9, attributes=path))
    assert from_json(to_json(routes)) == routes
    old = to_json(routes)
    for each in old:
        del each["attributes"]  # as 0.1.0 wrote it
    assert from_json(old) == (*routes[:2], replace(routes[2], attributes=()))
    for wrong in (("mtu", "1430"), ("mtu", -1), ("mtu", True), ("congctl", 5), ("colour", 5)):
        with pytest.raises(ValueError, match="not an attribute with its value"):
            from_json(to_json((replace(OURS, attributes=(wrong,)),)))
    strange = [to_json((replace(OURS, scope=scope),)) for scope in ("256", "far away", "²")]
    unfit: tuple[object, ...] = (None, {}, [1], [{"family": 5}], *strange)
    for broken in unfit:
        with pytest.raises(ValueError, match=r"\w"):
            from_json(broken)


def test_valid_while_interface_and_network_are_there() -> None:
    assert still_valid(OURS, FACTS)
    assert not still_valid(OURS, replace(FACTS, interfaces=()))
    assert not still_valid(OURS, replace(FACTS, addresses=(address("usb0", "10.9.0.2/24"),)))


def test_an_ipv6_gateway_of_an_ipv4_default_is_reached_by_an_ipv6_address() -> None:
    route = main_default("usb0", "2001:db8::1")
    assert not still_valid(route, FACTS)
    both = (*FACTS.addresses, six("usb0", "2001:db8::5/64"))
    assert still_valid(route, replace(FACTS, addresses=both))
    assert not still_valid(route, replace(FACTS, addresses=both[-1:]))
    assert still_valid(main_default("usb0", "fe80::1"), FACTS)


def test_a_new_one_replaces_the_old_one_of_its_place() -> None:
    new = main_default("usb0", "10.0.0.2", metric=5)
    assert merged((OURS,), (new,)) == (new,)
    assert merged((OURS,), (main_default("usb1", "10.0.1.1", metric=5),))[0] == OURS


def test_the_store_keeps_what_was_taken_until_nothing_is(tmp_path: Path) -> None:
    store = DefaultStore(tmp_path)
    assert store.load() == ()
    store.save((OURS,))
    assert DefaultStore(tmp_path).load() == (OURS,)
    before = store.path.stat().st_mtime_ns
    store.save((OURS,))
    assert store.path.stat().st_mtime_ns == before, "nothing new is nothing to write"
    store.save(())
    assert not store.path.exists()
    assert DefaultStore(tmp_path).load() == ()


def test_a_record_that_makes_no_sense_is_an_error(tmp_path: Path) -> None:
    DefaultStore(tmp_path).path.write_text('[{"family": 5}]')
    with pytest.raises(ValueError, match="not a record of default routes"):
        DefaultStore(tmp_path).load()


@pytest.mark.parametrize("routes", [(OURS,), ()])
def test_such_a_record_is_replaced(tmp_path: Path, routes: tuple[Route, ...]) -> None:
    """Else nothing could be taken ever again."""
    store = DefaultStore(tmp_path)
    store.path.write_text("[" * 5000)
    store.save(routes)
    assert store.load() == DefaultStore(tmp_path).load() == routes


def test_an_error_does_not_repeat_the_record(tmp_path: Path) -> None:
    entry = {"family": "\x1b[2J" * 5000}
    DefaultStore(tmp_path).path.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="not a record of default routes") as caught:
        DefaultStore(tmp_path).load()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


class Applying:
    """A kernel that notes what it is asked, and refuses nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def apply(self, operations: list[Operation], links: object) -> list[object]:
        self.asked += [operation.command() for operation in operations]
        return []


async def test_what_still_leads_somewhere_is_given_back(tmp_path: Path) -> None:
    store, kernel = DefaultStore(tmp_path), Applying()
    assert await give_back(cast("Kernel", kernel), store, FACTS) == ([], [])
    store.save((OURS, main_default("usb9", "10.9.0.1")))
    back, refused = await give_back(cast("Kernel", kernel), store, FACTS)
    assert kernel.asked == ["ip route add default via 10.0.0.1 dev usb0 table main proto 16 metric 5"]
    assert ([each.what for each in back], refused) == ([OURS], [])
    assert store.load() == ()
