"""The agent and a real kernel: what it writes, what it repairs, and what it leaves alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for

pytestmark = pytest.mark.root

# Seconds. One is promised, and bench/routing.py shows that it takes milliseconds; a busy machine gets more.
SOON = 3.0

RULES = """\
0:	from all lookup local
40:	from all oif usb0 lookup 100 proto 78
40:	from all oif usb1 lookup 101 proto 78
40:	from all oif usb2 lookup 102 proto 78
40:	from all oif usb3 lookup 103 proto 78
50:	from all lookup main suppress_prefixlength 0 proto 78
100:	from 10.0.0.10 lookup 100 proto 78
101:	from 10.0.1.10 lookup 101 proto 78
102:	from 10.0.2.10 lookup 102 proto 78
103:	from 10.0.3.10 lookup 103 proto 78
222:	from all lookup 222 proto 78
32766:	from all lookup main
32767:	from all lookup default"""

TABLE_101 = """\
default via 10.0.1.1 dev usb1 proto 78 src 10.0.1.10
unreachable default proto 78 metric 4294967295
10.0.1.0/24 dev usb1 proto 78 scope link src 10.0.1.10"""

ECMP = """\
default nhid 7800222 proto 78
	nexthop via 10.0.0.1 dev usb0 weight 2
	nexthop via 10.0.1.1 dev usb1 weight 1
	nexthop via 10.0.2.1 dev usb2 weight 1
	nexthop via 10.0.3.1 dev usb3 weight 1"""

WEIGHTS = '[[uplink]]\nmatch = "usb0"\nweight = 4\n[[uplink]]\nmatch = "*"\nweight = 2'


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A box with four modems."""
    with Box(tmp_path) as box:
        for number in range(4):
            box.plug(f"usb{number}", number)
        yield box


def test_rules_tables_and_ecmp_as_text(box: Box) -> None:
    box.configure(WEIGHTS)
    box.start()
    assert box.rules() == RULES
    assert box.table(101) == TABLE_101
    assert box.table(222) == ECMP


def test_bound_traffic_leaves_by_its_own_modem(box: Box) -> None:
    box.start()
    for number in range(4):
        assert box.way("8.8.8.8", "from", f"10.0.{number}.10") == f"usb{number}"
        assert box.way("8.8.8.8", "oif", f"usb{number}") == f"usb{number}"


def test_unbound_traffic_is_shared_out_even_beside_a_metric_0_default_in_main(box: Box) -> None:
    box.ip("route", "add", "default", "via", "10.0.3.1", "dev", "usb3")  # what dhclient-script leaves
    box.start()
    box.run("sysctl", "-qw", "net.ipv4.fib_multipath_hash_policy=1")
    ways = {box.way("8.8.8.8", "ipproto", "17", "sport", str(p), "dport", "53") for p in range(1000, 1040)}
    assert ways == {"usb0", "usb1", "usb2", "usb3"}


@pytest.mark.parametrize(
    "meddle",
    [
        ["rule", "del", "priority", "101"],
        ["rule", "del", "priority", "50"],
        ["rule", "flush"],  # takes main and default too; those are not netbond's to bring back
        ["route", "flush", "table", "101"],
        ["route", "del", "default", "table", "222"],
        ["nexthop", "flush", "proto", "78"],
        ["nexthop", "del", "id", "7800101"],
        ["nexthop", "replace", "id", "7800222", "group", "7800101", "proto", "78"],
        ["route", "del", "unreachable", "default", "table", "101", "metric", "4294967295"],
        ["route", "replace", "default", "via", "10.0.1.77", "dev", "usb1", "table", "101", "proto", "78"],
        [
            "route",
            "add",
            "default",
            "via",
            "10.0.1.7",
            "dev",
            "usb1",
            "table",
            "101",
            "metric",
            "5",
            "proto",
            "78",
        ],
        ["rule", "add", "from", "10.9.9.9", "lookup", "101", "priority", "150", "protocol", "78"],
    ],
    ids=" ".join,
)
def test_what_is_meddled_with_is_put_right_within_a_second(box: Box, meddle: list[str]) -> None:
    box.start()
    before = box.state()
    box.ip(*meddle)
    wait_for(lambda: box.state() == before, SOON, "as before")


def test_link_down_and_up_again(box: Box) -> None:
    """The kernel empties the tables without a word, and drops the default in main for good."""
    box.start()
    before = box.state()
    box.ip("link", "set", "usb1", "down")
    wait_for(lambda: "usb1" not in box.table(222), SOON, "usb1 leaves the ECMP default")
    # Bound to its address, traffic must fail rather than leave by another modem.
    assert box.table(101) == "unreachable default proto 78 metric 4294967295"
    assert "unreachable" in sh(
        "ip", "-n", box.name, "route", "get", "8.8.8.8", "from", "10.0.1.10", check=False
    ) or ("usb" not in sh("ip", "-n", box.name, "route", "get", "8.8.8.8", "from", "10.0.1.10", check=False))
    box.ip("link", "set", "usb1", "up")
    wait_for(lambda: box.state() == before, SOON, "as before")


