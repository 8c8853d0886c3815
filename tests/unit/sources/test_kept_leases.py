"""Leases of hooks, and defaults once seen in main, as facts: read, kept, and not written by once()."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pytest

from netbond.config.schema import Config
from netbond.dhcp.lease import Lease
from netbond.dhcp.store import LeaseStore
from netbond.model import Facts, GatewayClaim, Interface
from netbond.sources.kept_leases import MOST_UNSTORED, HookLeases, SeenInMain, as_claim, as_lease
from netbond.status.protocol import HookRequest
from tests.unit.boxes import address, main_default
from tests.unit.places import config_in, content
from tests.unit.shortage import no_descriptors, no_space

LEASE = Lease("usb0", "dhclient", IPv4Interface("10.0.0.10/24"), (IPv4Address("10.0.0.1"),), 5.0, 2)
USB0 = Interface("usb0", 2)
SEEN = Facts(
    interfaces=(USB0,),
    addresses=(address("usb0", "10.0.0.10/24"),),
    routes=(main_default("usb0", "10.0.0.1"),),
)
CLAIM = GatewayClaim("usb0", "main", IPv4Interface("10.0.0.10/24"), IPv4Address("10.0.0.1"), 7.0, 2)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_in(tmp_path)


@pytest.fixture
def hooks(config: Config) -> LeaseStore:
    return LeaseStore(config.agent.state_dir / "leases")


@pytest.fixture
def learned(config: Config) -> LeaseStore:
    return LeaseStore(config.agent.state_dir / "learned")


@pytest.mark.parametrize(
    "claim", [CLAIM, replace(CLAIM, gateway=None), replace(CLAIM, said_s=-1.0, ifindex=0)], ids=str
)
def test_a_claim_survives_its_file(claim: GatewayClaim) -> None:
    assert as_claim(as_lease(claim)) == claim


# --- leases of hooks ---------------------------------------------------------------------------------------


def test_leases_come_on_top_of_what_is_there(config: Config, hooks: LeaseStore) -> None:
    hooks.save(LEASE)
    other = LEASE._replace(device="usb1")
    facts = HookLeases(config).contribute(Facts(interfaces=(USB0,), leases=(other,)), 9.0)
    assert facts.leases == (other, LEASE)


def test_no_folder_is_no_problem(config: Config) -> None:
    source = HookLeases(config)
    assert source.contribute(Facts(interfaces=(USB0,)), 9.0).leases == ()
    assert source.problems == []
    assert source.complete()


def test_a_lease_goes_along_with_its_interface(config: Config, hooks: LeaseStore) -> None:
    """The old name may be another interface's soon, whose hook would put its lease in the same place."""
    hooks.save(LEASE)
    source = HookLeases(config)
    renamed = LEASE._replace(device="wwan0")
    assert source.contribute(Facts(interfaces=(Interface("wwan0", 2),)), 9.0).leases == (renamed,)
    assert hooks.load() == (renamed,)
    other = LEASE._replace(routers=(IPv4Address("10.0.0.7"),), ifindex=9)
    hooks.save(other)
    both = Facts(interfaces=(Interface("usb0", 9), Interface("wwan0", 2)))
    assert source.contribute(both, 10.0).leases == (other, renamed)


async def test_once_follows_the_interface_and_writes_nothing(
    config: Config, hooks: LeaseStore, tmp_path: Path
) -> None:
    hooks.save(LEASE)
    before, source = content(tmp_path), HookLeases(config)
    await source.once()
    assert source.contribute(Facts(interfaces=(Interface("wwan0", 2),)), 9.0).leases == (
        LEASE._replace(device="wwan0"),
    )
    assert content(tmp_path) == before


def test_without_descriptors_what_was_known_stays_known(config: Config, hooks: LeaseStore) -> None:
    source, read = HookLeases(config), Facts(interfaces=(USB0,))
    hooks.save(LEASE)
    assert source.contribute(read, 0.0).leases == (LEASE,)
    with no_descriptors():
        assert source.contribute(read, 0.0).leases == (LEASE,)
    assert source.problems == [f"{hooks.directory}: Too many open files"]
    hooks.forget("usb0")
    assert source.contribute(read, 0.0).leases == ()
    assert source.problems == []


def test_a_folder_that_is_not_trusted_any_more_says_nothing_new(config: Config, hooks: LeaseStore) -> None:
    source = HookLeases(config)
    hooks.save(LEASE)
    assert source.contribute(Facts(interfaces=(USB0,)), 0.0).leases == (LEASE,)
    hooks.directory.chmod(0o777)
    (hooks.directory / "usb0.json").unlink()
    assert source.contribute(Facts(interfaces=(USB0,)), 0.0).leases == (LEASE,)
    (problem,) = source.problems
    assert problem.startswith(f"{hooks.directory}: ")


def test_a_lease_that_its_hook_could_not_store(config: Config, hooks: LeaseStore) -> None:
    """It counts at once, and is stored when there is room again."""
    source, read = HookLeases(config), Facts(interfaces=(USB0,))
    told = HookRequest("dhclient", "usb0", lease=hooks.as_json(LEASE))
    with no_space():
        assert source.hear(told)
        assert source.contribute(read, 9.0).leases == (LEASE,)
        assert source.contribute(read, 9.0).leases == (LEASE,)
    assert source.problems == [
        f"{hooks.directory}: File too large; a restart would lose what is known of usb0"
    ]
    assert hooks.load() == ()
    assert source.contribute(read, 9.0).leases == (LEASE,)
    assert source.problems == []
    assert hooks.load() == (LEASE,)
    later = LEASE._replace(routers=(), received=6.0)
    hooks.save(later)
    assert source.hear(told)  # it was on its way for long
    assert source.contribute(read, 9.0).leases == (later,)


