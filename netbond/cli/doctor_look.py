"""Looks at a box for `netbond doctor`: the agent first, else kernel, files and processes. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from netbond.cli import doctor_ask
from netbond.cli.agent_socket import AgentSocket
from netbond.cli.explain import ask
from netbond.cli.status import ask as ask_status
from netbond.cli.status import understood
from netbond.config.schema import Config
from netbond.desired import Desired, desired
from netbond.doctor.model import Clock, DhcpClient, ListFile, Lookup, Seen, Setting
from netbond.doctor.routing import questions
from netbond.engines.address_list import MAX_LIST_BYTES, render
from netbond.errors import KernelLacksError, NetbondError
from netbond.installation.contents import HOOKS, DhcpHook
from netbond.kernel import iproute2_names, sysctls
from netbond.kernel.client import Kernel
from netbond.model import Facts
from netbond.programs.vetting import unfit
from netbond.sources.data_plans import synchronised
from netbond.sources.once import gather
from netbond.srtla import why_pure
from netbond.status.assessment import belated
from netbond.status.schema import Snapshot
from netbond.system import files
from netbond.system.sighup import processes, read_pid_file

UNIT = "netbond.service"
_UNIT_PROPERTIES = "LoadState,ActiveState,UnitFileState,NeedDaemonReload,Result,Restart,NRestarts"
_SYSTEMCTL_S = 5.0

# Those of `netbond install`, and one that has no place of its own (docs/sources.md).
_UDHCPC = ("/etc/udhcpc", "/usr/share/udhcpc", "/etc/udhcpc.user.d")
_HOOKS = (*HOOKS, DhcpHook("udhcpc", _UDHCPC, "netbond", "", 0))
_LARGEST_HOOK_BYTES = 65536
_SOURCED = re.compile(rb"-hooks/(?:90-)?netbond(?![-\w])")  # a hook that reads one of contrib/


def look(agent: AgentSocket, config: Config, *, network: bool = True) -> Seen:
    """All that the checks need to know; without `network`, no packet leaves."""
    lacks = _policy_routing()
    facts = Facts() if lacks else gather(config)
    goal = desired(facts, config)
    snapshot, no_agent = _snapshot(agent)
    uid = os.geteuid()
    asked, paths = asyncio.run(doctor_ask.ask(goal.uplinks, config)) if network else ((), ())
    rules, no_rules = doctor_ask.firewall() if config.receiver else (None, "")
    return Seen(
        config=config,
        facts=facts,
        goal=goal,
        config_error=str(agent.error) if agent.error is not None and agent.broken else "",
        snapshot=snapshot,
        no_agent=no_agent,
        root=uid == 0,
        no_policy_routing=lacks,
        release=os.uname().release,
        lookups=tuple(Lookup(query, *ask(query)) for query in questions(goal.uplinks, uid)),
        settings=tuple(_settings(facts, goal, config)),
        table_names=_table_names(config),
        address_list=_address_list(goal, config),
        unit=_unit(),
        pure_because=why_pure(),
        clock=Clock(time.time(), synchronised()),
        dhcp_clients=tuple(_dhcp_clients()),
        unfit_hooks={hook.name: unfit(hook.command[0], hook.user) for hook in config.hook},
        asked=asked,
        path_mtus=paths,
        firewall=rules,
        no_firewall=no_rules,
    )


def _snapshot(agent: AgentSocket) -> tuple[Snapshot | None, str]:
    try:
        return belated(understood(ask_status(agent.path))), ""
    except NetbondError as error:
        return None, str(error)


def _policy_routing() -> str:
    """Why the kernel cannot do what netbond needs; "": it can."""

    async def check() -> None:
        async with Kernel() as kernel:
            await kernel.check_policy_routing()

    try:
        asyncio.run(check())
    except KernelLacksError as error:
        return error.message
    except NetbondError:
        return ""  # it does not let this user ask
    return ""


def _settings(facts: Facts, goal: Desired, config: Config) -> Iterable[Setting]:
    """What is to change, also where the configuration leaves rp_filter to others: it drops answers."""
    whole = replace(config, sysctl=replace(config.sysctl, rp_filter=True))
    read = sysctls.Sysctls(config.agent.state_dir).read
    changes = sysctls.wanted(goal.uplinks, whole, read, lan=goal.inside.devices, links=facts.interfaces)
    return [Setting(change.name, change.old, change.command(), change.why) for change in changes]


def _table_names(config: Config) -> dict[int, str] | None:
    folder = config.agent.iproute2_dir
    if folder is None or not folder.is_dir():
        return None
    found = iproute2_names.read_taken(folder, "rt_tables")
    own = folder / "rt_tables.d" / iproute2_names.FILE
    try:
        text = files.read(own, iproute2_names.LARGEST_BYTES)[0].decode(errors="replace")
    except OSError:
        return found
    return found | iproute2_names.parse(text)


def _address_list(goal: Desired, config: Config) -> ListFile | None:
    agent = config.agent
    if agent.ip_list is None:
        return None
    wanted = render(goal.uplinks, devices=agent.ip_list_devices, ipv6=agent.ip_list_ipv6)
    text, trouble = None, ""
    try:
        text = files.read(agent.ip_list, MAX_LIST_BYTES)[0].decode(errors="replace")
    except OSError as error:
        trouble = files.why(error)
    readers: tuple[int, ...] = ()
    if agent.notify_pid_file is not None:
        try:
            pid = read_pid_file(agent.notify_pid_file)[0]
        except OSError:
            pid = 0
        readers = (pid,) if pid and Path(f"/proc/{pid}").exists() else ()
    elif agent.notify_process:
        readers = tuple(processes(agent.notify_process))
    return ListFile(str(agent.ip_list), text, wanted, trouble, readers)


def _unit() -> dict[str, str] | None:
    if not Path("/run/systemd/system").is_dir():
        return None
    found: dict[str, str] = {}
    for command in (
        ["systemctl", "show", UNIT, f"--property={_UNIT_PROPERTIES}"],
        ["systemctl", "show", "--property=RuntimeWatchdogUSec"],
    ):
        try:
            shown = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        found |= dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    return found if "LoadState" in found else None


def _dhcp_clients() -> Iterable[DhcpClient]:
    found = []
    for hook in _HOOKS:
        if any(map(_is_here, processes(hook.client))):
            file = _hook_of(hook.folders)
            trouble = _not_run(Path(file), hook.client) if file else ""
            place = f"{hook.folders[0]}/{hook.name}"
            found.append(DhcpClient(hook.client, file, place, bool(hook.template), trouble))
    return found


def _is_here(pid: int) -> bool:
    """Whether the process configures interfaces of this network namespace, and not those of a container."""
    try:
        return Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except PermissionError:
        return True  # we are not root, and cannot know
    except OSError:
        return False  # it has ended


def _hook_of(folders: Iterable[str]) -> str:
    """The file there that calls `netbond hook`, or one of netbond's hooks that does; ""."""
    for folder in folders:
        try:
            entries = sorted(Path(folder).iterdir())
        except OSError:
            continue
        for path in entries:
            try:
                text = files.read(path.resolve(), _LARGEST_HOOK_BYTES)[0]
            except (OSError, RuntimeError):
                continue
            if b"netbond" in text.lower() and (b" hook " in text or _SOURCED.search(text)):
                return str(path)
    return ""


def _not_run(hook: Path, client: str) -> str:
    """Why the client passes the hook over; ""."""
    if client not in ("NetworkManager", "udhcpc"):
        return ""  # they read it, and do not run it
    return unfit(str(hook), "root")
