"""netbond.service on a real Debian 12: systemd, its sandbox, USB modems that come and go, reboots, kills.

The tests tell one story, in this order, on one machine; each begins and ends with agent and modems up.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.box import Box
from tests.vm.qemu import Machine
from tests.vm.world import ADDRESS, RECEIVER_PORT, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]

CONFIG = f"""\
[[uplink]]
match = {{path = "*-usb-0:1:1.*"}}
label = "left"
table = 150
weight = %(weight)d
budget = "1GB"

[[uplink]]
match = {{path = "*-usb-0:2:1.*"}}
label = "right"
table = 151

[[sender]]
listen = "127.0.0.1:6000"
receiver = "{ADDRESS}:{RECEIVER_PORT}"
"""

# What docs/install.md advises for modems that all have the same MAC address: names by port.
NAMES = {
    f"/etc/systemd/network/10-usb{port - 1}.link": f"[Match]\nPath=*-usb-0:{port}:1.*\n"
    f"[Link]\nNamePolicy=\nName=usb{port - 1}\n"
    for port in range(1, 6)
}
INTERFACES = "".join(f"allow-hotplug usb{number}\niface usb{number} inet dhcp\n" for number in range(5))

RULES = """\
0: from all lookup local
40: from all oif usb0 lookup left proto netbond
40: from all oif usb1 lookup right proto netbond
40: from all oif usb2 lookup usb2 proto netbond
50: from all lookup main suppress_prefixlength 0 proto netbond
102: from 192.168.10.100 lookup usb2 proto netbond
150: from 192.168.8.100 lookup left proto netbond
151: from 192.168.8.100 lookup right proto netbond
222: from all lookup netbond proto netbond
32766: from all lookup main
32767: from all lookup default
"""

UNTOUCHED = """\
0: from all lookup local
32766: from all lookup main
32767: from all lookup default
"""

# Numbered packets into the SRT caller, as netbond.lab.payload counts them.
SOURCE = """\
import socket, sys, time
from netbond.lab import payload
count, pause = int(sys.argv[1]), float(sys.argv[2])
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(50):
    out.sendto(payload.pack(payload.PROBE, 0.0), ("127.0.0.1", 6500))
    time.sleep(0.1)
start = time.monotonic()
for number in range(count):
    out.sendto(payload.pack(number, 0.0), ("127.0.0.1", 6500))
    time.sleep(max(start + (number + 1) * pause - time.monotonic(), 0))
