"""Checks the box around the routes: configuration, agent, unit, clock, hooks, address list. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from netbond.doctor.model import ERROR, OK, UNKNOWN, WARNING, Finding, Seen
from netbond.overrides import left_words, words
from netbond.status.schema import OverrideStatus
from netbond.system.text import duration

BUILT = 1_767_225_600.0  # 2026-01-01: no clock that is right says less


def configuration(seen: Seen) -> Iterator[Finding]:
    """Whether the file is valid."""
    if seen.config_error:
        mend = "correct the file; netbond config check"
        yield Finding("config", ERROR, "", "a start of the agent would fail", seen.config_error, mend)
    else:
        yield Finding("config", OK, "", "the configuration is valid")
    if not seen.root:
        text = "not root: what only root may see is left out"
        yield Finding("root", UNKNOWN, "", text, mend="sudo netbond doctor")


def agent(seen: Seen) -> Iterator[Finding]:
    """Whether the agent answers."""
    if seen.snapshot is None:
        mend = "systemctl start netbond; journalctl -u netbond says why it ended"
        yield Finding("agent", ERROR, "", "the agent does not answer", seen.no_agent, mend)
        return
    about = seen.snapshot.agent
    text = f"the agent runs, version {about.version}"
    yield Finding("agent", OK, "", text, f"pid {about.pid}, up for {about.uptime_s:.0f} s")


def set_by_hand(seen: Seen) -> Iterator[Finding]:
    """What a person has set of uplinks: one that is off is easily forgotten."""
    for each in () if seen.snapshot is None else seen.snapshot.overrides:
        restricts = each.what == "mode" and each.value != "normal"
        left = left_words(each.left_s) or "until it is unset"
        yield Finding(
            "set",
            WARNING if restricts else OK,
            each.uplink,
            f"{each.uplink} is {words(each.what, each.value)} by {each.by}, {left}",
            f"set {duration(each.since_s)} ago; {_instead(each)}",
            f"netbond unset {quote(each.uplink)} {each.what}",
        )


def _instead(one: OverrideStatus) -> str:
    if one.configured is None:
        return "the uplink is not there now"
    return f"without it: {one.what} {one.configured}"


def unit(seen: Seen) -> Iterator[Finding]:
    """Whether systemd starts the agent at boot, and again when it ends."""
    found = seen.unit
    if found is None:
        yield Finding("unit", UNKNOWN, "", "systemd does not run here: something else starts the agent")
        return
    if found.get("LoadState") != "loaded":
        mend = "netbond install"
        evidence = f"LoadState={found.get('LoadState', '')}"
        yield Finding("unit", WARNING, "", "systemd has no unit for the agent", evidence, mend)
        return
    enabled = found.get("UnitFileState", "")
    if enabled not in ("enabled", "enabled-runtime", "static", "generated", "indirect", "alias"):
        text = "the agent is not started at boot"
        yield Finding(
            "unit", WARNING, "", text, f"UnitFileState={enabled}", *_command("systemctl enable netbond")
        )
    if found.get("NeedDaemonReload") == "yes":
        text = "the unit's file has changed since systemd read it"
        yield Finding("unit", WARNING, "", text, "NeedDaemonReload=yes", *_command("systemctl daemon-reload"))
    state = found.get("ActiveState", "")
    if state == "failed":
        text = "the unit has failed"
        evidence = f"Result={found.get('Result', '')}"
        yield Finding(
            "unit", ERROR, "", text, evidence, "journalctl -u netbond -n 50; systemctl restart netbond"
        )
    restarts = found.get("Restart", "")
    if restarts not in ("always", "on-failure"):
        text = "systemd does not start the agent again when it ends"
        mend = "write Restart=always: systemctl edit netbond"
        yield Finding("unit", WARNING, "", text, f"Restart={restarts}", mend)
    elif state != "failed":
        text = "systemd starts the agent again when it ends"
        yield Finding("unit", OK, "", text, f"Restart={restarts}, NRestarts={found.get('NRestarts', '0')}")


def _command(command: str) -> tuple[str, tuple[str, ...]]:
    """`mend` and `fix` of a finding that a command mends which harms nobody."""
    return command, (command,)


def watchdog(seen: Seen) -> Iterator[Finding]:
    """Whether the board's watchdog restarts a box that hangs."""
    found = (seen.unit or {}).get("RuntimeWatchdogUSec")
    if found is None:
        return
    if found in ("0", "off", ""):
        yield Finding("watchdog", OK, "", "no hardware watchdog is in use", "RuntimeWatchdogUSec=0")
    else:
        text = "a hardware watchdog restarts the box if it hangs"
        yield Finding("watchdog", OK, "", text, f"RuntimeWatchdogUSec={found}")


