"""The front of a receiver that has several processes: it assigns each new stream to a worker.

A stream belongs to one worker, with all its links. The kernel gives a link's datagrams to its worker
(steering.py). Everybody else's come here, so that junk costs this process and no stream: registrations are
answered, a group goes to the worker that has fewest, and what is for a worker but came here, as it is new or
the kernel's program is full, is passed on. A worker passes back what is not its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from netbond.errors import EXIT_UNAVAILABLE
from netbond.srtla import flavour, wire
from netbond.srtla.process import batch
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.engine import Engine
from netbond.srtla.process.protocol import Fatal, Forget, Hello, Message, Resume, ResumeData, Stats
from netbond.srtla.process.receiving import RecvOptions, busiest, fit_in_message, log_refusal, served_by
from netbond.srtla.process.statspage import page_of
from netbond.srtla.receiver import passage, steering
from netbond.srtla.receiver.events import KeyRefused, PlainCaller
from netbond.srtla.receiver.peeraddress import PeerAddress, format_address
from netbond.srtla.receiver.receiver import REMOVED_MAX, Receiver
from netbond.srtla.statistics import ReceiverStatistics, WorkerStatistics
from netbond.system.hang import LOOK_INTERVAL_S, HangDetector, look_at
from netbond.system.typed_json import from_json

CONFIRM_WITHIN_S = 3.0  # for a worker to report a group or link that it was given
STEER_INTERVAL_S = 0.05  # between two programs for the kernel

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Worker:
    """One of the other processes, as the front sees it."""

    number: int  # of its socket for the kernel's program; the front's is 0
    channel: Channel
    passage: socket.socket
    groups: list[Any] = field(default_factory=list)  # as in its last `resume`
    ids: set[bytes] = field(default_factory=set)
    links: set[PeerAddress] = field(default_factory=set)
    stats: ReceiverStatistics | None = None
    pid: int = 0  # 0: it has not started yet, or has been ended
    pidfd: int = -1  # names the process even if its id is used again
    hang: HangDetector = field(default_factory=HangDetector)

    @property
    def bitrate_bps(self) -> int:
        """What its groups carry, as it last said."""
        return 0 if self.stats is None else sum(group.bitrate_bps for group in self.stats.groups)

    def took(self, groups: Sequence[object]) -> None:
        """What it has now, or shall take up; as in `resume` (docs/architecture.md)."""
        self.groups, self.ids, self.links = [], set(), set()
        for group in groups:
            try:
                number, links = bytes.fromhex(group["id"]), list(group["links"])  # type: ignore[index]  # if it is one
            except (KeyError, TypeError, ValueError):
                continue
            self.groups.append(group)
            self.ids.add(number)
            self.links.update(link for link in map(passage.peer, links) if link is not None)

    def started(self, pid: int) -> None:
        """A process is this worker from now on."""
        self.forget_process()
        with contextlib.suppress(OSError):  # it has died already
            self.pidfd = os.pidfd_open(pid)
            self.pid, self.hang = pid, HangDetector()

    def hangs(self, now: float) -> bool:
        """Whether its process hangs; to be asked each LOOK_INTERVAL_S."""
        return self.pid > 0 and self.hang.look(now, look_at(self.pid))

    def kill(self) -> None:
        """End its process; the parent will start another."""
        with contextlib.suppress(OSError):  # it has ended just now
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self.forget_process()

    def forget_process(self) -> None:
        """It has none at present."""
        if self.pid:
            os.close(self.pidfd)
        self.pid, self.pidfd = 0, -1


class Directory:
    """Which worker has which group and link. Pure."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = workers
        self._new_ids: dict[
            bytes, tuple[Worker, float]
        ] = {}  # given away and not confirmed yet: and until when
        self._new_links: dict[PeerAddress, tuple[Worker, float]] = {}
        self._removed: OrderedDict[bytes, None] = OrderedDict()  # ids of groups, the last few

    def of_group(self, group: bytes, now: float) -> Worker | None:
        """The worker that has this group."""
        for worker in self.workers:
            if group in worker.ids:
                return worker
        new, until = self._new_ids.get(group, (None, 0.0))
        return new if now < until else None

    def of_link(self, address: PeerAddress, now: float) -> Worker | None:
        """The worker that has this link."""
        worker, until = self._new_links.get(address, (None, 0.0))
        if worker is not None and now < until:
            return worker
        return next((each for each in self.workers if address in each.links), None)

    def group_of_link(self, address: PeerAddress) -> bytes | None:
        """The id of this link's group; None: its worker has not told yet."""
        for worker in self.workers:
            for group in worker.groups if address in worker.links else ():
                if address in map(passage.peer, group["links"]):
                    return bytes.fromhex(group["id"])
        return None

    def told(self, worker: Worker, groups: Sequence[object]) -> None:
        """A worker says what it has."""
        before = worker.ids
        worker.took(groups)
        self._removed.update(dict.fromkeys(before - worker.ids))
        while len(self._removed) > REMOVED_MAX:
            self._removed.popitem(last=False)

    def was_removed(self, group: bytes) -> bool:
        """Whether a worker had this group: a REG2 that was recorded does not make it again."""
        return group in self._removed

    def idlest(self) -> Worker:
        """The worker for a new group: with the fewest, and of these with the least to do."""

        def load(worker: Worker) -> tuple[int, int, int]:
            new = sum(each is worker for each, _ in self._new_ids.values())
            return len(worker.ids) + new, worker.bitrate_bps, worker.number

        return min(self.workers, key=load)

    def give(self, worker: Worker, group: bytes, address: PeerAddress, now: float) -> None:
        """This worker shall have the group and the link."""
        if group not in worker.ids:
            self._new_ids[group] = worker, now + CONFIRM_WITHIN_S
        self._new_links[address] = worker, now + CONFIRM_WITHIN_S

    def confirmed(self, now: float) -> None:
        """A worker has said what it has, or time has passed."""
        for group, (worker, until) in list(self._new_ids.items()):
            if now >= until or group in worker.ids:
                del self._new_ids[group]
        for address, (worker, until) in list(self._new_links.items()):
            if now >= until or address in worker.links:
                del self._new_links[address]

    def links(self) -> dict[PeerAddress, Worker]:
        """All links and their workers."""
        found = {address: worker for worker in self.workers for address in worker.links}
        found.update((address, worker) for address, (worker, _) in self._new_links.items())
        return found


