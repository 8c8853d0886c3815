"""The sending engine: the sockets of an SRTLA sender, around the state machine in sender.py.

One socket for the SRT caller, one per link. A link whose socket fails is tried again each second, and its
trouble is logged once. Without any link the engine waits for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from netbond.config.schema import SenderConfig
from netbond.config.values import HostPort
from netbond.srtla import flavour, streamid, watch, wire
from netbond.srtla.advice import Advice
from netbond.srtla.answers import Answers
from netbond.srtla.callers import Callers
from netbond.srtla.keyframes import announced_s
from netbond.srtla.linkspec import LinkSpec
from netbond.srtla.modes import make_carrier
from netbond.srtla.native import fastpath
from netbond.srtla.process import batch, linklist, resumed
from netbond.srtla.process.addresses import Addresses
from netbond.srtla.process.carriage import Carriage
from netbond.srtla.process.channel import Channel
from netbond.srtla.process.encoder import EncoderAdvice
from netbond.srtla.process.engine import Engine
from netbond.srtla.process.failover import Failover
from netbond.srtla.process.linksocket import FAILURES, Endpoint, open_link, open_listener, reason
from netbond.srtla.process.protocol import AdviceMessage, EncoderThere, Links, Message, ResumeData
from netbond.srtla.process.resolve import Resolver
from netbond.srtla.process.wakeup import Report
from netbond.srtla.process.watchsocket import WatchSocket
from netbond.srtla.receiver.peeraddress import format_address
from netbond.srtla.sender import RECEIVER_SILENCE_S, Sender
from netbond.srtla.senderevents import (
    Advised,
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
from netbond.srtla.statistics import LinkStatistics, SenderStatistics
from netbond.srtla.watch import WatchLine
from netbond.system.typed_json import to_json

if TYPE_CHECKING:
    from netbond.srtla.native._extension import FastPath
    from netbond.system.bitrate_file import BitrateFile

LINK_SLOTS: Final = 32  # datagrams read at once from a link
DRAIN_S: Final = 0.5  # at most, for packets that wait for a link, when told to stop

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What the command line says. `config.listen.host` "" is every IPv4 address."""

    config: SenderConfig
    list_file: Path | None = None  # None: the agent sends the links
    key: bytes | None = None  # the pre-shared one, read from `config.key_file`
    stats_file: Path | None = None  # for the statistics, each second
    bitrate_file: BitrateFile | None = None  # of the encoder; None: there is none, or it is the agent's
    watch_socket: WatchSocket | None = None  # for those who follow the advice


@dataclass(slots=True, eq=False)
class _Socket:
    """A link's socket, or why there is none."""

    spec: LinkSpec
    sock: socket.socket | None = None
    index: int = 0  # of the device when the socket was bound
    port: int = 0  # the local port, kept when the socket is opened anew
    trouble: str = ""  # as last logged
    fast: int = -1  # its number in the compiled data path


@dataclass(frozen=True, slots=True)
class _Receiver:
    """One of the receivers of the configuration."""

    name: HostPort
    addresses: Addresses
    resolver: Resolver


