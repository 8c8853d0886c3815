"""Checks of rules, routes and kernel settings, each on a box that is well and on one that is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netbond.doctor import routing
from netbond.doctor.model import Lookup, Setting
from netbond.explain import Query
from netbond.model import Facts, GatewayClaim, Rule
from tests.unit.boxes import box, lease, main_default
from tests.unit.doctor.boxes import SYSTEM, codes, healthy, with_facts


def test_the_kernel() -> None:
    (found,) = routing.kernel(healthy())
    assert (found.severity, found.evidence) == (
        "ok",
        "Linux 6.12.0; it works without nexthop objects (5.3 and later)"
        " and resilient groups (5.13 and later)",
    )
    newest = replace(healthy().facts, nexthops=(), resilient_groups=True)
    (found,) = routing.kernel(replace(healthy(), facts=newest))
    assert found.evidence == "Linux 6.12.0"
    (found,) = routing.kernel(replace(healthy(), no_policy_routing="`ip rule` lists nothing"))
    assert (found.severity, found.mend) == ("error", "boot a kernel with CONFIG_IP_MULTIPLE_TABLES=y")


def test_uplinks() -> None:
    (found,) = routing.uplinks(healthy())
    assert found.verdict == "uplinks: usb0, usb1"
    (found,) = routing.uplinks(with_facts(healthy(), replace(Facts(), rules=SYSTEM)))
    assert found.severity == "error"
    named = healthy('[[uplink]]\nmatch = "usb7"\n[[uplink]]\nmatch = "usb1"\nenabled = false')
    assert codes(routing.uplinks(named)) == [("uplinks", "warning", "usb7"), ("uplinks", "ok", "")]


def test_what_the_kernel_is_asked() -> None:
    asked = routing.questions(healthy().goal.uplinks, 7)
    assert [(str(each.source or ""), each.device) for each in asked] == [
        ("10.0.0.10", ""), ("", "usb0"), ("10.0.1.10", ""), ("", "usb1"), ("", ""),
    ]  # fmt: skip
    assert {each.uid for each in asked} == {7}


def test_bound_traffic_leaves_as_it_should() -> None:
    assert codes(routing.bound_traffic(healthy())) == [
        ("source-route", "ok", "usb0"), ("device-route", "ok", "usb0"),
        ("source-route", "ok", "usb1"), ("device-route", "ok", "usb1"),
    ]  # fmt: skip


def test_a_missing_rule() -> None:
    well = healthy()
    rules = tuple(rule for rule in well.facts.rules if str(rule.source) != "10.0.1.10/32")
    found = list(routing.bound_traffic(with_facts(well, replace(well.facts, rules=rules))))
    (wrong,) = [each for each in found if each.severity != "ok"]
    assert (wrong.code, wrong.subject, wrong.severity) == ("source-route", "usb1", "error")
    assert wrong.verdict == "traffic from 10.0.1.10 should leave via 10.0.1.1 dev usb1 (table 101)"
    assert wrong.evidence.startswith("route get: via 10.0.0.1 dev usb0")
    assert wrong.mend == "ip rule add priority 101 from 10.0.1.10 lookup 101 protocol 78"


def test_a_kernel_without_anything_of_ours() -> None:
    bare = replace(box("usb0"), rules=SYSTEM)
    found = [*routing.bound_traffic(with_facts(healthy(), bare))]
    assert codes(found) == [("source-route", "error", "usb0"), ("device-route", "error", "usb0")]
    assert found[0].evidence == "route get: no route"
    assert found[0].mend == "systemctl restart netbond, or by hand: netbond plan | sh"


def test_a_kernel_that_answers_otherwise_than_its_rules_say() -> None:
    well = healthy()
    first = well.lookups[0]
    odd = replace(well, lookups=(Lookup(first.query, None, "unreachable"),))
    (found,) = routing.bound_traffic(odd)
    assert (found.severity, found.evidence) == ("error", "route get: refused: unreachable")
    assert found.mend == "netbond explain 1.1.1.1 --from 10.0.0.10"


def test_the_shared_default() -> None:
    well = healthy()
    assert codes(routing.shared_default(well)) == [("shared-default", "ok", "IPv4")]
    rules = tuple(rule for rule in well.facts.rules if rule.table != 222)
    (found,) = routing.shared_default(with_facts(well, replace(well.facts, rules=rules)))
    assert found.severity == "error"
    assert found.mend == "ip rule add priority 222 from all lookup 222 protocol 78"
    gone = Lookup(Query(routing.ANYWHERE[4]), None, "none")
    nothing = replace(with_facts(well, replace(Facts(), rules=SYSTEM)), lookups=(gone,))
    (found,) = routing.shared_default(nothing)
    assert (found.severity, found.verdict) == ("error", "unbound traffic has no way out")


def test_what_is_pending() -> None:
    well = healthy()
    assert codes(routing.pending(well)) == [("plan", "ok", "")]
    (found,) = routing.pending(with_facts(well, replace(well.facts, rules=SYSTEM)))
    assert found.severity == "warning"
    assert found.evidence.startswith("missing: ip rule add")


def test_foreign_rules() -> None:
    well = healthy()
    assert codes(routing.foreign(well)) == [("foreign", "ok", "")]
    theirs = replace(well.facts, rules=(*well.facts.rules, Rule(10, 4, table=100, protocol=3)))
    found = [*routing.foreign(with_facts(well, theirs))]
    assert {each.severity for each in found} == {"warning"}
    assert "another program's rule" in found[0].verdict


@pytest.mark.parametrize("other", ["dhcpcd", "NetworkManager"])
def test_two_managers(other: str) -> None:
    well = healthy()
    assert codes(routing.managers(well)) == [("managers", "ok", "")]
    second = lease("usb0", "10.0.0.10/24", "10.0.0.1", source=other)
    twice = replace(well.facts, leases=(*well.facts.leases, second))
    (found,) = routing.managers(with_facts(well, twice))
    assert (found.subject, found.verdict) == (
        "usb0",
        " and ".join(sorted(["dhclient", other])) + " configure usb0",
    )


def test_a_manager_that_only_claims() -> None:
    well = healthy()
    address = well.facts.addresses[1].interface
    claim = GatewayClaim("usb0", "NetworkManager", address, None, standing=True)
    found = routing.managers(replace(well, facts=replace(well.facts, claims=(claim,))))
    assert codes(found) == [("managers", "warning", "usb0")]


def test_a_lease_of_an_address_that_is_gone_is_no_manager() -> None:
    well = healthy()
    old = lease("usb0", "10.9.9.9/24", "10.9.9.1", source="dhcpcd")
    found = routing.managers(replace(well, facts=replace(well.facts, leases=(*well.facts.leases, old))))
    assert codes(found) == [("managers", "ok", "")]


STRICT = Setting(
    "net/ipv4/conf/usb1/rp_filter", "1", "sysctl -w net.ipv4.conf.usb1.rp_filter=2", "answers are dropped"
)
SMALL = Setting("net/core/rmem_max", "212992", "sysctl -w net.core.rmem_max=67108864", "bursts need room")
HASH = Setting("net/ipv4/fib_multipath_hash_policy", "0", "sysctl -w x=1", "by flows")


def test_settings() -> None:
    assert codes(routing.settings(healthy())) == [
        ("rp_filter", "ok", ""), ("buffers", "ok", ""), ("sysctl", "ok", ""),
    ]  # fmt: skip
    found = [*routing.settings(replace(healthy(), settings=(STRICT, SMALL, HASH)))]
    assert codes(found) == [
        ("rp_filter", "error", "usb1"), ("buffers", "warning", ""), ("sysctl", "warning", ""),
    ]  # fmt: skip
    assert found[0].mend == "sysctl -w net.ipv4.conf.usb1.rp_filter=2"
    # What the agent would set at once is not a fault of a box whose agent is stopped.
    stopped = routing.settings(replace(healthy(), settings=(STRICT, HASH), snapshot=None))
    assert [each[:2] for each in codes(stopped)] == [
        ("rp_filter", "error"), ("buffers", "ok"), ("sysctl", "unknown"),
    ]  # fmt: skip


def test_names_of_tables() -> None:
    well = healthy()
    assert codes(routing.table_names(well)) == [("table-names", "ok", "")]
    assert codes(routing.table_names(replace(well, table_names=None))) == []
    (found,) = routing.table_names(replace(well, table_names={100: "usb0"}))
    assert (found.severity, found.verdict) == ("warning", "`ip` knows no name of table 101 (usb1)")
    (found,) = routing.table_names(replace(well, table_names={}, snapshot=None))
    assert found.severity == "unknown"


def test_a_default_of_another_program_ahead_of_the_classic_layout() -> None:
    well = healthy('[routing]\nlayout = "classic"')
    routes = (*well.facts.routes, main_default("usb0", "10.0.0.1"))
    found = [*routing.foreign(with_facts(well, replace(well.facts, routes=routes)))]
    assert any("hides the ECMP table" in each.verdict for each in found)


def test_a_strict_filter_that_was_somebodys_decision_is_not_mended_unasked() -> None:
    (found, *_) = routing.settings(replace(healthy(), settings=(STRICT,)))
    assert found.fix == (found.mend,)
    (found, *_) = routing.settings(replace(healthy("[sysctl]\nrp_filter = false"), settings=(STRICT,)))
    assert (found.severity, found.fix) == ("error", ())
