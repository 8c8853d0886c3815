"""How a snapshot looks: every line within the width, nothing that breaks the view."""

from __future__ import annotations

import copy
import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from netbond.cli.status import fitting
from netbond.cli.status_view import CLOCK_IS_SET, MOST_PROBLEMS, age, amount, duration, rates, size
from netbond.sources.data_plans import EARLIEST
from netbond.srtla.advice import Advice
from netbond.status.schema import from_json
from tests.unit.cli.snapshots import (
    NOW,
    RECEIVER,
    SENDER,
    SNAPSHOT,
    VIEW,
    health,
    link,
    missing,
    shown,
    uplink,
)
from tests.unit.status.faults import at_home, backpack, links_of, set_off, stats_of


def test_the_view_at_80_columns() -> None:
    assert shown(SNAPSHOT) == VIEW.lstrip("\n")


def test_a_box_with_nothing() -> None:
    agent = {**SNAPSHOT["agent"], "problems": [], "config": None, "uptime_s": 3.2, "changes": 0}
    lists: dict[str, Any] = {key: [] for key in ("excluded", "idle", "uplinks", "engines")}
    nothing = {"version": 1, "agent": agent, **lists, "ecmp": {"table": 222, "legs": []}}
    assert shown(nothing) == (
        "STARTING\n"
        "\n"
        "No uplinks: no interface has an address and a known gateway.\n"
        "\n"
        "Default for unbound traffic (table 222): none of netbond's, no uplink is usable\n"
        "\n"
        "netbond 0.1.0  pid 70123, up 3 s, 0 changes, no configuration file\n"
    )


def test_long_names_keep_every_line_within_80_columns() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    for row in snapshot["uplinks"]:
        row.update(name="enx001122334455", device="enx001122334455")
        row.update(address="192.168.100.100", gateway="192.168.100.1")
    lines = shown(snapshot).splitlines()
    assert max(map(len, lines)) <= 80
    first = next(i for i, line in enumerate(lines) if line.startswith("  enx001122334455"))
    assert lines[first].split()[:3] == ["enx001122334455", "192.168.100.100", "192.168.100.1"]
    assert lines[first + 1].strip() == "(main, gone)"
    assert "(dhclient, 3 min ago)" in map(str.strip, lines)


@pytest.mark.parametrize(
    ("held_by", "line"),
    [
        ("connection marks", "Forwarded IPv4 flows keep their uplink by connection marks"),
        ("resilient nexthop group", "Forwarded IPv4 flows keep their uplink by a resilient nexthop group"),
        ("nothing", "Forwarded IPv4 flows move when an uplink comes or goes: install nftables"),
    ],
)
def test_what_holds_forwarded_flows(held_by: str, line: str) -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    assert "Forwarded" not in shown(snapshot)
    snapshot["flows"] = [{"family": 4, "held_by": held_by}]
    assert line in shown(snapshot).splitlines()


def test_one_of_each_is_singular() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["agent"]["changes"] = snapshot["engines"][0]["restarts"] = 1
    text = shown(snapshot)
    assert ", 1 change, " in text
    assert ", 1 restart " in text


def test_the_longest_ipv6_addresses_fit() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][-1].update(
        address="2001:db8:1111:2222:3333:4444:5555:6666", gateway="fe80::1111:22ff:fe33:4444"
    )
    text = shown(snapshot)
    assert "usb0   2001:db8:1111:2222:3333:4444:5555:6666 fe80::1111:22ff:fe33:4444  up\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_reasons_say_which_family_where_there_are_two() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["uplinks"][-1].update(state="standby", reason="a backup")
    assert "\n  usb0, IPv6  a backup\n" in shown(snapshot)
    snapshot["uplinks"][-1].update(state="dead", reason="http: HTTP 302")
    assert "\n! usb0 IPv6 dead: http: HTTP 302\n  to do: " in shown(snapshot, everything=True)


