"""The front of a receiver with several processes: who gets which stream."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.errors import EXIT_UNAVAILABLE
from netbond.srtla import wire
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.linksocket import open_listener
from netbond.srtla.process.loop import PacketLoop
from netbond.srtla.process.protocol import (
    FROM_FRONT,
    FROM_WORKER,
    Fatal,
    Forget,
    Hello,
    Message,
    Resume,
    Stats,
)
from netbond.srtla.process.receiving import RecvOptions
from netbond.srtla.receiver import front, passage, steering
from netbond.srtla.receiver.front import CONFIRM_WITHIN_S, Directory, FrontEngine, Worker
from netbond.srtla.receiver.receiver import REMOVED_MAX
from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics, WorkerStatistics
from netbond.system import hang
from netbond.system.typed_json import to_json
from tests.unit.srtla.process.engines import until

A, B, C = ("192.0.2.1", 1), ("192.0.2.1", 2), ("192.0.2.1", 3)


def workers(count: int) -> list[Worker]:
    made = []
    for number in range(1, count + 1):
        ours, theirs = socket.socketpair()
        theirs.close()
        made.append(Worker(number, Channel(ours.detach()), ours))
    return made


def group(name: bytes, *links: Any) -> dict[str, Any]:
    return {"id": name.hex(), "srt_port": 5, "links": [list(link) for link in links]}


def test_a_group_goes_to_the_worker_with_fewest_and_its_links_follow() -> None:
    one, two = workers(2)
    directory = Directory([one, two])
    assert directory.idlest() is one
    directory.give(one, b"a", A, 5.0)
    assert directory.idlest() is two, "what was just given away counts"
    assert directory.of_group(b"a", 5.0) is one
    assert directory.of_link(A, 5.0) is one
    assert directory.links() == {A: one}
    one.took([group(b"a", A, B)])
    directory.confirmed(5.1)
    assert directory.of_link(B, 500.0) is one
    assert directory.of_group(b"a", 500.0) is one
    one.took([])
    assert directory.of_link(A, 500.0) is None
    for each in (one, two):
        each.channel.close()


def test_what_a_worker_did_not_take_is_forgotten() -> None:
    one, two = workers(2)
    directory = Directory([one, two])
    directory.give(two, b"a", A, 5.0)
    assert directory.of_group(b"a", 5.0 + CONFIRM_WITHIN_S) is None
    assert directory.of_link(A, 5.0 + CONFIRM_WITHIN_S) is None
    directory.confirmed(5.0 + CONFIRM_WITHIN_S)
    assert directory.links() == {}
    assert directory.idlest() is one
    for each in (one, two):
        each.channel.close()


def carrying(bitrate_bps: int) -> ReceiverStatistics:
    group = GroupStatistics("0a", False, 1, 1, 1, bitrate_bps, (), 5)
    return ReceiverStatistics("receiver", "", "", (group,), 0)


def test_of_equals_the_one_with_less_to_do() -> None:
    one, two = workers(2)
    one.took([group(b"a", A)])
    two.took([group(b"b", B)])
    one.stats, two.stats = carrying(8_000_000), carrying(2_000_000)
    assert Directory([one, two]).idlest() is two
    for each in (one, two):
        each.channel.close()


def test_groups_of_a_predecessor_are_known_before_their_workers_say_so() -> None:
    made = workers(2)
    resume = {
        "groups": [group(b"a" * 256, A), group(b"b" * 256, B, C), 5, {"id": "x"}, {"id": "00", "links": 5}]
    }
    with open_listener(HostPort("127.0.0.1", 0), "tests") as listener:
        options = RecvOptions(ReceiverConfig(HostPort("127.0.0.1", 1), HostPort("127.0.0.1", 2), workers=2))
        front = FrontEngine(options, None, resume, listener=listener, secret=bytes(32), workers=made)
    assert front._directory.of_group(b"a" * 256, 5.0) is made[0]
    assert front._directory.of_group(b"b" * 256, 5.0) is made[1]
    assert front._directory.links() == {A: made[0], B: made[1], C: made[1]}
    assert front.resume_data() == {"groups": resume["groups"][:2]}
    for each in made:
        each.channel.close()


# --- the front with sockets ---------------------------------------------------------------------------------


class Other:
    """A worker's ends of its channel and passage, in the test's hands."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        ours, theirs = socket.socketpair()
        here, self.passage = passage.pair()
        self.channel = Channel(theirs.detach(), FROM_FRONT)
        self.worker = Worker(number, Channel(ours.detach(), FROM_WORKER), here)
        self.heard: list[Message] = []
        for close in (self.channel.close, self.worker.channel.close, here.close, self.passage.close):
            stack.callback(close)

    def start(self) -> None:
        self.channel.start(self.heard.append, lambda: None)


