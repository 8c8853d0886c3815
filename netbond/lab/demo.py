"""Runs the demo: one SRT stream over four modems, two of them twins, while one is unplugged and comes back.

It checks its own result: no packet is lost, every link is used, and the unplugged modem's rules and routes
are removed and restored in time.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netbond.errors import NetbondError, UnavailableError, UsageError
from netbond.lab import payload, remains
from netbond.lab.lab import Lab
from netbond.lab.netns import Process
from netbond.lab.stream import Stream
from netbond.lab.view import LinkLine, Moment, Screen

NAME = "nbdemo"
# Different links, none of which could carry 8 Mbit/s alone. In Mbit/s, ms one way, ms, kB (160 to 240 ms when
# full).
LINKS = {
    "usb0": ("rate=6", "delay=30", "jitter=4", "queue=120"),
    "usb1": ("rate=5", "delay=25", "jitter=4", "queue=120"),
    "usb2": ("rate=5", "delay=45", "jitter=4", "queue=120"),
    "usb3": ("rate=4", "delay=60", "jitter=4", "queue=120"),
}
TWINS = ("usb2", "usb3")
READY_TIMEOUT_S = 20.0  # until all uplinks and links are up
REMOVED_LIMIT_S = 1.0  # from unplugging until the rules and routes are removed
RESTORED_LIMIT_S = 1.0  # from the new lease until they are restored
WATCH_TIMEOUT_S = 8.0  # after which watching for a change gives up
LEAST_SHARE = 0.01  # of the bytes: a link that carried less counts as unused


@dataclass(slots=True)
class Pull:
    """What happened to the modem that was unplugged; None: it did not happen."""

    device: str
    removed_s: float | None = None  # from unplugging until its table had no rule and no route
    lease_s: float | None = None  # from plugging in until it had an address
    restored_s: float | None = None  # from the lease until its rules and default route were there
    error: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One promise of the demo, and whether it holds."""

    holds: bool
    text: str


def judge(
    report: payload.Report, carried: dict[str, int], pull: Pull, twins: tuple[str, ...] = TWINS
) -> list[Check]:
    """Check the promises; `carried` is the bytes sent into each radio link. Pure."""
    total = max(sum(carried.values()), 1)
    idle = [device for device, count in carried.items() if count < LEAST_SHARE * total]
    checks = [
        Check(
            report.lost == 0 and not report.trouble,
            f"{report.lost} of {report.sent} packets lost"
            + (f" ({report.trouble})" if report.trouble else ""),
        ),
        Check(
            not idle,
            f"all {len(carried)} links carried traffic, the twins {' and '.join(twins)} too"
            if not idle
            else f"carried no traffic: {', '.join(idle)}",
        ),
    ]
    for took_s, limit_s, what, since in (
        (pull.removed_s, REMOVED_LIMIT_S, "removed", "it was unplugged"),
        (pull.restored_s, RESTORED_LIMIT_S, "restored", "its new lease"),
    ):
        done = f"{what} {took_s * 1000:.0f} ms" if took_s is not None else f"not {what}"
        reason = f" ({pull.error})" if pull.error and took_s is None else ""
        checks.append(
            Check(
                took_s is not None and took_s <= limit_s,
                f"{pull.device}'s rules and routes were {done} after {since}{reason}",
            )
        )
    return checks


# --- what the box's kernel has -----------------------------------------------------------------------------