@pytest.mark.parametrize(
    ("released", "left"),
    [
        (HookRequest("dhclient", "usb0", released="10.0.0.10", at_s=6.0), 0),
        (HookRequest("dhclient", "usb0", released="", at_s=6.0), 0),
        (HookRequest("dhclient", "usb0", released="10.0.0.11", at_s=6.0), 1),
        (HookRequest("dhcpcd", "usb0", released="", at_s=6.0), 1),
        (HookRequest("dhclient", "usb1", released="", at_s=6.0), 1),
        (HookRequest("dhclient", "usb0", released="", at_s=4.0), 1),
        (HookRequest("dhclient", "usb0"), 1),
    ],
)
def test_such_a_lease_is_let_go(config: Config, hooks: LeaseStore, released: HookRequest, left: int) -> None:
    source = HookLeases(config)
    with no_space():
        source.hear(HookRequest("dhclient", "usb0", lease=hooks.as_json(LEASE)))
        assert not source.hear(released)
        assert len(source.contribute(Facts(interfaces=(USB0,)), 9.0).leases) == left


def test_of_such_leases_only_valid_ones_are_taken_and_not_too_many(
    config: Config, hooks: LeaseStore, caplog: pytest.LogCaptureFixture
) -> None:
    source = HookLeases(config)
    assert not source.hear(HookRequest("dhclient", "usb0", lease={**hooks.as_json(LEASE), "address": "x"}))
    assert "a hook's lease is ignored: " in caplog.text
    with no_space():
        for number in range(MOST_UNSTORED + 9):
            source.hear(HookRequest(lease=hooks.as_json(LEASE._replace(device=f"u{number}", ifindex=0))))
        found = source.contribute(Facts(interfaces=(USB0,)), 9.0).leases
    assert len(found) == MOST_UNSTORED
    assert found[-1].device == f"u{MOST_UNSTORED + 8}"


# --- defaults once seen in main ----------------------------------------------------------------------------


def test_a_default_is_remembered_when_main_has_lost_it(config: Config, learned: LeaseStore) -> None:
    source = SeenInMain(config)
    assert source.contribute(SEEN, 7.0).remembered == (CLAIM,)
    assert learned.load() == (as_lease(CLAIM),)
    without = replace(SEEN, routes=())
    assert source.contribute(without, 8.0).remembered == (CLAIM,)
    assert SeenInMain(config).contribute(without, 9.0).remembered == (CLAIM,)  # the next agent


def test_a_default_that_could_not_be_stored_is_remembered(config: Config, learned: LeaseStore) -> None:
    source, without = SeenInMain(config), replace(SEEN, routes=())
    with no_space():
        assert source.contribute(SEEN, 7.0).remembered == (CLAIM,)
        assert source.contribute(without, 8.0).remembered == (CLAIM,)
        assert source.problems == [
            f"{learned.directory}: File too large; a restart would lose what is known of usb0"
        ]
        assert source.contribute(replace(without, addresses=()), 9.0).remembered == ()
        assert source.contribute(SEEN, 10.0).remembered == (replace(CLAIM, said_s=10.0),)
    assert source.contribute(without, 11.0).remembered == (replace(CLAIM, said_s=10.0),)
    assert learned.load() == (as_lease(replace(CLAIM, said_s=10.0)),)
    assert source.problems == []


def test_the_attributes_of_a_default_are_remembered_while_the_agent_runs(config: Config) -> None:
    source = SeenInMain(config)
    path = (("mtu", 1430),)
    source.contribute(replace(SEEN, routes=(replace(SEEN.routes[0], attributes=path),)), 7.0)
    without = replace(SEEN, routes=())
    for _ in range(2):
        assert source.contribute(without, 8.0).remembered == (replace(CLAIM, attributes=path),)
    source.contribute(SEEN, 9.0)  # it has none any more
    assert source.contribute(without, 9.0).remembered[0].attributes == ()


def test_it_is_forgotten_with_the_address(config: Config, learned: LeaseStore) -> None:
    source = SeenInMain(config)
    source.contribute(SEEN, 7.0)
    assert source.contribute(Facts(interfaces=(USB0,)), 8.0).remembered == ()
    assert learned.load() == ()
    assert source.problems == []


def test_the_same_default_is_not_written_again(config: Config, tmp_path: Path) -> None:
    source = SeenInMain(config)
    source.contribute(SEEN, 7.0)
    before = content(tmp_path)
    assert source.contribute(SEEN, 8.0).remembered == (CLAIM,)
    assert content(tmp_path) == before


async def test_once_remembers_for_itself_alone(config: Config, tmp_path: Path) -> None:
    source = SeenInMain(config)
    await source.once()
    assert source.contribute(SEEN, 7.0).remembered == (CLAIM,)
    assert content(tmp_path) == {}


def test_a_folder_that_cannot_be_made_is_a_problem(config: Config, tmp_path: Path) -> None:
    config.agent.state_dir.write_text("a file\n")
    source = SeenInMain(config)
    assert source.contribute(SEEN, 7.0).remembered == (CLAIM,)
    wrong = f"{tmp_path}/state/learned: Not a directory"
    assert source.problems == [wrong, f"{wrong}; a restart would lose what is known of usb0"]
    config.agent.state_dir.unlink()
    source.contribute(SEEN, 8.0)
    assert source.problems == []