class Rig:
    """A front with two workers and one sender's socket."""

    def __init__(self, stack: ExitStack) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacketLoop)
        self.listener = stack.enter_context(open_listener(HostPort("127.0.0.1", 0), "tests", shared=True))
        where = HostPort(*self.listener.getsockname())
        # The kernel's program names sockets by their numbers: the workers' have to be there.
        self.others = [stack.enter_context(open_listener(where, "tests", shared=True)) for _ in range(2)]
        self.workers = [Other(1, stack), Other(2, stack)]
        options = RecvOptions(ReceiverConfig(where, HostPort("127.0.0.1", 2), workers=2))
        self.front = FrontEngine(
            options,
            None,
            {},
            listener=self.listener,
            secret=bytes(32),
            workers=[other.worker for other in self.workers],
        )
        self.front.loop = loop
        self.front._end = asyncio.Event()
        self.front.open()
        self.front._second()
        for other in self.workers:
            other.start()
        self.sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.sender.connect(where_of(self.listener))
        self.sender.setblocking(False)
        self.loop = loop

    async def answer(self) -> bytes:
        return await asyncio.wait_for(self.loop.sock_recv(self.sender, 2048), 20)

    async def handed(self, number: int) -> list[bytes]:
        found: list[bytes] = []
        for _ in range(500):
            found += [data for _, _, data in passage.receive(self.workers[number - 1].passage)]
            if found:
                break
            await asyncio.sleep(0.01)
        return found

    def close(self) -> None:
        for descriptor in (self.listener, *(other.worker.passage for other in self.workers)):
            self.loop.remove_packets(descriptor.fileno())
        self.front._maintenance.cancel()


def where_of(sock: socket.socket) -> tuple[str, int]:
    host, port = sock.getsockname()[:2]
    return str(host), int(port)


def on_rig(scenario: Callable[[Rig], Awaitable[None]]) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            rig = Rig(stack)
            try:
                await asyncio.wait_for(scenario(rig), 60)
            finally:
                rig.close()

    with asyncio.Runner(loop_factory=PacketLoop) as runner:
        runner.run(main())


async def registered(rig: Rig) -> bytes:
    """A new group's REG2, which the front has answered to REG1."""
    rig.sender.send(wire.build_registration(wire.REG1, bytes(256)))
    group = wire.parse_registration(await rig.answer())
    assert group is not None
    return wire.build_registration(wire.REG2, group)


def test_a_new_group_goes_to_a_worker_and_what_follows_after_it() -> None:
    async def scenario(rig: Rig) -> None:
        join = await registered(rig)
        rig.sender.send(join)
        assert await rig.handed(1) == [join]
        rig.sender.send(b"\x90\x00")
        assert await rig.handed(1) == [b"\x90\x00"]
        peer = list(where_of(rig.sender))
        group = {"id": join[2:].hex(), "srt_port": 5, "links": [peer]}
        rig.workers[0].channel.send(Resume({"groups": [group]}))
        await until(lambda: rig.front.resume_data()["groups"])
        said = replace(carrying(8), refused={"key": 2})
        rig.workers[0].channel.send(Stats(to_json(said)))
        await until(lambda: rig.front.stats(0.0).groups)
        stats = rig.front.stats(0.0)
        assert stats.workers == (WorkerStatistics(1, 1, 8), WorkerStatistics(0, 0, 0))
        assert (stats.refused["key"], stats.groups_left_out) == (2, 0)

    on_rig(scenario)


def test_an_unknown_group_is_answered_by_the_front() -> None:
    async def scenario(rig: Rig) -> None:
        rig.sender.send(wire.build_registration(wire.REG2, bytes(256)))
        assert await rig.answer() == wire.REG_NGP_PACKET

    on_rig(scenario)


def test_a_link_that_registers_anew_leaves_its_worker() -> None:
    async def scenario(rig: Rig) -> None:
        peer = list(where_of(rig.sender))
        rig.workers[0].worker.took([{"id": "aa" * 256, "srt_port": 5, "links": [peer]}])
        join = await registered(rig)
        rig.sender.send(join)
        assert await rig.handed(2) == [join], "it has fewer groups"
        await until(lambda: rig.workers[0].heard)
        assert rig.workers[0].heard == [Forget(peer)]

    on_rig(scenario)


def test_a_link_of_another_worker_may_not_be_taken_away() -> None:
    async def scenario(rig: Rig) -> None:
        peer = list(where_of(rig.sender))
        rig.workers[0].worker.took([{"id": "aa" * 256, "srt_port": 5, "links": [peer]}])
        foreign = rig.front._receiver.tickets.issue(bytes(128), ("192.0.2.9", 9), time.monotonic())
        rig.sender.send(wire.build_registration(wire.REG2, foreign))
        assert await rig.answer() == wire.REG_ERR_PACKET

    on_rig(scenario)


