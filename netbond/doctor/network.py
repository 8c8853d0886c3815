"""Checks what the network answers: name servers, packet sizes, receivers, SRT servers, the firewall. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from netbond.doctor.model import ERROR, OK, UNKNOWN, WARNING, Asked, Finding, Seen

# An SRT packet of 7 transport stream packets with its header, UDP's and IP's: libsrt's default, 1316 bytes.
SRT_PACKET = {4: 1316 + 16 + 8 + 20, 6: 1316 + 16 + 8 + 40}
SMALLEST = {4: 576, 6: 1280}  # that every path must carry
_BETWEEN = (1280, 1320)


def sizes(family: int) -> tuple[int, ...]:
    """The sizes of packets to try on a path, in bytes."""
    return tuple(sorted({SMALLEST[family], *_BETWEEN, SRT_PACKET[family]}))


def name_servers(seen: Seen) -> Iterator[Finding]:
    """Whether names are found through each uplink: carriers' servers answer only on their own network."""
    for (name, family), group in _by_uplink(seen.asked, "dns"):
        about = f"{name} (IPv{family})"
        silent = [each for each in group if each.answered is False]
        working = [each for each in group if each.answered]
        evidence = "; ".join(f"{each.target}: {each.detail}" for each in group)
        lost = [each.target for each in silent if each.of_system]
        if not working and not silent:
            yield Finding("dns", UNKNOWN, name, f"no name server can be asked over {about}", evidence)
        elif not working:
            text = f"no name server answers over {about}"
            mend = f"netbond exec {name} -- ping -c 3 1.1.1.1 says if only port 53 is blocked"
            yield Finding("dns", ERROR, name, text, evidence, mend)
        elif lost:
            text = f"the box's name server {', '.join(lost)} does not answer over {about}"
            mend = f"name one that answers everywhere: nameserver {working[0].target} in /etc/resolv.conf"
            yield Finding("dns", WARNING, name, text, evidence, mend)
        else:
            yield Finding("dns", OK, name, f"name servers answer over {about}", evidence)


def path_mtu(seen: Seen) -> Iterator[Finding]:
    """Whether SRT's packets fit through each uplink."""
    for path in seen.path_mtus:
        need = SRT_PACKET[path.family]
        name = path.uplink
        if path.trouble or path.largest is None:
            text = f"whether SRT's packets fit through {name} is not known"
            evidence = path.trouble or f"{path.target} answers no ping"
            yield Finding("path-mtu", UNKNOWN, name, text, evidence)
        elif path.largest < need:
            text = f"packets of {need} bytes, as SRT's are, do not get through {name}"
            evidence = f"{path.target} answers {path.largest} bytes, not more"
            payload = (path.largest - need + 1316) // 188 * 188
            mend = f"make the encoder's packets shorter: payload_size={payload} in its SRT URL"
            yield Finding("path-mtu", ERROR, name, text, evidence, mend)
        else:
            text = f"SRT's packets fit through {name}"
            yield Finding("path-mtu", OK, name, text, f"{path.target} answers {path.largest} bytes")


def receivers(seen: Seen) -> Iterator[Finding]:
    """Whether each receiver answers over each uplink, by UDP at its port."""
    asked = [each for each in seen.asked if each.kind == "receiver"]
    for target in dict.fromkeys(each.target for each in asked):
        group = [each for each in asked if each.target == target]
        answers = [each for each in group if each.answered]
        for each in answers:
            yield Finding("receiver", OK, each.uplink, f"{target} answers over {_over(each)}", each.detail)
        silent = [each for each in group if each.answered is False]
        port = target.rpartition(":")[2]
        if silent and not answers:
            text = f"{target} answers over no uplink"
            evidence = "; ".join(f"{_over(each)}: {each.detail}" for each in silent)
            mend = f"there: netbond doctor; start its receiver, let UDP port {port} in"
            yield Finding("receiver", ERROR, target, text, evidence, mend)
        else:
            for each in silent:
                text = f"{target} does not answer over {_over(each)}, and does over others"
                mend = f"is the modem online? its operator may block UDP port {port}: try another port"
                yield Finding("receiver", ERROR, each.uplink, text, each.detail, mend)
        for each in group:
            if each.answered is None:
                text = f"{target} was not asked over {_over(each)}"
                yield Finding("receiver", UNKNOWN, each.uplink, text, each.detail)


