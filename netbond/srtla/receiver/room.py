"""Decides whether a receiver has room for another group, and which one makes way for it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from netbond.srtla.receiver.groups import Group
from netbond.srtla.registration.ticket import Ticket


@dataclass(frozen=True, slots=True)
class Limits:
    """What the receiver grants: times in seconds, and how many groups and links."""

    timeout_s: float = 10.0  # of silence, then a link is removed
    group_timeout_s: float = 10.0  # without links, then a group is removed
    half_open_s: float = 5.0  # and up to twice that: after a registration a link must join within it
    groups: int = 200
    groups_per_source: int = 32  # per IPv4 address or IPv6 /64; a carrier's NAT has many senders behind it
    groups_per_prefix: int = 100  # per IPv4 /24 or IPv6 /48
    links: int = 32  # per group


def no_room(
    groups: Collection[Group],
    counts: Counter[bytes],
    limits: Limits,
    ticket: Ticket,
    now: float,
    *,
    keyed: bool,
) -> tuple[str, tuple[Group, str] | None]:
    """Why there is no room for a group of this origin, or ""; then perhaps a group to remove first, and why:
    it carries nothing, has fallen silent, or its sender has no key and this one has (`keyed`). `groups`: the
    oldest first; `counts`: how many there are by source and by prefix."""
    if counts[ticket.source] >= limits.groups_per_source:
        crowd = [g for g in groups if g.ticket.source == ticket.source]
        refusal = "quota"
    elif counts[ticket.prefix] >= limits.groups_per_prefix:
        crowd = [g for g in groups if g.ticket.prefix == ticket.prefix]
        refusal = "quota"
    elif len(groups) >= limits.groups:
        crowd = list(groups)
        refusal = "table_full"
    else:
        return "", None
    for group in crowd:  # oldest first
        idle = not group.packets and now - group.created >= limits.half_open_s
        if not group.links or (idle and (keyed or not group.keyed)):
            return "", (group, "it carried nothing, and there was no room")
    for group in crowd:
        # A sender that comes back, under another port perhaps, takes the place of what it left behind.
        heard = max(peer.last_heard for peer in group.links.values())
        if group.ticket.source == ticket.source and now - heard >= limits.timeout_s / 2:
            return "", (group, "it had fallen silent, and there was no room")
    without = [group for group in crowd if not group.keyed]
    if keyed and without:
        # Of the network that has most of them: who fills the table rarely has many networks.
        per_prefix = Counter(group.ticket.prefix for group in without)
        ((fullest, _),) = per_prefix.most_common(1)
        least = min(
            (group for group in without if group.ticket.prefix == fullest),
            key=lambda group: group.activity,
        )
        return "", (least, "a sender with the key took its place")
    return refusal, None
