"""Reads and writes the kernel's routing state. The only module that changes routes, rules and nexthops.

Reading asks for everything. Writing applies the operations of netbond.plan in their order, goes on after a
failure, and returns what failed. netbond.kernel.rtnetlink builds and reads the messages.

The kernel answers within the system call that asks, so nothing here waits. The methods are coroutines, so
that their callers are ready for a kernel that does wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import operator
import os
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from netbond.errors import KernelLacksError, NotPermittedError
from netbond.kernel import rtnetlink as wire
from netbond.model import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Facts,
    Interface,
    IPAddress,
    NexthopGroup,
    NexthopObject,
    Route,
    Rule,
)
from netbond.plan import Operation
from netbond.refusals import Refusal

Found = TypeVar("Found")

_SOL_NETLINK, _EXT_ACK, _CAP_ACK, _STRICT = 270, 11, 10, 12  # NETLINK_*
_TIMEOUT = struct.pack("@qq", 5, 0)  # struct timeval: without an answer in 5 s, reading fails
_RECEIVE_BYTES = 1 << 18  # of one recv(); the kernel sends dumps in pieces of at most 32 KiB
_REQUESTS_AT_ONCE = 48  # requests whose acknowledgements fit into any receive buffer
_DUMP_NUMBERS = 1 << 31  # requests for dumps have numbers from here on, all others count from 1
_ATTEMPTS = 5  # to read a dump, if the kernel says that its tables changed meanwhile

# What a kernel without a family, or without nexthop objects, answers to a request about them.
_UNKNOWN = frozenset({errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EINVAL, errno.EPROTONOSUPPORT})


# Errors that mean that the operation was done already: it has succeeded.
_ALREADY_DONE = {
    ("delete", Route): {errno.ESRCH, errno.ENODEV},
    ("delete", Rule): {errno.ENOENT},
    ("add", Rule): {errno.EEXIST},
    ("delete", NexthopObject): {errno.ENOENT},
    ("delete", NexthopGroup): {errno.ENOENT},
}
# The device went down or away during the operation. Its event is a reason for the next look.
_DEVICE_GONE = {errno.ENODEV, errno.ENETDOWN}

_FLAGS = {
    "add": wire.CREATE | wire.EXCLUSIVE,
    "replace": wire.CREATE | wire.REPLACE,
    "delete": 0,
}


def _request(operation: Operation, indexes: Mapping[str, int], sequence: int) -> bytes:
    what, delete = operation.what, operation.verb == "delete"
    if isinstance(what, Rule):
        kind, payload = wire.DELRULE if delete else wire.NEWRULE, wire.pack_rule(what)
    elif isinstance(what, Route):
        kind, payload = wire.DELROUTE if delete else wire.NEWROUTE, wire.pack_route(what, indexes)
    elif delete:
        kind, payload = wire.DELNEXTHOP, wire.pack_nexthop_id(what)
    else:
        kind, payload = wire.NEWNEXTHOP, wire.pack_nexthop(what, indexes)
    return wire.message(kind, wire.REQUEST | wire.ACK | _FLAGS[operation.verb], sequence, payload)


def _error(payload: bytes) -> tuple[int, str]:
    """The errno of an NLMSG_ERROR (0: it is an acknowledgement), and the kernel's message, if any."""
    number = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
    # With NETLINK_CAP_ACK only the header of the request is echoed; NLMSGERR_ATTR_MSG is attribute 1.
    words = wire.attributes(payload, 4 + wire.HEADER.size).get(1, b"")
    return number, words.split(b"\0", 1)[0].decode(errors="replace")


class _Interrupted(Exception):  # noqa: N818 - a reason to ask again, not an error
    """The kernel's tables changed during the dump."""