def test_down_and_up_faster_than_anybody_looks(box: Box) -> None:
    box.start()
    before = box.state()
    batch = box.folder / "batch"
    batch.write_text("link set usb1 down\nlink set usb1 up\n")
    box.ip("-batch", str(batch))
    wait_for(lambda: box.state() == before, SOON, "as before")


def test_address_removed_and_added_again(box: Box) -> None:
    box.start()
    before = box.state()
    batch = box.folder / "batch"
    batch.write_text("addr del 10.0.1.10/24 dev usb1\naddr add 10.0.1.10/24 dev usb1\n")
    box.ip("-batch", str(batch))
    box.ip("route", "replace", "default", "via", "10.0.1.1", "dev", "usb1", "metric", "1001")
    wait_for(lambda: box.state() == before, SOON, "as before")


def test_carrier_lost_and_back(box: Box) -> None:
    box.start()
    before = box.state()
    sh("ip", "-n", box.far, "link", "set", "p2", "down")
    wait_for(lambda: "usb2" not in box.table(222), SOON, "usb2 leaves the ECMP default")

    # What is bound to it fails, and does not leave by another modem. The kernel takes the leg out by itself;
    # the table is the agent's work, a moment later.
    def way() -> str:
        return box.ip("route", "get", "8.8.8.8", "from", "10.0.2.10", check=False)

    wait_for(lambda: way() == "", SOON, "nothing leaves from its address")
    sh("ip", "-n", box.far, "link", "set", "p2", "up")
    wait_for(lambda: box.state() == before, SOON, "as before")


def test_unplugged_and_plugged_again(box: Box) -> None:
    box.start()
    before = box.state()
    box.unplug("usb2")
    wait_for(lambda: "usb2" not in box.state() and "lookup 102" not in box.state(), SOON, "usb2 is gone")
    wait_for(lambda: "10.0.2.10" not in (box.folder / "ips").read_text(), SOON, "nor is it in the list")
    box.plug("usb2", 2)
    wait_for(lambda: box.state() == before, SOON, "as before")
    wait_for(lambda: "10.0.2.10\n" in (box.folder / "ips").read_text(), SOON, "in the list")


def test_a_new_address_on_the_same_modem(box: Box) -> None:
    box.start()
    box.ip("addr", "del", "10.0.1.10/24", "dev", "usb1")
    box.ip("addr", "add", "10.7.1.10/24", "dev", "usb1")
    box.ip("route", "add", "default", "via", "10.7.1.1", "dev", "usb1", "metric", "1001")
    wait_for(
        lambda: box.table(101) == TABLE_101.replace("10.0.1.", "10.7.1.") and "10.0.1.10" not in box.rules(),
        SOON,
        "the new address everywhere",
    )


def test_foreign_routes_and_rules_stay_through_start_run_and_stop(box: Box) -> None:
    box.ip("route", "add", "198.51.100.0/24", "via", "10.0.0.1", "table", "100")
    box.ip("route", "add", "default", "via", "10.0.1.1", "table", "222", "metric", "7")
    box.ip("rule", "add", "from", "10.0.0.10", "lookup", "100", "priority", "100")
    box.ip("rule", "add", "fwmark", "7", "lookup", "55", "priority", "5210")
    before = box.rules(), box.table("all")
    box.start()
    for line in [*before[0].splitlines(), *before[1].splitlines()]:
        assert line in box.rules().splitlines() + box.table("all").splitlines()
    box.ip("route", "flush", "table", "101")
    box.unplug("usb3")
    wait_for(lambda: "usb3" not in box.state(), SOON, "usb3 is gone")
    assert box.stop() == 0
    assert box.rules() == before[0]
    gone = [line for line in before[1].splitlines() if "usb3" in line or "10.0.3." in line]
    left = [
        line
        for line in before[1].splitlines()
        if line not in gone and "fe80" not in line and "ff00" not in line
    ]
    now = box.table("all").splitlines()
    assert [line for line in left if line not in now] == []
    assert [line for line in now if "proto 78" in line] == []


