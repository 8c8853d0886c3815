"""The SRTLA sender as a state machine, without sockets, clock and randomness of its own.

It is told of links (`set_links`, `link_opened`, `link_failed`), of datagrams (`datagram_from_caller`,
`datagram_from_receiver`) and of time (`handle_timer` at `next_timer`), and gives out what is to be sent
(`datagrams_to_links`, `datagrams_to_caller`) and what has happened (`events`). `now` is monotonic seconds.

Registration, as all receivers know it (docs/srtla.md):

    no group     REG2 with a random id on every link, each second; the first link to be answered "no such
                 group" works, and is the quickest: REG1 goes out there
    REG1 sent    repeated each second, given up after 4 s; the answer, REG2 with the group's id, is believed
                 if its first half is ours
    group known  REG2 with that id on every link that is not up, each second; REG3 makes the link usable
    "no such group" to that: the receiver has forgotten the group (restarted), begin again

"No such group" is two bytes that anybody can forge. On a link that is up it is only a reason to ask, by REG2,
which receivers answer a member with REG3. The link is given up if "no such group" is all that comes.
Receivers that say nothing to strangers know a link no more when a NAT gives it another port: REG2 therefore
leaves when the echo of a keepalive is overdue, and brings the link back before it is missed.

A link that is up gets a keepalive each second, whose echo is both a sign of life and a round trip. Signs of
life are what proves that our packets arrive: echoes and SRTLA ACKs. SRT's own ACKs come down every link, also
down one that swallows all we send.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from netbond.srtla import wire
from netbond.srtla.advice import Advice
from netbond.srtla.keyframes import announced_s
from netbond.srtla.link import Link, link_stats
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.passing import SPACING_S, Passing
from netbond.srtla.registration import psk
from netbond.srtla.schedule import Carrier, LinkState, Outlet
from netbond.srtla.senderadvice import Adviser, capacity
from netbond.srtla.senderevents import (
    Advised,
    Event,
    GroupChanged,
    LinkAdded,
    LinkDown,
    LinkLimited,
    LinkRemoved,
    LinkUp,
    ReceiverSilent,
    Refused,
    Unproven,
)
from netbond.srtla.streamid import StreamIds

KEEPALIVE_INTERVAL_S: Final = 1.0  # of each link that is up; the others try to register as often
PORT_CLOSED_RETRY_S: Final = 0.2  # between these attempts while nothing listens at the receiver's port
CHECK_INTERVAL_S: Final = 0.1  # between checks whether a link has fallen silent
LINK_TIMEOUT_S: Final = 4.0  # without a sign of life, then a link is down
REG2_TIMEOUT_S: Final = 4.0  # that REG1 may stay without its answer
LATE_NGP_S: Final = 4.0  # after a group began in which "no such group" may still be the answer to a probe
STALL_S: Final = 0.5  # that a packet may stay without any sign of life on its link, or ...
STALL_RTTS: Final = 3  # ... this many round trips, whichever is longer
STALL_PROBE_INTERVAL_S: Final = 0.2  # between keepalives of a link that is stalled, or may be
STREAMING_S: Final = (
    1.0  # after a data packet, links are asked which sizes pass; an idle sender costs nothing
)
ASK_INTERVAL_S: Final = 0.5  # between questions whether the receiver knows a link that is up
ANSWER_S: Final = 0.1  # that an answer may take, or ...
ANSWER_RTTS: Final = 2  # ... this many round trips, whichever is longer
MAX_PENDING_KEEPALIVES: Final = 64  # whose echo is recognised
RECEIVER_SILENCE_S: Final = 10.0  # that no link of a family is up: try another address of the receiver
NO_ANSWER_S: Final = 3.0  # after which a link that was never up says so
PORT_CLOSED_S: Final = 3.0  # the same, if nothing listens at its port; a receiver restarts sooner
NO_ANSWER: Final = "no answer from the receiver"
REFUSED_BACKOFF_S = (2.0, 10.0)  # after REG_ERR, first and longest
GIVEN_UP_BACKOFF_S: Final = 8.0  # of a group of which no link is up: then begin a new one
MAX_REMEMBERED_COPIES: Final = 512  # ACKs and NAKs, to twice as many, whose copies are recognised
SAMPLED: Final = 7  # mask of the packets' count: one in eight is kept, to see what the stream is made of
MAX_SAMPLES: Final = 64  # that are kept until somebody takes them


class Sender(Outlet):
    """One SRT caller's packets over several links to one receiver."""

    def __init__(
        self,
        random: Callable[[int], bytes],
        carrier: Carrier,
        now: float,
        *,
        group: bytes | None = None,
        link_timeout_s: float = LINK_TIMEOUT_S,
        key: bytes | None = None,
        require_key: bool = False,
    ) -> None:
        """`random(n)` gives n unguessable bytes. `group`: an id to re-join (256 bytes), after a restart.
        `key`: the pre-shared one; `require_key`: use no receiver that has not shown that it knows it."""
        if group is not None and len(group) != wire.ID_LENGTH:
            raise ValueError(f"a group id has {wire.ID_LENGTH} bytes")
        self._random = random
        self._carrier = carrier
        carrier.connect(self)
        self._link_timeout_s = link_timeout_s
        self._links: dict[int, Link] = {}
        self._order: list[Link] = []
        self._next_number = 1
        self.group = group
        self._group_since = now - LATE_NGP_S  # of a group to re-join: there was no probe
        self._key = key
        self._require_key = require_key
        self._probe_id = self._new_id()
        self._pending: Link | None = None  # where REG1 was sent
        self._pending_since = 0.0
        # Of each family: when a link was last up, or the receiver's address was last changed, ...
        self._served_at = {4: now, 6: now}
        self._link_lost_at = dict.fromkeys((4, 6), now - RECEIVER_SILENCE_S)  # ... when one lost its socket
        self._next_keepalive = now
        self._next_check = now
        self._adviser = Adviser(carrier, now)
        self._stats_at = now
        self._data_at = now  # when a data packet last left
        self._copies: set[bytes] = set()
        self._older_copies: set[bytes] = set()
        self._to_links: list[tuple[int, bytes]] = []
        self._to_caller: list[bytes] = []
        self._events: list[Event] = []
        self.packets = self.bytes = self.retransmitted = self.ignored = 0
        self.caller_closed = False  # the SRT connection has been closed, by either end
        self.stream_ids = StreamIds()
        self.samples: deque[bytes] = deque(maxlen=MAX_SAMPLES)  # some data packets of the caller, not repeats

    # --- what comes in --------------------------------------------------------------------------------------

    def use_another_receiver(self, now: float) -> None:
        """From now on the links lead to another receiver: register there, under another id, as an id is a
        bearer token. Open the sockets anew."""
        self.group = None
        self._probe_id = self._new_id()
        self._pending = None
        self._copies.clear()
        self._older_copies.clear()
        self._served_at = {4: now, 6: now}
        for each in self._order:
            each.joined, each.join_sent_at, each.denied_at = False, None, None
            each.probing = each.registering = False
            if each.usable:
                self._down(each, "registering", "another receiver is used", now)
        self._to_links.clear()

    def probe(self) -> bytes:
        """A datagram to which a receiver that works answers "no such group"; it is no part of a group."""
        return wire.build_registration(wire.REG2, self._new_id())

    def set_links(self, specs: Sequence[LinkSpec], now: float) -> None:
        """The whole list of links. Links that stay are untouched; of duplicates, the first counts."""
        wanted: dict[tuple[str, str], LinkSpec] = {}
        for spec in specs:
            wanted.setdefault(spec.key, spec)
        have = {link.spec.key: link for link in self._order}
        for key, link in have.items():
            if key not in wanted:
                self._remove(link, now)
        order = []
        for key, spec in wanted.items():
            link = have.get(key) or self._add(spec)
            link.spec = spec  # the label may have changed
            link.priority, link.enabled, link.metered = spec.priority, spec.enabled, spec.metered
            order.append(link)
        self._order = order
        self._carrier.set_links(order)

    def link_opened(self, number: int, now: float) -> None:
        """The link has a socket (again): register it at once."""
        link = self._links.get(number)
        if link is None:
            return
        family = link.spec.family
        others = any(each.open and each.spec.family == family for each in self._order)
        if not others and now - self._link_lost_at[family] >= RECEIVER_SILENCE_S / 2:
            self._served_at[family] = now  # the receiver could not have answered before
        if link.usable:
            self._down(link, "error", "its socket was opened anew", now)
        link.state, link.reason = "registering", ""
        link.opened_at = now
        link.retry_at = link.backoff_s = 0.0
        self._register(link, now)

    def link_failed(self, number: int, reason: str, now: float) -> bool:
        """The link's socket cannot be opened or cannot send any more, for this reason. Whether it was up."""
        link = self._links.get(number)
        was_usable = link is not None and link.usable
        if link is not None and (link.open or link.reason != reason):
            self._down(link, "error", reason, now)
        return was_usable

    def port_closed(self, number: int, now: float) -> None:
        """ICMP says that nothing listens at the receiver's port. It may be starting: a link that is not up
        tries again after PORT_CLOSED_RETRY_S."""
        link = self._links.get(number)
        if link is not None and link.open and not link.usable:
            link.refused_at = now
            self._next_keepalive = min(self._next_keepalive, now + PORT_CLOSED_RETRY_S)

    def not_sent(self, number: int, datagrams: Sequence[bytes], now: float) -> None:
        """The kernel did not take these for now (a full buffer): data packets go by other links, and nothing
        waits for the answer to the others."""
        link = self._links.get(number)
        if link is None:
            return
        for data in datagrams:
            link.packets -= 1
            link.bytes -= len(data)
            kind = wire.packet_type(data)
            if kind == wire.KEEPALIVE:
                keepalive = wire.parse_keepalive(data)
                if keepalive is not None:
                    link.pending_keepalives.pop(keepalive.timestamp, None)
                    link.probed_at = 0.0
            elif kind == wire.REG1 and link is self._pending:
                self._pending = None  # the next link that is answered has its turn
            elif kind == wire.REG2:
                link.asking, link.asked_at = False, 0.0
                if not link.joined:
                    link.join_sent_at = None
        self._carrier.not_sent(link, datagrams, now)

    def datagram_from_caller(self, data: bytes, now: float) -> None:
        """A datagram from the SRT caller: over the link that the scheduler chooses."""
        size = len(data)
        if size < wire.SRT_HEADER:
            seconds = announced_s(data)
            if seconds:
                self._carrier.keyframe(seconds, now)
            else:
                self.ignored += 1
            return
        self.packets += 1
        self.bytes += size
        if data[0] & 0x80:
            if data[1] == 0x05:  # SRT_SHUTDOWN
                self.caller_closed = True
            elif data[1] == 0x00:  # SRT_HANDSHAKE
                self.stream_ids.asked(data)
            self._carrier.control(data, now)
            return
        self.caller_closed = False
        again = bool(data[4] & 0x04)
        if again:
            self.retransmitted += 1
        elif not self.packets & SAMPLED:
            self.samples.append(data)
        self._carrier.data(wire.sequence_of(data), data, now, again=again)

    def datagram_from_receiver(self, number: int, data: bytes, now: float) -> None:
        """A datagram that arrived on a link."""
        link = self._links.get(number)
        if link is None or not link.open:
            return
        link.answered_at = now
        kind = wire.packet_type(data)
        if kind == wire.REG_NGP:
            self._no_such_group(link, now)
        elif kind == wire.REG_ERR:
            self._refused(link, wire.parse_refusal(data), now)
        elif kind == wire.REG2:
            self._group_made(link, data, now)
        elif kind == wire.REG3:
            self._accepted(link, now)
        elif kind == wire.KEEPALIVE:
            self._round_trip(link, data, now)
        elif kind == wire.SRTLA_ACK:
            self._heard(link, now)
            self._carrier.srtla_ack(link, wire.parse_srtla_ack(data) or (), now)
        elif len(data) >= wire.SRT_HEADER and not 0x9000 <= kind < 0xC000 and self.group is not None:
            self._srt_packet(link, kind, data, now)

    def handle_timer(self, now: float) -> None:
        """Do what is due; call it when `next_timer` has come, early or late does no harm."""
        self._carrier.handle_timer(now)
        advice = self._adviser.look(self._order, self.packets - self.retransmitted, now)
        if advice is not None:
            self._events.append(Advised(advice))
        if now >= self._next_check:
            self._next_check = now + CHECK_INTERVAL_S
            for link in self._order:
                if link.usable:
                    self._check(link, now)
                elif link.denied_at is not None and now - link.denied_at >= self._answer_s(link):
                    self._settle(link, link.denied_at, now)
        if now < self._next_keepalive:
            return
        self._next_keepalive = now + KEEPALIVE_INTERVAL_S
        if self._pending and now - self._pending_since >= REG2_TIMEOUT_S:
            self._pending.retry_at = now + 2 * KEEPALIVE_INTERVAL_S  # let another link be the first this time
            self._pending = None
        for link in self._order:
            if link.usable:
                self._keepalive(link, now)
            elif link.open:
                self._register(link, now)
                if link.answered_at < link.opened_at <= now - NO_ANSWER_S and not link.reason:
                    link.reason = NO_ANSWER
                elif link.reason == NO_ANSWER and link.answered_at >= link.opened_at:
                    link.reason = ""
        for family in (4, 6):
            self._look_at_family(family, now)

    # --- what goes out --------------------------------------------------------------------------------------

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called; None: not before something else happens."""
        due = None
        for link in self._order:
            if link.usable:
                due = min(self._next_keepalive, self._next_check)
                break
            if link.open:
                due = self._next_keepalive if due is None else due
                if link.denied_at is not None:
                    due = min(due, self._next_check)
        carrier = self._carrier.next_timer()
        if due is None or carrier is None:
            return carrier if due is None else due
        return min(due, carrier)

    def datagrams_to_links(self) -> list[tuple[int, bytes]]:
        """(link number, datagram) in the order in which to send them; each is given out once."""
        self._carrier.flush()
        out, self._to_links = self._to_links, []
        return out

    def datagrams_to_caller(self) -> list[bytes]:
        """Datagrams for the SRT caller; each is given out once."""
        out, self._to_caller = self._to_caller, []
        return out

    def events(self) -> list[Event]:
        """The events since the last call."""
        out, self._events = self._events, []
        return out

    def has_events(self) -> bool:
        """Whether there are events."""
        return bool(self._events)

    @property
    def held(self) -> int:
        """Packets that wait for a link."""
        return self._carrier.stats().get("held", 0)

    @property
    def keeps_all(self) -> bool:
        """Whether no packet may be given up (SRT's file mode, tlpktdrop=0)."""
        return self._carrier.keeps_all()

    @property
    def advice(self) -> Advice | None:
        """The latest; None: there is no stream, or the mode has none."""
        return self._adviser.advice

    @property
    def latency(self) -> float | None:
        """SRT's latency in s as learnt from the handshake; None: unknown, or not used by this mode."""
        return self._carrier.learnt_latency()

    def patience(self) -> float:
        """Seconds for which datagrams may wait until more come, to save wake-ups."""
        return self._carrier.patience()

    @property
    def usable_links(self) -> int:
        """How many links carry packets."""
        return sum(link.carries for link in self._order)

    def state(self) -> str:
        """connected, registering, or no links."""
        if not any(link.open for link in self._order):
            return "no links"
        return "connected" if any(link.usable for link in self._order) else "registering"

    def stats(self, now: float) -> dict[str, Any]:
        """Counters and per-link figures (docs/send.md). Rates are those since the last call."""
        elapsed = max(now - self._stats_at, 0.001)
        self._stats_at = now
        for link in self._order:
            packets, size, lost = link.counted
            sent = link.data_packets + link.probes
            link.counted = (sent, link.bytes, link.lost)
            link.bitrate = int((link.bytes - size) * 8 / elapsed)
            link.recent.append((sent - packets, link.lost - lost))
        return {
            "state": self.state(),
            "group": self.group[:4].hex() if self.group else None,
            "packets": self.packets,
            "bytes": self.bytes,
            "retransmitted": self.retransmitted,
            **self._carrier.stats(),
            "links": [link_stats(link, now) | capacity(self._carrier, link, now) for link in self._order],
            "latency_ms": None if self.latency is None else round(self.latency * 1000),
            "capacity_bits_per_second": self.advice and self.advice.capacity_bits_per_second,
            "advised_bits_per_second": self.advice and self.advice.advised_bits_per_second,
            "queued_ms": self.advice and self.advice.queued_ms,
        }

    # --- links ----------------------------------------------------------------------------------------------

    def _add(self, spec: LinkSpec) -> Link:
        link = Link(self._next_number, spec=spec)
        self._next_number += 1
        self._links[link.number] = link
        self._events.append(LinkAdded(link.number, spec))
        return link

    def _remove(self, link: Link, now: float) -> None:
        self._order = [each for each in self._order if each is not link]
        self._carrier.set_links(self._order)
        self._to_links = [entry for entry in self._to_links if entry[0] != link.number]
        self._down(link, "error", "removed from the list", now, silently=True)
        del self._links[link.number]
        self._events.append(LinkRemoved(link.number, link.spec))

    def _down(self, link: Link, state: str, reason: str, now: float, *, silently: bool = False) -> None:
        if link is self._pending:
            self._pending = None
        if link.open:
            self._link_lost_at[link.spec.family] = now
        was_usable = link.usable
        link.state, link.reason = state, reason
        link.usable = link.stalled = link.asking = False
        link.pending_keepalives.clear()
        if was_usable:
            if not silently:
                self._events.append(LinkDown(link.number, link.spec, reason))
            self._carrier.link_down(link, now)

    def _check(self, link: Link, now: float) -> None:
        silent = now - link.last_heard
        if silent >= self._link_timeout_s:
            self._down(link, "down", f"silent for {silent:.0f} s", now)
            self._register(link, now)
            return
        answer = self._answer_s(link)
        if link.asking and link.denied and now - link.asked_at >= answer:
            self._down(link, "registering", "the receiver does not know this link", now)
            self._settle(link, link.asked_at, now)
            return
        if silent >= answer and self._overdue(link, answer, now):
            self._ask_membership(link, now)
        if link.unanswered_since is not None:
            waited = now - link.unanswered_since
            if not link.stalled and waited >= max(STALL_S, STALL_RTTS * (link.rtt or 0.0)):
                link.stalled = True
                self._carrier.link_stalled(link, now)
            # A keepalive before the link counts as stalled: receivers acknowledge ten packets at a time, and
            # a link may carry few.
            if waited >= STALL_PROBE_INTERVAL_S and now - link.probed_at >= STALL_PROBE_INTERVAL_S:
                self._keepalive(link, now)
        if link.usable and not link.stalled:
            self._check_size(link, now)

    def _check_size(self, link: Link, now: float) -> None:
        """Whether packets of all sizes pass the link (passing.py)."""
        passing = link.passing
        largest = wire.MTU if passing.limit is None else passing.limit
        if largest != link.largest:
            if wire.MTU in (largest, link.largest):
                self._events.append(LinkLimited(link.number, link.spec, passing.limit))
            link.largest = largest
            self._carrier.link_limited(link, now)
        if not link.enabled or now - self._data_at > STREAMING_S:
            return
        size = passing.probe(now)
        if size:
            self._next_check = min(self._next_check, now + SPACING_S)
            self._keepalive(link, now, size)
            self._keepalive(link, now)

    def _look_at_family(self, family: int, now: float) -> None:
        """Report that no link of this family is up, though there are sockets."""
        links = [each for each in self._order if each.open and each.spec.family == family]
        heard = [each.last_heard for each in links if each.usable]
        if heard:
            self._served_at[family] = max(self._served_at[family], *heard)
        elif links:
            since = self._served_at[family]
            closed = all(each.refused_at > since for each in links)
            if now - since >= (PORT_CLOSED_S if closed else RECEIVER_SILENCE_S):
                answered = any(each.answered_at > since for each in links)
                self._served_at[family] = now
                self._events.append(ReceiverSilent(family, answered))

    def _overdue(self, link: Link, answer_s: float, now: float) -> bool:
        """Whether a keepalive left `answer_s` ago or earlier, and no sign of life has come since."""
        return any(
            link.last_heard < left <= now - answer_s for left, _, _ in link.pending_keepalives.values()
        )

    def _heard(self, link: Link, now: float) -> None:
        link.last_heard = now
        link.unanswered_since = None
        link.stalled = link.asking = False

    # --- registration ---------------------------------------------------------------------------------------

    def _register(self, link: Link, now: float) -> None:
        if now < link.retry_at:
            return
        if self.group is not None:
            link.join_sent_at = now
            self.emit(link, wire.build_registration(wire.REG2, self.group))
        elif self._pending is link:
            self.emit(link, wire.build_registration(wire.REG1, self._probe_id))
        elif self._pending is None:
            link.probing = True
            self.emit(link, wire.build_registration(wire.REG2, self._probe_id))
        else:
            return
        link.registering = True

    def _no_such_group(self, link: Link, now: float) -> None:
        if self.group is None:
            # Also after a refusal: that may have been forged, and this answers what left before it.
            if self._pending is None and link.probing:
                self._begin(link, now)
            return
        if link.usable:
            # Forged, or the receiver restarted, or a NAT gave this link another port.
            if link.asking:
                link.denied = True  # the link is given up if nothing else comes in time
            else:
                self._ask_membership(link, now)
            return
        late = link.joined or now - self._group_since >= LATE_NGP_S  # too late for the answer to a probe
        if late and link.join_sent_at is not None and link.denied_at is None:
            link.denied_at = now  # what the receiver says of this link may be on its way
            self._next_check = min(self._next_check, now + self._answer_s(link))

    def _begin(self, link: Link, now: float) -> None:
        """Register a new group over this link."""
        self._pending, self._pending_since = link, now
        link.probing, link.registering = False, True
        self.emit(link, wire.build_registration(wire.REG1, self._probe_id))

    def _ask_membership(self, link: Link, now: float) -> None:
        """Ask whether the receiver knows a link that is up, unless that was asked a moment ago."""
        if self.group is None or now - link.asked_at < ASK_INTERVAL_S:
            return
        link.asking, link.denied, link.asked_at = True, False, now
        self.emit(link, wire.build_registration(wire.REG2, self.group))

    def _settle(self, link: Link, since: float, now: float) -> None:
        """A link that is not up has been told "no such group", by whomever, and nothing else since. The group
        is given up if no other link hears from the receiver; they are asked."""
        waiting = False
        for each in self._order:
            if not each.usable:
                continue
            if each.last_heard > since:
                link.denied_at = None
                link.reason = "the receiver knows our other links, but not this one"
                return
            self._ask_membership(each, now)
            waiting = waiting or not each.asking or now - each.asked_at < self._answer_s(each)
        if waiting:
            link.denied_at = since
            return
        self._forget_group(now)
        self._begin(link, now)

    @staticmethod
    def _answer_s(link: Link) -> float:
        """How long an answer may take."""
        return max(ANSWER_S, ANSWER_RTTS * (link.rtt or 0.0))

    def _forget_group(self, now: float) -> None:
        self.group = None
        self._probe_id = self._new_id()
        self._events.append(GroupChanged(None))
        for each in self._order:
            each.joined, each.join_sent_at, each.denied_at = False, None, None
            if each.usable:
                self._down(each, "registering", "the receiver has forgotten the group", now)

    def _new_id(self) -> bytes:
        random = self._random(wire.ID_LENGTH)
        return random if self._key is None else psk.first_id(self._key, random)

    def _group_made(self, link: Link, data: bytes, now: float) -> None:
        """The answer to REG1; also if a refusal, which may have been forged, has come before."""
        group = wire.parse_registration(data)
        if group is None or self.group is not None:
            return
        if group[: wire.HALF_ID] != self._probe_id[: wire.HALF_ID]:
            return
        if self._key is not None:
            if psk.is_answered(self._key, group):
                group = psk.joining_id(self._key, group)
            else:
                self._events.append(Unproven(used=not self._require_key))
                if self._require_key:
                    link.retry_at = now + REFUSED_BACKOFF_S[1]
                    self._pending = None
                    return
        self._pending = None
        link.retry_at = link.backoff_s = 0.0
        self.group, self._group_since = group, now
        self._events.append(GroupChanged(group))
        for each in self._order:
            each.joined, each.join_sent_at = False, None
            if each.open:
                self._register(each, now)

    def _accepted(self, link: Link, now: float) -> None:
        if self.group is None or link.join_sent_at is None:
            return
        if link.usable:
            if link.asking:  # an answer that nobody asked for is no sign of life
                self._heard(link, now)
                # Links deliver in order: what left before, and has no answer yet, was dropped by a receiver
                # that did not know the link.
                self._carrier.link_stalled(link, now)
            return
        self._heard(link, now)
        link.state, link.reason = "up", ""
        link.usable = link.joined = True
        link.registering, link.denied_at = False, None
        link.backoff_s = 0.0
        self._events.append(LinkUp(link.number, link.spec))
        link.passing = Passing()
        link.largest = wire.MTU
        self._keepalive(link, now)
        self._carrier.link_up(link, now)

    def _refused(self, link: Link, why: bytes, now: float) -> None:
        """REG_ERR: the receiver refuses this link for now. No sign of life; ignored on a link that is up, and
        if nothing was asked. It may be forged, so other answers count as before: it puts off the next request
        and no more."""
        if link.usable or not link.registering:
            return
        link.registering = False
        if link is self._pending:
            self._pending = None
        first, longest = REFUSED_BACKOFF_S
        link.backoff_s = min(max(first, link.backoff_s * 2), longest)
        link.retry_at = now + link.backoff_s
        link.reason = "refused by the receiver"
        if why == wire.REFUSED_KEY:
            another = "it has another key" if self._key is not None else "it wants a key"
            link.reason = f"refused by the receiver: {another}"
        self._events.append(Refused(link.number, link.spec, link.backoff_s, link.reason))
        up = any(each.usable for each in self._order)
        if link.backoff_s >= GIVEN_UP_BACKOFF_S and self.group is not None and not up:
            self._forget_group(now)  # others may have filled it, who have seen its id

    # --- packets --------------------------------------------------------------------------------------------

    def emit_data(self, link: LinkState, data: bytes, now: float) -> None:
        ours = cast("Link", link)
        ours.data_packets += 1
        self._data_at = now
        if ours.unanswered_since is None:
            ours.unanswered_since = now
        ours.packets += 1
        ours.bytes += len(data)
        self._to_links.append((ours.number, data))

    def emit(self, link: LinkState, data: bytes) -> None:
        ours = cast("Link", link)
        ours.packets += 1
        ours.bytes += len(data)
        self._to_links.append((ours.number, data))

    def ask(self, link: LinkState, now: float) -> None:
        """Send a keepalive at once: its echo says that the link works, and what has passed it."""
        self._keepalive(cast("Link", link), now)

    def _keepalive(self, link: Link, now: float, size: int = 0) -> None:
        """Send a keepalive, padded to `size` bytes."""
        stamp = int(now * 1000)
        while stamp in link.pending_keepalives:
            stamp += 1  # two in a millisecond: only we read it, and each echo must name its own
        link.probed_at = now
        link.pending_keepalives[stamp] = (now, size, link.data_packets)
        while len(link.pending_keepalives) > MAX_PENDING_KEEPALIVES:
            del link.pending_keepalives[next(iter(link.pending_keepalives))]
        self.emit(
            link,
            wire.build_keepalive(
                wire.Keepalive(
                    timestamp=stamp,
                    link=link.number,
                    window=link.window,
                    in_flight=link.in_flight,
                    rtt=int((link.rtt or 0) * 1000),
                    naks=link.lost,
                    bitrate=link.bitrate // 8,
                )
            ).ljust(size, b"\0"),
        )

    def _round_trip(self, link: Link, data: bytes, now: float) -> None:
        echo = wire.parse_keepalive(data)
        if echo is None or echo.link != link.number:
            return  # a keepalive of the receiver's own
        ping = link.pending_keepalives.pop(echo.timestamp, None)
        if ping is None:
            return  # one that was forgotten, or echoed before
        self._heard(link, now)
        sent_at, size, before = ping
        swallowed = link.passing.echo(size, sent_at, now)
        link.lost += swallowed
        link.probes += swallowed or size > 0
        if size:
            return  # a long packet takes longer, and a plain keepalive follows it
        sample = now - sent_at
        link.rtt = sample if link.rtt is None else link.rtt + (sample - link.rtt) / 8
        self._carrier.echo(link, sample, before, now)

    def _srt_packet(self, link: Link, kind: int, data: bytes, now: float) -> None:
        if kind in (wire.SRT_ACK, wire.SRT_NAK):
            # Receivers send these over every link. Their time stamp makes each unique but for its copies.
            if data in self._copies or data in self._older_copies:
                return
            if len(self._copies) >= MAX_REMEMBERED_COPIES:
                self._older_copies, self._copies = self._copies, set()
            self._copies.add(data)
            if kind == wire.SRT_ACK:
                sequence = wire.parse_srt_ack(data)
                if sequence is not None:
                    self._carrier.srt_ack(link, sequence, now)
            elif not self._carrier.srt_nak(wire.parse_srt_nak(data) or (), now):
                return
        elif kind == wire.SRT_HANDSHAKE:
            self._carrier.handshake(data)
            self.stream_ids.answered(data)
        elif kind == wire.SRT_SHUTDOWN:
            self.caller_closed = True
        self._to_caller.append(data)