class SendEngine(Engine):
    """An SRTLA sender as a process."""

    def __init__(self, options: SendOptions, channel: Channel | None, resume: ResumeData) -> None:
        super().__init__(channel, resume, options.stats_file)
        config = self._config = options.config
        self._list_file = options.list_file
        self._watch_socket = options.watch_socket
        self._watch = linklist.Watch(options.list_file) if options.list_file is not None else None
        self._sockets: dict[int, _Socket] = {}
        self._receivers: list[_Receiver] = []
        self._failover = Failover(
            len(config.receivers), time.monotonic(), resumed.receiver(resume, config.receivers)
        )
        self._began = time.monotonic()
        self._receiver_since = self._began  # when there was an address for some link, or none was tried
        self._probes = 0
        self._probe: socket.socket | None = None  # to the first receiver, while another is in use
        self._callers = Callers()
        self._answers = Answers()
        self._answers_said = ""
        self._fast: FastPath | None = None
        self._ports = resumed.ports(resume)
        overhead = config.encoder.bitrate_overhead if config.encoder is not None else None
        self._encoder = EncoderAdvice(channel, options.bitrate_file, overhead)
        self._silent: set[HostPort] = set()  # receivers that did not answer since a link was up
        self._unproven_said = ""
        self._named = ""  # the stream, as last logged
        self._sender = Sender(
            os.urandom,
            make_carrier(
                config.mode,
                config.latency / 1000 or None,
                resumed.latency(resume),
                keeps_all=resume.get("keeps_all") is True,
            ),
            time.monotonic(),
            group=resumed.group(resume),
            key=options.key,
            require_key=config.require_key,
        )
        self._sender.stream_ids.accepted = streamid.resumed(resume.get("stream_id"))
        self._carriage = Carriage(
            self._sender,
            self._send if fastpath.extension is None else fastpath.extension.send_links,
            self._look_after,
            self._answer,
            None if fastpath.extension is None else fastpath.extension.send_to,
        )

    # --- the engine's life --------------------------------------------------------------------------------

    def open(self) -> None:
        listen = self._config.listen
        if listen.host:
            self._listener = open_listener(listen, "the SRT caller")
        else:  # as srtla_send does: every IPv4 address
            self._listener = open_listener(HostPort("0.0.0.0", listen.port), "the SRT caller")  # noqa: S104
        batch.enable_pktinfo(self._listener)
        if self._listener.family == socket.AF_INET:
            self._callers = Callers(resumed.caller(self.resume))
            self._carriage.unsettled = self._callers.unsettled
        slots = 1 if fastpath.available() else batch.PER_WAKE_UP  # it is then only asked who wrote
        self._inbox = batch.Inbox(slots, gro=batch.enable_gro(self._listener))
        self._link_inbox = batch.Inbox(LINK_SLOTS)
        self.loop.add_packets(self._listener.fileno(), self._from_caller)
        self._carriage.listener = self._listener.fileno()
        if fastpath.available():
            self._fast = fastpath.open_path(self._listener.fileno(), self.loop.packets_descriptor)
            self._fast.drop_copies()
        self.loop.use(self._fast, handler=self._carriage)
        for name in self._config.receivers:
            addresses = Addresses(resumed.addresses(self.resume))
            self._receivers.append(
                _Receiver(name, addresses, Resolver(name, partial(self._resolved, addresses)))
            )
        self._receiver.resolver.start()
        self._encoder.open()
        log.info("listening on %s for an SRT caller", _shown(self._listener))
        if self._watch_socket is not None:
            self._watch_socket.start()
        if self._list_file is not None:
            self._read_list()

    def message(self, message: Message) -> None:
        if isinstance(message, Links):
            self._set_links(message.links)
        elif isinstance(message, EncoderThere):
            self._encoder.ask(message.overhead)

    def on_sighup(self) -> None:
        if self._list_file is not None:
            self._read_list()

    async def drain(self) -> None:
        for _ in range(batch.PER_WAKE_UP):
            if not self._from_caller(time.monotonic()):
                break
        self.loop.remove_packets(self._listener.fileno())
        for _ in range(50):
            if not self._sender.held:
                break
            await asyncio.sleep(DRAIN_S / 50)

    def close(self) -> None:
        self._encoder.close()

    def maintain(self, now: float) -> None:
        if self._watch is not None and self._watch.changed():
            log.info("%s has changed", self._list_file)
            self._read_list()
        self._look_after_receiver(now)
        self._encoder.second(self._sender, now)
        self._callers.second(self._sender.packets, now)
        self._say_answers(now)
        self._name_stream()
        self._carriage.unsettled = self._callers.unsettled
        for number, link in list(self._sockets.items()):
            if link.sock is None:
                self._open_link(number, now)
            elif link.spec.device and _index(link.spec.device) != link.index:
                self._close_link(number, "the device is not there", now)
                self._open_link(number, now)
        self._flush(now)
        if self._watch_socket is not None and self._watch_socket.due(now):
            self._watch_socket.tell(self._watch_line(self._sender.advice), now)

    def next_timer(self) -> float | None:
        return self._sender.next_timer()

    def handle_timer(self, now: float) -> None:
        self._sender.handle_timer(now)
        self._flush(now)

    def resume_data(self) -> ResumeData:
        group = self._sender.group
        data: ResumeData = {
            "group": group.hex() if group else None,
            "receiver": str(self._receiver.name),
            "receiver_address": self._first_address(),
            "links": [
                {
                    "address": link.spec.address,
                    "device": link.spec.device,
                    "port": link.port,
                    "receiver_address": self._address_for(link.spec.address),
                }
                for link in self._sockets.values()
                if link.port
            ],
        }
        if self._callers.address is not None:
            data["caller"] = format_address(self._callers.address)
        if self._sender.stream_ids.accepted:
            data["stream_id"] = self._sender.stream_ids.accepted
        if self._sender.keeps_all:
            data["keeps_all"] = True
        latency = self._sender.latency
        if latency is not None:
            data["latency"] = latency  # without it a successor would give packets up after what it supposes
        return data

    def stats(self, now: float) -> SenderStatistics:
        stats = self._sender.stats(now)
        stats["state"] = self._state()
        stats["links"] = tuple(
            LinkStatistics(**link, receiver_address=self._address_for(link["address"]))
            for link in stats["links"]
        )
        return SenderStatistics(
            role="sender",
            listen=_shown(self._listener),
            receiver=str(self._receiver.name),
            receiver_address=self._first_address(),
            caller=format_address(self._callers.address) if self._callers.address else None,
            stream=self._stream(),
            stream_id=self._sender.stream_ids.accepted,
            caller_silent_ms=self._caller_silent_ms(now),
            caller_closed=self._sender.caller_closed,
            callers_refused=self._callers.refused,
            problems=tuple(self._problems(now)),
            flavour=flavour(),
            **stats,
        )

    def _caller_silent_ms(self, now: float) -> int | None:
        """Since the caller was heard; that of the engine before was heard when it was taken over."""
        if self._callers.address is None:
            return None
        return round(max(now - max(self._carriage.caller_heard, self._began), 0.0) * 1000)

    def _stream(self) -> str:
        """What everybody may call the stream; "" if its caller gave no id."""
        return streamid.display_name(self._sender.stream_ids.accepted, public=self._config.show_stream_ids)

    def _name_stream(self) -> None:
        """Say once what the stream is called."""
        name = self._stream()
        if name and name != self._named:
            log.info("the SRT server has accepted the stream %s", name)
        self._named = name

    def _say_answers(self, now: float) -> None:
        """Say once in the log that the SRT server does not answer, or refuses."""
        trouble = self._answers.trouble(now)
        if trouble and trouble != self._answers_said:
            log.warning("%s", trouble)
        self._answers_said = trouble

    def _state(self) -> str:
        return self._sender.state() if self._receiver.addresses else "resolving"

    def _problems(self, now: float) -> list[str]:
        """What is wrong now and no link's own trouble, one line each."""
        problems = []
        if self._unproven_said and self._sender.state() != "connected":
            problems.append(f"{self._receiver.name} does not know our key: {self._unproven_said}")
        refused = self._callers.refusal(now)
        if refused is not None:
            problems.append(self._refused_caller(refused))
        trouble = self._answers.trouble(now)
        if trouble:
            problems.append(trouble)
        if self._receiver.name in self._silent:
            problems.append(f"no answer from {self._receiver.name} on any link")
        elif self._receiver.resolver.failing and not self._receiver.addresses:
            why = self._receiver.resolver.why
            problems.append(f"cannot resolve {self._receiver.name.host}: {why}")
        elif self._failover.at:
            first = self._receivers[0].name
            problems.append(
                f"{first} did not answer: it is used again when it does and no SRT caller is there"
            )
        return problems

    # --- links ---------------------------------------------------------------------------------------------

    def _read_list(self) -> None:
        path = self._list_file
        if path is None or self._watch is None:
            return
        self._watch.read()
        specs, complaints = linklist.read(path)
        for complaint in complaints:
            log.warning("%s", complaint)
        if specs is None:
            # Half-written or removed for a moment: what works goes on.
            log.warning("the links stay as they are until the list can be read")
            return
        if not specs:
            log.warning("%s names no links; waiting for a list that does", path)
        self._set_links(specs)

    def _set_links(self, specs: Sequence[LinkSpec]) -> None:
        now = time.monotonic()
        if self._config.probe_metered:
            specs = [replace(spec, metered=False) for spec in specs]
        self._sender.set_links(specs, now)
        self._flush(now)
        self.publish_resume()
        self.arm()

    def _open_link(self, number: int, now: float) -> None:
        link = self._sockets[number]
        addresses = self._receiver.addresses
        receiver = addresses.of(link.spec.family)
        if receiver is None:
            if addresses:
                known, other = addresses.hosts()[0], 10 - link.spec.family
                self._fail(number, f"the receiver {known} has IPv{other} only", now)
            else:
                self._sender.link_failed(number, "waiting for the receiver's address", now)
            return
        try:
            link.index = _index(link.spec.device)
            wished = link.port or self._ports.pop(link.spec.key, 0)
            link.sock = open_link(link.spec, receiver, wished)
        except OSError as error:
            self._fail(number, reason(error), now)
            return
        link.port = link.sock.getsockname()[1]
        self._carriage.open(number, link.sock.fileno())
        self.loop.add_packets(link.sock.fileno(), partial(self._from_receiver, number, link.sock))
        if self._fast is not None:
            link.fast = self._fast.add_group(link.sock.fileno())
        self._sender.link_opened(number, now)

    def _fail(self, number: int, trouble: str, now: float) -> None:
        link = self._sockets[number]
        said = self._sender.link_failed(number, trouble, now)  # a link that was up: by its LinkDown
        if link.trouble != trouble and not said:
            self._log_link(logging.WARNING, "link %s: %s; trying again each second", link.spec.label, trouble)
        link.trouble = trouble

    def _close_link(self, number: int, trouble: str, now: float) -> None:
        link = self._sockets[number]
        if link.sock is not None:
            self.loop.remove_packets(link.sock.fileno())
            self._carriage.close(number)
            if self._fast is not None and link.fast >= 0:
                self._fast.drop_group(link.fast)
                link.fast = -1
            link.sock.close()
            link.sock = None
        if trouble:
            self._fail(number, trouble, now)

    # --- the receiver's address ----------------------------------------------------------------------------

    @property
    def _receiver(self) -> _Receiver:
        """The one in use."""
        return self._receivers[self._failover.at]

    def _resolved(self, addresses: Addresses, found: list[Endpoint]) -> None:
        now = time.monotonic()
        changed = addresses.found(found)
        if addresses is not self._receiver.addresses:
            return  # it is only asked whether it is there
        for family in changed:
            endpoint = addresses.of(family)
            if endpoint is not None:
                log.info("receiver %s is %s", self._receiver.name, endpoint[1])
        self._reopen(changed, now)

    def _reopen(self, families: Collection[int], now: float) -> None:
        """Open the sockets of these families anew, and those that are not open."""
        for number, link in list(self._sockets.items()):
            if link.spec.family in families or link.sock is None:
                self._close_link(number, "", now)
                self._open_link(number, now)
        self._flush(now)
        self.publish_resume()
        self.arm()

    def _silent_receiver(self, event: ReceiverSilent, now: float) -> None:
        """No link of a family comes up: take the next address, or the next receiver if there is no link."""
        receiver = self._receiver
        receiver.addresses.failed(event.family)
        alone = self._sender.state() != "connected"
        if alone and not event.answered and receiver.name not in self._silent:
            self._silent.add(receiver.name)
            log.warning("no answer from %s on any link; going on", receiver.name)
        if alone and self._failover.failed(now, silent=not event.answered):
            self.loop.call_soon(self._use_receiver)  # not amidst the sockets that it opens anew
        else:
            receiver.resolver.start()

    def _address_for(self, own: str) -> str | None:
        """The receiver's address for a link's own; None: it has none of this family, or none is known yet."""
        endpoint = self._receiver.addresses.of(6 if ":" in own else 4)
        return endpoint[1] if endpoint is not None else None

    def _first_address(self) -> str | None:
        """The receiver's address for the first link that has one; without links, the first of all."""
        of_links = (self._address_for(link.spec.address) for link in self._sockets.values())
        return next(
            (address for address in of_links if address), next(iter(self._receiver.addresses.hosts()), None)
        )

    # --- another receiver ----------------------------------------------------------------------------------

    def _use_receiver(self) -> None:
        """Lead all links to the receiver that `_failover` has chosen."""
        now = self._receiver_since = time.monotonic()
        self._sender.use_another_receiver(now)
        self._close_probe()
        receiver = self._receiver
        if receiver.name not in self._silent:  # else it was named before
            log.info("trying the receiver %s", receiver.name)
        self._reopen((4, 6), now)
        receiver.resolver.start()

    def _look_after_receiver(self, now: float) -> None:
        """Each second: leave a receiver without an address for any link; ask the first for a way back."""
        addresses = self._receiver.addresses
        if any(addresses.of(link.spec.family) for link in self._sockets.values()):
            self._receiver_since = now
        elif (
            self._sockets and now - self._receiver_since >= RECEIVER_SILENCE_S and self._failover.failed(now)
        ):
            self._use_receiver()
        self._failover.second(now, up=self._sender.state() == "connected")
        if self._failover.at == 0:
            return
        first = self._receivers[0]
        if self._probe is not None:
            datagrams, _ = self._link_inbox.read(self._probe)
            if any(wire.packet_type(data) == wire.REG_NGP for data in datagrams):
                self._failover.answered()
                self._close_probe()
        if self._failover.returns(self._carriage.caller_heard, now):
            log.info("the receiver %s answers again", first.name)
            self._use_receiver()
        elif self._failover.probe_due(now):
            if self._probe is not None:  # no answer to the last
                first.addresses.failed(6 if self._probe.family == socket.AF_INET6 else 4)
            self._close_probe()
            first.resolver.start()  # its name may have another address now
            self._send_probe(first.addresses)

    def _send_probe(self, addresses: Addresses) -> None:
        """Ask the first receiver over one link, each time another, by a socket of its own."""
        links = [each for each in self._sockets.values() if each.sock is not None]
        for _ in links:
            self._probes += 1
            spec = links[self._probes % len(links)].spec
            endpoint = addresses.of(spec.family)
            if endpoint is not None:
                with contextlib.suppress(OSError):  # the next goes by another link
                    self._probe = open_link(spec, endpoint)
                    self._probe.send(self._sender.probe())
                return

    def _close_probe(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    # --- datagrams ------------------------------------------------------------------------------------------

    def _from_caller(self, now: float) -> int:
        inbox = self._inbox
        datagrams = inbox.read_from(self._listener)
        for address, data in datagrams:
            self._take(address, data, now)
        self._keep_inbox_small()
        self._flush(now)
        self.arm()
        return len(datagrams)

    def _look_after(self, reports: list[Report], now: float) -> None:
        """Handle what the packet path leaves: strangers, sockets' errors, events, unsent datagrams."""
        carriage = self._carriage
        for report in reports:
            descriptor, record, data, error = report
            if error:
                if descriptor in carriage.numbers:
                    self._trouble(carriage.numbers[descriptor], OSError(error, os.strerror(error)), now)
            elif record == carriage.caller:  # it has just become the caller
                carriage.take([report], now)
            else:
                address = self._inbox.resolve(record)
                if len(data) <= wire.MTU:
                    self._take(address, data, now)
                if address == self._callers.address:
                    carriage.caller = record
                    if self._fast is not None:
                        self._fast.expect(record)
                    local = self._inbox.local.get(address)
                    carriage.caller_name, carriage.caller_control = fastpath.name_and_control(record, local)
        self._keep_inbox_small()
        events, carriage.events = carriage.events, []
        for event in events:
            self._event(event, now)
        failures, carriage.failures = carriage.failures, []
        for number, failure, unsent in failures:
            self._not_sent(number, OSError(failure, os.strerror(failure)), unsent, now)

    def _keep_inbox_small(self) -> None:
        if self._inbox.crowded:
            address = self._callers.address
            self._inbox.forget_all_but(() if address is None else (address,))

    def _take(self, address: Any, data: bytes, now: float) -> None:
        """A datagram that came to the listening socket."""
        callers, carriage = self._callers, self._carriage
        if address == callers.address:
            carriage.caller_heard = now
            self._sender.datagram_from_caller(data, now)
            return
        if announced_s(data):
            # Of the encoder, by a socket of its own. Nobody else shall say what matters.
            if _is_local(address) or (callers.address is not None and address[0] == callers.address[0]):
                self._sender.datagram_from_caller(data, now)
            return
        closed = self._sender.caller_closed
        if callers.admits(address, data, carriage.caller_heard, now, closed=closed):
            if self._sender.usable_links and wire.is_handshake(data):
                self._answers.asked(now)
            self._sender.datagram_from_caller(data, now)
        else:
            refused = callers.refusal_to_log(now)
            if refused is not None:
                log.warning("%s", self._refused_caller(refused))
        carriage.unsettled = callers.unsettled
        if callers.address == address:
            self._new_caller(now)

    def _new_caller(self, now: float) -> None:
        """Another has the place of the SRT caller."""
        self._carriage.caller = b""
        if self._fast is not None:
            self._fast.expect(b"")
        self._carriage.caller_heard = now
        if self._callers.address is not None:
            log.info("SRT caller is %s", format_address(self._callers.address))
        self._name_stream()
        self.publish_resume()

    def _refused_caller(self, refused: Any) -> str:
        caller = self._callers.address
        sends = format_address(caller) if caller is not None else "another"
        return f"a second SRT caller, {format_address(refused)}, is refused while {sends} is connected"

    def _from_receiver(self, number: int, sock: socket.socket, now: float) -> int:
        datagrams, error = self._link_inbox.read(sock)
        for data in datagrams:
            self._sender.datagram_from_receiver(number, data, now)
        if error is not None:
            self._trouble(number, error, now)
        self._flush(now)
        self.arm()
        return 0

    def _trouble(self, number: int, error: OSError, now: float) -> None:
        if error.errno in FAILURES:
            self._close_link(number, reason(error), now)
        elif error.errno == errno.ECONNREFUSED:
            link = self._sockets[number]
            if link.trouble != reason(error):
                link.trouble = reason(error)
                self._log_link(logging.WARNING, "link %s: %s", link.spec.label, link.trouble)
            self._sender.port_closed(number, now)

    def _flush(self, now: float) -> None:
        """Send what the state machine has, and handle its events, until there is nothing more."""
        self._carriage.carry(now)

    def _answer(self, answers: list[bytes]) -> None:
        """To the SRT caller, or to who would like to be."""
        callers, now = self._callers, time.monotonic()
        for data in answers:
            self._answers.answered(data, now)
        before = callers.address
        addressed = [(address, data) for data in answers if (address := callers.answered(data)) is not None]
        batch.send_to(self._listener, addressed, self._inbox.local)
        self._carriage.unsettled = callers.unsettled
        if callers.address != before:
            self._new_caller(now)

    def _send(
        self, descriptors: dict[int, int], datagrams: list[tuple[int, bytes]]
    ) -> list[tuple[int, int, list[bytes]]]:
        batches: dict[int, list[bytes]] = {}
        for number, data in datagrams:
            batches.setdefault(number, []).append(data)
        failures = []
        for number, each in batches.items():
            sock = self._sockets[number].sock if number in descriptors else None
            if sock is not None:
                sent, error = batch.send_by_python(sock, each)
                if error is not None:
                    failures.append((number, error.errno or errno.EIO, each[sent:]))
        return failures

    def _not_sent(self, number: int, error: OSError, unsent: list[bytes], now: float) -> None:
        self._trouble(number, error, now)
        if error.errno not in FAILURES:  # else packets in flight, these among them, go by other links
            self._sender.not_sent(number, unsent, now)

    def _event(self, event: Any, now: float) -> None:
        if isinstance(event, LinkAdded):
            self._sockets[event.number] = _Socket(event.spec)
            self._open_link(event.number, now)
        elif isinstance(event, LinkRemoved):
            self._close_link(event.number, "", now)
            del self._sockets[event.number]
            self._log_link(logging.INFO, "link %s: removed from the list", event.spec.label)
        elif isinstance(event, LinkUp):
            self._sockets[event.number].trouble = ""
            self._silent.clear()
            self._log_link(logging.INFO, "link %s: up", event.spec.label)
        elif isinstance(event, LinkDown):
            self._log_link(logging.WARNING, "link %s: down: %s", event.spec.label, event.reason)
        elif isinstance(event, LinkLimited):
            if event.largest is None:
                self._log_link(logging.INFO, "link %s: full-size packets arrive again", event.spec.label)
            else:
                self._log_link(
                    logging.WARNING,
                    "link %s: its full-size packets do not arrive (a small MTU?): it carries smaller ones",
                    event.spec.label,
                )
        elif isinstance(event, GroupChanged):
            if event.group is None:
                log.warning("the receiver has forgotten us (restarted?): registering anew")
            else:
                log.info("registered: group %s", event.group[:4].hex())
            self.publish_resume()
        elif isinstance(event, Refused):
            link = self._sockets[event.number]
            if link.trouble != event.why:
                link.trouble = event.why
                self._log_link(logging.WARNING, "link %s: %s; asking again", event.spec.label, event.why)
        elif isinstance(event, Unproven):
            what = "going on without" if event.used else "not sending to it"
            if what != self._unproven_said:
                self._unproven_said = what
                log.warning("%s does not know our key: %s", self._receiver.name, what)
        elif isinstance(event, ReceiverSilent):
            self._silent_receiver(event, now)
        elif isinstance(event, Advised):
            self._encoder.advised(event.advice.advised_bits_per_second, now)
            if self.channel is not None:
                self.channel.show(AdviceMessage(to_json(event.advice)))
            if self._watch_socket is not None:
                self._watch_socket.tell(self._watch_line(event.advice), now)

    def _log_link(self, level: int, text: str, *words: str) -> None:
        """Log what has become of a link. The agent sees it in the statistics, and logs what lasts."""
        log.log(level if self.channel is None else logging.DEBUG, text, *words)

    def _watch_line(self, advice: Advice | None) -> WatchLine:
        return WatchLine(watch.VERSION, _shown(self._listener), self._state(), advice)


def _index(device: str) -> int:
    """The device's index; 0: not there, or no device asked for."""
    if not device:
        return 0
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


def _shown(sock: socket.socket) -> str:
    return format_address(sock.getsockname())


def _is_local(address: Any) -> bool:
    """Whether a datagram came from this machine, as far as its address tells."""
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:  # with a zone
        return False