def test_a_foreign_route_in_our_place_is_named_and_left(box: Box) -> None:
    box.ip("route", "add", "default", "via", "10.0.1.1", "dev", "usb1", "table", "101")
    box.start()
    assert "default via 10.0.1.1 dev usb1" in box.table(101)
    assert "proto 78" not in box.table(101).splitlines()[0]
    # The refusal, once it has lasted, and that there is such a route.
    wait_for(lambda: len(box.status()["agent"]["problems"]) == 2, 5.0, "both are named")
    problems = box.status()["agent"]["problems"]
    assert problems[0].startswith("ip route add default via 10.0.1.1 dev usb1 table 101")
    assert problems[0].endswith("another program's route is in that place")
    box.ip("route", "del", "default", "via", "10.0.1.1", "dev", "usb1", "table", "101")
    wait_for(lambda: box.table(101) == TABLE_101, 3.0, "netbond's own route")
    wait_for(lambda: box.status()["agent"]["problems"] == [], 3.0, "no problem any more")


def test_killed_and_started_again(box: Box) -> None:
    box.start()
    before = box.state()
    assert box.stop(signal.SIGKILL) == -9
    assert box.state() == before
    box.start()
    assert box.state() == before


def test_killed_and_started_again_after_everything_changed(box: Box) -> None:
    box.start()
    box.stop(signal.SIGKILL)
    box.ip("link", "set", "usb1", "down")
    box.unplug("usb2")
    box.ip("rule", "del", "priority", "103")
    box.start()
    assert "usb2" not in box.state()
    assert "103:" in box.rules()
    # The default of usb1 in main is gone, but what was seen there is remembered.
    box.ip("link", "set", "usb1", "up")
    wait_for(lambda: box.table(101) == TABLE_101, SOON, "usb1 is back")


def test_keep_on_stop(box: Box) -> None:
    box.configure(agent='on_stop = "keep"')
    box.start()
    before = box.state()
    assert box.stop() == 0
    assert box.state() == before


def test_a_second_agent_refuses(box: Box) -> None:
    box.start()
    second = subprocess.run(
        box.command("run", "--config", str(box.config_file)), capture_output=True, text=True, timeout=60
    )
    assert second.returncode == 69
    assert re.search(r"netbond run: another agent is running \(pid \d+\)", second.stderr)
    assert second.stderr.count("\n") == 1


def test_names_for_people(box: Box) -> None:
    box.start()
    assert "100 usb0\n" in re.sub(
        r"[ \t]+", " ", (box.folder / "iproute2/rt_tables.d/netbond.conf").read_text()
    )