def test_policies_have_a_line_each() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    first = {"best": 1, "tier": 1, "uplinks": [{"name": "dsl", "weight": 1}], "reason": ""}
    none = {"best": 0, "tier": 0, "uplinks": [], "reason": "tier 1: dsl: no carrier"}
    tiers: dict[str, Any] = {"table": 7801, "tiers": [["dsl"], ["lte"]], "otherwise": "unreachable"}
    snapshot["policies"] = [
        {"name": "bank", **tiers, "ways": [{"family": 4, **first}, {"family": 6, **first}]},
        {"name": "backup", **tiers, "ways": [{"family": 4, **first}, {"family": 6, **none}]},
        {"name": "guests", **tiers, "ways": []},
        {"name": "video", **tiers, "ways": [], "problem": "this kernel cannot tell DSCP apart"},
    ]
    snapshot["connections"] = [
        {"policy": "bank", "uplink": "dsl", "connections": 12},
        {"policy": "bank", "uplink": "lte", "connections": 1},
    ]
    text = shown(snapshot)
    assert text[text.index("Policies") :].partition("\n\n")[0] == (
        "Policies\n"
        "  bank    dsl (tier 1 of 2)\n"
        "          connections: 12 on dsl, 1 on lte\n"
        "  backup  IPv4: dsl (tier 1 of 2)\n"
        "  backup  IPv6: refused: no tier works: tier 1: dsl: no carrier\n"
        "  guests  nothing matches it: no such interface, user, name or family here\n"
        "  video   this kernel cannot tell DSCP apart"
    )


EIGHT = """
STREAMING 10.5 Mbit/s over 7 of 8 links; usb5 degraded: icmp: loss 25 %; usb5:
no answer for 20 s
! usb5 degraded: icmp: loss 25 % (for 3 s)
! usb5: no answer for 20 s

sender 127.0.0.1:6000  running, pid 70130, compiled
  connected: bond.example.org:5000 (192.0.2.7:5000), caller 127.0.0.1:43210
  link  window  in flight    RTT   loss  bit/s  share  state
  usb5    20.5         12  48 ms  0.3 %      0      -  down: silent for 20 s
  usb0    20.5         12  48 ms  0.3 %  1.50M   14 %  up
  usb1    20.5         12  48 ms  0.3 %  1.50M   14 %  up
  usb2    20.5         12  48 ms  0.3 %  1.50M   14 %  up
  usb3    20.5         12  48 ms  0.3 %  1.50M   14 %  up
  usb4    20.5         12  48 ms  0.3 %  1.50M   14 %  up
  usb6    20.5         12  48 ms  0.3 %  1.50M   14 %  up
  usb7    20.5         12  48 ms  0.3 %  1.50M   14 %  up

Uplink usb5: degraded
7 uplinks up: usb0, usb1, usb2, usb3, usb4, usb6, usb7

netbond 0.1.0  pid 70123, up 1 h 2 min, 31 changes, /etc/netbond/netbond.toml
"""


def eight_modems() -> dict[str, Any]:
    """A backpack of eight, of which one hears nothing."""
    box = backpack()
    names = [f"usb{number}" for number in range(8)]
    box["uplinks"] = [
        uplink(name, f"192.168.{number}.100", f"192.168.{number}.1", "dhclient", 100 + number)
        for number, name in enumerate(names)
    ]
    box["health"] = [health("usb5", "192.168.5.100", "degraded", "icmp: loss 25 %", 3.0)]
    links_of(box)[:] = [link(name, bitrate_bps=1_500_000) for name in names]
    links_of(box)[5].update(state="down", reason="silent for 5 s", silent_ms=20_000, bitrate_bps=0)
    box["ecmp"] = {
        "table": 222,
        "legs": [{"family": 4, "device": name, "gateway": None, "weight": 1} for name in names],
    }
    return box


