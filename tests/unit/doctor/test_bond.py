"""Checks of streams: the agent's problems, and what its engines say."""

from __future__ import annotations

from dataclasses import replace

from netbond.doctor import bond
from tests.unit.doctor.boxes import agent, codes, healthy
from tests.unit.status.faults import after, engine_is, not_registered, studio, uplink_is


def test_the_agents_problems() -> None:
    assert codes(bond.problems(healthy())) == [("problems", "ok", "")]
    assert codes(bond.problems(replace(healthy(), snapshot=None))) == []
    dead = agent(uplink_is(2, "dead", "gateway: no answer from 10.0.2.1", state="down"))
    (found,) = bond.problems(replace(healthy(), snapshot=dead))
    assert (found.code, found.severity, found.subject) == ("uplink-dead", "warning", "usb2")
    assert found.mend


def test_a_broken_stream_is_an_error() -> None:
    silent = agent(not_registered("no answer from the receiver"))
    found = [*bond.problems(replace(healthy(), snapshot=silent))]
    assert ("not-registered", "error") in [(each.code, each.severity) for each in found]


def test_engines() -> None:
    (found,) = bond.engines(healthy())
    assert (found.code, found.severity) == ("engine", "ok")
    assert found.evidence == "4 of 4 links up"
    (found,) = bond.engines(replace(healthy(), snapshot=after(studio(), lambda _: None)))
    assert (found.severity, found.evidence) == ("ok", "1 of 1 streams flow")


def test_a_sender_that_is_not_registered() -> None:
    silent = agent(not_registered("nothing listens at the receiver's port"))
    (found,) = bond.engines(replace(healthy(), snapshot=silent))
    assert found.severity == "error"
    assert "is not registered at" in found.verdict
    assert "usb0: nothing listens at the receiver's port" in found.evidence


def test_an_engine_that_does_not_run() -> None:
    failed = agent(engine_is(state="failed", reason="the port is in use", stats=None))
    (found,) = bond.engines(replace(healthy(), snapshot=failed))
    assert (found.severity, found.evidence) == ("error", "the port is in use")
    new = agent(engine_is(state="running", reason="", stats=None))
    assert [each.severity for each in bond.engines(replace(healthy(), snapshot=new))] == ["unknown"]


def test_without_an_agent_nothing_is_known_of_engines() -> None:
    assert codes(bond.engines(replace(healthy(), snapshot=None))) == []
    sender = healthy('[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "192.0.2.7:5000"')
    assert codes(bond.engines(replace(sender, snapshot=None))) == [("engine", "unknown", "")]