time.sleep(6)
"""


WHOLE = {"left": "usb0 up", "right": "usb1 up", "usb2": "usb2 up"}


def engine_state(box: Box) -> str:
    engines = box.glance().get("engines", [{}])
    return str(engines[0].get("state", ""))


def until_whole(box: Box) -> None:
    """All three modems are up, and the rules are right."""
    box.until(lambda: box.states() == WHOLE and box.rules() == RULES)


@pytest.fixture(scope="module")
def box(state: Path, world: World) -> Iterator[Box]:
    with Machine(state / "box.qcow2", state / "boot", state / "unit", namespace=world.namespace) as machine:
        for path, text in NAMES.items():
            machine.write(path, text)
        machine.write("/etc/network/interfaces.d/modems", INTERFACES)
        machine.write("/etc/netbond/netbond.toml", CONFIG % {"weight": 3})
        machine.write("/root/source.py", SOURCE)
        machine.run("udevadm control --reload")
        yield Box(machine)
        (state / "unit" / "journal.log").write_text(machine.out("journalctl -o short-monotonic"))


def test_it_starts_and_stays_enabled(box: Box) -> None:
    box.machine.run("systemctl enable --now netbond")
    assert box.machine.out("systemctl is-active netbond").strip() == "active"
    assert box.machine.out("systemctl is-enabled netbond").strip() == "enabled"
    box.until(lambda: box.glance().get("agent", {}).get("running", False))
    assert box.glance()["uplinks"] == []


def test_usb_modems_plugged_in_become_uplinks(box: Box) -> None:
    box.machine.plug("left", 1, "192.168.8")
    box.machine.plug("right", 2, "192.168.8")  # twins: same MAC, same subnet, same address
    box.machine.plug("third", 3, "192.168.10")
    until_whole(box)
    uplinks = {uplink["name"]: uplink for uplink in box.status()["uplinks"]}
    assert {uplink["gateway_source"] for uplink in uplinks.values()} == {"dhclient"}
    assert [uplinks[name]["weight"] for name in WHOLE] == [3, 1, 1]
    hardware = box.glance()["hardware"]["usb0"]
    assert hardware["bus"] == "usb"
    assert hardware["driver"] == "cdc_ether"
    assert hardware["path"].endswith("-usb-0:1:1.0")


def test_tables_and_ways_are_right(box: Box) -> None:
    ask = box.machine.out
    assert ask("ip route show table right").splitlines()[0].startswith("default via 192.168.8.1 dev usb1")
    assert "unreachable default" in ask("ip route show table right")
    assert "dev usb2" in ask(f"ip route get {ADDRESS} from 192.168.10.100")
    assert "dev usb1" in ask(f"ip route get {ADDRESS} oif usb1")
    assert ask("netbond plan; echo $?").endswith("0\n")
    # The named tables, in the only folder of /etc that the sandbox leaves writable.
    assert "150 left" in " ".join(ask("cat /etc/iproute2/rt_tables.d/*netbond*").split())


def test_anybody_reads_the_address_list_and_the_status(box: Box) -> None:
    # In the machine's own /tmp: no PrivateTmp, as other programs' senders read it.
    assert box.machine.out("runuser -u user -- sort -u /tmp/srtla_ips").split() == [
        "192.168.10.100",
        "192.168.8.100",
    ]
    assert "left" in box.machine.out("runuser -u user -- netbond status")
    assert "netbond_" in box.machine.out(
        "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:10469/metrics\").read())'"
    )


def test_the_engine_has_no_rights(box: Box) -> None:
    pid = box.glance()["engines"][0]["pid"]
    lines = box.machine.out(f"cat /proc/{pid}/status").splitlines()
    fields = dict(line.split(":\t", 1) for line in lines)
    assert fields["Uid"].split() == ["65534"] * 4
    assert fields["Gid"].split() == ["65534"] * 4
    assert fields["Groups"].split() == []
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert "/netbond.service" in box.machine.out(f"cat /proc/{pid}/cgroup")


def test_a_stream_crosses_all_modems(box: Box, world: World, state: Path) -> None:
    caller = (
        "srt-live-transmit -q -a:no -chunk:1316 udp://127.0.0.1:6500"
        " 'srt://127.0.0.1:6000?mode=caller&latency=3000'"
    )
    before = {
        name: (box.machine.folder / f"{name}.pcap").stat().st_size for name in ("left", "right", "third")
    }
    with world.receiving(box.machine.folder) as tally:
        box.until(lambda: all(link for link in _links(box)), 60)
        count = 1500
        box.machine.run(
            f"{caller} >/root/caller.log 2>&1 &"
            f" /opt/netbond/bin/python /root/source.py {count} 0.01; kill $!",
            timeout=180,
        )
        assert tally.missing(count) == []
    for name, size in before.items():
        assert (box.machine.folder / f"{name}.pcap").stat().st_size - size > 50_000, name


def _links(box: Box) -> list[bool]:
    stats = box.glance()["engines"][0]["stats"] or {}
    return [link.get("state") == "up" for link in stats.get("links", [{}])]


def test_reload_applies_what_has_changed(box: Box) -> None:
    pid, engine = box.main_pid(), box.glance()["engines"][0]["pid"]
    box.machine.write("/etc/netbond/netbond.toml", CONFIG % {"weight": 2})
    box.machine.run("systemctl reload netbond")
    box.until(lambda: box.uplink("left")["weight"] == 2)
    assert (box.main_pid(), box.glance()["engines"][0]["pid"]) == (pid, engine)
    box.machine.write("/etc/netbond/netbond.toml", "[agent]\nlog_level = 7\n")
    box.machine.run("systemctl reload netbond")
    box.until(lambda: "log_level" in box.machine.out("journalctl -u netbond -p warning"))
    assert (box.main_pid(), box.states()) == (pid, WHOLE)
    box.machine.write("/etc/netbond/netbond.toml", CONFIG % {"weight": 3})
    box.machine.run("systemctl reload netbond")
    box.until(lambda: box.uplink("left")["weight"] == 3)


def test_router_mode_in_the_sandbox(box: Box) -> None:
    # nft and the kernel's modules for it are loaded on demand, which the sandbox must not forbid.
    box.machine.run("ip link add lan0 type dummy && ip addr add 10.99.0.1/24 dev lan0 && ip link set lan0 up")
    box.machine.write("/etc/netbond/netbond.toml", '[router]\nlan = ["lan0"]\n\n' + CONFIG % {"weight": 3})
    box.machine.run("systemctl reload netbond")
    box.until(lambda: "masquerade" in box.machine.run("nft list ruleset", check=False).out)
    assert box.machine.out("sysctl -n net.ipv4.conf.lan0.forwarding").strip() == "1"
    assert box.glance()["agent"]["problems"] == []
    box.machine.write("/etc/netbond/netbond.toml", CONFIG % {"weight": 3})
    box.machine.run("systemctl reload netbond")
    box.until(lambda: box.machine.out("nft list ruleset").strip() == "")
    box.machine.run("ip link delete lan0")
    until_whole(box)


def test_restart_ends_in_the_same_state(box: Box) -> None:
    pid = box.main_pid()
    box.machine.run("systemctl restart netbond")
    until_whole(box)
    assert box.main_pid() != pid
    assert box.machine.out("systemctl show --value -p Result netbond").strip() == "success"


def test_a_killed_agent_is_back_with_its_engine(box: Box) -> None:
    pid, engine = box.main_pid(), box.glance()["engines"][0]["pid"]
    box.machine.run(f"kill -9 {pid}")
    box.until(lambda: box.main_pid() not in (0, pid))
    until_whole(box)
    box.until(lambda: engine_state(box) == "running")
    assert box.machine.run(f"test -e /proc/{engine}", check=False).status != 0
    assert int(box.machine.out("pgrep -c -f netbond.*engine || pgrep -c -u nobody").split()[0]) == 1
    assert {uplink["gateway_source"] for uplink in box.glance()["uplinks"]} == {"dhclient"}  # kept in /run


def test_a_modem_pulled_is_gone_and_comes_back(box: Box) -> None:
    box.machine.unplug("right")
    box.until(lambda: set(box.states()) == {"left", "usb2"} and "right" not in box.rules())
    assert "192.168.8.100 lookup left" in box.rules()
    box.machine.plug("right", 2, "192.168.8")
    until_whole(box)


def test_another_port_is_another_uplink_and_the_old_one_keeps_its_settings(box: Box) -> None:
    box.machine.unplug("left")
    box.machine.plug("left", 4, "192.168.8")
    box.until(lambda: box.states() == {"right": "usb1 up", "usb2": "usb2 up", "usb3": "usb3 up"})
    assert box.uplink("usb3")["weight"] == 1
    box.machine.unplug("left")
    box.machine.plug("left", 1, "192.168.8")
    until_whole(box)
    assert box.uplink("left")["weight"] == 3


def test_names_shuffled_the_label_follows_the_port(box: Box) -> None:
    """Without .link files names follow the order of plugging; what is configured by port stays."""
    box.machine.run("rm /etc/systemd/network/10-usb[04].link && udevadm control --reload")
    box.machine.unplug("left")
    box.machine.plug("left", 1, "192.168.8")
    box.until(lambda: box.machine.run("ls -d /sys/class/net/e*", check=False).status == 0)
    name = Path(box.machine.out("ls -d /sys/class/net/e*").strip()).name
    box.machine.run(
        f"timeout 30 dhclient -4 -1 -pf /run/dhclient.{name}.pid -lf /run/dhclient.{name}.leases {name}"
    )
    box.until(lambda: box.states() == {**WHOLE, "left": f"{name} up"})
    assert box.uplink("left")["weight"] == 3
    for path, text in NAMES.items():
        box.machine.write(path, text)
    box.machine.run(f"udevadm control --reload; kill $(cat /run/dhclient.{name}.pid)")
    box.machine.unplug("left")
    box.machine.plug("left", 1, "192.168.8")
    until_whole(box)


def test_an_iproute2_without_etc(box: Box) -> None:
    """Since Debian 13 the package brings no /etc/iproute2: the unit makes it."""
    box.machine.run("cp -a /etc/iproute2 /root/ && rm -r /etc/iproute2 && systemctl restart netbond")
    until_whole(box)
    assert box.glance()["agent"]["problems"] == []
    box.machine.run("cp -an /root/iproute2 /etc/")


def test_stop_removes_all_or_keeps_it(box: Box) -> None:
    box.machine.run("systemctl stop netbond")
    assert box.rules() == UNTOUCHED
    assert box.machine.out("ip route show table all proto 78").strip() == ""
    assert box.machine.run("netbond status", check=False).status == 3
    box.machine.write("/etc/netbond/netbond.toml", '[agent]\non_stop = "keep"\n\n' + CONFIG % {"weight": 3})
    box.machine.run("systemctl start netbond")
    until_whole(box)
    box.machine.run("systemctl stop netbond")
    assert box.rules() == RULES
    assert box.machine.run("pgrep -u nobody", check=False).status == 1
    box.machine.run("netbond run --restore")
    box.machine.write("/etc/netbond/netbond.toml", CONFIG % {"weight": 3})
    box.machine.run("systemctl start netbond")
    until_whole(box)


def test_a_reboot_changes_nothing(box: Box) -> None:
    used = box.glance()["metered"][0]["used_bytes"]
    assert used > 0
    box.machine.reboot()
    until_whole(box)
    box.until(lambda: engine_state(box) == "running")
    assert box.glance()["metered"][0]["used_bytes"] >= used  # kept in /var/lib/netbond
    assert box.machine.out("systemctl --failed --no-legend").strip() == ""


def test_the_journal_is_clean(box: Box, state: Path) -> None:
    journal = box.machine.out("journalctl -u netbond -t netbond-hook -o cat")
    assert "Traceback" not in journal
    assert "Read-only file system" not in journal
    assert "Operation not permitted" not in journal
    kernel = box.machine.out("journalctl -k -o cat")
    assert "type=1326" not in kernel  # a system call that the filter forbids


def test_the_sandbox_is_tight(box: Box, state: Path) -> None:
    report = box.machine.run("systemd-analyze security --no-pager netbond.service", check=False).out
    (state / "unit" / "security.txt").write_text(report)
    exposure = float(report.rsplit("netbond.service:", 1)[1].split()[0])
    assert exposure <= 4.0, report