class FrontEngine(Engine):
    """The first process of a receiver that has several."""

    def __init__(
        self,
        options: RecvOptions,
        channel: Channel | None,
        resume: ResumeData,
        *,
        listener: socket.socket,
        secret: bytes,
        workers: Sequence[Worker],
    ) -> None:
        super().__init__(channel, resume, options.stats_file, options.resume_file)
        config = self._config = options.config
        self._listener = listener
        self.page = page_of(config, options.stats_key, lambda: cast("ReceiverStatistics | None", self.latest))
        self._directory = Directory(workers)
        self._receiver = Receiver(
            os.urandom,
            time.monotonic(),
            keys=options.keys,
            require_key=options.config.require_key,
            secret=secret,
        )
        self._salt = steering.Salt.of(os.urandom(8))
        self._steered: dict[int, int] | None = None
        self._steer_due = False
        self._full_said = False
        self._lost = 0
        # Known from the start: a sender that is told "no such group" would register anew.
        groups = resume.get("groups")
        for position, worker in enumerate(workers):
            worker.took(groups[position :: len(workers)] if isinstance(groups, list) else [])

    # --- the engine's life --------------------------------------------------------------------------------

    def open(self) -> None:
        if not self._config.listen.host:
            batch.enable_pktinfo(self._listener)
        self._inbox = batch.Inbox(gro=batch.enable_gro(self._listener))
        self._steer()
        for worker in self._directory.workers:
            worker.channel.start(partial(self._from_worker, worker), lambda: None)
            self.loop.add_packets(worker.passage.fileno(), partial(self._from_passage, worker))
        self._look_at_workers()
        self.loop.add_packets(self._listener.fileno(), self._from_peers)
        log.info(
            "listening on %s for SRTLA senders, SRT server %s, %d workers",
            format_address(self._listener.getsockname()),
            served_by(self._config),
            len(self._directory.workers),
        )

    def next_timer(self) -> float | None:
        return None

    def handle_timer(self, now: float) -> None:
        pass

    def maintain(self, now: float) -> None:
        self._directory.confirmed(now)
        self._steer_soon()

    def resume_data(self) -> ResumeData:
        groups = [group for worker in self._directory.workers for group in worker.groups]
        return {"groups": fit_in_message(groups)}

    def stats(self, now: float) -> ReceiverStatistics:
        workers = self._directory.workers
        told = [worker.stats for worker in workers if worker.stats is not None]
        groups = [group for stats in told for group in stats.groups]
        shown = busiest(groups)
        refused = {**self._receiver.refused, "srt_unreachable": 0, "send_failed": self._lost}
        for stats in told:
            for reason, count in stats.refused.items():
                refused[reason] += count
        return ReceiverStatistics(
            role="receiver",
            listen=format_address(self._listener.getsockname()),
            srt=str(self._config.srt),
            groups=shown,
            groups_left_out=len(groups) - len(shown) + sum(stats.groups_left_out for stats in told),
            workers=tuple(
                WorkerStatistics(len(worker.ids), len(worker.links), worker.bitrate_bps) for worker in workers
            ),
            problems=tuple(dict.fromkeys(problem for stats in told for problem in stats.problems)),
            refused=refused,
            flavour=flavour(),
        )

    # --- workers ------------------------------------------------------------------------------------------

    def _look_at_workers(self) -> None:
        """End those that hang: the kernel goes on giving them the packets of their streams."""
        self.loop.call_later(LOOK_INTERVAL_S, self._look_at_workers)
        now = time.monotonic()
        for worker in self._directory.workers:
            if worker.hangs(now):
                log.warning("worker %d hangs: ending it", worker.number)
                worker.kill()

    def _from_worker(self, worker: Worker, message: Message) -> None:
        worker.hang.heard()
        if isinstance(message, Fatal):  # each restarted worker would say it again
            if self.channel is not None:
                self.channel.send(message)
            else:
                log.error("%s", message.reason)
            self._stop(EXIT_UNAVAILABLE)
        elif isinstance(message, Hello):
            worker.started(message.pid)
            worker.channel.send(Resume({"groups": worker.groups}))
        elif isinstance(message, Resume):
            self._directory.told(worker, message.data["groups"])
            self._directory.confirmed(time.monotonic())
            self._steer_soon()
            self.publish_resume()
        elif isinstance(message, Stats):
            worker.stats = from_json(ReceiverStatistics, message.data)

    def _from_passage(self, worker: Worker, now: float) -> int:
        """What a worker got and is not its own."""
        datagrams = passage.receive(worker.passage)
        for address, local, data in datagrams:
            self._inbox.remember(address, local)
            self._datagram(address, data, now)
        self._answer()
        return len(datagrams)

    # --- datagrams ------------------------------------------------------------------------------------------

    def _from_peers(self, now: float) -> int:
        inbox = self._inbox
        datagrams = inbox.read_from(self._listener)
        for address, data in datagrams:
            self._datagram(address, data, now)
        self._answer()
        if inbox.crowded:
            inbox.forget_all_but(self._directory.links())
        return len(datagrams)

    def _datagram(self, address: PeerAddress, data: bytes, now: float) -> None:
        group = wire.parse_registration(data)
        if group is not None and wire.packet_type(data) == wire.REG2:
            self._join(address, group, data, now)
            return
        owner = self._directory.of_link(address, now)
        if owner is None or group is not None:
            self._receiver.datagram_from_peer(address, data, now)
        else:
            self._hand(owner, address, data)

    def _join(self, address: PeerAddress, group: bytes, data: bytes, now: float) -> None:
        directory = self._directory
        worker = directory.of_group(group, now)
        tickets = self._receiver.tickets
        if worker is None and directory.was_removed(group):
            self._receiver.deny_group(address)
            return
        if worker is None and tickets.check(group, now) is not None:
            worker = directory.idlest()
        if worker is None:
            self._receiver.datagram_from_peer(address, data, now)  # "no such group"
            return
        owner = directory.of_link(address, now)
        if owner is not None and owner is not worker:
            present = directory.group_of_link(address)
            older = present is not None and tickets.is_before(group, present)
            if older or not self._receiver.may_leave(present, group, address):
                self._receiver.refuse_link(address)
                return
            owner.channel.send(Forget(list(address)))
            owner.links.discard(address)
        if owner is not worker:
            directory.give(worker, group, address, now)
            self._steer_soon()
        self._hand(worker, address, data)

    def _hand(self, worker: Worker, address: PeerAddress, data: bytes) -> None:
        if not passage.send(worker.passage, address, self._inbox.local.get(address), data):
            self._lost += 1

    def _answer(self) -> None:
        for event in self._receiver.events():
            if isinstance(event, KeyRefused | PlainCaller):
                log_refusal(event, self._config.srt)
        out = self._receiver.datagrams_to_peers()
        if out:
            self._lost += batch.send_to(self._listener, out, self._inbox.local)

    # --- the kernel's program -------------------------------------------------------------------------------

    def _steer_soon(self) -> None:
        if not self._steer_due:
            self._steer_due = True
            self.loop.call_later(STEER_INTERVAL_S, self._steer)

    def _steer(self) -> None:
        self._steer_due = False
        peers: dict[int, int] = {}
        for address, worker in self._directory.links().items():
            value = steering.hashed(address, self._salt)
            # Of two that meet, the kernel knows one; the other's datagrams are passed back and on.
            peers.setdefault(value, worker.number)
        if peers == self._steered:
            return
        self._steered = peers
        try:
            steered = steering.attach(self._listener, peers, self._salt)
        except OSError as error:
            trouble = str(error.strerror)
        else:
            trouble = "" if steered == len(peers) else f"room for {steered} of {len(peers)} links only"
        if trouble and not self._full_said:
            log.warning(
                "the kernel does not bring links to their workers: %s; it goes on, at more cost", trouble
            )
        self._full_said = bool(trouble)
