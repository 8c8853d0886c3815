"""The supervisor with the real engines: an SRT stream goes on when they are killed, and when the agent is.

Sender and receiver are children of one supervisor, with two links over loopback; srt-live-transmit is the SRT
caller and listener at their ends.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import ReceiverConfig, SenderConfig
from netbond.config.values import HostPort
from netbond.engines.child import EngineConfig
from netbond.engines.supervisor import Supervisor
from netbond.model import EngineState
from netbond.srtla import wire
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.process.privileges import needed
from netbond.srtla.process.protocol import Links
from netbond.srtla.statistics import SenderStatistics
from netbond.system.hang import look_at
from tests import ready
from tests.srtla_net import PATIENCE
from tests.srtla_util import data_packet, free_ports

pytestmark = pytest.mark.root

LINKS = Links((LinkSpec("one", "127.0.0.1", "lo"), LinkSpec("two", "127.0.0.2", "lo")))
CHUNK = 1316  # bytes: the payload of one SRT packet
PERIOD = 0.01  # seconds between two of them: 1 Mbit/s
LATENCY = 2000  # ms
UNFLUSHED = 20  # packets


def engines(sender: int, receiver: int, srt: int) -> tuple[EngineConfig, EngineConfig]:
    local = "127.0.0.1"
    return (
        SenderConfig(listen=HostPort(local, sender), receiver=HostPort(local, receiver)),
        ReceiverConfig(listen=HostPort(local, receiver), srt=HostPort(local, srt)),
    )


@asynccontextmanager
async def supervised(
    state_dir: Path, *configured: EngineConfig, user: str = "nobody"
) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(configured, state_dir=state_dir, user=user)
    supervisor.set_links(LINKS)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def until(
    supervisor: Supervisor, what: Callable[[EngineState], object], number: int, within: float = 60.0
) -> EngineState:
    deadline = time.monotonic() + within
    while not what(state := supervisor.states()[number]):
        assert time.monotonic() < deadline, f"still {supervisor.states()}"
        await asyncio.sleep(0.01)
    return state


def identity_of(pid: int | None) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def connected(state: EngineState) -> bool:
    stats = state.stats
    return isinstance(stats, SenderStatistics) and [link.state for link in stats.links] == ["up", "up"]


def group_of(supervisor: Supervisor) -> str | None:
    stats = supervisor.states()[0].stats
    assert isinstance(stats, SenderStatistics)
    return stats.group


async def killed_and_back(supervisor: Supervisor, number: int) -> None:
    before = supervisor.states()[number]
    assert before.pid is not None
    began = time.monotonic()
    os.kill(before.pid, signal.SIGKILL)
    after = await until(
        supervisor, lambda s: s.state == "running" and s.pid not in (None, before.pid), number, within=2.0
    )
    assert time.monotonic() - began < 2.0
    assert (after.restarts, after.last_exit) == (before.restarts + 1, "killed by SIGKILL")


@pytest.mark.alone
async def test_engines_run_without_root_and_come_back_within_two_seconds(tmp_path: Path) -> None:
    async with supervised(tmp_path, *engines(*free_ports(3))) as supervisor:
        for number in (0, 1):
            await until(supervisor, lambda s: s.state == "running", number)
        await until(supervisor, connected, 0)
        for state in supervisor.states():
            identity = identity_of(state.pid)
            assert "\nUid:\t65534\t65534\t65534\t65534\n" in identity
            assert "\nCapEff:\t0000000000000000\n" in identity
            assert "\nNoNewPrivs:\t1\n" in identity
            assert "\nSeccomp:\t2\n" in identity
        for number in (0, 1):
            await killed_and_back(supervisor, number)
        await until(supervisor, connected, 0)
        kept = sorted((tmp_path / "engines").iterdir())
        assert len(kept) == 2
        assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


@pytest.mark.parametrize("workers", [1, 2])
async def test_engines_that_hang_are_back_within_seconds_in_their_group(tmp_path: Path, workers: int) -> None:
    """They are stopped; of a receiver with several workers only the front, which talks to the agent."""
    sender, receiver = engines(*free_ports(3))
    assert isinstance(receiver, ReceiverConfig)
    async with supervised(tmp_path, sender, replace(receiver, workers=workers)) as supervisor:
        await until(supervisor, connected, 0)
        group = group_of(supervisor)
        for number in (1, 0):
            before = await until(supervisor, lambda s: s.state == "running" and s.stats, number)
            assert before.pid is not None
            pids = list(look_at(before.pid))
            began = time.monotonic()
            os.kill(pids[1] if len(pids) > 1 else before.pid, signal.SIGSTOP)
            await until(supervisor, lambda s: s.hung, number)
            assert time.monotonic() - began < 5 * PATIENCE
            within = 5.0 * PATIENCE
            after = await until(
                supervisor, lambda s: s.state == "running" and s.restarts, number, within=within
            )
            assert (after.hung, after.restarts) == (1, 1)
            assert after.last_exit.startswith("hung: no statistics for ")
        await until(supervisor, connected, 0)
        assert group_of(supervisor) == group


async def test_two_receivers_serve_two_srt_servers(tmp_path: Path) -> None:
    def stream(receiver: int) -> None:
        """The first packet of a stream to this port."""
        with socket.socket(type=socket.SOCK_DGRAM) as link:
            link.settimeout(20)
            link.connect(("127.0.0.1", receiver))
            link.send(wire.build_registration(wire.REG1, os.urandom(256)))
            link.send(link.recv(2048))
            assert wire.packet_type(link.recv(2048)) == wire.REG3
            link.send(data_packet(receiver))

    first, second = free_ports(2)
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        configured = []
        for port, server in ((first, one), (second, other)):
            server.bind(("127.0.0.1", 0))
            server.settimeout(20)
            srt = HostPort("127.0.0.1", server.getsockname()[1])
            configured.append(ReceiverConfig(listen=HostPort("127.0.0.1", port), srt=srt))
        async with supervised(tmp_path, *configured) as supervisor:
            for number in (0, 1):
                await until(supervisor, lambda s: s.state == "running", number)
            for port, server in ((first, one), (second, other)):
                await asyncio.to_thread(stream, port)
                data = await asyncio.to_thread(server.recv, 2048)
                assert data == data_packet(port)


async def test_engines_that_stay_root_keep_only_what_they_need(tmp_path: Path) -> None:
    """`user = "root"`: ports below 1024 and files of others; here both engines work."""
    async with supervised(tmp_path, *engines(*free_ports(3)), user="root") as supervisor:
        for number in (0, 1):
            await until(supervisor, lambda s: s.state == "running", number)
        await until(supervisor, connected, 0)
        for state in supervisor.states():
            identity = identity_of(state.pid)
            assert "\nUid:\t0\t0\t0\t0\n" in identity
            kept = f"{needed(platform.release()):016x}"
            for held, sorts in ((kept, ("Prm", "Eff", "Bnd")), ("0" * 16, ("Inh", "Amb"))):
                assert all(f"\nCap{sort}:\t{held}\n" in identity for sort in sorts)
            assert "\nNoNewPrivs:\t1\n" in identity
            assert "\nSeccomp:\t2\n" in identity


# An agent of which only the supervisor is there; says the pids of its engines once they run.
AGENT = """
import asyncio, sys
from pathlib import Path
from netbond.config.load import parse
from netbond.engines.supervisor import Supervisor

