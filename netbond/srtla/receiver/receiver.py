"""The SRTLA receiver as a state machine, without sockets, clock and randomness of its own.

It is told of datagrams (`datagram_from_peer`, `datagram_from_srt`) and of time (`handle_timer` at
`next_timer`), and gives out what is to be sent (`datagrams_to_peers`, `datagrams_to_srt`) and what has
happened (`events`). `now` is monotonic seconds. A peer is an address as sockets give it: (host, port, ...).

A group is one SRT connection; its links are the peers that joined it by its id. What keeps strangers from
using the receiver against others, or from filling it up:

- REG1 is answered one for one and costs no memory: the group is made when it is joined (ticket.py). Groups
  are counted per source address and prefix; where there is no room those that carry nothing go first. A
  sender that has the key takes the place of one that has none.
- A link gets three times the bytes that came from it, no more, whatever it says: who forges its address can
  say anything. Only the link that registered the group has shown that it hears us: its answer had a secret.
- A link moves to another group only if that group was registered from its own address.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Final

from netbond.srtla import wire
from netbond.srtla.receiver.events import (
    CallerReplaced,
    Event,
    GroupCreated,
    GroupRemoved,
    KeyRefused,
    LinkJoined,
    LinkLeft,
    PlainCaller,
    Routed,
    StreamAccepted,
)
from netbond.srtla.receiver.groupreport import report
from netbond.srtla.receiver.groups import (
    AMPLIFICATION,
    EARNED_IN_C,
    FRESH_S,
    UDP_OVERHEAD,
    Group,
    Peer,
    earn,
    in_turn,
    may,
)
from netbond.srtla.receiver.handshakes import Handshakes, completed
from netbond.srtla.receiver.peeraddress import PeerAddress
from netbond.srtla.receiver.room import Limits, no_room
from netbond.srtla.registration import psk
from netbond.srtla.registration.keyring import Key, Keyring
from netbond.srtla.registration.ticket import KEY_LENGTH, Ticket, Tickets, origin
from netbond.srtla.streamid import display_name, stream_id_of

FLUSH_AFTER_S: Final = 0.02  # that a received packet waits for its SRTLA ACK at most
PATIENCE: Final = 0.02  # of SRT's latency: how long a packet may wait until more come, ...
PATIENCE_MOST_S: Final = 0.009  # ... at most: with the wake-up itself, it is delayed by 10 ms
CLEANUP_INTERVAL_S: Final = 1.0  # between checks for silent links and empty groups
NGP_INTERVAL_S: Final = 1.0  # between "no such group" to one stranger
TELL_INTERVAL_S: Final = 10.0  # between two KeyRefused events, and two of PlainCaller
NGP_STRANGERS: Final = 1024  # remembered; also the most such answers in a second
REMOVED_MAX: Final = 1024  # ids of removed groups that are remembered; an id is good for 10 s at most
REFUSALS = ("table_full", "quota", "key", "link_conflict", "unknown_peer", "plain_srt", "unproven")
CALLER_QUIET_S: Final = 0.3  # of an SRT connection, then another caller may take its place


class Receiver:
    """All groups of one receiving port."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        now: float,
        *,
        limits: Limits | None = None,
        keys: Sequence[Key] = (),
        require_key: bool = False,
        secret: bytes | None = None,
        worker: bool = False,
        show_stream_ids: bool = False,
        route: Callable[[str], int] | None = None,
    ) -> None:
        """`random(n)` gives n unguessable bytes. `keys`: the pre-shared ones; senders that have another are
        refused, and with `require_key` those that have none. `secret`: what the tickets of all processes of a
        receiver share. `worker`: this is one of them; what is not for its links and groups goes to
        `datagrams_elsewhere`. `show_stream_ids`: SRT stream ids are no secret. `route`: there are
        several SRT servers, and this is the number of the one for a stream id."""
        self._limits = limits or Limits()
        self._keys = Keyring(keys)
        self.tickets = Tickets(secret or random(KEY_LENGTH), self._limits.half_open_s, self._keys)
        self._worker = worker
        self._elsewhere: list[tuple[PeerAddress, bytes]] = []
        self._require_key = require_key
        self._show_stream_ids = show_stream_ids
        self._route = route
        self._handshakes = Handshakes(random(KEY_LENGTH)) if route is not None else None
        self._told_at: dict[type[KeyRefused | PlainCaller], float] = {}
        self._counts: Counter[bytes] = Counter()  # groups by source and by prefix
        self._groups: dict[bytes, Group] = {}
        self._by_number: dict[int, Group] = {}
        self._peers: dict[PeerAddress, Peer] = {}
        self._next_number = 1
        self._next_cleanup = now + CLEANUP_INTERVAL_S
        self._flushes: dict[Peer, float] = {}  # in the order of their times
        self._strangers: OrderedDict[PeerAddress, float] = OrderedDict()
        self._removed: OrderedDict[bytes, None] = OrderedDict()  # ids of groups, the last few
        self._stats_at = now
        self._to_peers: list[tuple[PeerAddress, bytes]] = []
        self._to_srt: list[Group] = []  # those with something in `out`
        self._events: list[Event] = []
        self.refused = dict.fromkeys(REFUSALS, 0)

    # --- what comes in --------------------------------------------------------------------------------------

    def datagram_from_peer(self, address: PeerAddress, data: bytes, now: float) -> None:
        """A datagram from the network side."""
        self.datagrams_from_peers(((address, data),), now)

    def datagrams_from_peers(self, datagrams: Iterable[tuple[PeerAddress, bytes]], now: float) -> None:
        """Datagrams from the network side that were read together. What is the same for all packets of a link
        is done once for them."""
        peers = self._peers
        heard: list[Peer] = []
        for address, data in datagrams:
            peer = peers.get(address)
            if peer is not None and len(data) >= wire.SRT_HEADER and not 0x90 <= data[0] < 0xC0:
                if data[0] == 0x80 and data[1] == 0x00:
                    for each in heard:
                        self._settle(each, now)
                    heard.clear()
                    self._handshake(peer, data, now)
                    continue
                if not peer.batch:
                    heard.append(peer)
                peer.batch.append(data)
                out = peer.group.out
                if not out:
                    self._to_srt.append(peer.group)
                out.append(data)
                continue
            if len(data) == wire.REG_LENGTH and data[0] == 0x92 and data[1] < 2:
                for each in heard:
                    self._settle(each, now)
                heard.clear()
                if self._worker and (data[1] == 0 or data[2:] not in self._groups):
                    self._elsewhere.append((address, data))
                elif data[1] == 0:
                    self._register(address, data[2:], now)
                else:
                    self._join(address, data[2:], now)
            elif peer is None and self._worker:
                self._elsewhere.append((address, data))
            elif peer is None:
                self._stranger(address, data, now)
            else:
                self._heard(peer, len(data) + UDP_OVERHEAD, now)
                if wire.packet_type(data) == wire.KEEPALIVE:
                    self._send(peer, data)
                    peer.keepalive = wire.parse_keepalive(data) or peer.keepalive
        for each in heard:
            self._settle(each, now)

    def datagram_handed(self, address: PeerAddress, data: bytes, now: float) -> None:
        """A datagram for this process that another one received."""
        registration = wire.parse_registration(data)
        if registration is not None and data[1] == 1:
            self._join(address, registration, now)
        elif address in self._peers:
            self.datagram_from_peer(address, data, now)

    def forget(self, address: PeerAddress, now: float) -> None:
        """This peer is a link of another process from now on."""
        peer = self._peers.get(address)
        if peer is not None:
            self._drop_link(peer, "it registered anew", now)
            if not peer.group.links:
                self._remove(peer.group, "its sender registered anew")

    def refuse_link(self, address: PeerAddress) -> None:
        """Answer that this peer may not leave its group."""
        self._refuse(address, "link_conflict")

    def deny_group(self, address: PeerAddress) -> None:
        """Answer that there is no such group."""
        self._reply(address, wire.REG_NGP_PACKET)

    def heard(self, address: PeerAddress, packets: int, size: int, at: float) -> None:
        """Account for SRT packets of a link that the compiled data path has forwarded and acknowledged."""
        peer = self._peers.get(address)
        if peer is None:
            return
        peer.last_heard = max(peer.last_heard, at)
        earn(peer, (AMPLIFICATION - EARNED_IN_C) * (size + UDP_OVERHEAD * packets))
        peer.packets += packets
        peer.bytes += size
        group = peer.group
        group.flowed = max(group.flowed, at)
        group.packets += packets
        group.bytes += size
        if group.last is None or group.last.last_heard <= at:
            group.last = peer

    def may_leave(self, present: bytes | None, wanted: bytes, address: PeerAddress) -> bool:
        """Whether a link at this address may leave its group for another; both by their ids. None: not known.

        Anyone can send a REG2 in another's name. But an id is known only to who received our REG2: at the
        link's own address, or at the one that registered the present group, whose sender then has registered
        anew. A REG2 from before, sent again, moves nothing; nor does one without a key a link with a key.
        """
        if present is None:
            return self.tickets.is_from(wanted, address)
        if self._key_of(present) is not None and self._key_of(wanted) is None:
            return False
        return self.tickets.is_from(wanted, address) or self.tickets.are_of_one(wanted, present)

    def group_of(self, address: PeerAddress) -> int | None:
        """The number of the group whose link this is; None: nobody's."""
        peer = self._peers.get(address)
        return peer.group.number if peer is not None else None

    def credit_of(self, address: PeerAddress) -> int:
        """Bytes that may be sent to this link."""
        return self._peers[address].credit

    def spend(self, address: PeerAddress, credit: int) -> None:
        """Let the compiled data path spend this part of a link's credit."""
        self._peers[address].credit -= credit

    def _heard(self, peer: Peer, size: int, now: float) -> None:
        peer.last_heard = now
        earn(peer, AMPLIFICATION * size)

    def _count(self, peer: Peer, packets: int, size: int, now: float) -> None:
        self._heard(peer, size + UDP_OVERHEAD * packets, now)
        peer.packets += packets
        peer.bytes += size
        group = peer.group
        group.last = peer
        group.packets += packets
        group.bytes += size

    def _handshake(self, peer: Peer, data: bytes, now: float) -> None:
        """A handshake of the SRT caller. If another caller begins while there is a connection, the encoder
        was started again, and the SRT server would wait for seconds for the one before. A connection that
        still carries something is not ended, though: a handshake is easy to forge."""
        group = peer.group
        self._count(peer, 1, len(data), now)
        caller = wire.handshake_socket(data)
        if self._route is not None and self._handshakes is not None:
            self._choose_server(peer, self._handshakes, self._route, data, now)
            return
        group.stream_ids.asked(data)
        if not wire.is_induction(data):
            group.caller = caller
            group.figures.asked(data)
        elif caller != group.caller:
            if group.server and now - group.flowed >= CALLER_QUIET_S:
                self._replace_caller(group)
            if not group.server:
                group.caller = caller
        self._forward(group, data)

    def _choose_server(
        self, peer: Peer, handshakes: Handshakes, route: Callable[[str], int], data: bytes, now: float
    ) -> None:
        """A handshake of an SRT caller, whose stream id says to which SRT server it goes."""
        group = peer.group
        if len(data) < wire.HANDSHAKE_LENGTH:
            return
        if wire.is_induction(data):
            self._send(peer, handshakes.begin(group.id, data))
            return
        induction = handshakes.conclude(group.id, data) if wire.is_conclusion(data) else None
        if induction is None:
            return
        caller = wire.handshake_socket(data)
        if group.server and caller != group.caller:
            if now - group.flowed < CALLER_QUIET_S:
                return  # it will ask again
            self._replace_caller(group)
        group.caller = caller
        group.conclusion = data
        group.stream_ids.asked(data)
        group.figures.asked(data)
        self._events.append(Routed(group.number, route(stream_id_of(data))))
        self._forward(group, induction)

    def _replace_caller(self, group: Group) -> None:
        """End the SRT connection of the caller before."""
        shutdown = wire.build_shutdown(group.server)
        self._events.append(CallerReplaced(group.number, group.id, group.stream, shutdown))
        del self._by_number[group.number]
        self._give_number(group)
        group.server = 0
        group.figures.end()

    def _forward(self, group: Group, data: bytes) -> None:
        if not group.out:
            self._to_srt.append(group)
        group.out.append(data)

    def _settle(self, peer: Peer, now: float) -> None:
        """Account for a link's SRT packets and acknowledge them."""
        batch, group = peer.batch, peer.group
        self._count(peer, len(batch), sum(map(len, batch)), now)
        group.flowed = now
        if not group.server and not group.caller:  # restored: its handshakes were our predecessor's
            group.server = wire.destination_of(batch[-1])
        waiting = peer.unacknowledged
        before = len(waiting)
        waiting += group.figures.arrived(batch)
        batch.clear()
        if len(waiting) >= wire.ACK_EVERY:
            full = len(waiting) - len(waiting) % wire.ACK_EVERY
            for start in range(0, full, wire.ACK_EVERY):
                self._send(peer, wire.build_srtla_ack(waiting[start : start + wire.ACK_EVERY]))
            del waiting[:full]
            self._flushes.pop(peer, None)
            before = 0
        if waiting and not before:
            self._flushes[peer] = now + FLUSH_AFTER_S

    def datagram_from_srt(self, number: int, data: bytes, now: float) -> None:
        """A datagram from the SRT server for the group with this number.

        An ACK goes over two links in turn: it names all that has arrived, and the next one comes 10 ms later
        over others. Everything else, NAKs too, goes over one: the link heard last, which has just proved
        itself. A second copy of a NAK would be harmless to senders that recognise it and costly
        with those that do not (each copy shrinks a window and repeats the packets), and SRT repeats a NAK
        by itself until the packet is there.
        """
        group = self._by_number.get(number)
        if group is None or len(data) < wire.SRT_HEADER or not group.links:
            return
        if self._route is not None and wire.is_induction(data):
            conclusion = completed(group.conclusion, data)
            if conclusion is not None:
                group.conclusion = b""
                self._forward(group, conclusion)
            return
        self._note(group, data, now)
        if group.stream_ids.answered(data):
            self._name(group)
            self._events.append(StreamAccepted(group.number, group.id, group.stream))
        group.latency_s = wire.parse_latency(data) or group.latency_s
        able = [peer for peer in group.links.values() if may(peer, len(data) + UDP_OVERHEAD)]
        if not able:
            self.refused["unproven"] += 1
        elif data[0] == 0x80 and data[1] == 0x02:
            for peer in in_turn(group, able, now):
                self._send(peer, data)
        else:
            last = group.last
            if last is None or last not in able or now - last.last_heard > FRESH_S:
                last = max(able, key=lambda peer: peer.last_heard)
            self._send(last, data)

    def _note(self, group: Group, data: bytes, now: float) -> None:
        """Note what a packet of the SRT server tells of the connection."""
        if data[0] != 0x80:
            return
        if data[1] == 0x02:  # SRT_ACK
            group.figures.acknowledged(data, now)
        elif data[1] == 0x03:  # SRT_NAK
            group.figures.missed(data)
        elif data[1] == 0x05:  # SRT_SHUTDOWN
            group.figures.end()
        elif data[1] == 0x00:  # SRT_HANDSHAKE
            server = wire.accepting_socket(data)
            if server and server != group.server:
                group.server = server
                group.figures.begin(data, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due; call it when `next_timer` has come, early or late does no harm."""
        while self._flushes:
            peer = next(iter(self._flushes))
            if self._flushes[peer] > now:
                break
            self._acknowledge(peer)
        if now >= self._next_cleanup:
            self._next_cleanup = now + CLEANUP_INTERVAL_S
            self._cleanup(now)

    def restore(self, groups: Iterable[tuple[bytes, Iterable[PeerAddress]]], now: float) -> list[int]:
        """Restore groups (id, peers) of the engine before; the number of each, in order. Ids must differ,
        and each has a peer."""
        numbers = []
        for group_id, addresses in groups:
            links = list(addresses)
            group = self._new_group(group_id, self.tickets.origin_of(links[0]), links[0], now)
            for address in links:
                if address not in self._peers and len(group.links) < self._limits.links:
                    # As much as a REG2 earns it, once.
                    earn(
                        self._add_link(group, address, now), AMPLIFICATION * (wire.REG_LENGTH + UDP_OVERHEAD)
                    )
            numbers.append(group.number)
        self._events.clear()
        return numbers

    def prove(self, address: PeerAddress) -> None:
        """This restored link had registered its group."""
        peer = self._peers[address]
        peer.proven = True
        peer.group.source = origin(str(address[0]))[0]
        self._name(peer.group)

    def restore_stream_id(self, number: int, stream_id: str) -> None:
        """The SRT server had accepted this stream id from the restored group."""
        group = self._by_number[number]
        group.stream_ids.accepted = stream_id
        self._name(group)

    # --- what goes out --------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None: not before a datagram comes."""
        if not self._groups:
            return None
        if self._flushes:
            return min(self._flushes[next(iter(self._flushes))], self._next_cleanup)
        return self._next_cleanup

    def datagrams_to_peers(self) -> list[tuple[PeerAddress, bytes]]:
        """(address, datagram) in the order in which to send them; each is given out once."""
        out, self._to_peers = self._to_peers, []
        return out

    def batches_to_srt(self) -> list[tuple[int, list[bytes]]]:
        """(group number, datagrams) for the SRT server, from a socket of that group's own."""
        groups, self._to_srt = self._to_srt, []
        out = []
        for group in groups:
            if group.number in self._by_number:  # it may be gone since
                out.append((group.number, group.out))
            group.out = []
        return out

    def datagrams_to_srt(self) -> list[tuple[int, bytes]]:
        """The same, one by one: (group number, datagram)."""
        return [(number, data) for number, batch in self.batches_to_srt() for data in batch]

    def datagrams_elsewhere(self) -> list[tuple[PeerAddress, bytes]]:
        """(address, datagram) that are for another process; each is given out once."""
        out, self._elsewhere = self._elsewhere, []
        return out

    def events(self) -> list[Event]:
        """The events since the last call."""
        out, self._events = self._events, []
        return out

    def links(self) -> Collection[PeerAddress]:
        """The addresses of all links."""
        return self._peers.keys()

    def patience(self) -> float:
        """Seconds for which packets may wait until more come, to save wake-ups: what the group with the
        shortest latency can spare. 0.0: as short as can be, as a latency is not known."""
        shortest = min((group.latency_s for group in self._groups.values() if group.links), default=0.0)
        return min(shortest * PATIENCE, PATIENCE_MOST_S)

    def links_of(self, number: int) -> Collection[PeerAddress]:
        """The addresses of one group's links."""
        group = self._by_number.get(number)
        return group.links.keys() if group is not None else ()

    def server_of(self, number: int) -> int:
        """The SRT server's socket id of this group's connection; 0: there is none, or it is not known."""
        group = self._by_number.get(number)
        return group.server if group is not None else 0

    def tally_of(self, number: int) -> bytearray:
        """The notes about the packets of one group's stream (figures.py)."""
        return self._by_number[number].figures.tally

    def registrant(self, number: int) -> PeerAddress | None:
        """The link that registered this group, if it is still there."""
        group = self._by_number.get(number)
        links = group.links.values() if group is not None else ()
        return next((peer.address for peer in links if peer.proven), None)

    def stream_id_of(self, number: int) -> str:
        """The SRT stream id of this group's connection; "" if it has none."""
        group = self._by_number.get(number)
        return group.stream_ids.accepted if group is not None else ""

    def groups(self) -> list[tuple[int, bytes, list[PeerAddress]]]:
        """(number, id, links) of each group with links: what a successor needs."""
        return [(g.number, g.id, list(g.links)) for g in self._groups.values() if g.links]

    def stats(self, now: float) -> list[dict[str, Any]]:
        """Per group: number, id (8 hex digits), counters and links (docs/recv.md). Rates: since last call."""
        elapsed = max(now - self._stats_at, 0.001)
        self._stats_at = now
        return [report(group, elapsed, now) for group in self._groups.values()]

    # --- registration ---------------------------------------------------------------------------------------

    def _register(self, address: PeerAddress, wanted: bytes, now: float) -> None:
        half = wanted[: wire.HALF_ID]
        claimed = psk.is_claimed(wanted)
        key = self._keys.of_half(half) if claimed else None
        keyed = key is not None
        if not keyed and (self._require_key or (claimed and self._keys)):
            self._refuse_key(address, now, claimed=claimed)
            return
        group_id = self.tickets.issue(half, address, now, key=key)
        joined = group_id if key is None else psk.joining_id(key.secret, group_id)
        refusal = (
            "" if joined in self._groups else self._no_room(self.tickets.of(group_id), now, keyed=keyed)[0]
        )
        if refusal:
            self._refuse(address, refusal)
        else:
            self._reply(address, wire.build_registration(wire.REG2, group_id))

    def _join(self, address: PeerAddress, group_id: bytes, now: float) -> None:
        group = self._groups.get(group_id)
        ticket = group.ticket if group is not None else self._unused(group_id, now)
        if ticket is None:
            self.deny_group(address)
            return
        registrant = self.tickets.is_from(group_id, address)
        peer = self._peers.get(address)
        if peer is not None and peer.group is not group and not self._may_move(peer.group, group_id, address):
            self._refuse(address, "link_conflict")
            return
        if peer is not None and peer.group is not group:
            self.forget(address, now)
            peer = None
        if group is None:
            refusal, removed = self._no_room(ticket, now, keyed=self._key_of(group_id) is not None)
            if refusal:
                self._refuse(address, refusal)
                return
            if removed is not None:
                self._remove(*removed)
            group = self._new_group(group_id, ticket, address, now)
            self._events.append(GroupCreated(group.number, group.id, group.stream, address))
        if peer is None:
            if len(group.links) >= self._limits.links:
                quietest = min(group.links.values(), key=lambda each: each.last_heard)
                if now - quietest.last_heard < self._limits.timeout_s / 2 and not registrant:
                    self._refuse(address, "quota")
                    return
                self._drop_link(quietest, "another link took its place", now)
            peer = self._add_link(group, address, now)
            peer.proven = registrant
        self._heard(peer, wire.REG_LENGTH + UDP_OVERHEAD, now)
        self._send(peer, wire.REG3_PACKET)

    def _unused(self, group_id: bytes, now: float) -> Ticket | None:
        """The ticket of an id that may make a group: one that was removed is not made again by a replay."""
        return None if group_id in self._removed else self.tickets.check(group_id, now)

    def _may_move(self, present: Group, group_id: bytes, address: PeerAddress) -> bool:
        """Whether a link may leave its group for that with this id, which is the younger one."""
        two = (group.id for group in self._groups.values() if group.id in (present.id, group_id))
        return next(two) == present.id and self.may_leave(present.id, group_id, address)

    def _no_room(self, ticket: Ticket, now: float, *, keyed: bool) -> tuple[str, tuple[Group, str] | None]:
        return no_room(self._groups.values(), self._counts, self._limits, ticket, now, keyed=keyed)

    def _refuse(self, address: PeerAddress, why: str) -> None:
        self.refused[why] += 1
        self._reply(address, wire.REG_ERR_PACKET)

    def _refuse_key(self, address: PeerAddress, now: float, *, claimed: bool) -> None:
        self.refused["key"] += 1
        self._reply(address, wire.build_refusal(wire.REFUSED_KEY))
        self._tell(KeyRefused(address, claimed), now)

    def _tell(self, event: KeyRefused | PlainCaller, now: float) -> None:
        if now - self._told_at.get(type(event), -TELL_INTERVAL_S) >= TELL_INTERVAL_S:
            self._told_at[type(event)] = now
            self._events.append(event)

    def _stranger(self, address: PeerAddress, data: bytes, now: float) -> None:
        """A packet from an unknown address. After a restart of ours, or when a NAT has chosen another port,
        "no such group" makes a sender register at once instead of after seconds of silence."""
        strangers = self._strangers
        while strangers and next(iter(strangers.values())) <= now - NGP_INTERVAL_S:
            strangers.popitem(last=False)
        if address in strangers and wire.is_induction(data):
            # It goes on after "no such group", as no SRTLA sender does.
            self.refused["plain_srt"] += 1
            self._tell(PlainCaller(address), now)
            return
        self.refused["unknown_peer"] += 1
        if len(data) < 2:
            return  # an answer is never larger than what it answers
        if address in strangers or len(strangers) >= NGP_STRANGERS:
            return
        strangers[address] = now
        self._reply(address, wire.REG_NGP_PACKET[: len(data)])

    # --- groups and links -----------------------------------------------------------------------------------

    def _key_of(self, group_id: bytes) -> Key | None:
        """The key that its sender has shown; None: it has none of ours."""
        found = self._keys.of_member(group_id)
        return found[0] if found is not None else None

    def _new_group(self, group_id: bytes, ticket: Ticket, address: PeerAddress, now: float) -> Group:
        """A group that was registered from this address, or nearly: of a restored one any link's."""
        key = self._key_of(group_id)
        group = Group(0, group_id, now, ticket, key is not None, key.name if key is not None else "")
        group.source = origin(str(address[0]))[0]
        self._name(group)
        self._give_number(group)
        self._groups[group_id] = group
        self._counts.update((ticket.source, ticket.prefix))
        return group

    def _name(self, group: Group) -> None:
        stream_id = group.stream_ids.accepted
        public = self._show_stream_ids and stream_id not in self._keys.names  # a key's name is its owner's
        named = display_name(stream_id, public=public)
        group.stream = group.key_name or named or group.source

    def _give_number(self, group: Group) -> None:
        group.number = self._next_number
        self._next_number += 1
        self._by_number[group.number] = group

    def _add_link(self, group: Group, address: PeerAddress, now: float) -> Peer:
        peer = Peer(address, group, now, now)
        group.links[address] = peer
        self._peers[address] = peer
        self._events.append(LinkJoined(group.number, group.id, group.stream, address))
        return peer

    def _drop_link(self, peer: Peer, reason: str, now: float) -> None:
        group = peer.group
        del group.links[peer.address]
        del self._peers[peer.address]
        self._flushes.pop(peer, None)
        if group.last is peer:
            group.last = None
        group.empty_since = now
        self._events.append(LinkLeft(group.number, group.id, group.stream, peer.address, reason))

    def _remove(self, group: Group, reason: str) -> None:
        for peer in group.links.values():
            del self._peers[peer.address]
            self._flushes.pop(peer, None)
        group.links.clear()
        del self._groups[group.id]
        self._removed[group.id] = None
        while len(self._removed) > REMOVED_MAX:
            self._removed.popitem(last=False)
        del self._by_number[group.number]
        for tag in (group.ticket.source, group.ticket.prefix):
            self._counts[tag] -= 1
            if not self._counts[tag]:
                del self._counts[tag]
        self._events.append(GroupRemoved(group.number, group.id, group.stream, reason))

    def _cleanup(self, now: float) -> None:
        limits = self._limits
        for peer in [peer for peer in self._peers.values() if now - peer.last_heard >= limits.timeout_s]:
            self._drop_link(peer, f"silent for {now - peer.last_heard:.0f} s", now)
        for group in list(self._groups.values()):
            group.activity += (group.bytes - group.carried - group.activity) / 4
            group.carried = group.bytes
            if not group.links and now - group.empty_since >= limits.group_timeout_s:
                self._remove(group, "no links left")

    # --- packets --------------------------------------------------------------------------------------------

    def _acknowledge(self, peer: Peer) -> None:
        self._flushes.pop(peer, None)
        if peer.unacknowledged:
            self._send(peer, wire.build_srtla_ack(peer.unacknowledged))
            peer.unacknowledged.clear()

    def _send(self, peer: Peer, data: bytes) -> None:
        """To a link that can pay for it: with what it has sent itself, or it is one of those that `_may`."""
        peer.credit = max(peer.credit - len(data) - UDP_OVERHEAD, 0)
        self._to_peers.append((peer.address, data))

    def _reply(self, address: PeerAddress, data: bytes) -> None:
        self._to_peers.append((address, data))