def srt_servers(seen: Seen) -> Iterator[Finding]:
    """Whether the SRT server behind each receiver of this box answers."""
    for each in seen.asked:
        if each.kind != "srt":
            continue
        if each.answered:
            yield Finding("srt-server", OK, each.target, f"the SRT server {each.target} answers", each.detail)
        elif each.answered is False:
            text = f"the SRT server {each.target} does not answer"
            mend = "start it, as an SRT listener at that port: ss -ulpn shows who listens"
            yield Finding("srt-server", ERROR, each.target, text, each.detail, mend)
        else:
            text = f"the SRT server {each.target} was not asked"
            yield Finding("srt-server", UNKNOWN, each.target, text, each.detail)


def firewall(seen: Seen) -> Iterator[Finding]:
    """Whether this box's firewall lets in what its receivers listen for."""
    for port in dict.fromkeys(each.listen.port for each in seen.config.receiver):
        subject = f"UDP {port}"
        if seen.firewall is None:
            text = f"whether the firewall lets UDP port {port} in is not known"
            yield Finding("firewall", UNKNOWN, subject, text, seen.no_firewall)
            continue
        shut = shut_chains(seen.firewall, port)
        if shut:
            text = f"the firewall does not seem to let UDP port {port} in"
            evidence = f"{', '.join(shut)}: drops or rejects, and no rule accepts the port"
            mend = (
                f"nft insert rule {shut[0]} udp dport {port} accept, and the same in the firewall's own files"
            )
            yield Finding("firewall", WARNING, subject, text, evidence, mend)
        else:
            text = f"no chain keeps UDP port {port} out"
            yield Finding("firewall", OK, subject, text, "nft list ruleset")


_TABLE = re.compile(r"\s*table (\S+) (\S+) \{")
_CHAIN = re.compile(r"\s*chain (\S+) \{")
_REFUSES = re.compile(r"(?:^|\s)(?:drop|reject)\b")
_CONDITION = re.compile(r"\b(?:ct state|saddr|daddr|dport|sport|iifname|iif|icmp|limit|mark)\b")


def shut_chains(ruleset: str, port: int) -> list[str]:
    """The base chains for input, as "inet filter input", that refuse by default while no rule names the port.

    A guess from the text of `nft list ruleset`: a rule in any chain that accepts the port counts, as chains
    jump to others. Sources that a rule names are not looked at.
    """
    chains: list[tuple[str, bool, bool]] = []  # name, whether it is for input, whether it refuses by default
    table = chain = ""
    is_input = refuses = False
    for line in ruleset.splitlines():
        if found := _TABLE.match(line):
            table = f"{found[1]} {found[2]}"
        elif found := _CHAIN.match(line):
            chain, is_input, refuses = f"{table} {found[1]}", False, False
        elif " hook input " in line:
            is_input, refuses = True, "policy drop" in line
        elif line.strip() == "}" and chain:
            chains.append((chain, is_input, refuses))
            chain = ""
        elif chain and _REFUSES.search(line) and not _CONDITION.search(line):
            refuses = True
        if _accepts(line, port):
            return []
    return [name for name, is_input, refuses in chains if is_input and refuses]


def _accepts(line: str, port: int) -> bool:
    """Whether a rule accepts UDP at this port: `udp dport { 53, 5000-5010 } accept`."""
    found = re.search(r"(?:udp|th) dport (?:\{([^}]*)\}|(\S+))", line)
    if not found or not re.search(r"\baccept\b", line):
        return False
    for part in (found[1] or found[2]).split(","):
        low, _, high = part.strip().partition("-")
        if low.isdigit() and int(low) <= port <= int(high if high.isdigit() else low):
            return True
    return False


def _by_uplink(asked: Iterable[Asked], kind: str) -> Iterator[tuple[tuple[str, int], list[Asked]]]:
    of_kind = sorted(
        (each for each in asked if each.kind == kind), key=lambda each: (each.uplink, each.family)
    )
    for key, group in groupby(of_kind, key=lambda each: (each.uplink, each.family)):
        yield key, list(group)


def _over(asked: Asked) -> str:
    return f"{asked.uplink} (IPv{asked.family})" if asked.family == 6 else asked.uplink