def _ip(lab: Lab, *words: str) -> list[dict[str, Any]]:
    command = ["ip", "-n", lab.topology.box, "-N", "-j", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return list(json.loads(result.stdout or "[]")) if result.returncode == 0 else []


def rules_text(lab: Lab) -> str:
    """Return the output of `ip rule` in the box, with the names of its tables."""
    return lab.box_exec(["ip", "rule"], capture_output=True, check=False).stdout.rstrip()


def holds_nothing(lab: Lab, table: int) -> bool:
    """Whether no rule names the table, and no route in the table has a device."""
    rules = any(rule.get("table") == str(table) for rule in _ip(lab, "rule"))
    return not rules and not any("dev" in route for route in _ip(lab, "route", "show", "table", str(table)))


def holds_all(lab: Lab, table: int) -> bool:
    """Whether both rules name the table, and it has a default route with a device."""
    rules = [rule for rule in _ip(lab, "rule") if rule.get("table") == str(table)]
    selectors = {"oif" if "oif" in rule else "from" for rule in rules}
    routes = _ip(lab, "route", "show", "table", str(table))
    return selectors == {"oif", "from"} and any(r["dst"] == "default" and "dev" in r for r in routes)


def _seconds_until(condition: Callable[[], object], stop: threading.Event) -> float | None:
    """Return how long it took until the condition was true, or None if that took too long."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() > start + WATCH_TIMEOUT_S or stop.wait(0.01):
            return None
    return time.monotonic() - start


# --- the demo ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Demo:
    """One run of the demo; `run` returns whether all promises held."""

    name: str = NAME
    mbps: float = 8.0
    duration_s: float = 30.0
    latency_ms: int = 1000
    pulled: str = "usb1"
    live: bool | None = None
    news: list[str] = field(default_factory=list)
    _screen: Screen = field(init=False)
    _stop: threading.Event = field(default_factory=threading.Event)
    _status: dict[str, Any] = field(default_factory=dict)
    _radio: list[tuple[float, dict[str, int]]] = field(default_factory=list)

    def run(self) -> bool:
        """Make the lab, run the stream, remove the lab. Ctrl-C at any time leaves nothing behind."""
        if self.pulled not in LINKS:
            raise UsageError(f"there is no uplink {self.pulled!r}", "choose from " + ", ".join(LINKS))
        self._screen = Screen(self.live)
        lab = Lab(self.name, devices=list(LINKS), twins=TWINS, links=LINKS, receiver=True)
        owner = remains.recorded(lab.name).get("processes", {}).get("demo")
        if owner is not None and Process(*owner).alive:
            raise NetbondError(f"a demo is already running (process {owner[0]})", "wait until it ends")
        lab.down()  # remove what a killed demo has left
        try:
            lab.up()
            with lab.owned("demo"):
                return self._show(lab)
        except NetbondError:
            self._keep_logs(lab)
            raise
        finally:
            lab.down()

    def _say(self, text: str) -> None:
        self._screen.say(text)

    def _happened(self, text: str) -> None:
        self.news.append(text)
        self._screen.news(text)

    def _show(self, lab: Lab) -> bool:
        for warning in lab.warnings:
            self._say(f"warning: {warning}")
        self._say("==> a box with four modems, and these leases by DHCP:")
        for modem in lab.topology.modems:
            twin = "  (a twin: same subnet, same address)" if modem.twin else ""
            self._say(
                f"    {modem.device}  {modem.lease}  from {modem.address}   {' '.join(modem.words)}{twin}"
            )
        self._say("==> ip rule of the box before netbond:")
        self._say(_indent(rules_text(lab)))
        lab.start_agent()
        table = self._wait_until_ready(lab)
        self._say("==> and with netbond:")
        self._say(_indent(rules_text(lab)))
        self._say(
            f"==> {self.mbps:g} Mbit/s of SRT for {self.duration_s:g} s, latency {self.latency_ms} ms;"
            f" {self.pulled} is unplugged after {self.duration_s / 3:.0f} s,"
            f" plugged in after {self.duration_s * 2 / 3:.0f} s"
        )
        before = self._carried(lab)
        report, pull = self._stream(lab, table)
        after = self._carried(lab)
        carried = {device: after[device] - before[device] for device in after}
        return self._conclude(lab, report, carried, pull)

    def _wait_until_ready(self, lab: Lab) -> int:
        """Wait until all uplinks and all links of the sender are up; return the table of `pulled`."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            status = lab.agent_status()
            up = {u["device"]: u["table"] for u in status["uplinks"] if u["state"] == "up"}
            links = [link["label"] for link in _links(status) if link["state"] == "up"]
            if len(up) == len(LINKS) == len(links):
                return int(up[self.pulled])
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"after {READY_TIMEOUT_S:g} s only these uplinks are up: {', '.join(up) or 'none'};"
                    f" of the sender's links: {', '.join(links) or 'none'}"
                )
            time.sleep(0.1)

    def _carried(self, lab: Lab) -> dict[str, int]:
        return {device: int(ways["up"]["bytes"]) for device, ways in lab.radio().items()}

    # --- the stream, and what happens during it

    def _stream(self, lab: Lab, table: int) -> tuple[payload.Report, Pull]:
        stream = Stream(lab, self.mbps, self.duration_s, self.latency_ms)
        pull = Pull(self.pulled)
        puller = threading.Thread(target=self._pull, args=(lab, stream, table, pull), name="pull")
        puller.start()
        try:
            with self._screen:
                report = stream.run(lambda: self._tick(lab, stream))
        finally:
            self._stop.set()
            puller.join()
        return report, pull

    def _pull(self, lab: Lab, stream: Stream, table: int, pull: Pull) -> None:
        try:
            if not self._reach(stream, self.duration_s / 3):
                return
            self._happened(f"{self._stream_time(stream)} {pull.device} is unplugged")
            start = time.monotonic()
            lab.unplug(pull.device)
            if _seconds_until(lambda: holds_nothing(lab, table), self._stop) is not None:
                pull.removed_s = time.monotonic() - start  # includes the short time that `unplug` itself took
            if not self._reach(stream, self.duration_s * 2 / 3):
                return
            self._happened(f"{self._stream_time(stream)} {pull.device} is plugged in")
            lab.plug(pull.device)
            pull.lease_s = _seconds_until(lambda: lab.addresses().get(pull.device), self._stop)
            if pull.lease_s is not None:
                pull.restored_s = _seconds_until(lambda: holds_all(lab, table), self._stop)
        except NetbondError as error:
            pull.error = str(error)

    def _reach(self, stream: Stream, elapsed_s: float) -> bool:
        """Wait until the stream has run for this time; False if the demo ends first."""
        while not stream.started or time.monotonic() < stream.started + elapsed_s:
            if self._stop.wait(0.02):
                return False
        return True

    @staticmethod
    def _stream_time(stream: Stream) -> str:
        return f"{time.monotonic() - stream.started:5.1f} s"

    def _tick(self, lab: Lab, stream: Stream) -> None:
        elapsed_s = time.monotonic() - stream.started
        if not self._screen.wants(elapsed_s):
            return
        try:
            self._status = lab.agent_status()
            self._radio.append((elapsed_s, self._carried(lab)))
        except NetbondError:
            pass  # show the last status again; the result is checked at the end
        pace = self.mbps * 1e6 / 8 / payload.SIZE
        due = max(0, int((elapsed_s - self.latency_ms / 1000 - 0.3) * pace))
        behind = max(0, min(due, stream.sent) - stream.tally.arrived)
        self._screen.show(
            Moment(
                elapsed_s=elapsed_s,
                total_s=self.duration_s,
                sent=stream.sent,
                arrived=stream.tally.arrived,
                behind=behind,
                links=self._link_lines(lab),
                news=self.news,
            )
        )

    def _link_lines(self, lab: Lab) -> list[LinkLine]:
        mbps = current_mbps(self._radio)
        total = sum(mbps.values())
        uplinks = {u["device"]: u for u in self._status.get("uplinks", ())}
        links = {link["device"]: link for link in _links(self._status)}
        lines = []
        for modem in lab.topology.modems:
            uplink, link = uplinks.get(modem.device, {}), links.get(modem.device, {})
            plugged = lab.is_plugged(modem.device)
            lines.append(
                LinkLine(
                    modem.device,
                    str(uplink.get("address") or "-"),
                    str(uplink.get("gateway") or "-"),
                    str(link.get("state", uplink.get("state", "-"))) if plugged else "pulled",
                    mbps.get(modem.device, 0.0) / total if total else 0.0,
                    mbps.get(modem.device, 0.0),
                    link.get("rtt_ms"),
                    link.get("window"),
                    link.get("in_flight"),
                )
            )
        return lines

    # --- the end

    def _conclude(self, lab: Lab, report: payload.Report, carried: dict[str, int], pull: Pull) -> bool:
        checks = judge(report, carried, pull)
        good = all(check.holds for check in checks)
        self._say("==> ip rule of the box at the end:")
        self._say(_indent(rules_text(lab)))
        self._say("==> what each link carried:")
        total = max(sum(carried.values()), 1)
        for device, ways in lab.radio().items():
            up = ways["up"]
            self._say(
                f"    {device}  {carried[device] / 1e6:6.2f} MB  {carried[device] / total:4.0%}"
                f"   lost on the radio link {up['lost']}, dropped by a full queue {up['dropped']}"
            )
        self._say(f"==> {payload.text(report)}")
        for check in checks:
            self._say(f"    {'ok  ' if check.holds else 'FAIL'}  {check.text}")
        if not good:
            self._keep_logs(lab, report, pull)
        return good

    def _keep_logs(self, lab: Lab, report: payload.Report | None = None, pull: Pull | None = None) -> None:
        if not lab.logs.is_dir():
            return
        folder = Path(tempfile.mkdtemp(prefix="netbond-demo-"))
        shutil.copytree(lab.logs, folder, dirs_exist_ok=True)
        facts = {
            "report": asdict(report) if report else None,
            "pull": asdict(pull) if pull else None,
            "status": self._status,
            "rules": rules_text(lab),
        }
        (folder / "facts.json").write_text(json.dumps(facts, indent=1))
        self._say(f"logs are kept in {folder}")


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _links(status: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the links of the box's sender."""
    return [
        link
        for engine in status.get("engines", ())
        if engine["role"] == "sender"
        for link in (engine.get("stats") or {}).get("links", ())
    ]


def current_mbps(samples: list[tuple[float, dict[str, int]]], over_s: float = 1.0) -> dict[str, float]:
    """Return the Mbit/s of each link over the last `over_s` seconds; samples are (seconds, bytes by link)."""
    if len(samples) < 2:
        return {}
    now, last = samples[-1]
    then, first = next(((t, s) for t, s in reversed(samples[:-1]) if t <= now - over_s), samples[0])
    return {device: (last[device] - first[device]) * 8 / 1e6 / max(now - then, 1e-6) for device in last}