def test_the_address_list_is_written_on_change_only(box: Box) -> None:
    box.start()
    ips = box.folder / "ips"
    assert ips.read_text() == "10.0.0.10\n10.0.1.10\n10.0.2.10\n10.0.3.10\n"
    written = ips.stat().st_ino
    box.ip("route", "flush", "table", "101")
    wait_for(lambda: box.table(101) == TABLE_101, SOON, "repaired")
    assert ips.stat().st_ino == written


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[uplink]]\nmtch = 1", "uplink[1] has an unknown key 'mtch'; did you mean 'match'?"),
        ("[agent", "not valid TOML"),
    ],
)
def test_a_broken_configuration_changes_nothing(box: Box, text: str, says: str) -> None:
    # IPv4 only: link-local addresses of IPv6 come and go by themselves.
    before = box.rules(), box.ip("-4", "route", "show", "table", "all")
    box.config_file.write_text(text)
    result = subprocess.run(
        box.command("run", "--config", str(box.config_file)), capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 78
    assert result.stderr.count("\n") == 1
    assert str(box.config_file) in result.stderr
    assert says in result.stderr
    assert (box.rules(), box.ip("-4", "route", "show", "table", "all")) == before


def test_an_interface_that_is_not_there_is_named_and_awaited(box: Box) -> None:
    box.configure('[[uplink]]\nmatch = "usb7"\nweight = 3')
    box.start()
    assert box.status()["agent"]["problems"] == ["usb7: no such interface now"]
    box.plug("usb7", 7)
    wait_for(lambda: "dev usb7 weight 3" in box.table(222), SOON, "usb7 is used")
    wait_for(lambda: box.status()["agent"]["problems"] == [], SOON, "nothing to say")


def test_plan_agrees_with_the_agent(box: Box) -> None:
    box.configure()
    command = box.command("plan", "--config", str(box.config_file))
    planned = subprocess.run(command, capture_output=True, text=True)
    assert planned.returncode == 2
    box.run("sh", "-e", "-c", planned.stdout)
    by_hand = box.state()
    box.start()
    assert box.state() == by_hand
    planned = subprocess.run(command, capture_output=True, text=True)
    assert (planned.returncode, planned.stdout) == (0, "")


def test_a_rival_is_named_and_not_fought_at_full_speed(box: Box) -> None:
    box.start()
    repaired = []
    for _ in range(8):
        sh("ip", "-n", box.name, "rule", "del", "priority", "101", check=False)
        wait_for(lambda: "101:" in box.rules(), 5.0, "repaired all the same")
        repaired.append(time.monotonic())
    # 0.2, 0.4 and 0.8 s from one to the next, less the moment in which the first of them was seen.
    assert repaired[-1] - repaired[-4] > 1.0
    fight = "another program keeps undoing: rule priority 101 from 10.0.1.10 lookup 101 protocol 78"
    wait_for(lambda: box.status()["agent"]["problems"] == [fight], 3.0, "the fight is named")


def test_an_overrun_of_the_event_socket(box: Box) -> None:
    """The kernel drops events when they are not read in time; the agent looks at everything then."""
    box.start()
    before = box.state()
    assert box.agent is not None
    box.agent.send_signal(signal.SIGSTOP)
    batch = box.folder / "batch"
    storm = "".join(
        f"route add 192.0.2.{n % 250} via 10.0.0.1 table 55\nroute del 192.0.2.{n % 250} table 55\n"
        for n in range(20000)
    )
    batch.write_text(storm + "rule del priority 101\nroute flush table 102\n")
    box.ip("-batch", str(batch))
    box.agent.send_signal(signal.SIGCONT)
    wait_for(lambda: box.state() == before, 10.0, "as before")
    wait_for(lambda: "netlink events were lost" in box.log.read_text(), 10.0, "the overrun is noticed")
    box.ip("rule", "del", "priority", "102")
    wait_for(lambda: box.state() == before, 3.0, "events arrive again")


def engine(box: Box) -> dict[str, object]:
    """The agent's only engine, as status shows it."""
    (found,) = box.status()["engines"]
    assert isinstance(found, dict)
    return found


def test_an_occupied_port_is_named_and_tried_again(box: Box) -> None:
    hold = "import socket, time; s = socket.socket(type=2); s.bind(('127.0.0.1', 6000)); print(); input()"
    squatter = subprocess.Popen(
        ["ip", "netns", "exec", box.name, sys.executable, "-uc", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert squatter.stdout is not None
    squatter.stdout.readline()
    try:
        box.configure('[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "192.0.2.1:5000"')
        box.start()

        def named() -> bool:
            """In one answer: the next attempt is soon."""
            found = engine(box)
            reason = str(found["reason"])
            return found["state"] in ("backing off", "failed") and "6000" in reason and "in use" in reason

        wait_for(named, 5, "the engine has given up for now, and says why")
        assert box.rules() == RULES  # routing goes on
    finally:
        squatter.kill()
        squatter.communicate()
    wait_for(lambda: engine(box)["state"] == "running", 15, "the port is free now")


def test_a_receiver_that_does_not_resolve_is_named_and_tried_again(box: Box) -> None:
    box.configure('[[sender]]\nlisten = "127.0.0.1:6000"\nreceiver = "bond.example.invalid:5000"')
    box.start()
    wait_for(lambda: "bond.example.invalid" in box.log.read_text(), 10, "the name is in the log")
    wait_for(lambda: engine(box)["state"] == "running", 5, "the engine keeps running")
    lines = [line for line in box.log.read_text().splitlines() if "bond.example.invalid" in line]
    assert len([line for line in lines if "DEBUG" not in line]) <= 2, lines
    assert not any("Traceback" in line for line in box.log.read_text().splitlines())


def test_occupied_metrics_port_does_not_stop_routing(box: Box) -> None:
    box.configure(agent='metrics = "127.0.0.1:10469"')
    box.start()
    second = box.folder / "second"
    second.mkdir()
    config = second / "netbond.toml"
    config.write_text(box.config_file.read_text().replace(str(box.folder), str(second)))
    other = subprocess.Popen(box.command("run", "--config", str(config)), stderr=subprocess.PIPE, text=True)
    try:
        assert other.stderr is not None
        line = next(line for line in other.stderr if "metrics" in line)
        assert "cannot serve metrics at 127.0.0.1:10469" in line
    finally:
        other.kill()
        other.communicate()


def test_real_time_priority_while_it_is_wanted(box: Box) -> None:
    def policy() -> int:
        assert box.agent is not None
        return os.sched_getscheduler(box.agent.pid) & ~os.SCHED_RESET_ON_FORK

    box.start()
    assert box.agent is not None
    wait_for(
        lambda: policy() == os.SCHED_RR or "no real-time priority" in box.log.read_text(), 5.0, "priority"
    )
    if policy() != os.SCHED_RR:
        pytest.skip("no real-time priority here")
    box.configure(agent="realtime = false")
    box.agent.send_signal(signal.SIGHUP)
    wait_for(lambda: policy() == os.SCHED_OTHER, 5.0, "as everybody else")
