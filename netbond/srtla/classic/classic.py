"""Implements `--mode classic`: the window algorithm of all SRTLA senders since the first.

Each packet is sent at once over the link with the most free window. Loss reports shrink windows, and reach
the SRT caller, which sends the reported packets again.
"""

from __future__ import annotations

from collections.abc import Sequence

from netbond.srtla import wire
from netbond.srtla.classic.flight import Flight, Sent
from netbond.srtla.schedule import Carrier, ClassicScheduler, LinkState


class Classic(Carrier):
    """A carrier (see `schedule.Carrier`)."""

    def __init__(self) -> None:
        self._scheduler = ClassicScheduler()
        self._flight = Flight()
        self._links: Sequence[LinkState] = ()
        self.resent = self.dropped = 0

    def set_links(self, links: Sequence[LinkState]) -> None:
        self._links = links

    def link_up(self, link: LinkState, now: float) -> None:
        self._scheduler.reset(link, now)
        self._rescue(self._flight.stranded() + self._flight.carried_by(link), now)

    def link_down(self, link: LinkState, now: float) -> None:
        self._rescue(self._flight.carried_by(link), now)

    def link_stalled(self, link: LinkState, now: float) -> None:
        self._rescue(self._flight.carried_by(link), now)

    def link_limited(self, link: LinkState, now: float) -> None:
        swallowed = [sent for sent in self._flight.carried_by(link) if len(sent.data) > link.largest]
        link.lost += len(swallowed)
        self._rescue(swallowed, now)

    def control(self, data: bytes, now: float) -> None:
        if wire.is_induction(data):
            self._flight.clear()  # a new SRT connection has new sequence numbers
        link = self._scheduler.choose(self._links, len(data), now)
        if link is None:
            self.dropped += 1
        else:
            self._outlet.emit(link, data)

    def data(self, sequence: int, data: bytes, now: float, *, again: bool) -> None:
        if wire.is_filter_packet(data):  # it has the number of a data packet, which stays on record
            link = self._scheduler.choose(self._links, len(data), now)
            if link is None:
                self.dropped += 1
            else:
                link.passing.sent(len(data), now)
                self._outlet.emit_data(link, data, now)
            return
        if not again and self._flight.is_far_behind(sequence):
            self._flight.clear()
        self._send(sequence, data, self._links, now)

    def srtla_ack(self, link: LinkState, sequences: Sequence[int], now: float) -> None:
        for sequence in sequences:
            sent = self._flight.acknowledge(sequence)
            if sent is not None and sent.link is link:
                link.passing.acknowledged(len(sent.data))
            self._scheduler.acknowledged(sent.link if sent is not None else None, self._links)

    def srt_ack(self, link: LinkState, sequence: int, now: float) -> None:
        self._flight.acknowledge_before(sequence)

    def srt_nak(self, ranges: Sequence[tuple[int, int]], now: float) -> bool:
        for sent in self._flight.within(ranges):
            link = sent.link
            if sent.times > 1 and now - sent.sent_at < (link.rtt or 0.0) / 2:
                continue  # reported before the latest transmission can have arrived
            link.lost += 1
            self._scheduler.lost(link)
            self._flight.mark_lost(sent)
        return True

    def handshake(self, data: bytes) -> None:
        pass

    def learnt_latency(self) -> float | None:
        return None

    def resume_latency(self, latency: float) -> None:
        pass

    def echo(self, link: LinkState, sample: float, before: int, now: float) -> None:
        pass

    def not_sent(self, link: LinkState, datagrams: Sequence[bytes], now: float) -> None:
        others = [each for each in self._links if each is not link]
        for data in datagrams:
            sequence = wire.data_sequence(data)
            sent = self._flight.find(sequence) if sequence is not None else None
            if sent is None or sent.link is not link or sent.lost:
                continue
            self._flight.mark_lost(sent)
            self._scheduler.lost(link)
            if any(each.carries for each in others):
                self._send(sent.sequence, data, others, now)

    def flush(self) -> None:
        pass

    def handle_timer(self, now: float) -> None:
        pass

    def next_timer(self) -> float | None:
        return None

    def stats(self) -> dict[str, int]:
        return {"resent": self.resent, "dropped": self.dropped}

    def _send(self, sequence: int, data: bytes, links: Sequence[LinkState], now: float) -> None:
        link = self._scheduler.choose(links, len(data), now)
        if link is None:
            self.dropped += 1
            return
        self._flight.record(sequence, link, data, now)
        link.passing.sent(len(data), now)
        self._outlet.emit_data(link, data, now)

    def _rescue(self, stranded: list[Sent], now: float) -> None:
        """Send packets again whose link no longer answers, if there is a better link."""
        for sent in stranded:
            link = self._scheduler.choose(self._links, len(sent.data), now)
            if link is None or link.stalled or len(sent.data) > link.largest:
                return
            self._send(sent.sequence, sent.data, self._links, now)
            self.resent += 1