def flavour(seen: Seen) -> Iterator[Finding]:
    """Whether the engines are compiled."""
    if not seen.pure_because:
        yield Finding("flavour", OK, "", "the engines are compiled")
        return
    text = "the engines are pure Python: packets cost two to four times the CPU time"
    mend = "apt install gcc python3-dev, and install netbond again"
    yield Finding("flavour", WARNING, "", text, seen.pure_because, mend)


def clock(seen: Seen) -> Iterator[Finding]:
    """Whether the clock is right: keys and certificates depend on it, and so does the end of a data plan."""
    if seen.clock is None:
        return
    if seen.clock.now < BUILT:
        text = "the clock is years behind"
        mend = "timedatectl set-ntp true"
        yield Finding("clock", ERROR, "", text, f"Unix time {seen.clock.now:.0f}", mend)
    elif not seen.clock.synchronised:
        text = "no time server sets the clock"
        mend = "timedatectl set-ntp true"
        yield Finding("clock", WARNING, "", text, "adjtimex: not synchronised", mend)
    else:
        yield Finding("clock", OK, "", "a time server sets the clock")


def dhcp_hooks(seen: Seen) -> Iterator[Finding]:
    """Whether each DHCP client that runs tells netbond of its leases."""
    heard = {lease.source for lease in seen.facts.leases}
    for client in seen.dhcp_clients:
        name = client.name
        if not client.hook:
            text = f"{name} runs, and does not tell netbond of its leases"
            mend = "netbond install" if client.installable else "install it: docs/sources.md"
            yield Finding("dhcp-hook", WARNING, name, text, f"no hook at {client.place}", mend)
        elif client.trouble:
            text = f"{name} does not run its hook"
            mend = f"read it, then: chown root:root {client.hook} && chmod 755 {client.hook}"
            yield Finding("dhcp-hook", WARNING, name, text, client.trouble, mend)
        elif name not in heard:
            text = f"the hook of {name} is there, and has not handed over a lease"
            mend = f"take an interface down and up again; journalctl -t netbond-hook (if {name} has leases)"
            yield Finding("dhcp-hook", UNKNOWN, name, text, client.hook, mend)
        else:
            yield Finding("dhcp-hook", OK, name, f"{name} tells netbond of its leases", client.hook)


def hooks(seen: Seen) -> Iterator[Finding]:
    """Whether each [[hook]] may be run."""
    for name, why in seen.unfit_hooks.items():
        if why:
            mend = "its program and the folders above must be root's, executable, and writable by nobody else"
            yield Finding("hook", WARNING, name, f"hook {name} is not run", why, mend)
        else:
            yield Finding("hook", OK, name, f"hook {name} can be run")


def address_list(seen: Seen) -> Iterator[Finding]:
    """Whether the address list is as it should be, and somebody reads it."""
    found, told = seen.address_list, seen.config.agent
    if found is None:
        return
    if found.text is None:
        mend = f"ls -l {found.path}; the agent writes it"
        yield Finding("ip-list", WARNING, found.path, "there is no address list", found.trouble, mend)
    elif found.text != found.wanted and (found.wanted or told.ip_list_empty):
        text = "the address list is not as the uplinks are"
        evidence = f"it has {_lines(found.text)}, not {_lines(found.wanted)}"
        yield Finding("ip-list", ERROR, found.path, text, evidence, "systemctl restart netbond")
    else:
        yield Finding("ip-list", OK, found.path, "the address list is right", _lines(found.text))
    if not (told.notify_process or told.notify_pid_file):
        return
    who = told.notify_process or str(told.notify_pid_file)
    if found.readers:
        pids = ", ".join(map(str, found.readers))
        yield Finding("ip-list-reader", OK, who, f"{who} is told of the list", f"pid {pids}")
    else:
        text = f"nobody reads the address list: {who} does not run"
        mend = "start srtla_send, or correct agent.notify_process"
        yield Finding("ip-list-reader", WARNING, who, text, "no such process", mend)


def _lines(text: str) -> str:
    return " ".join(text.split()) or "nothing"
