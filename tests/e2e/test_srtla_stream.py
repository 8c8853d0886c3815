"""A real SRT stream through both engines: drop-ins, links that come and go, twins, foreign programs."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from netbond.srtla.process import failover
from tests import foreign, ready
from tests.srtla_net import RECEIVER, Agent, Stream, eventually, net, sending_agent, sh, streaming_drop_ins

pytestmark = pytest.mark.root

MASQUERADE = """add table ip nat
add chain ip nat out { type nat hook postrouting priority 100; }
add rule ip nat out oifname wan masquerade"""
REBOUND = """add table inet nat
add chain inet nat in {{ type filter hook prerouting priority -300; }}
add chain inet nat out {{ type filter hook output priority -300; }}
add rule inet nat in iifname net0 udp sport {port} udp sport set 44444
add rule inet nat out oifname net0 udp dport 44444 udp dport set {port}"""
HOLE = """add table inet hole
add chain inet hole in { type filter hook input priority 0; }
add rule inet hole in iifname net1 drop"""


def up(log: str, label: str) -> int:
    return log.count(f"link {label}: up")


def test_the_drop_ins_carry_a_stream_over_three_links(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream = Stream(lab)
        lab.recv()
        sender = lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 3, 10)
        stream.start()
        stream.arrives()
        assert stream.finish() == []
        for number in range(3):
            counters = sh("ip", "-n", lab.box, "-s", "link", "show", f"usb{number}").splitlines()
            assert int(counters[-1].split()[0]) > 50_000, f"usb{number} carried next to nothing"
        sender.send_signal(signal.SIGTERM)
        assert sender.wait(20) == 0


def test_a_receiver_with_many_addresses_answers_from_the_one_that_was_asked(tmp_path: Path) -> None:
    with net(tmp_path, 2, multihomed=True) as lab:
        lab.recv()
        lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)


def test_engines_work_in_any_order_of_starting(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        lab.send()
        eventually(lambda: "nothing listens" in lab.log("send.log"), 10)
        lab.recv()
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        stream = Stream(lab)
        stream.start()
        stream.arrives()
        assert stream.finish() == []


def test_sighup_adds_and_removes_links_and_leaves_the_others_alone(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream = Stream(lab)
        lab.recv()
        sender = lab.send(ips=lab.ips("# two of three", "10.7.0.2", "", "10.7.1.2%usb1"))
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        stream.start()
        stream.arrives()
        lab.ips("10.7.0.2", "10.7.2.2%usb2", "not an address", "10.7.0.2%")
        sender.send_signal(signal.SIGHUP)
        eventually(lambda: up(lab.log("send.log"), "10.7.2.2%usb2"), 5)
        log = lab.log("send.log")
        assert "link 10.7.1.2%usb1: removed from the list" in log
        assert f"{tmp_path}/ips:3: 'not an address' is not ADDRESS or ADDRESS%DEVICE" in log
        assert f"{tmp_path}/ips:4: '10.7.0.2%'" in log
        assert up(log, "10.7.0.2") == 1
        (tmp_path / "ips").unlink()
        sender.send_signal(signal.SIGHUP)
        eventually(lambda: "ips: No such file or directory" in lab.log("send.log"), 5)
        stream.arrives()
        assert stream.finish() == []
        assert sender.poll() is None


def test_without_a_list_the_sender_waits_for_one(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        lab.recv()
        sender = lab.send(ips=tmp_path / "later")
        eventually(lambda: "later: No such file or directory" in lab.log("send.log"), 10)
        lab.ips(name="later")
        sender.send_signal(signal.SIGHUP)
        eventually(lambda: ": up" in lab.log("send.log"), 5)


def test_a_pulled_link_costs_nothing_and_comes_back(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream = streaming_drop_ins(lab, 3, mbps=5)
        sh("ip", "-n", lab.box, "link", "del", "usb1")
        stream.arrives()
        eventually(lambda: "link 10.7.1.2%usb1: down" in lab.log("send.log"), 6)
        lab.add_link(1)
        eventually(lambda: up(lab.log("send.log"), "10.7.1.2%usb1") == 2, 6)
        stream.arrives()
        assert stream.finish() == []
        trouble = [line for line in lab.log("send.log").splitlines() if "trying again" in line]
        assert len(trouble) <= 2, "said once, not each second"


def test_an_address_that_goes_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        stream = Stream(lab)
        lab.recv()
        lab.send(ips=lab.ips("10.7.0.2", "10.7.1.2"))  # by address alone
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        stream.start()
        stream.arrives()
        sh("ip", "-n", lab.box, "addr", "del", "10.7.1.2/24", "dev", "usb1")
        eventually(lambda: "link 10.7.1.2: down" in lab.log("send.log"), 6)
        eventually(lambda: "the address is not on this box" in lab.log("send.log"), 6)
        stream.arrives()
        sh("ip", "-n", lab.box, "addr", "add", "10.7.1.2/24", "dev", "usb1")
        sh(
            "ip",
            "-n",
            lab.box,
            "route",
            "replace",
            "default",
            "via",
            "10.7.1.1",
            "dev",
            "usb1",
            "table",
            "101",
        )
        eventually(lambda: up(lab.log("send.log"), "10.7.1.2") == 2, 6)
        assert stream.finish() == []


def test_a_link_that_swallows_everything_costs_nothing(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream = streaming_drop_ins(lab, 3, mbps=5)
        sh("ip", "netns", "exec", lab.far, "nft", HOLE)
        eventually(lambda: "link 10.7.1.2%usb1: down: silent for 4 s" in lab.log("send.log"), 8)
        sh("ip", "netns", "exec", lab.far, "nft", "delete", "table", "inet", "hole")
        eventually(lambda: up(lab.log("send.log"), "10.7.1.2%usb1") == 2, 6)
        assert stream.finish() == []


def test_twins_with_the_same_address_both_carry_traffic(tmp_path: Path) -> None:
    with net(tmp_path, 0) as lab:
        for number in (0, 1):
            modem, table = lab.namespace(f"m{number}"), str(100 + number)
            sh(
                "ip",
                "link",
                "add",
                f"usb{number}",
                "netns",
                lab.box,
                "type",
                "veth",
                "peer",
                "lan",
                "netns",
                modem,
            )
            sh(
                "ip",
                "link",
                "add",
                f"net{number}",
                "netns",
                lab.far,
                "type",
                "veth",
                "peer",
                "wan",
                "netns",
                modem,
            )
            for device, address in (("lan", "192.168.8.1/24"), ("wan", f"10.9.{number}.2/24")):
                sh("ip", "-n", modem, "addr", "add", address, "dev", device)
                sh("ip", "-n", modem, "link", "set", device, "up")
            sh("ip", "-n", lab.far, "addr", "add", f"10.9.{number}.1/24", "dev", f"net{number}")
            sh("ip", "-n", lab.far, "link", "set", f"net{number}", "up")
            sh("ip", "-n", modem, "route", "add", "default", "via", f"10.9.{number}.1")
            sh("ip", "netns", "exec", modem, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            sh("ip", "netns", "exec", modem, "nft", MASQUERADE)
            sh("ip", "-n", lab.box, "addr", "add", "192.168.8.100/24", "dev", f"usb{number}")
            sh("ip", "-n", lab.box, "link", "set", f"usb{number}", "up")
            sh(
                "ip",
                "-n",
                lab.box,
                "route",
                "add",
                "default",
                "via",
                "192.168.8.1",
                "dev",
                f"usb{number}",
                "table",
                table,
            )
            sh("ip", "-n", lab.box, "rule", "add", "oif", f"usb{number}", "table", table, "priority", "40")
        stream = Stream(lab)
        lab.recv()
        twins = [{"label": f"usb{n}", "address": "192.168.8.100", "device": f"usb{n}"} for n in (0, 1)]
        agent = sending_agent(lab, links=twins)
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        stream.start()
        stream.arrives()
        assert stream.finish() == []
        eventually(lambda: min(link["packets"] for link in agent.stats["links"]) > 50, what="both carry")


def test_each_link_reaches_a_name_with_both_families_by_its_own(tmp_path: Path) -> None:
    """Two links with IPv4 only, as most modems are, beside one that has IPv6: all carry."""
    with net(tmp_path, 3) as lab:
        etc = Path(f"/etc/netns/{lab.box}")
        etc.mkdir(parents=True)
        (etc / "hosts").write_text(f"2001:db8:7::1 bond.netbond.test\n{RECEIVER} bond.netbond.test\n")
        for namespace, device, host in ((lab.box, "usb2", 2), (lab.far, "net2", 1)):
            sh("ip", "-n", namespace, "addr", "add", f"2001:db8:7::{host}/64", "dev", device, "nodad")
        stream = Stream(lab)
        lab.recv()
        where = ("--listen", "127.0.0.1:6000", "--receiver", "bond.netbond.test:5000")
        sender = Agent(lab, lab.box, "send", *where, log="send.log")
        own = ("10.7.0.2", "10.7.1.2", "2001:db8:7::2")
        links = [{"label": f"usb{n}", "address": each, "device": f"usb{n}"} for n, each in enumerate(own)]
        sender.say({"links": links})
        eventually(lambda: lab.log("send.log").count(": up") == 3, 10)
        stream.start()
        stream.arrives()
        assert stream.finish() == []

        def shown() -> list[tuple[str, bool]]:
            return [(link["receiver_address"], link["packets"] > 50) for link in sender.stats["links"]]

        expected = [(RECEIVER, True), (RECEIVER, True), ("2001:db8:7::1", True)]
        eventually(lambda: shown() == expected, what="all carry, each to its receiver's address")


def test_another_receiver_takes_over_and_hands_back_when_no_caller_is_there(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        stream = Stream(lab, latency=500)
        second = ("--srtla-port", "5001", "--srt-port", "5002")
        first = lab.recv()
        lab.netbond(lab.far, "recv", *second, log="second.log")
        where = (
            "--listen",
            "127.0.0.1:6000",
            "--receiver",
            f"{RECEIVER}:5000",
            "--receiver",
            f"{RECEIVER}:5001",
        )
        agent = Agent(lab, lab.box, "send", *where, log="send.log")
        usb = [{"label": f"usb{n}", "address": f"10.7.{n}.2", "device": f"usb{n}"} for n in range(2)]
        agent.say({"links": usb})
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        first.kill()
        first.wait(20)
        eventually(lambda: lab.log("send.log").count(": up") == 4, 20, "the links are up at the second")
        stream.start()
        stream.arrives()
        eventually(lambda: agent.stats["receiver"] == f"{RECEIVER}:5001")
        eventually(lambda: agent.stats["problems"][:1])
        assert agent.stats["problems"][0].startswith(f"{RECEIVER}:5000 did not answer")
        time.sleep(failover.SETTLED_S + 2)  # sooner it would be taken for silence of all links
        lab.recv()
        assert stream.finish() == []
        stream.caller.kill()
        stream.caller.wait(20)
        eventually(
            lambda: agent.stats["receiver"] == f"{RECEIVER}:5000", 50, "it has answered for half a minute"
        )
        eventually(lambda: agent.stats["state"] == "connected")
        eventually(lambda: agent.stats["problems"] == [])


def test_a_tunnel_does_not_move_the_stream_to_another_receiver(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        lab.recv()
        second = ("--srtla-port", "5001", "--srt-port", "5002")
        lab.netbond(lab.far, "recv", *second, log="second.log")
        receivers = [word for port in (5000, 5001) for word in ("--receiver", f"{RECEIVER}:{port}")]
        agent = Agent(lab, lab.box, "send", "--listen", "127.0.0.1:6000", *receivers, log="send.log")
        agent.say({"links": [{"label": "usb0", "address": "10.7.0.2", "device": "usb0"}]})
        eventually(lambda: lab.log("send.log").count(": up") == 1, 10)
        sh("ip", "netns", "exec", lab.far, "nft", HOLE.replace("net1", "net0"))
        eventually(lambda: agent.stats["receiver"] == f"{RECEIVER}:5001", 20)
        sh("ip", "netns", "exec", lab.far, "nft", "delete table inet hole")
        eventually(lambda: lab.log("send.log").count(": up") >= 2, 10)
        eventually(lambda: f"the receiver {RECEIVER}:5000 answers again" in lab.log("send.log"), 6)
        stream = Stream(lab)
        stream.start()
        stream.arrives()
        assert stream.finish() == []
        eventually(lambda: agent.stats["receiver"] == f"{RECEIVER}:5000")


@pytest.mark.alone
def test_an_encoder_that_is_started_anew_is_taken_at_once_and_a_second_one_is_refused(tmp_path: Path) -> None:
    """By another port, as each new SRT socket has; the one before was killed and said no goodbye."""
    with net(tmp_path, 2) as lab:
        stream = Stream(lab, latency=500)
        lab.recv()
        agent = sending_agent(lab)
        eventually(lambda: lab.log("send.log").count(": up") == 2, 10)
        stream.start()
        stream.arrives()
        eventually(lambda: agent.stats["caller"])
        caller = agent.stats["caller"]
        second = Stream(lab, latency=500, listener=False)
        second.call()
        eventually(lambda: agent.stats["callers_refused"] > 0, 10)
        stream.arrives()
        eventually(lambda: agent.stats["problems"])
        assert f"is refused while {caller} is connected" in agent.stats["problems"][0]
        assert lab.log("send.log").count("a second SRT caller") == 1
        second.caller.kill()
        second.caller.wait(5)
        assert agent.stats["caller"] == caller

        stream.listener.kill()  # this one serves one caller only
        stream.listener.wait(5)
        stream.listen()
        stream.caller.kill()
        stream.caller.wait(5)
        died = time.monotonic()
        stream.call()
        eventually(lambda: lab.log("send.log").count("SRT caller is") == 2, 10)
        took = time.monotonic() - died
        print(f"another caller has the place {took:.2f} s after the one before died")
        assert took < 1.3, "0.3 s of silence, and handshakes each 0.25 s"


OTHERS = [pytest.param(folder, id=folder.name) for folder in foreign.folders()] or [
    pytest.param(
        None, marks=pytest.mark.skip("NETBOND_FOREIGN_SRTLA names no folder of srtla_send and srtla_rec")
    )
]


def having(folder: Path, program: str) -> None:
    if program not in foreign.programs(folder):
        pytest.skip(f"there is no {program}")


@pytest.mark.parametrize("folder", OTHERS)
def test_our_sender_with_a_foreign_receiver(folder: Path, tmp_path: Path) -> None:
    having(folder, "srtla_rec")
    with net(tmp_path, 3) as lab:
        stream = Stream(lab)
        receiver = lab.popen(lab.far, foreign.receiver(folder, 5000, 5002), "recv.log")
        ready.udp_port(5000, receiver, tmp_path / "recv.log")
        lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 3, 15)
        stream.start()
        stream.arrives()
        assert stream.finish() == []


@pytest.mark.parametrize("folder", OTHERS)
def test_a_nat_that_changes_a_port_costs_nothing_though_a_foreign_receiver_says_nothing(
    folder: Path, tmp_path: Path
) -> None:
    having(folder, "srtla_rec")
    with net(tmp_path, 2) as lab:
        stream = Stream(lab, latency=500)
        receiver = lab.popen(lab.far, foreign.receiver(folder, 5000, 5002), "recv.log")
        ready.udp_port(5000, receiver, tmp_path / "recv.log")
        agent = sending_agent(lab)
        eventually(lambda: lab.log("send.log").count(": up") == 2, 15)
        stream.start()
        stream.arrives()
        port = agent.resume["links"][0]["port"]
        sh("ip", "netns", "exec", lab.far, "nft", REBOUND.format(port=port))
        stream.arrives()
        time.sleep(2)
        assert stream.finish() == []
        assert ": down" not in lab.log("send.log")
        first = agent.stats["links"][0]
        assert (first["state"], first["reason"]) == ("up", "")
        assert first["bitrate_bps"] > 100_000


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("folder", OTHERS)
def test_our_receiver_with_a_foreign_sender(folder: Path, workers: str, tmp_path: Path) -> None:
    having(folder, "srtla_send")
    with net(tmp_path, 3) as lab:
        stream = Stream(lab)
        where = ("--srtla-port", "5000", "--srt-port", "5002", "--workers", workers)
        lab.netbond(lab.far, "recv", *where, log="recv.log")
        # What a list for our own sender may say beside the address, others must be able to read.
        ips = lab.ips(*(f"10.7.{number}.2 priority={number}" for number in range(3)))
        sender = lab.popen(lab.box, foreign.sender(folder, 6000, RECEIVER, 5000, ips), "send.log")
        ready.udp_port(6000, sender, tmp_path / "send.log")
        eventually(lambda: lab.log("recv.log").count("joined") == 3, 20)
        stream.start()
        stream.arrives()
        assert stream.finish() == []


@pytest.mark.parametrize("folder", OTHERS)
def test_a_foreign_sender_survives_a_restart_of_our_receiver(folder: Path, tmp_path: Path) -> None:
    having(folder, "srtla_send")
    with net(tmp_path, 2) as lab:
        receiver = lab.recv()
        ips = lab.ips(*(f"10.7.{number}.2" for number in range(2)))
        sender = lab.popen(lab.box, foreign.sender(folder, 6000, RECEIVER, 5000, ips), "send.log")
        eventually(lambda: lab.log("recv.log").count("joined") == 2, 20)
        receiver.kill()
        receiver.wait(5)
        lab.recv(log="second.log")
        eventually(lambda: lab.log("second.log").count("joined") == 2, 30)
        assert sender.poll() is None


@pytest.mark.parametrize("folder", OTHERS)
def test_our_sender_survives_a_restart_of_a_foreign_receiver(folder: Path, tmp_path: Path) -> None:
    having(folder, "srtla_rec")
    command = foreign.receiver(folder, 5000, 5002)
    with net(tmp_path, 2) as lab:
        receiver = lab.popen(lab.far, command, "recv.log")
        ready.udp_port(5000, receiver, tmp_path / "recv.log")
        lab.send()
        eventually(lambda: lab.log("send.log").count(": up") == 2, 15)
        receiver.kill()
        receiver.wait(5)
        lab.popen(lab.far, command, "second.log")
        eventually(lambda: lab.log("send.log").count(": up") == 4, 15)
        assert lab.log("send.log").count("registered: group") == 2


def test_ipv6_and_a_name_with_several_addresses(tmp_path: Path) -> None:
    """Of three addresses one is of the wrong family, one is dead, and the good one is known only later, so
    that the name must be looked up again; links are told when all is resolved."""
    with net(tmp_path, 1) as lab:
        etc = Path(f"/etc/netns/{lab.box}")
        etc.mkdir(parents=True)
        # glibc puts 2001:db8:7::3 first, which shares the most bits with the address of the box
        names = ["203.0.113.99", "2001:db8:7::3", "2001:db8:7::1"]

        def resolves(*addresses: str) -> None:
            (etc / "hosts").write_text("".join(f"{each} bond.netbond.test\n" for each in addresses))

        resolves(*names[:2])
        for namespace, device, host in ((lab.box, "usb0", 2), (lab.far, "net0", 1)):
            sh("ip", "-n", namespace, "addr", "add", f"2001:db8:7::{host}/64", "dev", device, "nodad")
        stream = Stream(lab)
        lab.recv()
        where = ("--listen", "127.0.0.1:6000", "--receiver", "bond.netbond.test:5000")
        sender = Agent(lab, lab.box, "send", *where, log="send.log")
        eventually(lambda: "bond.netbond.test:5000 is 2001:db8:7::3" in lab.log("send.log"), 10)
        resolves(*names)
        sender.say({"links": [{"label": "usb0", "address": "2001:db8:7::2", "device": "usb0"}]})
        eventually(lambda: "link usb0: up" in lab.log("send.log"), 40)
        eventually(lambda: sender.stats["receiver_address"] == "2001:db8:7::1")
        stream.start()
        stream.arrives()
        assert stream.finish() == []
