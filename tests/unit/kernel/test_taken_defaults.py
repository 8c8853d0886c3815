"""Defaults that were taken out of main: their record, and how long it counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netbond.kernel.taken_defaults import from_json, merged, still_valid, to_json
from tests.unit.boxes import address, box, default6, main_default

OURS = main_default("usb0", "10.0.0.1", metric=5)
FACTS = replace(box("usb0"), routes=(OURS,))


def test_the_record_reads_back() -> None:
    routes = (OURS, default6("usb0", "fe80::1"), replace(OURS, scope="123", metric=9))
    assert from_json(to_json(routes)) == routes
    strange = [to_json((replace(OURS, scope=scope),)) for scope in ("256", "far away", "²")]
    unfit: tuple[object, ...] = (None, {}, [1], [{"family": 5}], *strange)
    for broken in unfit:
        with pytest.raises(ValueError, match=r"\w"):
            from_json(broken)


def test_valid_while_interface_and_network_are_there() -> None:
    assert still_valid(OURS, FACTS)
    assert not still_valid(OURS, replace(FACTS, links=()))
    assert not still_valid(OURS, replace(FACTS, addresses=(address("usb0", "10.9.0.2/24"),)))


def test_a_new_one_replaces_the_old_one_of_its_place() -> None:
    new = main_default("usb0", "10.0.0.2", metric=5)
    assert merged((OURS,), (new,)) == (new,)
    assert merged((OURS,), (main_default("usb1", "10.0.1.1", metric=5),))[0] == OURS
