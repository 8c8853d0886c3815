"""The engines as processes: successors after kill -9, junk at their ports, what goes wrong at the start."""

from __future__ import annotations

import random
import signal
import socket
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netbond.srtla import wire
from tests.srtla_net import (
    RECEIVER,
    Agent,
    Net,
    Stream,
    eventually,
    net,
    receiving_agent,
    sending_agent,
    sh,
    streaming,
)
from tests.srtla_util import data_packet, srt_ack, srt_nak

pytestmark = pytest.mark.root


def links_up(agent: Agent) -> int:
    return sum(link["state"] == "up" for link in agent.stats.get("links", []))


def test_a_killed_sender_has_a_successor_on_the_same_srt_connection(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream, receiver, sender = streaming(lab, 3, latency=4000)
        eventually(lambda: "caller" in sender.resume)
        before = sender.resume
        (group,) = receiver.stats["groups"]
        sender.kill()
        successor = sending_agent(lab, resume=before)
        eventually(lambda: links_up(successor) == 3, 5, "the successor is up")
        stream.arrives()
        assert stream.finish() == []
        assert successor.resume["group"] == before["group"]
        assert successor.resume["links"] == before["links"], "the same local ports"
        (after,) = receiver.stats["groups"]
        assert (after["id"], after["srt_port"]) == (group["id"], group["srt_port"])
        assert lab.log("recv.log").count("joined") == 3, "the receiver has not noticed"


def test_a_killed_receiver_has_a_successor_on_the_same_srt_connection(tmp_path: Path) -> None:
    with net(tmp_path, 3) as lab:
        stream, receiver, _ = streaming(lab, 3, latency=4000)
        eventually(lambda: receiver.resume["groups"][0]["srt_port"] > 0)
        before = receiver.resume
        receiver.kill()
        successor = receiving_agent(lab, resume=before)
        eventually(lambda: successor.ready, 5)
        stream.arrives()
        assert stream.finish() == []
        assert successor.resume["groups"][0]["srt_port"] == before["groups"][0]["srt_port"]
        assert successor.resume["groups"][0]["id"] == before["groups"][0]["id"]
        assert lab.log("send.log").count(": up") == 3, "the sender has not noticed"


def test_an_srt_server_that_restarts_does_not_end_the_group(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        receiver = receiving_agent(lab)
        sender = sending_agent(lab)
        eventually(lambda: links_up(sender) == 2, 10)
        stream = Stream(lab, listener=False)
        stream.call()
        eventually(lambda: "nothing listens there" in lab.log("recv.log"), 10)
        silent = "the receiver answers, its SRT server does not: is it running, and set at the receiver?"
        eventually(lambda: sender.stats["problems"] == [silent], 10)
        stream.caller.kill()
        time.sleep(2)  # until another caller is taken
        stream.listen()
        stream.start()
        stream.arrives()
        assert stream.finish() == []
        assert "answers again" in lab.log("recv.log")
        assert len(receiver.stats["groups"]) == 1
        assert lab.log("send.log").count("registered: group") == 1
        assert lab.log("send.log").count(silent) == 1
        eventually(lambda: sender.stats["problems"] == [])


def test_an_srt_server_that_refuses_says_why_at_the_sender(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiving_agent(lab)
        sender = sending_agent(lab)
        eventually(lambda: links_up(sender) == 1, 10)
        stream = Stream(lab, options="&passphrase=thislistenerhasone")
        stream.options = ""
        stream.call()
        words = "the receiver's SRT server refuses the SRT caller: one end is encrypted, the other not"
        eventually(lambda: sender.stats["problems"] == [words], 10)


@pytest.mark.alone
def test_an_encoder_that_is_killed_and_started_again_is_back_at_once(tmp_path: Path) -> None:
    """The SRT server takes one caller, and would wait 5 s for the one that said no goodbye."""
    with net(tmp_path, 2) as lab:
        receiver = receiving_agent(lab)
        sender = sending_agent(lab)
        eventually(lambda: links_up(sender) == 2, 10)
        stream = Stream(lab, latency=200, again=True)
        stream.start()
        stream.arrives()
        (group,) = receiver.stats["groups"]
        stream.caller.kill()
        time.sleep(2.1)  # until the sender takes another caller
        start, have = time.monotonic(), len(stream.got)
        stream.start()
        eventually(lambda: len(stream.got) > have, 4, "the stream is back")
        took = time.monotonic() - start
        print(f"an encoder that was killed: back {took:.1f} s after its start")
        assert took < 1.5
        stream.arrives()
        (after,) = receiver.stats["groups"]
        assert after["id"] == group["id"]
        assert lab.log("recv.log").count("another SRT caller: the SRT connection before is ended") == 1


def test_an_srt_caller_at_the_srtla_port_is_one_clear_line(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiver = receiving_agent(lab)
        where = f"srt://{RECEIVER}:5000?mode=caller"
        command = ["srt-live-transmit", "-q", "-a:yes", "file://con", where]
        lab.popen(lab.far, command, "caller.log", stdin=subprocess.PIPE)
        eventually(lambda: "it speaks SRT without SRTLA" in lab.log("recv.log"), 10)
        eventually(lambda: receiver.stats["refused"]["plain_srt"] > 3, 10)
        assert lab.log("recv.log").count("refused") == 1


def test_engines_run_without_root_and_cannot_get_it_back(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiver, sender = receiving_agent(lab), sending_agent(lab)
        eventually(lambda: links_up(sender) == 1 and receiver.ready, 10)
        for agent in (receiver, sender):
            status = Path(f"/proc/{agent.process.pid}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            assert fields["Uid"].split() == ["65534"] * 4
            assert fields["Gid"].split() == ["65534"] * 4
            assert fields["Groups"].strip() == ""
            assert fields["NoNewPrivs"] == "1"
            assert int(fields["CapEff"], 16) == 0


def test_an_engine_ends_with_its_agent(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiver, sender = receiving_agent(lab), sending_agent(lab)
        eventually(lambda: sender.ready and receiver.ready, 10)
        for agent in (receiver, sender):
            agent.socket.shutdown(socket.SHUT_RDWR)
            assert agent.process.wait(20) == 0


def test_links_change_as_the_agent_says(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        lab.recv()
        sender = sending_agent(lab, links=[])
        eventually(lambda: sender.stats.get("state") == "no links", 10)
        usb = [{"label": f"usb{n}", "address": f"10.7.{n}.2", "device": f"usb{n}"} for n in range(2)]
        sender.say({"links": usb[:1]})
        eventually(lambda: links_up(sender) == 1)
        sender.say({"links": usb})
        eventually(lambda: links_up(sender) == 2)
        sender.say({"links": usb[1:]})
        eventually(lambda: [link["label"] for link in sender.stats["links"]] == ["usb1"])
        assert lab.log("send.log").count("link usb1: up") == 1


# --- what goes wrong at the start -------------------------------------------------------------------------


def run(lab: Net, namespace: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "netbond", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_an_occupied_port_is_one_clear_line(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        lab.recv()
        lab.send()
        send = run(lab, lab.box, "send", "6000", RECEIVER, "5000", str(lab.ips()))
        recv = run(lab, lab.far, "recv", "--srtla-port", "5000", "--srt-port", "5002")
        assert (send.returncode, recv.returncode) == (69, 69)
        assert send.stderr == (
            "netbond send: 0.0.0.0:6000 (UDP) is in use by another program;"
            " stop it ('ss -ulpn sport = :6000' names it) or choose another port for the SRT caller\n"
        )
        assert recv.stderr == (
            "netbond recv: UDP port 5000 is in use by another program;"
            " stop it ('ss -ulpn sport = :5000' names it) or choose another port for SRTLA senders\n"
        )
        agent = receiving_agent(lab)
        assert agent.process.wait(40) == 69
        eventually(lambda: agent.fatal.startswith("0.0.0.0:5000 (UDP) is in use"))


def test_a_user_that_does_not_exist(tmp_path: Path) -> None:
    with net(tmp_path, 0) as lab:
        agent = Agent(lab, lab.far, "recv", "--listen", "0.0.0.0:5000", "--srt", "127.0.0.1:5002",
                      log="recv.log", user="no-such-user")  # fmt: skip
        assert agent.process.wait(40) == 69
        eventually(lambda: agent.fatal)
        assert agent.fatal == (
            "there is no user 'no-such-user' to run as; make it, or name one that exists (agent.user, --user)"
        )
        assert lab.log("recv.log") == "", "the agent logs it"


def test_a_group_directory_that_is_not_there(tmp_path: Path) -> None:
    with net(tmp_path, 0) as lab:
        recv = run(lab, lab.far, "recv", "--srtla-port", "5000", "--srt-port", "5002", "--group-dir", "/none")
        assert recv.returncode == 69
        assert recv.stderr == (
            "netbond recv: --group-dir /none: No such file or directory;"
            " name a directory that the engine's user can write\n"
        )


def test_a_shared_key(tmp_path: Path) -> None:
    """With it a stream runs; another is refused, and both ends say so; so is none, if that is wanted."""
    for name, text in (("key", "0123456789abcdef"), ("other", "fedcba9876543210")):
        (tmp_path / name).write_text(f"{text}\n")
        (tmp_path / name).chmod(0o600)
    with net(tmp_path, 2) as lab:
        stream = Stream(lab)
        lab.netbond(
            lab.far, "recv", "--srtla-port", "5000", "--srt-port", "5002",
            "--key-file", str(tmp_path / "key"), "--require-key", log="recv.log",
        )  # fmt: skip
        ips = str(lab.ips())
        for key, port in (("other", "6001"), ("", "6002")):
            more = ["--key-file", str(tmp_path / key)] if key else []
            lab.netbond(lab.box, "send", *more, port, RECEIVER, "5000", ips, log=f"{port}.log")
        eventually(lambda: "refused by the receiver: it has another key" in lab.log("6001.log"), 15)
        eventually(lambda: "refused by the receiver: it wants a key" in lab.log("6002.log"), 15)
        eventually(lambda: "refused: it has" in lab.log("recv.log"))
        sender = sending_agent(lab, more=("--key-file", str(tmp_path / "key"), "--require-key"))
        eventually(lambda: sum(link["state"] == "up" for link in sender.stats.get("links", [])) == 2, 15)
        stream.start()
        stream.arrives()
        assert stream.finish() == []
        assert "up" not in lab.log("6001.log").replace("usb", "")


def test_a_server_on_ipv4_only_is_found_by_a_name_with_two_addresses(tmp_path: Path) -> None:
    """As Debian and Docker have localhost in /etc/hosts: ::1 comes first."""
    with net(tmp_path, 1) as lab:
        etc = Path(f"/etc/netns/{lab.far}")  # `ip netns exec` puts these over /etc
        etc.mkdir(parents=True)
        (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
        stream = Stream(lab)
        where = ("--srtla-port", "5000", "--srt-hostname", "localhost", "--srt-port", "5002")
        lab.netbond(lab.far, "recv", *where, log="recv.log")
        eventually(lambda: "localhost:5002: using the address 127.0.0.1" in lab.log("recv.log"), 5)
        lab.send()
        eventually(lambda: ": up" in lab.log("send.log"), 10)
        stream.start()
        stream.arrives()
        assert stream.finish() == []
        assert "nothing listens" not in lab.log("recv.log")


def test_an_unresolvable_name_is_retried_and_then_used(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        etc = Path(f"/etc/netns/{lab.box}")  # `ip netns exec` puts these over /etc
        etc.mkdir(parents=True)
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        lab.recv()
        ips = lab.ips()
        sender = lab.netbond(lab.box, "send", "6000", "bond.netbond.test", "5000", str(ips), log="send.log")
        eventually(lambda: "cannot resolve bond.netbond.test" in lab.log("send.log"), 10)
        time.sleep(2.5)  # some attempts more
        assert lab.log("send.log").count("cannot resolve") == 1
        with (etc / "hosts").open("a") as hosts:  # in place: the mount is of this very file
            hosts.write(f"{RECEIVER} bond.netbond.test\n")
        eventually(lambda: ": up" in lab.log("send.log"), 15)
        assert sender.poll() is None
        assert "Traceback" not in lab.log("send.log")


# --- junk ---------------------------------------------------------------------------------------------------


def seeds(group: bytes) -> list[bytes]:
    """One of each kind of packet, to be mutated."""
    keepalive = wire.build_keepalive(wire.Keepalive(1, 1, 20000, 1, 1, 1, 1))
    return [
        wire.build_registration(wire.REG1, group),
        wire.build_registration(wire.REG2, group),
        wire.build_srtla_ack(list(range(10))),
        wire.REG3_PACKET, wire.REG_ERR_PACKET, wire.REG_NGP_PACKET,
        keepalive, srt_ack(5), srt_nak((1, 1), (0, 2**31 - 1)), data_packet(7, size=100),
    ]  # fmt: skip


def mutated(rng: random.Random, samples: list[bytes]) -> bytes:
    if rng.random() < 0.3:
        return rng.randbytes(rng.choice([0, 1, 2, 15, 16, 44, 258, 1400, 1501]))
    data = bytearray(rng.choice(samples))
    for _ in range(rng.randrange(4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.3:
        del data[rng.randrange(len(data)) :]
    elif rng.random() < 0.3:
        data += rng.randbytes(rng.randrange(60))
    return bytes(data)


def rss(process: subprocess.Popen[Any]) -> int:
    """Resident memory in KiB."""
    pages = Path(f"/proc/{process.pid}/statm").read_text().split()[1]
    return int(pages) * 4


def fire(port: int, count: int, seed: int, samples: list[bytes]) -> bool:
    rng = random.Random(seed)
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(20)]
    for number in range(count):
        rng.choice(sockets).sendto(mutated(rng, samples), ("127.0.0.1", port))
        if number % 20 == 0:
            time.sleep(0.002)
    for sock in sockets:
        sock.close()
    return True


def test_junk_at_both_ports_neither_ends_nor_feeds_the_engines(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        stream, receiver, sender = streaming(lab, 2, mbps=1)
        samples = seeds(bytes.fromhex(sender.resume["group"]))
        ports = [(lab.box, 6000), (lab.far, 5000)]
        for namespace, port in ports:
            lab.in_namespace(namespace, partial(fire, port, 1000, 1, samples))
        time.sleep(1)
        before = rss(sender.process), rss(receiver.process)
        for round_ in (2, 3, 4):
            for namespace, port in ports:
                lab.in_namespace(namespace, partial(fire, port, 1000, round_, samples))
        time.sleep(1)
        after = rss(sender.process), rss(receiver.process)
        assert max(a - b for a, b in zip(after, before, strict=True)) < 2048, (before, after)
        stream.arrives()
        assert stream.finish() == []
        assert links_up(sender) == 2
        for log in ("send.log", "recv.log"):
            assert "Traceback" not in lab.log(log)


def test_junk_from_the_receivers_address_does_not_end_the_sender(tmp_path: Path) -> None:
    with net(tmp_path, 2) as lab:
        sender = sending_agent(lab)
        eventually(lambda: sender.stats.get("state") == "registering", 10)
        samples = seeds(bytes(256))

        def hostile() -> bool:
            """A receiver that answers whatever it likes."""
            rng = random.Random(5)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((RECEIVER, 5000))
                sock.settimeout(20)
                peers = {sock.recvfrom(2048)[1] for _ in range(4)}
                for _ in range(1000):
                    for peer in peers:
                        sock.sendto(mutated(rng, samples), peer)
                    time.sleep(0.001)
            return True

        assert lab.in_namespace(lab.far, hostile)
        lab.recv()
        eventually(lambda: links_up(sender) == 2, 45, "a real receiver takes over")
        assert "Traceback" not in lab.log("send.log")


def test_a_forged_nak_from_a_stranger_does_nothing(tmp_path: Path) -> None:
    """The link sockets are connected: another host's datagrams do not get in."""
    with net(tmp_path, 1) as lab:
        receiver, sender = receiving_agent(lab), sending_agent(lab)
        eventually(lambda: links_up(sender) == 1 and receiver.ready, 10)
        port = sender.resume["links"][0]["port"]

        def forge() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("10.7.0.1", 5000))  # the right port, the wrong address
                sock.sendto(wire.REG_NGP_PACKET, ("10.7.0.2", port))
                sock.sendto(struct.pack("!HHIII", wire.SRT_NAK, 0, 0, 0, 0) + b"\x80\0\0\0\x7f\xff\xff\xff",
                            ("10.7.0.2", port))  # fmt: skip
            return True

        receiver.kill()
        assert lab.in_namespace(lab.far, forge)
        time.sleep(0.5)
        assert links_up(sender) == 1


def test_signals(tmp_path: Path) -> None:
    with net(tmp_path, 1) as lab:
        receiver, sender = lab.recv(), lab.send()
        eventually(lambda: ": up" in lab.log("send.log"), 10)
        receiver.send_signal(signal.SIGHUP)
        receiver.send_signal(signal.SIGTERM)
        sender.send_signal(signal.SIGINT)
        assert receiver.wait(20) == 0
        assert sender.wait(20) == 130
        assert sh("ip", "-n", lab.far, "link", "show", "net0")


RECV = ["recv", "--srtla-port", "1", "--srt-port", "1"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["send", "6000", "h", "5000"], "3 arguments given; expected LISTEN_PORT RECEIVER_HOST"),
        (["send", "0", "h", "5000", "x"], "LISTEN_PORT '0' is not a port"),
        (["send", "6000", "h h", "5000", "x"], "RECEIVER_HOST 'h h' is not a host"),
        (["send", "--listen", "a:1"], "--listen and --receiver belong together"),
        (["send", "--listen", "a:1", "--receiver", "b:1", "x"], "--listen 'a:1' has no address"),
        (["recv", "--srtla-port", "70000", "--srt-port", "1"], "--srtla-port '70000' is not a port"),
        ([*RECV, "--timeout", "0"], "--timeout '0' is not valid; expected a number from 1 to 3600"),
        ([*RECV, "--group-timeout", "nan"], "--group-timeout 'nan' is not valid"),
        ([*RECV, "--key-file", "/none"], "--key-file /none: No such file or directory"),
        ([*RECV, "--key-file", "/dev/null"], "--key-file /dev/null: is not a regular file"),
    ],
)
def test_wrong_command_lines(args: list[str], says: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "netbond", *args], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 64
    assert result.stderr.startswith(f"netbond {args[0]}: {says}")
    assert result.stderr.count("\n") == 1