def _taken_apart(data: bytes, number: int) -> tuple[list[bytes], bool]:
    """The payloads in a datagram that answer the request of this number, and whether it ends the answer.

    OSError if the kernel refuses; _Interrupted if its tables changed meanwhile.
    """
    found: list[bytes] = []
    for kind, flags, sequence, payload in wire.messages(data):
        if sequence != number:
            continue
        if flags & wire.DUMP_INTERRUPTED:
            raise _Interrupted
        if kind == wire.NLMSG_DONE:
            # A dump that failed half way says so at its end. Half a table must not pass for a whole one.
            code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
            if code > 0:
                raise OSError(code, os.strerror(code))
            return found, True
        if kind == wire.NLMSG_ERROR:
            code, _ = _error(payload)
            raise OSError(code, os.strerror(code))
        found.append(payload)
    return found, False


def _takes_dscp(release: str) -> bool:
    """Whether the rules of a kernel of this release can ask for a DSCP: "6.13.0-rc1".

    A kernel before 6.13 ignores the attribute, and would have a rule for all packets.
    """
    match = re.match(r"([0-9]+)\.([0-9]+)", release)
    return match is not None and (int(match[1]), int(match[2])) >= (6, 13)


@dataclass(slots=True)
class _Answer:
    """A dump: its datagrams as received, and the payloads of all and of each."""

    datagrams: list[bytes] = field(default_factory=list)
    pieces: list[list[bytes]] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