async def main():
    config = parse(Path(sys.argv[1], "netbond.toml").read_text())
    supervisor = Supervisor((*config.sender, *config.receiver), state_dir=Path(sys.argv[1]), user="nobody")
    await supervisor.start()
    while not all(state.state == "running" for state in supervisor.states()):
        await asyncio.sleep(0.01)
    print(*(state.pid for state in supervisor.states()), flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_engines_of_a_killed_agent_end_and_make_way_for_the_next(tmp_path: Path) -> None:
    sender, receiver, srt = free_ports(3)
    (tmp_path / "netbond.toml").write_text(
        f'[[sender]]\nlisten = "127.0.0.1:{sender}"\nreceiver = "127.0.0.1:{receiver}"\n'
        f'[[receiver]]\nlisten = "127.0.0.1:{receiver}"\nsrt = "127.0.0.1:{srt}"\n'
    )
    pids: list[list[str]] = []
    for _ in range(3):
        began = time.monotonic()
        agent = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert agent.stdout is not None
        assert agent.stderr is not None
        pids.append(agent.stdout.readline().split())
        assert time.monotonic() - began < 5 * PATIENCE, "no port was still taken"
        agent.kill()
        agent.wait()
        assert "starting it again" not in agent.stderr.read()
        agent.stdout.close()
        agent.stderr.close()
    deadline = time.monotonic() + 10 * PATIENCE
    while left := [pid for agents in pids for pid in agents if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


@pytest.mark.alone
async def test_a_stream_goes_on_when_engines_and_agent_are_replaced(tmp_path: Path) -> None:
    await _stream(tmp_path)


async def _stream(tmp_path: Path) -> None:
    sender, receiver, srt = free_ports(3)
    configured = engines(sender, receiver, srt)
    options = f"latency={LATENCY}&transtype=live"
    listener = await asyncio.create_subprocess_exec(
        *("srt-live-transmit", "-q", "-a:no", f"srt://127.0.0.1:{srt}?mode=listener&{options}", "file://con"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    caller: asyncio.subprocess.Process | None = None
    sent = bytearray()
    got = bytearray()

    async def feed(seconds: float) -> None:
        assert caller is not None
        assert caller.stdin is not None
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            chunk = (len(sent) // CHUNK).to_bytes(4, "big") * (CHUNK // 4)
            sent.extend(chunk)
            caller.stdin.write(chunk)
            await asyncio.sleep(PERIOD)

    async def drain() -> None:
        assert listener.stdout is not None
        while data := await listener.stdout.read(65536):
            got.extend(data)

    drained = asyncio.create_task(drain())
    try:
        ready.udp_port(srt, listener)
        async with supervised(tmp_path, *configured) as supervisor:
            await until(supervisor, connected, 0)
            caller = await asyncio.create_subprocess_exec(
                *("srt-live-transmit", "-q", "-a:no", "-chunk:1316", "file://con"),
                f"srt://127.0.0.1:{sender}?mode=caller&{options}",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
            )
            await feed(2)
            await asyncio.gather(killed_and_back(supervisor, 0), feed(2))
            await asyncio.gather(killed_and_back(supervisor, 1), feed(2))
        async with supervised(tmp_path, *configured) as supervisor:  # the agent itself was started again
            await feed(2)
            await asyncio.sleep(LATENCY / 1000 + 0.5)
    finally:
        for process in (caller, listener):
            if process is not None and process.returncode is None:
                process.kill()
                await process.wait()
        await drained
    # What srt-live-transmit has not flushed to its standard output when it ends is no concern of ours.
    numbers = [int.from_bytes(got[at : at + 4], "big") for at in range(0, len(got), CHUNK)]
    missing = sorted(set(range(len(sent) // CHUNK - UNFLUSHED)) - set(numbers))
    assert not missing, f"{len(missing)} of {len(sent) // CHUNK} packets are missing: {missing[:20]}"
    assert got == sent[: len(got)]
