"""Checks by commands, run by a real agent: each leaves by the uplink that it checks, in its family."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.agents import Agent
from tests.netns.box import wait_for
from tests.netns.health_net import HOST, HOST6, Net

pytestmark = pytest.mark.root

# The web server behind usb0 answers 201, that behind usb1 202; the name is asked at the DNS server there.
CHECK = f"""
[health]
checks = ["web"]
resolvers = ["{HOST}", "{HOST6}"]
hold_down = 0
down_after = 1
up_after = 1
[[check]]
name = "web"
kind = "command"
command = ["/usr/bin/curl", "--silent", "--show-error", "--fail", "--max-time", "4", "http://www.example/"]
interval = 1
timeout = 20
"""


@pytest.fixture
def net() -> Iterator[Net]:
    with Net() as net:
        yield net


def states(agent: Agent) -> dict[tuple[str, int], str]:
    return {(health["device"], health["family"]): health["state"] for health in agent.status()["health"]}


def test_each_check_leaves_by_its_uplink_and_in_its_family(net: Net, tmp_path: Path) -> None:
    modems = [net.modem(), net.modem()]
    asked = []
    for modem in modems:
        asked.append(modem.http(204))
        asked.append(modem.http(204, HOST6))
        for host in (HOST, HOST6):
            modem.dnsmasq(f"--host-record=www.example,{HOST},{HOST6}", host=host)
    with Agent(tmp_path, net.name, lambda *words: ["ip", "netns", "exec", net.name, *words]) as agent:
        agent.configure(CHECK)
        agent.start()
        everywhere = {(f"usb{number}", family): "up" for number in (0, 1) for family in (4, 6)}
        wait_for(lambda: states(agent) == everywhere, 30, "all answer")
        assert all(asked)
        # One family behind one modem: the other families and modems answer on.
        modems[1].nft(f"add rule inet t input ip6 daddr {HOST6} tcp dport 80 reject with tcp reset")
        wanted = everywhere | {("usb1", 6): "down"}
        wait_for(lambda: states(agent) == wanted, 30, "IPv6 of usb1 is down")

        def reasons() -> list[str]:
            return [uplink["reason"] for uplink in agent.status()["uplinks"] if uplink["state"] == "dead"]

        wait_for(lambda: ["/usr/bin/curl: curl: (7)" in each for each in reasons()] == [True], 10, "and why")
        modems[1].nft("flush chain inet t input")
        wait_for(lambda: states(agent) == everywhere, 30, "it is back")
        wait_for(lambda: agent.problems() == [], 10, "nothing to say")


def test_a_missing_program_takes_no_uplink_down(net: Net, tmp_path: Path) -> None:
    net.modem()
    with Agent(tmp_path, net.name, lambda *words: ["ip", "netns", "exec", net.name, *words]) as agent:
        agent.configure(CHECK.replace("/usr/bin/curl", "/usr/bin/no-such-program"))
        agent.start()
        problem = "check web is not run: /usr/bin/no-such-program: No such file or directory"
        wait_for(lambda: problem in agent.problems(), 5, "status says so")
        wait_for(lambda: "no-such-program" in str(agent.status()["health"]), 10, "it was asked")
        assert set(states(agent).values()) == {"unknown"}
        assert {uplink["state"] for uplink in agent.status()["uplinks"]} == {"up"}
