"""The receiving engine: the sockets of an SRTLA receiver, around the state machine in receiver.py.

One socket for all senders, and per group one towards the SRT server, so that each group is a caller of its
own there. An ICMP refusal from the SRT server is no reason to drop a group: the server may come back.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import os
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, cast

from netbond.config.schema import ReceiverConfig
from netbond.config.values import HostPort
from netbond.srtla import flavour, streamid, wire
from netbond.srtla.linkreport import ReportedLink, build_report
from netbond.srtla.native import fastpath
from netbond.srtla.native.bypass import Bypass
from netbond.srtla.process import batch
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.engine import Engine
from netbond.srtla.process.linksocket import open_listener, open_towards
from netbond.srtla.process.protocol import MAX_LINE_BYTES, Forget, Message, ResumeData
from netbond.srtla.process.resolve import Resolver
from netbond.srtla.process.resumefile import ResumeFile
from netbond.srtla.process.srtserver import SrtServer
from netbond.srtla.process.statspage import page_of
from netbond.srtla.process.wakeup import LISTENER, Report
from netbond.srtla.receiver import passage
from netbond.srtla.receiver.events import (
    CallerReplaced,
    GroupCreated,
    GroupRemoved,
    KeyRefused,
    LinkJoined,
    LinkLeft,
    PlainCaller,
    Routed,
    StreamAccepted,
)
from netbond.srtla.receiver.groupfiles import GroupFiles
from netbond.srtla.receiver.peeraddress import PeerAddress, format_address, format_host, packed_address
from netbond.srtla.receiver.receiver import FLUSH_AFTER_S, Receiver
from netbond.srtla.receiver.room import Limits
from netbond.srtla.registration.keyring import Key
from netbond.srtla.statistics import GroupStatistics, PeerStatistics, ReceiverStatistics, SenderView
from netbond.system.typed_json import to_json

SENDERS = "SRTLA senders"  # for messages: who connects to the listener
MESSAGE_ROOM = MAX_LINE_BYTES - 64 * 1024  # bytes of groups in a message to the agent
SERVER_BURST = 16  # datagrams read at once from the SRT server
DRAIN_S = 2 * FLUSH_AFTER_S  # when told to stop: the last packets are forwarded and acknowledged
TROUBLE_SHOWN_S = 30.0  # after the last packet that an SRT server refused; encoders try again in this time
RESOLVE_INTERVAL_S = 30.0  # between look-ups of the SRT server's name, for groups to come

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """What a receiving engine has that is one of several processes (workers.py)."""

    listener: socket.socket
    passage: socket.socket  # to and from the front
    secret: bytes  # of the tickets


@dataclass(frozen=True, slots=True)
class RecvOptions:
    """What the command line says. `config.listen.host` "" is every address, IPv4 and IPv6."""

    config: ReceiverConfig
    keys: tuple[Key, ...] = ()  # read from `config.key_file` and `config.key`
    stats_file: Path | None = None  # for the statistics, each second
    stats_key: bytes | None = None  # of the page of streams, read from `config.stats_key_file`
    resume_file: ResumeFile | None = None  # without an agent: for the next receiver


@dataclass(slots=True, eq=False)
class _Server:
    """One of the SRT servers."""

    name: HostPort
    found: SrtServer
    resolver: Resolver
    refusing: bool = False  # as last logged
    trouble: str = ""  # what is wrong with it, since it answered last
    refused_at: float = 0.0  # when it refused something last, monotonic seconds


class RecvEngine(Engine):
    """An SRTLA receiver as a process."""

    def __init__(
        self,
        options: RecvOptions,
        channel: Channel | None,
        resume: ResumeData,
        place: WorkerPlace | None = None,
    ) -> None:
        """`place`: this is one of several processes."""
        if place is None:
            super().__init__(channel, resume, options.stats_file, options.resume_file)
        else:
            super().__init__(channel, resume)
        config = self._config = options.config
        self._place = place
        self.is_worker = place is not None
        limits = self._limits = Limits(
            timeout_s=config.timeout,
            group_timeout_s=config.group_timeout,
            groups=config.groups,
            groups_per_source=config.groups_per_source,
            groups_per_prefix=max(config.groups // 2, config.groups_per_source),
        )
        self._several = len(config.servers) > 1
        self._servers: list[_Server] = []  # in the order of `config.servers`
        self._chosen: dict[int, int] = {}  # group number -> number of its SRT server, if there are several
        self._receiver = Receiver(
            os.urandom,
            time.monotonic(),
            limits=limits,
            keys=options.keys,
            require_key=config.require_key,
            secret=place.secret if place else None,
            worker=place is not None,
            show_stream_ids=config.show_stream_ids,
            route=self._route if self._several else None,
        )
        self._towards: dict[int, socket.socket] = {}  # group number -> socket to the SRT server
        self._numbers: dict[int, int] = {}  # the same by descriptor: group number
        self._wished: dict[int, int] = {}  # group number -> local port that its predecessor had
        self._silent: set[int] = set()  # groups to which the server has not answered, or not since it refused
        self._offered: dict[int, int] = {}  # group number -> packets sent from here since the server answered
        self._files: GroupFiles | None = None
        if place is None:
            self.page = page_of(
                config, options.stats_key, lambda: cast("ReceiverStatistics | None", self.latest)
            )
        self._bypass: Bypass | None = None
        self._resolved_at = 0.0
        self.lost = {"srt_unreachable": 0, "send_failed": 0}

    # --- the engine's life --------------------------------------------------------------------------------

    def open(self) -> None:
        self._listener = self._place.listener if self._place else open_listener(self._config.listen, SENDERS)
        if self._config.group_dir is not None:
            self._files = GroupFiles(self._config.group_dir)
        if not self._config.listen.host:
            batch.enable_pktinfo(self._listener)
        self._restore()
        slots = 1 if fastpath.available() else batch.PER_WAKE_UP  # it is then only asked who wrote
        self._inbox = batch.Inbox(slots, gro=batch.enable_gro(self._listener))
        self._server_inbox = batch.Inbox(SERVER_BURST)
        self.loop.add_packets(self._listener.fileno(), self._from_peers)
        if fastpath.available():
            self._bypass = Bypass(self._listener.fileno(), self.loop.packets_descriptor, self._receiver)
            self.loop.use(self._bypass.fast, self._from_bypass)
        for name in self._config.servers:
            server = SrtServer(name, self._server_moved)
            self._servers.append(_Server(name, server, Resolver(name, server.offer)))
            self._servers[-1].resolver.start()
        if self._place is not None:
            self.loop.add_packets(self._place.passage.fileno(), self._from_front)
            return
        log.info(
            "listening on %s for SRTLA senders, SRT server %s",
            format_address(self._listener.getsockname()),
            served_by(self._config),
        )

    def message(self, message: Message) -> None:
        address = passage.peer(message.peer) if isinstance(message, Forget) else None
        if address is not None:
            self._settle()
            self._receiver.forget(address, time.monotonic())
            self._flush()

    async def drain(self) -> None:
        await asyncio.sleep(DRAIN_S)

    def close(self) -> None:
        for server in self._servers:
            server.found.close()
        if self._files is not None:
            self._files.close()

    def maintain(self, now: float) -> None:
        self.loop.set_patience(self._receiver.patience())
        if now - self._resolved_at >= RESOLVE_INTERVAL_S:
            self._resolved_at = now
            for server in self._servers:
                if not server.resolver.literal:
                    server.resolver.start()
        self._move()

    def next_timer(self) -> float | None:
        return self._receiver.next_timer()

    def handle_timer(self, now: float) -> None:
        self._settle()
        self._receiver.handle_timer(now)
        self._flush()

    def resume_data(self) -> ResumeData:
        groups = []
        for number, group_id, links in self._receiver.groups():
            entry: dict[str, Any] = {
                "id": group_id.hex(),
                "srt_port": self._srt_port(number),
                "links": [list(address) for address in links],
            }
            registrant = self._receiver.registrant(number)
            if registrant is not None:
                entry["registered"] = list(registrant)
            stream_id = self._receiver.stream_id_of(number)
            if stream_id:
                entry["stream_id"] = stream_id
            groups.append(entry)
        return {"groups": fit_in_message(groups)}

    def stats(self, now: float) -> ReceiverStatistics:
        self._settle()
        groups = []
        for group in self._receiver.stats(now):
            number = group.pop("number")
            server = self._server_of(number)
            name = str(server.name) if server is not None else ""
            groups.append(_group_statistics(group, self._srt_port(number), name))
            if self._config.srtla_stats:
                self._report(number, groups[-1], now)
        shown = busiest(groups)
        return ReceiverStatistics(
            role="receiver",
            listen=format_address(self._listener.getsockname()),
            srt=str(self._config.srt),
            groups=shown,
            groups_left_out=len(groups) - len(shown),
            problems=tuple(
                server.trouble
                for server in self._servers
                if server.trouble and now - server.refused_at < TROUBLE_SHOWN_S
            ),
            refused={**self._receiver.refused, **self.lost},
            flavour=flavour(),
        )

    def _report(self, number: int, group: GroupStatistics, now: float) -> None:
        """Tell the SRT server of the links. Only of a stream that lives: a packet keeps a connection open."""
        server, addresses = self._receiver.server_of(number), self._receiver.links_of(number)
        if group.live and server and number in self._towards:
            links = [
                ReportedLink(packed_address(address), link.bytes, link.bitrate_bps, link.age_s)
                for address, link in zip(addresses, group.links, strict=True)
            ]
            self._to_server(number, [build_report(server, group.payload_bps, links, now)])

    def _srt_port(self, number: int) -> int:
        sock = self._towards.get(number)
        return int(sock.getsockname()[1]) if sock is not None else self._wished.get(number, 0)

    # --- datagrams ------------------------------------------------------------------------------------------

    def _from_peers(self, now: float) -> int:
        inbox, receiver = self._inbox, self._receiver
        datagrams = inbox.read_from(self._listener)
        receiver.datagrams_from_peers(datagrams, now)
        self._flush()
        if inbox.crowded:
            inbox.forget_all_but(receiver.links())
        self.arm()
        return len(datagrams)

    def _settle(self) -> None:
        """Tell the state machine what the compiled data path has forwarded."""
        if self._bypass is not None:
            self._bypass.settle()
            failed, unreachable = self._bypass.fast.failed()
            self.lost["send_failed"] += failed
            self.lost["srt_unreachable"] += unreachable

    def _from_bypass(self, reports: list[Report], now: float) -> None:
        """Handle the datagrams and errors that the compiled data path reports."""
        self._settle()
        receiver, inbox = self._receiver, self._inbox
        records: dict[PeerAddress, bytes] = {}
        datagrams = []
        for descriptor, record, data, error in reports:
            if descriptor == LISTENER:
                address = inbox.resolve(record)
                if len(data) < batch.SLOT_BYTES:
                    records[address] = record
                    datagrams.append((address, data))
            elif descriptor in self._numbers:
                number = self._numbers[descriptor]
                if error:
                    self._server_refuses(OSError(error, os.strerror(error)), number)
                else:
                    receiver.datagram_from_srt(number, data, now)
                    self._server_answers(number)
        receiver.datagrams_from_peers(datagrams, now)
        self._flush()
        for address, record in records.items():
            if self._bypass is not None:
                self._bypass.take(address, record, inbox.local.get(address), self._towards, now)
        if inbox.crowded:
            inbox.forget_all_but(receiver.links())
        self.arm()

    def _from_srt(self, number: int, sock: socket.socket, now: float) -> int:
        self._settle()
        datagrams, error = self._server_inbox.read(sock)
        for data in datagrams:
            self._receiver.datagram_from_srt(number, data, now)
        if error is not None:
            self._server_refuses(error, number)
        elif datagrams:
            self._server_answers(number)
        self._flush()
        self.arm()
        return 0

    def _from_front(self, now: float) -> int:
        """Handle datagrams for links and groups here that another process received."""
        if self._place is None:
            return 0
        self._settle()
        handed = passage.receive(self._place.passage)
        for address, local, data in handed:
            self._inbox.remember(address, local)
            self._receiver.datagram_handed(address, data, now)
        self._flush()
        self.arm()
        return len(handed)

    def _flush(self) -> None:
        """Send what the state machine has, and handle its events."""
        receiver = self._receiver
        if self._place is not None:
            for address, data in receiver.datagrams_elsewhere():
                passage.send(self._place.passage, address, self._inbox.local.get(address), data)
        for event in receiver.events():
            self._event(event)
        for number, datagrams in receiver.batches_to_srt():
            self._to_server(number, datagrams)
        out = receiver.datagrams_to_peers()
        if out:
            self.lost["send_failed"] += batch.send_to(self._listener, out, self._inbox.local)

    def _to_server(self, number: int, datagrams: list[bytes]) -> None:
        if self._server_of(number) is None:
            return  # of a connection before this process: no SRT server would know it
        sock = self._towards.get(number) or self._open_towards(number)
        if sock is None:
            self.lost["srt_unreachable"] += len(datagrams)
            return
        sent = 0
        while sent < len(datagrams):
            count, error = batch.send(sock, datagrams[sent:])
            sent += count
            self._offered[number] = self._offered.get(number, 0) + count
            if error is not None:
                self._server_refuses(error, number)
                self.lost["srt_unreachable"] += 1
                sent += 1  # SRT asks for it again

    # --- the SRT servers ------------------------------------------------------------------------------------

    def _route(self, stream_id: str) -> int:
        """The number of the SRT server for a stream id."""
        for each in self._config.server:
            if fnmatchcase(stream_id, each.pattern):
                return self._config.servers.index(each.srt)
        return 0

    def _server_of(self, number: int) -> _Server | None:
        """The SRT server of a group; None: its caller has not said yet which stream it brings."""
        chosen = self._chosen.get(number) if self._several else 0
        return None if chosen is None or not self._servers else self._servers[chosen]

    def _choose(self, number: int, chosen: int) -> None:
        """Let a group's packets go to this SRT server."""
        if self._chosen.get(number) == chosen:
            return
        self._close_towards(number)
        self._chosen[number] = chosen

    def _server_moved(self) -> None:
        """A server's address is known, or another one is in use."""
        for number in list(self._wished):  # restored: the SRT server may have something to send to them
            self._open_towards(number)
        self._move()

    def _move(self) -> None:
        """Let groups that get no answer try the address in use. The others keep theirs while it works."""
        for number in self._silent & self._towards.keys():
            if not self._uses(number, self._towards[number]):
                self._close_socket(number)
                self._open_towards(number)

    def _uses(self, number: int, sock: socket.socket) -> bool:
        """Whether this group's socket goes to the address in use of its server."""
        server = self._server_of(number)
        peer = sock.getpeername()
        return server is not None and (sock.family, peer[0], peer[1]) == server.found.endpoint

    def _open_towards(self, number: int) -> socket.socket | None:
        server = self._server_of(number)
        if server is None or server.found.endpoint is None:
            return None
        try:
            sock = open_towards(server.found.endpoint, self._wished.pop(number, 0))
        except OSError as error:
            self._server_refuses(error, number)
            return None
        self._silent.add(number)
        self._towards[number] = sock
        self._numbers[sock.fileno()] = number
        self._write_file(number)
        self.loop.add_packets(sock.fileno(), partial(self._from_srt, number, sock))
        self.publish_resume()
        return sock

    def _close_towards(self, number: int) -> bool:
        """Forget a group's server, and close its socket; whether there was one."""
        self._chosen.pop(number, None)
        return self._close_socket(number)

    def _close_socket(self, number: int) -> bool:
        if self._bypass is not None:
            self._bypass.group_gone(number)
        self._wished.pop(number, None)
        self._offered.pop(number, None)
        self._silent.discard(number)
        sock = self._towards.pop(number, None)
        if sock is None:
            return False
        if self._files is not None:
            self._files.remove(int(sock.getsockname()[1]))
        self.loop.remove_packets(sock.fileno())
        del self._numbers[sock.fileno()]
        sock.close()
        return True

    def _server_refuses(self, error: OSError, number: int) -> None:
        # The kernel tells of an ICMP error once, however many datagrams were refused.
        self.lost["srt_unreachable"] += self._offered.pop(number, 0)
        self._silent.add(number)
        sock, server = self._towards.get(number), self._server_of(number)
        if server is None:
            return
        if sock is None or self._uses(number, sock):
            server.found.refuses()
        server.refused_at = time.monotonic()
        what = "nothing listens there" if error.errno == errno.ECONNREFUSED else str(error.strerror)
        server.trouble = f"SRT server {server.name}: {what}"
        if not server.refusing:
            server.refusing = True
            log.warning("%s; packets go on being offered", server.trouble)

    def _server_answers(self, number: int) -> None:
        self._offered.pop(number, None)
        server = self._server_of(number)
        if server is None:
            return
        if number in self._silent:
            self._silent.discard(number)
            if self._uses(number, self._towards[number]):
                server.found.works()
        server.trouble = ""
        if server.refusing:
            server.refusing = False
            log.info("SRT server %s answers again", server.name)

    def _event(self, event: Any) -> None:
        if isinstance(event, KeyRefused | PlainCaller):
            log_refusal(event, self._config.srt)
            return
        if isinstance(event, Routed):
            self._choose(event.group, event.server)
            return
        name = f"{event.stream} (group {event.id[:4].hex()})"
        if isinstance(event, GroupRemoved):
            if self._close_towards(event.group):
                log.info("stream %s: removed: %s", name, event.reason)
        elif isinstance(event, CallerReplaced):
            if event.group in self._towards:
                self._to_server(event.group, [event.shutdown])
            self._close_towards(event.group)
            log.info("stream %s: another SRT caller: the SRT connection before is ended", name)
        elif isinstance(event, StreamAccepted):
            server = self._server_of(event.group)
            log.info("stream %s: the SRT server%s has accepted it", name, f" {server.name}" if server else "")
        elif isinstance(event, GroupCreated):
            log.debug("stream %s: registered from %s", name, format_address(event.address))
        elif isinstance(event, LinkJoined):
            self._write_file(event.group)
            log.info("stream %s: link %s joined", name, format_address(event.address))
        elif isinstance(event, LinkLeft):
            if self._bypass is not None:
                self._bypass.link_gone(event.address)
            self._write_file(event.group)
            log.info("stream %s: link %s left: %s", name, format_address(event.address), event.reason)
        if not isinstance(event, GroupCreated):
            self.publish_resume()

    def _write_file(self, number: int) -> None:
        sock = self._towards.get(number)
        if self._files is not None and sock is not None:
            hosts = [format_host(address) for address in self._receiver.links_of(number)]
            self._files.write(int(sock.getsockname()[1]), hosts)

    # --- what the engine before has left: from a file that only root can write, checked nevertheless --------

    def _restore(self) -> None:
        dual = self._listener.family == socket.AF_INET6
        groups = _resumed_groups(self.resume, self._limits, dual=dual)
        receiver = self._receiver
        numbers = receiver.restore([(group.id, group.links) for group in groups], time.monotonic())
        for number, group in zip(numbers, groups, strict=True):
            if group.port:
                self._wished[number] = group.port
            if group.registrant in receiver.links_of(number):
                receiver.prove(group.registrant)
            receiver.restore_stream_id(number, group.stream_id)
            if self._several:
                self._chosen[number] = self._route(group.stream_id)
        if groups:
            log.info("taking up %d group(s) of the engine before", len(groups))


