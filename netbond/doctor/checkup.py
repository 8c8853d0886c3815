"""Runs all checks of `netbond doctor` over what was seen, and counts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from netbond.doctor import bond, box, network, routing
from netbond.doctor.model import ERROR, SEVERITIES, WARNING, Finding, Seen

Check = Callable[[Seen], Iterator[Finding]]

# In the order in which a person would look: what comes first often explains what follows.
CHECKS: tuple[Check, ...] = (
    box.configuration,
    box.agent,
    box.set_by_hand,
    box.unit,
    box.watchdog,
    box.flavour,
    box.clock,
    routing.kernel,
    box.dhcp_hooks,
    routing.managers,
    routing.uplinks,
    routing.pending,
    routing.bound_traffic,
    routing.shared_default,
    routing.foreign,
    routing.settings,
    routing.table_names,
    box.address_list,
    box.hooks,
    network.name_servers,
    network.path_mtu,
    network.receivers,
    network.srt_servers,
    network.firewall,
    bond.engines,
    bond.problems,
)


def examine(seen: Seen) -> list[Finding]:
    """What all checks find, in their order; what two of them say in the same words is said once."""
    found = [finding for check in CHECKS for finding in check(seen)]
    return list(dict.fromkeys(found))


def exit_status(findings: Iterable[Finding]) -> int:
    """0 fine, 1 warnings, 2 errors."""
    severities = {finding.severity for finding in findings}
    return 2 if ERROR in severities else 1 if WARNING in severities else 0


def fixes(findings: Iterable[Finding]) -> list[tuple[Finding, str]]:
    """The commands that --fix runs, each once, with the finding that asks for it."""
    found: dict[str, Finding] = {}
    for finding in findings:
        for command in finding.fix:
            found.setdefault(command, finding)
    return [(finding, command) for command, finding in found.items()]


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """The findings by severity, else in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def summary(findings: Iterable[Finding]) -> str:
    """All of them in one line: "1 error, 2 warnings, 1 not checked, 14 fine"."""
    words = {"error": "error", "warning": "warning", "unknown": "not checked", "ok": "fine"}
    found = list(findings)
    parts = []
    for severity in SEVERITIES:
        count = sum(each.severity == severity for each in found)
        if count:
            plural = "s" if count > 1 and severity in ("error", "warning") else ""
            parts.append(f"{count} {words[severity]}{plural}")
    return ", ".join(parts)