def on_a_terminal(snapshot: dict[str, Any], width: int, height: int, **options: Any) -> list[str]:
    """What a terminal of this size shows of it."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        height=height,
        force_terminal=True,
        color_system=None,
        markup=False,
        emoji=False,
        highlight=False,
        **options,
    )
    console.print(fitting(from_json(snapshot), NOW, console))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_eight_modems_fit_a_terminal_of_24_lines() -> None:
    lines = on_a_terminal(eight_modems(), 80, 24)
    assert lines == EIGHT.lstrip("\n").splitlines()
    assert len(lines) < 24
    assert len(on_a_terminal(eight_modems(), 80, 60)) > 30, "with all tables where there is space"


@pytest.mark.parametrize("width", [60, 72, 80, 200])
def test_no_line_is_longer_than_the_terminal_and_links_stay_rows(width: int) -> None:
    for box in (eight_modems(), SNAPSHOT):
        for height in (24, 100):
            lines = on_a_terminal(box, width, height)
            assert max(map(len, lines)) <= width
    lines = on_a_terminal(eight_modems(), width, 24)
    rows = [line for line in lines if line.startswith("  usb")]
    assert len(rows) == 8
    assert rows[0].startswith("  usb5 ")
    assert "down: silent for" in rows[0]
    assert ("window" in "".join(lines)) == (width >= 72)


def test_what_is_bad_stays_where_it_is_while_it_is_bad() -> None:
    """Rows that change places each second cannot be read."""
    box = eight_modems()
    for number, each in enumerate(links_of(box)):
        each["loss_pct"] = float(9 - number)
    names = [line.split()[0] for line in on_a_terminal(box, 80, 24) if line.startswith("  usb")]
    assert names == ["usb5", "usb0", "usb1", "usb2", "usb3", "usb4", "usb6", "usb7"]


def test_a_colour_says_nothing_that_no_word_says() -> None:
    box = eight_modems()
    plain = on_a_terminal(box, 80, 24)
    coloured = io.StringIO()
    console = Console(file=coloured, width=80, height=24, force_terminal=True, color_system="standard")
    console.print(fitting(from_json(box), NOW, console))
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", coloured.getvalue())
    assert [line.rstrip() for line in stripped.splitlines()] == plain


def test_many_problems_are_counted_and_all_shows_them() -> None:
    box = eight_modems()
    for each in links_of(box):
        each.update(state="down", reason="refused by the receiver")
    stats_of(box)["state"] = "connected"
    few, all_of_them = shown(box), shown(box, everything=True)
    assert few.count("\n! ") == MOST_PROBLEMS
    assert "\n! and 4 more (--all shows them)\n" in few
    assert all_of_them.count("\n! ") == 9
    assert "\n  to do: the receiver's log says why" in all_of_them


def test_what_is_left_out_is_named_but_not_without_end() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    snapshot["excluded"] = [{"device": f"veth{i}", "reason": "a container's"} for i in range(9)]
    assert "\nNot used: veth0, veth1, veth2, veth3, veth4 and 4 more (--all says why)\n" in shown(snapshot)
    assert "Not used" not in shown({**snapshot, "excluded": [{"device": "lo", "reason": "loopback"}]})


def test_an_agent_of_before_shows_what_it_has() -> None:
    first = ("version", "agent", "excluded", "idle", "uplinks", "ecmp", "engines")
    old = {key: SNAPSHOT[key] for key in first}
    text = shown(old, everything=True)
    assert "roof (wwan0)\n  IPv4     10.64.3.9/24" in text


def test_engines_before_they_have_links_and_after_they_failed() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    sender, receiver, _ = snapshot["engines"]
    sender.update(state="starting", reason="not ready after 12 s", last_exit="", restarts=0)
    sender["stats"] = {**SENDER, "state": "resolving"}
    receiver.update(stats=RECEIVER)
    text = shown(snapshot)
    assert "sender 127.0.0.1:6000  starting: not ready after 12 s, pid 70130, compiled\n" in text
    assert "\n  resolving: bond.example.org:5000, caller not yet connected\n" in text
    assert "receiver 0.0.0.0:5000  running, pid 70131, pure\n  no sender connected\n" in text
    sender["stats"] = {**SENDER, "problems": ["no answer from bond.example.org:5000 on any link"]}
    assert "\n  no answer from bond.example.org:5000 on any link\n" in shown(snapshot)
    sender["stats"] = {**SENDER, "caller": "127.0.0.1:5", "stream": "live/~3f2a"}
    assert "connected: bond.example.org:5000, caller 127.0.0.1:5, stream live/~3f2a\n" in shown(snapshot)


def test_a_receiver_with_twenty_streams_is_twenty_lines_worst_first() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    (group,) = snapshot["engines"][1]["stats"]["groups"]
    good, silent = group["links"]

    def stream(name: str, *links: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return {**group, "stream": name, "links": list(links), "bitrate_bps": 1000, "loss_pct": 0.0, **rest}

    groups = [stream(f"good/{number:02}", good, good) for number in range(15)]
    groups += [
        stream("far", good, good, rtt_ms=300),
        stream("half", good, silent),
        stream("lossy", good, good, loss_pct=7.0, dropped_packets=31),
        stream("unknown", good, loss_pct=None, rtt_ms=None),
        stream("gone", silent, silent, live=False, bitrate_bps=0, loss_pct=None),
    ]
    groups[3]["server"] = "127.0.0.1:5003"
    snapshot["engines"] = [snapshot["engines"][1]]
    snapshot["engines"][0]["stats"].update(groups=groups, groups_left_out=5)
    text = shown(snapshot)
    lines = text[text.index("  stream ") :].splitlines()
    lines = lines[: lines.index("")]
    assert len(lines) == 1 + 20 + 2
    assert lines[:6] + lines[-3:] == [
        "  stream   bit/s   loss  dropped     RTT  links   SRT server",
        "  gone         0      -        2   45 ms  0 of 2  127.0.0.1:5002",
        "  lossy    1.00k  7.0 %       31   45 ms  2       127.0.0.1:5002",
        "  half     1.00k  0.0 %        2   45 ms  1 of 2  127.0.0.1:5002",
        "  far      1.00k  0.0 %        2  300 ms  2       127.0.0.1:5002",
        "  good/00  1.00k  0.0 %        2   45 ms  2       127.0.0.1:5002",
        "  unknown  1.00k      -        2       -  1       127.0.0.1:5002",
        "  refused: unknown_peer 12, quota 1",
        "  and 5 more streams, which carry less",
    ]
    everything = shown(snapshot, everything=True)
    assert everything.count("198.51.100.7:1024") == 3
    del groups[0]["stream"]
    assert "  group 0a1b2c3d  1.00k" in shown(snapshot), "an engine of 0.1.0"


@pytest.mark.parametrize("strange", [None, "x", [], {}, -1, 10**400, float("1e300"), True, [1], {"a": 1}])
def test_nothing_that_an_engine_says_breaks_the_view(strange: object) -> None:
    def spoiled(value: object) -> object:
        if isinstance(value, dict):
            return {key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return strange

    snapshot = copy.deepcopy(SNAPSHOT)
    for engine in snapshot["engines"]:
        engine["stats"] = spoiled(engine["stats"])
    assert "sender 127.0.0.1:6000  running" in shown(snapshot)
    for engine in snapshot["engines"]:
        links = {"links": [strange, {**link("usb0"), "window": strange, "rtt_ms": strange}]}
        group = {**SNAPSHOT["engines"][1]["stats"]["groups"][0], "links": strange}
        engine["stats"] = {**SENDER, **RECEIVER, **links, "groups": [group, strange], "role": engine["role"]}
    assert "sender 127.0.0.1:6000  running" in shown(snapshot)


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.00k"),
        (1000, "1.00k"),
        (9_994, "9.99k"),
        (9_996, "10.0k"),
        (99_960, "100k"),
        (999_400, "999k"),
        (999_600, "1.00M"),
        (12_345_678, "12.3M"),
        (2_500_000_000, "2.50G"),
        (12_345_000_000_000, "12345G"),
        (None, None),
        (10**400, None),
    ],
)
def test_amounts_have_three_digits(number: float | None, says: str | None) -> None:
    assert amount(number) == says


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
        (None, "-"),
    ],
)
def test_durations(seconds: float | None, says: str) -> None:
    assert duration(seconds) == says


@pytest.mark.parametrize(
    ("since", "says"),
    [
        (NOW - 5, "5 s ago"),
        (NOW - 200, "3 min ago"),
        (NOW - 7500, "2 h ago"),
        (NOW - 200_000, "2 d ago"),
        (NOW + 5, ""),  # the clock was set back since
        (1000.0, ""),  # it came before the clock was set
        (None, ""),
    ],
)
def test_ages(since: float | None, says: str) -> None:
    assert age(since, NOW) == says


def test_a_clock_is_set_from_the_day_on_that_data_plans_believe() -> None:
    assert datetime.fromtimestamp(CLOCK_IS_SET, UTC).date() == EARLIEST


def test_sizes_are_those_of_data_plans() -> None:
    assert [size(number) for number in (49_500_000_000, 0, None)] == ["49.5 GB", "0.0 kB", "-"]


def test_modems_that_are_no_uplinks_and_uplinks_that_have_gone() -> None:
    lines = shown(missing()).splitlines()
    assert "Modem wwan1: SIM waits for sim-pin" in lines
    assert "Modem Evil\\x1b[2J at 1-1.4: no SIM" in lines
    assert "Gone: usb5 (unplugged, 3 min ago)" in lines
    assert "wwan2" not in "".join(lines)  # it is not the modem's fault; idle says whose
    words = " ".join(shown(missing(), everything=True, width=160).split())
    assert (
        " wwan1 modem: SIM waits for sim-pin, state locked, SIM sim-pin, EM12, /sys/devices/usb1/1-1.3 "
        in words
    )
    assert " wwan2 modem: state connected, SIM ok" in words
    assert " usb5 unplugged, 3 min ago; it had 10.0.5.10 via 10.0.5.1" in words


def test_with_no_uplink_left_it_is_said_what_there_was() -> None:
    snapshot = missing() | {"uplinks": []}
    text = shown(snapshot)
    assert "No uplinks: " in text
    assert "Gone: usb5 (unplugged, 3 min ago)\n" in text
    assert "Modem wwan1: SIM waits for sim-pin\n" in text


def test_a_spent_data_plan_is_said_once() -> None:
    snapshot = copy.deepcopy(SNAPSHOT)
    roof = next(uplink for uplink in snapshot["uplinks"] if uplink["device"] == "wwan0")
    roof.update(state="standby", reason="50.0 GB a month are used up")
    snapshot["metered"][0].update(used_bytes=51_000_000_000, level="spent", verdict="backup")
    text = shown(snapshot)
    assert "used up" not in text
    assert text.count("51.0 GB of 50.0 GB used") == 1


def test_without_capacities_there_is_the_share_of_each_link() -> None:
    """Mode classic measures none."""
    changed = copy.deepcopy(SNAPSHOT)
    stats = changed["engines"][0]["stats"]
    stats |= {"advised_bits_per_second": None, "links": [link("usb0"), link("usb1", bitrate_bps=0)]}
    text = shown(changed)
    assert (
        "  link  window  in flight    RTT   loss  bit/s  share  state\n"
        "  usb0    20.5         12  48 ms  0.3 %  2.13M  100 %  up\n"
        "  usb1    20.5         12  48 ms  0.3 %      0    0 %  up\n"
    ) in text
    assert "advice" not in text


def test_what_people_have_set_stands_below_the_table() -> None:
    box = at_home()
    box["uplinks"].append({**box["uplinks"][1], "family": 6, "address": "2001:db8::2", "gateway": "fe80::1"})
    set_off(1, 2580.0)(box)
    box["uplinks"][2].update(state="off", reason="set off by root", mode="off")
    weight = {**box["overrides"][0], "what": "weight", "value": 3, "by": "alice", "left_s": None}
    box["overrides"] += [weight, {**weight, "uplink": "usb0"}, {**weight, "uplink": "usb9"}]
    lines = shown(box).splitlines()
    assert "UP: 1 uplink; usb1 set off for 43 min more" in lines
    assert "  usb0  set weight 3 by alice" in lines
    assert "  usb1  set off by root, for 43 min more; set weight 3 by alice" in lines
    assert "Not there now: usb9 set weight 3 by alice" in lines
    assert sum("set off by root" in line for line in lines) == 1
    (row,) = [line for line in lines if "10.0.1.10" in line]
    assert row.split()[-1] == "off"
    assert lines.index(row) == 4  # above the one that is up
    details = [line.split() for line in shown(box, everything=True).splitlines()]
    told = "set by hand set off by root, for 43 min more; set weight 3 by alice"
    assert told.split() in details


def test_a_backup_that_was_set_is_said_once() -> None:
    box = at_home()
    set_off(1)(box)
    box["uplinks"][1].update(state="standby", reason="set backup by root", mode="backup")
    box["overrides"][0]["value"] = "backup"
    assert shown(box).count("set backup by root") == 1


@pytest.mark.parametrize(
    ("advised", "known", "said"),
    [
        (8_500_000, 9_500_000, "send 8.50M of 9.50M bit/s"),
        (9_900_000, 9_500_000, "send 9.90M of >9.50M bit/s"),
        (9_500_000, 9_500_000, "send 9.50M of 9.50M bit/s"),
    ],
)
def test_more_advised_than_is_known_to_be_there_says_so(advised: int, known: int, said: str) -> None:
    """Only links that are full show what they carry, so advice rises beyond what is known."""
    assert rates(Advice(advised, known, 0, 1000, 0.0, 30)) == said