class Kernel:
    """A netlink socket for requests. `async with Kernel() as kernel: ...`"""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._sequence = itertools.count(1)
        self._answered: dict[tuple[int, int], _Answer] = {}  # the last dump of each kind and family
        self._reader = wire.Reader()
        self._counting_reader = wire.Reader()  # of messages that have byte counters
        self._has_resilient: bool | None = None  # groups; None: not asked yet

    async def __aenter__(self) -> Self:
        found = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT)
        for option in (_EXT_ACK, _CAP_ACK):
            with contextlib.suppress(OSError):  # a comfort that old kernels lack
                found.setsockopt(_SOL_NETLINK, option, 1)
        found.bind((0, 0))
        self._socket = found
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # --- asking --------------------------------------------------------------------------------------------

    def _talk(self, request: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """Send the request, and yield messages until the caller stops. For answers left unread see _drain."""
        self._drain()
        self._open.send(request)
        while True:
            yield from wire.messages(self._open.recv(_RECEIVE_BYTES))

    def _drain(self) -> None:
        """Drop what is left of an answer that was not read to its end."""
        with contextlib.suppress(BlockingIOError):
            while self._open.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT):
                pass

    @property
    def _open(self) -> socket.socket:
        if self._socket is None:
            raise RuntimeError("a Kernel is used inside `async with` only")
        return self._socket

    def _dump(self, kind: int, af: int) -> list[bytes]:
        """The payloads of all objects of a kind. OSError if the kernel refuses; _Interrupted: try again.

        The very same list as the last time, if the kernel answers with the same bytes: for that the number of
        the request is the same each time. What is left of an answer is dropped before the next request.
        """
        number = _DUMP_NUMBERS | kind << 8 | af
        before = self._answered.get((kind, af), _Answer())
        now = self._ask(wire.dump_request(kind, af, number), number, before)
        self._answered[kind, af] = now
        return now.payloads

    def _answers(self, request: bytes, number: int) -> list[bytes]:
        return self._ask(request, number, _Answer()).payloads

    def _ask(self, request: bytes, number: int, before: _Answer) -> _Answer:
        """Send a request with this number. Datagrams of the answer `before` are not taken apart again."""
        self._drain()
        self._open.send(request)
        now = _Answer()
        ended = False
        while not ended:
            data = self._open.recv(_RECEIVE_BYTES)
            place = len(now.datagrams)
            if place < len(before.datagrams) and data == before.datagrams[place]:
                data, piece = before.datagrams[place], before.pieces[place]
                ended = place + 1 == len(before.datagrams)
            else:
                piece, ended = _taken_apart(data, number)
            now.datagrams.append(data)
            now.pieces.append(piece)
        if len(now.pieces) == len(before.pieces) and all(map(operator.is_, now.pieces, before.pieces)):
            return before
        now.payloads = list(itertools.chain.from_iterable(now.pieces))
        return now

    def _dump_if_known(self, kind: int, af: int) -> list[bytes] | None:
        """The same; None if this kernel does not know the kind or family."""
        try:
            return self._dump(kind, af)
        except OSError as error:
            if error.errno in _UNKNOWN:
                return None
            raise

    async def check_policy_routing(self) -> None:
        """Refuse a kernel without policy routing, before anything is written.

        KernelLacksError or NotPermittedError. Without CONFIG_IP_MULTIPLE_TABLES the kernel refuses rules, but
        `ip route add ... table N` silently writes to main, which would cut the box off the network.
        """
        try:
            rules = self._dump_if_known(wire.GETRULE, wire.AF[4]) or []
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EACCES):
                raise NotPermittedError("netlink refuses to list rules", "run netbond as root") from None
            raise
        if not any(
            found is not None and found.table == LOCAL_TABLE
            for found in (wire.rule(payload, {}) for payload in rules)
        ):
            raise KernelLacksError(
                "this kernel has no policy routing (`ip rule` lists nothing)",
                "use a kernel with CONFIG_IP_MULTIPLE_TABLES=y; nothing was changed",
            )

    async def read_links(self) -> tuple[Interface, ...]:
        """The interfaces with their byte counters."""

        def links() -> tuple[Interface, ...]:
            number = next(self._sequence)
            request = wire.dump_request(wire.GETLINK, 0, number, statistics=True)
            return _links(self._answers(request, number), self._counting_reader)

        return self._again(links)

    async def read(self) -> Facts:
        """Everything as it is now, of both families, except the local table and the byte counters."""
        return self._again(self._read)

    async def read_lifetimes(self) -> list[float]:
        """How long each route that the kernel made from a router's advertisement still holds, in seconds.

        None are known if the kernel refuses to list them.
        The kernel tells nobody that an advertisement has changed a route's lifetime.
        """
        return self._again(self._lifetimes)

    def _lifetimes(self) -> list[float]:
        number = next(self._sequence)
        with contextlib.suppress(OSError):  # an old kernel answers with all routes
            self._open.setsockopt(_SOL_NETLINK, _STRICT, 1)
        try:
            payloads = self._answers(wire.advertised_request(number), number)
        except OSError:  # if it lasts, passes of the agent report it
            return []
        finally:
            with contextlib.suppress(OSError):
                self._open.setsockopt(_SOL_NETLINK, _STRICT, 0)
        routes = (wire.route(payload, {}) for payload in payloads if payload[0] == wire.AF[6])
        return [
            route.expires_s
            for route in routes
            if route is not None and route.table == MAIN_TABLE and route.expires_s is not None
        ]

    @staticmethod
    def _again(read: Callable[[], Found]) -> Found:
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(_Interrupted):
                return read()
        try:
            return read()
        except _Interrupted:
            raise OSError(errno.EAGAIN, "the kernel's tables change faster than they can be read") from None

    def _read(self) -> Facts:
        reader = self._reader
        links = _links(self._dump(wire.GETLINK, 0), reader)
        nexthops = self._dump_if_known(wire.GETNEXTHOP, 0)
        return Facts(
            interfaces=links,
            addresses=self._parsed(wire.address, wire.GETADDR),
            routes=self._parsed(wire.route, wire.GETROUTE),
            rules=self._parsed(wire.rule, wire.GETRULE),
            nexthops=None if nexthops is None else reader.read(wire.nexthop, nexthops),
            dscp_rules=_takes_dscp(os.uname().release),
            forwarding=frozenset(self._forwarding()),
            resilient_groups=nexthops is not None and self._resilient(),
        )

    def _forwarding(self) -> tuple[tuple[str, int], ...]:
        dumped = (self._dump_if_known(wire.GETNETCONF, af) or () for af in wire.AF.values())
        return self._reader.read(wire.forwarding, *dumped)

    def _resilient(self) -> bool:
        """Whether the kernel has resilient groups. Only the first answer is read, as it does not change."""
        if self._has_resilient is None:
            self._has_resilient = self._dump_if_known(wire.GETNEXTHOPBUCKET, 0) is not None
        return self._has_resilient

    def _parsed(self, parse: Callable[[bytes, wire.Names], Found | None], kind: int) -> tuple[Found, ...]:
        # IPv6 may be missing. IPv4 that cannot be read must not pass for empty.
        four = self._dump(kind, wire.AF[4])
        six = self._dump_if_known(kind, wire.AF[6]) or ()
        if any(payload[0] != wire.AF[6] for payload in six):
            # A kernel without IPv6 answers a request about it with the objects of all families.
            six = [payload for payload in six if payload[0] == wire.AF[6]]
        return self._reader.read(parse, four, six)

    async def lookup(
        self,
        destination: IPAddress,
        source: IPAddress | None,
        device: str,
        selectors: Mapping[str, int] = MappingProxyType({}),
        *,
        comes_in: str = "",
    ) -> Route:
        """The route that a packet takes, with its table, as the kernel answers. OSError if there is none.

        `selectors` are those of rtnetlink.lookup_request. `comes_in`: by which interface, if it does.
        """
        links = _links(self._dump(wire.GETLINK, 0), wire.Reader())
        names = {link.index: link.name for link in links}
        indexes = {name: index for index, name in names.items()}
        if any(name and name not in indexes for name in (device, comes_in)):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        number = next(self._sequence)
        request = wire.lookup_request(
            destination, source, indexes.get(device, 0), number, selectors, indexes.get(comes_in, 0)
        )
        for got, _, sequence, payload in self._talk(request):
            if sequence == number and got == wire.NLMSG_ERROR:
                code, _ = _error(payload)
                raise OSError(code, os.strerror(code))
            if sequence == number:
                return wire.answer(payload, names)
        raise AssertionError("unreachable: _talk ends by an error only")

    # --- writing -------------------------------------------------------------------------------------------

    async def apply(self, operations: Iterable[Operation], links: Iterable[Interface]) -> list[Refusal]:
        """Apply the operations in their order; return those that failed, unless their device has gone."""
        indexes = {link.name: link.index for link in links}
        wanted = list(operations)
        failures = []
        for start in range(0, len(wanted), _REQUESTS_AT_ONCE):
            failures += self._write(wanted[start : start + _REQUESTS_AT_ONCE], indexes)
        return failures

    def _write(self, operations: Sequence[Operation], indexes: Mapping[str, int]) -> list[Refusal]:
        """Send several requests in one message. The kernel carries out all of them, and answers each."""
        pending: dict[int, Operation] = {}
        requests = []
        for operation in operations:
            number = next(self._sequence)
            try:
                requests.append(_request(operation, indexes, number))
            except wire.DeviceGoneError:
                continue
            pending[number] = operation
        failures = []
        answers = self._talk(b"".join(requests)) if requests else iter(())
        while pending:
            got, _, sequence, payload = next(answers)
            if got != wire.NLMSG_ERROR or sequence not in pending:
                continue
            done = pending.pop(sequence)
            code, words = _error(payload)
            # Without root, the agent would have ended at its start. So EACCES is about one interface (IPv6
            # was switched off there a moment ago), which is no reason to stop for all others.
            reached = code == 0 or code in _ALREADY_DONE.get((done.verb, type(done.what)), ())
            if not reached and code not in _DEVICE_GONE:
                failures.append(Refusal(done, code, words))
        return failures


def _links(payloads: Sequence[bytes], reader: wire.Reader) -> tuple[Interface, ...]:
    """The interfaces. If names have changed they are parsed again: a port's master may have another one.

    `reader` then knows the names, to read the other objects.
    """
    links = reader.read(wire.link, payloads)
    names = {link.index: link.name for link in links}
    return reader.read(wire.link, payloads) if reader.begin(names) else links


def read_facts_once() -> Facts:
    """The kernel's state now, for a command without an event loop. Needs no root."""

    async def read() -> Facts:
        async with Kernel() as kernel:
            return await kernel.read()

    return asyncio.run(read())
