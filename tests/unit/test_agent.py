"""Whatever fails in a pass is shown and tried again: an agent that ends leaves the box to itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any, cast

import pytest

from netbond.agent import UNREAD_S, Agent
from netbond.config.schema import AgentConfig, Config, SenderConfig
from netbond.config.values import HostPort
from netbond.desired import Desired
from netbond.errors import NetbondError
from netbond.kernel.client import Kernel
from netbond.model import EngineState, Facts, Uplink
from netbond.outputs.table_names import TableNames
from netbond.refusals import RETRY_S
from netbond.srtla.advice import Advice
from netbond.srtla.statistics import GroupStatistics, ReceiverStatistics
from netbond.status import control
from netbond.status.snapshot import AgentInfo, build
from netbond.system.typed_json import to_json


class Broken:
    """A kernel that fails so."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def read(self) -> Facts:
        raise self._error

    read_links = read


def broken(error: Exception) -> Kernel:
    return cast("Kernel", Broken(error))


def make_agent(folder: Path) -> Agent:
    (folder / "iproute2").mkdir()
    own = AgentConfig(ip_list=None, state_dir=folder, data_dir=folder, iproute2_dir=folder / "iproute2")
    return Agent(Config(agent=own), None)


def problems(agent: Agent) -> list[str]:
    agent._reconciler.publish()
    assert agent._reconciler.published is not None
    return list(agent._reconciler.published.agent.problems)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOBUFS, "no buffers"),
        NetbondError("no buffers"),
        ValueError("no buffers"),
        KeyError("no buffers"),
    ],
)
async def test_a_pass_that_fails_is_shown_until_one_succeeds(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = make_agent(tmp_path)

    with monkeypatch.context() as patched:
        patched.setattr(agent._reconciler.systemd, "alive", lambda _now: pytest.fail("it is not well"))
        for _ in range(3):
            assert await agent._pass(broken(error)) == RETRY_S
    (problem,) = problems(agent)
    assert problem.startswith("a look at the kernel failed: ")
    assert "no buffers" in problem

    async def well(_kernel: Any, *, moved: bool) -> float:
        return 5.0

    monkeypatch.setattr(agent._reconciler, "reconcile", well)
    alive: list[float] = []
    monkeypatch.setattr(agent._reconciler.systemd, "alive", alive.append)
    assert await agent._pass(broken(error)) == 5.0
    assert len(alive) == 1
    assert problems(agent) == []
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    own_fault = isinstance(error, ValueError | KeyError)
    assert len(said) == 1 + own_fault  # once, and with a traceback if it is ours
    assert any(record.exc_info for record in said) == own_fault


async def test_a_kernel_that_cannot_be_read_at_the_end_does_not_keep_the_rest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = make_agent(tmp_path)
    (names,) = [output for output in agent._reconciler.outputs if isinstance(output, TableNames)]
    uplink = Uplink("usb0", ipaddress.ip_interface("10.0.0.10/24"), None, "test", 100)
    await names.apply(Facts(), Desired(uplinks=(uplink,)), agent.config)
    files = list((tmp_path / "iproute2").rglob("netbond.conf"))
    assert len(files) == 2
    await agent._reconciler.leave(broken(OSError(errno.ENOBUFS, "no buffers")))
    assert not any(file.exists() for file in files)
    assert "left behind: routes and rules: [Errno 105] no buffers" in caplog.messages


async def test_a_pass_that_hangs_does_not_keep_the_agent_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netbond.agent.STOP_GRACE_S", 0.02)
    agent = make_agent(tmp_path)

    async def hang(_kernel: Any, *, moved: bool) -> float:
        return await asyncio.sleep(3600, 5.0)

    monkeypatch.setattr(agent._reconciler, "reconcile", hang)
    agent._wake.look()
    asyncio.get_running_loop().call_later(0.05, agent._wake.stop)
    await asyncio.wait_for(agent._loop(broken(OSError())), 20)


async def test_sigterm_ends_a_start_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without a descriptor for the kernel's events."""

    class Silent(Broken):
        async def __aenter__(self) -> Silent:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def check_policy_routing(self) -> None:
            pass

    async def nothing(*_: object) -> None:
        pass

    async def hang(_stack: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(3600)

    agent = make_agent(tmp_path)
    monkeypatch.setattr("netbond.agent.Kernel", lambda: Silent(OSError(errno.EMFILE, "no descriptors")))
    monkeypatch.setattr(agent, "_open_control_socket", nothing)
    monkeypatch.setattr(agent, "_watch_kernel", hang)
    await asyncio.wait_for(agent.run(), 20)


async def test_a_reload_that_is_asked_for_while_news_settles_does_not_wait_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent(tmp_path)
    seen: list[str] = []

    async def look(_kernel: Any) -> float:
        seen.append("pass")
        agent._wake.stop()
        return 5.0

    monkeypatch.setattr(agent, "_pass", look)
    monkeypatch.setattr(agent, "_reload", lambda: seen.append("reload"))
    systemd = agent._reconciler.systemd
    monkeypatch.setattr(systemd, "reloading", lambda _now: seen.append("reloading"))
    monkeypatch.setattr(systemd, "ready", lambda: seen.append("ready"))

    agent._reconciler.read_cost_s = 0.05  # seconds of settling
    agent._wake.look()
    asyncio.get_running_loop().call_later(0.01, agent._wake.reload)
    await agent._loop(broken(OSError()))
    assert seen == ["reloading", "reload", "pass", "ready"]


def test_a_reload_changes_the_log_level_only_if_the_key_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`netbond run --log-level` holds until then."""
    levels: list[str] = []
    monkeypatch.setattr(logging.getLogger("netbond"), "setLevel", levels.append)
    file = tmp_path / "netbond.toml"
    agent = make_agent(tmp_path)
    agent._config_file = file
    file.write_text('[agent]\non_stop = "keep"')
    agent._reload()
    assert (agent.config.agent.on_stop, levels) == ("keep", [])
    file.write_text('[agent]\nlog_level = "debug"')
    agent._reload()
    assert levels == ["DEBUG"]


def test_a_reload_that_is_refused_and_one_that_nobody_asked_for_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("netbond.agent.time.monotonic", lambda: now[0])
    file = tmp_path / "netbond.toml"
    file.write_text("")
    (tmp_path / "iproute2").mkdir()
    own = AgentConfig(ip_list=None, state_dir=tmp_path, data_dir=tmp_path, iproute2_dir=None)
    agent = Agent(Config(agent=own), file)

    def told() -> list[tuple[str, str, str, str]]:
        agent._look_at_file()
        return [(one.code, one.subject, one.severity, one.text) for one in agent._problems.all()]

    assert told() == []
    file.write_text("[agnet]")
    assert told() == []
    now[0] += UNREAD_S
    unread = f"{file} has changed since it was read"
    assert told() == [("configuration-unread", str(file), "notice", unread)]
    agent._reload()
    (refused,) = told()
    assert refused[:3] == ("configuration", str(file), "degraded")
    assert refused[3].startswith(
        f"not reloaded, what was read before stays in force: {file}:1: unknown table"
    )
    file.write_text(f'[agent]\nstate_dir = "/elsewhere"\ndata_dir = "{tmp_path}"\nip_list = ""')
    agent._reload()
    assert told()[0][:2] == ("configuration-restart", "agent.state_dir")


async def test_only_root_is_told_the_ids_of_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "control.sock"
    agent = Agent(Config(agent=AgentConfig(ip_list=None, control_socket=socket)), None)
    group = GroupStatistics("0a", False, 1, 1, 1, 1, (), 5, stream="live/~3f2a", stream_id="live/feed1")
    stats = ReceiverStatistics("receiver", "0.0.0.0:5000", "127.0.0.1:5002", (group,), 0)
    engine = EngineState("receiver 0.0.0.0:5000", "receiver", "running", stats=stats)
    found = build(AgentInfo("0.2.0", 1, 5.0), Desired(), [], [engine], ecmp_table=222, now=5.0)
    monkeypatch.setattr(agent._reconciler, "publish", lambda: found)
    async with contextlib.AsyncExitStack() as stack:
        await agent._open_control_socket(stack, broken(OSError()))
        for uid, told in ((0, "live/feed1"), (os.geteuid(), "live/feed1"), (os.geteuid() + 1000, None)):
            monkeypatch.setattr(control, "_peer", lambda _, uid=uid: control.Peer(uid, 7))
            reply = await asyncio.to_thread(control.request, socket, {"command": "status"})
            (shown,) = reply["status"]["engines"][0]["stats"]["groups"]
            assert (shown["stream"], shown.get("stream_id")) == ("live/~3f2a", told)
            assert ("feed1" in str(reply)) == (told is not None)


async def test_who_follows_a_sender_at_the_control_socket_hears_its_advice(tmp_path: Path) -> None:
    (tmp_path / "iproute2").mkdir()
    own = AgentConfig(
        ip_list=None,
        state_dir=tmp_path,
        data_dir=tmp_path,
        iproute2_dir=tmp_path / "iproute2",
        control_socket=tmp_path / "s",
        metrics=None,
    )
    sender = SenderConfig(HostPort("127.0.0.1", 6000), HostPort("bond.example.org", 5000))
    agent = Agent(Config(agent=own, sender=(sender,)), None)
    agent._reconciler.publish()
    advice = Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48)
    async with contextlib.AsyncExitStack() as stack:
        await agent._open_control_socket(stack, broken(OSError()))
        reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(b'{"command": "watch", "sender": "127.0.0.1:6000"}\n')
        first = json.loads(await asyncio.wait_for(reader.readline(), 20))
        assert first["ok"]
        assert (first["state"], first["advice"]) == ("starting", None)
        agent._reconciler.engines._supervisor.tell_advice(sender.name, advice)  # as the engine's channel does
        line = json.loads(await asyncio.wait_for(reader.readline(), 20))
        assert line["advice"] == to_json(advice)
        writer.close()