def served_by(config: ReceiverConfig) -> str:
    """The SRT servers for the log: "127.0.0.1:5002, of live/* 127.0.0.1:5003"."""
    return ", of ".join((str(config.srt), *(f"{each.pattern} {each.srt}" for each in config.server)))


def log_refusal(event: KeyRefused | PlainCaller, server: HostPort) -> None:
    """Say who was refused and why."""
    if isinstance(event, PlainCaller):
        why = f"it speaks SRT without SRTLA; point it at its SRTLA sender, or at the SRT server ({server})"
    else:
        why = "it has another key than ours" if event.claimed else "it has no key"
    log.warning("%s: refused: %s", format_address(event.address), why)


def fit_in_message(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first groups, as many as fit into a message; with four links each, all there can be."""
    room = MESSAGE_ROOM
    out = []
    for group in groups:
        room -= len(json.dumps(group))
        if room < 0:
            break
        out.append(group)
    return out


def busiest(groups: Iterable[GroupStatistics]) -> tuple[GroupStatistics, ...]:
    """The groups that carry most, as many as a message has room for."""
    in_order = sorted(groups, key=lambda group: -group.bitrate_bps)
    return tuple(in_order[: len(fit_in_message([to_json(group) for group in in_order]))])


def _group_statistics(group: dict[str, Any], srt_port: int, server: str) -> GroupStatistics:
    """A group of Receiver.stats(), without its number."""
    links = []
    for link in group["links"]:
        told = link.get("sender")
        links.append(PeerStatistics(**{**link, "sender": None if told is None else SenderView(**told)}))
    return GroupStatistics(**{**group, "links": tuple(links)}, srt_port=srt_port, server=server)


@dataclass(frozen=True, slots=True)
class _Resumed:
    """A group of the engine before."""

    id: bytes
    port: int  # towards the SRT server; 0: none
    links: list[PeerAddress]
    registrant: PeerAddress  # the one of them that registered; (): none, or it is gone
    stream_id: str


def _resumed_groups(resume: ResumeData, limits: Limits, *, dual: bool) -> list[_Resumed]:
    """The groups of the engine before, as far as they make sense."""
    out: dict[bytes, _Resumed] = {}
    groups = resume.get("groups")
    for entry in (groups if isinstance(groups, list) else [])[: limits.groups]:
        if not isinstance(entry, dict):
            continue
        try:
            group_id = bytes.fromhex(entry["id"])
        except (KeyError, TypeError, ValueError):
            continue
        port, links = entry.get("srt_port"), entry.get("links")
        if len(group_id) != wire.ID_LENGTH or type(port) is not int or not 0 <= port < 65536:
            continue
        peers = [_resumed_peer(link, dual=dual) for link in (links if isinstance(links, list) else [])]
        known = [peer for peer in peers if peer is not None]
        if known:
            registrant = _resumed_peer(entry.get("registered"), dual=dual) or ()
            stream_id = streamid.resumed(entry.get("stream_id"))
            out[group_id] = _Resumed(group_id, port, known[: limits.links], registrant, stream_id)
    return list(out.values())


def _resumed_peer(link: object, *, dual: bool) -> PeerAddress | None:
    """An address as recvfrom gives it on the present listener, which may be of another family than before."""
    if not isinstance(link, list) or len(link) not in (2, 4):
        return None
    host, numbers = link[0], link[1:]
    if not isinstance(host, str) or not all(type(n) is int and 0 <= n < 1 << 32 for n in numbers):
        return None
    if not 0 < numbers[0] < 65536:
        return None
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    if not dual:
        return (str(mapped or ip), numbers[0]) if mapped or ip.version == 4 else None
    if ip.version == 4:
        return (f"::ffff:{ip}", numbers[0], 0, 0)
    return (host, *numbers) if len(numbers) == 3 else (host, numbers[0], 0, 0)