def test_links_follow_their_sender_to_the_group_that_it_registers_anew_and_not_back() -> None:
    async def scenario(rig: Rig) -> None:
        tickets, now = rig.front._receiver.tickets, time.monotonic()
        first, peer = ("192.0.2.9", 9), list(where_of(rig.sender))
        ids = [tickets.issue(bytes(128), first, now + seconds) for seconds in (-20.0, 0.0)]
        rig.workers[0].worker.took([{"id": ids[0].hex(), "srt_port": 5, "links": [peer]}])
        join = wire.build_registration(wire.REG2, ids[1])
        rig.sender.send(join)
        assert await rig.handed(2) == [join]
        rig.workers[0].worker.took([{"id": ids[0].hex(), "srt_port": 5, "links": []}])
        rig.workers[1].worker.took([{"id": ids[1].hex(), "srt_port": 6, "links": [peer]}])
        rig.front._directory.confirmed(now)
        rig.sender.send(wire.build_registration(wire.REG2, ids[0]))
        assert await rig.answer() == wire.REG_ERR_PACKET, "a REG2 from before, repeated by somebody"

    on_rig(scenario)


def test_a_group_that_a_worker_has_removed_is_not_made_again_by_a_replay() -> None:
    async def scenario(rig: Rig) -> None:
        join = await registered(rig)
        group = {"id": join[2:].hex(), "srt_port": 5, "links": [list(A)]}
        for groups in ([group], []):
            rig.workers[0].channel.send(Resume({"groups": groups}))
            await until(lambda groups=groups: rig.front.resume_data()["groups"] == groups)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
        rig.sender.send(join)
        assert await rig.answer() == wire.REG_NGP_PACKET

    on_rig(scenario)


def test_of_removed_groups_the_last_thousand_are_remembered() -> None:
    (one,) = workers(1)
    directory = Directory([one])
    for number in range(REMOVED_MAX + 2):
        directory.told(one, [group(number.to_bytes(2, "big"), A)])
    assert not directory.was_removed((0).to_bytes(2, "big"))
    assert directory.was_removed((1).to_bytes(2, "big"))
    assert not directory.was_removed((REMOVED_MAX + 1).to_bytes(2, "big")), "it is there"
    one.channel.close()


def test_what_a_worker_passes_back_is_answered() -> None:
    async def scenario(rig: Rig) -> None:
        stray = wire.build_registration(wire.REG2, bytes(256))
        passage.send(rig.workers[1].passage, where_of(rig.sender), None, stray)
        assert await rig.answer() == wire.REG_NGP_PACKET

    on_rig(scenario)


def test_a_worker_that_starts_is_told_of_its_groups() -> None:
    async def scenario(rig: Rig) -> None:
        group = {"id": "aa" * 256, "srt_port": 5, "links": [["192.0.2.1", 5]]}
        rig.workers[0].worker.took([group])
        rig.workers[0].channel.send(Hello(os.getpid()))
        await until(lambda: rig.workers[0].heard)
        assert rig.workers[0].heard == [Resume({"groups": [group]})]

    on_rig(scenario)


def test_a_worker_that_hangs_is_ended_and_its_successor_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hang, "LIMIT_S", 1.0)
    for module in (hang, front):
        monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.05)

    async def scenario(rig: Rig) -> None:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        rig.workers[0].channel.send(Hello(process.pid))
        for number in range(25):  # one that speaks does not hang
            rig.workers[0].channel.send(Stats(to_json(carrying(number))))
            await asyncio.sleep(0.05)
        assert process.returncode is None
        process.send_signal(signal.SIGSTOP)
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
        assert caplog.text.count("worker 1 hangs: ending it") == 1
        rig.workers[0].channel.send(Hello(os.getpid()))
        await until(lambda: rig.workers[0].heard == [Resume({"groups": []})] * 2)
        assert rig.workers[0].worker.pid == os.getpid()
        rig.workers[0].worker.forget_process()

    on_rig(scenario)


def test_what_is_fatal_to_a_worker_ends_the_receiver(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(rig: Rig) -> None:
        rig.workers[0].channel.send(Fatal("no descriptors"))
        await rig.front._end.wait()
        assert rig.front._status == EXIT_UNAVAILABLE
        assert "no descriptors" in caplog.text

    on_rig(scenario)


def test_a_kernel_that_cannot_steer_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(rig: Rig) -> None:
        def attach(*_: object) -> int:
            raise OSError(92, "Protocol not available")

        monkeypatch.setattr(steering, "attach", attach)
        for port in (1, 2):
            rig.workers[0].worker.took([{"id": "aa" * 256, "srt_port": 5, "links": [["192.0.2.1", port]]}])
            rig.front._steer()
        assert caplog.text.count("does not bring links to their workers: Protocol not available") == 1

    on_rig(scenario)
