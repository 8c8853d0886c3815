"""Follows a service on the system bus; the only file that imports a D-Bus library.

`Follower` keeps a copy of a service's objects and their properties. One GetManagedObjects fills it. The
signals PropertiesChanged, InterfacesAdded and InterfacesRemoved keep it up to date. D-Bus delivers all
messages of a sender in order, and loses none while the connection lives. So the copy is what the service last
said. The service may be absent, start late, restart or hang, and the bus itself may go away. The follower
then waits and tries again for ever. It logs once when something is lost, and once when it is back.

Each follower has its own connection, so that a service that hangs delays no other. It calls services by their
unique name only, which never makes the bus start one.

What arrives is checked twice. Here its sender and signature are checked: any user of the machine may send a
signal to any connection on the system bus. The sender must be root's; the bus is asked once per owner. The
parsers in networkmanager.py and modemmanager.py check values.

Faults of dbus-next 0.2.3 (to use dbus-fast instead, change the import lines):
- its authentication loops for ever at the end of file, if a bus dies just then: repaired here;
- it never closes its socket: closed here;
- a call that is never answered stays in its tables: the connection is closed instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from dbus_next import DBusError, Message, MessageType, Variant
from dbus_next.aio import MessageBus

from netbond.system.text import printable

logger = logging.getLogger(__name__)

Properties = Mapping[str, object]
Objects = Mapping[str, Mapping[str, Properties]]  # object path -> interface -> property -> value

SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"

CALL_TIMEOUT_S = 5.0  # libdbus waits 25; a healthy service answers what netbond asks within 1
FIRST_RETRY_S = 0.25  # until the first new attempt; doubles up to
LAST_RETRY_S = 5.0  # ... this for a bus that is away: an attempt costs one connect(2)
LAST_RETRY_HUNG_S = 60.0  # ... this for a service that hangs: each attempt leaves a call in its queue
STEADY_S = 10.0  # after a session of this length, retries begin with FIRST_RETRY_S again
ASK_INTERVAL_S = 20.0  # a service that hangs says nothing, like one to which nothing happens: ask it
SETTLE_S = 0.01  # from the first change to the call of `changed`: an activation is a dozen signals

# A flood keeps a connection reading for ever: dbus-next returns to the event loop only when its socket is
# empty. A start of NetworkManager with 50 devices is about 600 messages.
FLOOD = 4000  # messages within
FLOOD_WINDOW_S = 1.0

LARGEST_AUTH_LINE_BYTES = 1024  # a real one has 37

DBUS = "org.freedesktop.DBus"
DBUS_PATH = "/org/freedesktop/DBus"
PROPERTIES = "org.freedesktop.DBus.Properties"
INTROSPECTABLE = "org.freedesktop.DBus.Introspectable"
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

CONNECTING = "connecting"
NO_BUS = "no bus"
ABSENT = "absent"
NOT_ANSWERING = "not answering"
RUNNING = "running"


class BusError(Exception):
    """A request to the bus or to a service failed; `status` is the service's status from then on."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Service:
    """A service to follow, which has an ObjectManager, and its properties of interest, by interface.

    Other properties are not kept: some of them name a person, and their changes are no reason to look.
    """

    title: str  # for messages
    name: str
    root: str  # the path of its ObjectManager
    namespace: str  # all objects of interest are below
    properties: Mapping[str, frozenset[str]]

    def rules(self) -> Iterator[str]:
        """The match rules: this service's signals only, and of property changes the wanted interfaces'."""
        yield (
            f"type='signal',sender='{DBUS}',path='{DBUS_PATH}',interface='{DBUS}',"
            f"member='NameOwnerChanged',arg0='{self.name}'"
        )
        yield f"type='signal',sender='{self.name}',path='{self.root}',interface='{OBJECT_MANAGER}'"
        for interface in self.properties:
            yield (
                f"type='signal',sender='{self.name}',path_namespace='{self.namespace}',"
                f"interface='{PROPERTIES}',member='PropertiesChanged',arg0='{interface}'"
            )


# --- values from the bus ----------------------------------------------------------------------------------


def plain(value: object) -> object:
    """A value without the library's Variant, at any depth."""
    if isinstance(value, Variant):
        return plain(value.value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def whole(value: object) -> int | None:
    """The value if it is a whole number, else None (also for True)."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object, longest: int = 255) -> str:
    """A string from the bus on one line, printable, with single blanks and at most `longest` characters.

    "" for what is no string.
    """
    return printable(" ".join(value[: 4 * longest].split()), longest) if isinstance(value, str) else ""


def mappings(value: object) -> tuple[Properties, ...]:
    """The mappings of a list; () for what is no list."""
    return tuple(item for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def device_name(value: object) -> str:
    """The value if the kernel allows it as an interface's name (dev_valid_name, net/core/dev.c), else ""."""
    if not isinstance(value, str) or not value.isascii() or not 1 <= len(value) <= 15 or value in (".", ".."):
        return ""
    return value if all("!" <= c <= "~" and c not in "/:" for c in value) else ""


# --- the copy of a service's objects ----------------------------------------------------------------------


class Mirror:
    """Objects and properties, as kept up to date by a service's signals. No I/O.

    Only the `wanted` properties, by interface, are kept. Each method returns whether anything changed.
    """

    def __init__(self, wanted: Mapping[str, frozenset[str]]) -> None:
        self.wanted = wanted
        self.objects: dict[str, dict[str, dict[str, object]]] = {}

    def load(self, managed: object) -> None:
        """Replace everything by a GetManagedObjects reply (a{oa{sa{sv}}})."""
        self.objects = {}
        if isinstance(managed, dict):
            for path, interfaces in managed.items():
                self.added(path, interfaces)

    def added(self, path: str, interfaces: object) -> bool:
        """InterfacesAdded (oa{sa{sv}})."""
        changed = False
        if isinstance(interfaces, dict):
            for interface, properties in interfaces.items():
                if interface in self.wanted and isinstance(properties, dict):
                    wanted = self.wanted[interface]
                    values = {key: plain(value) for key, value in properties.items() if key in wanted}
                    changed |= self.objects.get(path, {}).get(interface) != values
                    self.objects.setdefault(path, {})[interface] = values
        return changed

    def removed(self, path: str, interfaces: Iterable[str]) -> bool:
        """InterfacesRemoved (oas)."""
        kept = self.objects.get(path)
        if kept is None:
            return False
        changed = False
        for interface in interfaces:
            changed |= kept.pop(interface, None) is not None
        if not kept:
            del self.objects[path]
        return changed

    def updated(self, path: str, interface: str, changes: Properties, invalidated: Iterable[str]) -> bool:
        """PropertiesChanged (sa{sv}as) from `path`; ignored for an object that is not known yet."""
        values = self.objects.get(path, {}).get(interface)
        if values is None:
            return False
        changed = False
        for key in changes.keys() & self.wanted[interface]:
            new = plain(changes[key])
            changed |= key not in values or values[key] != new
            values[key] = new
        for key in invalidated:
            changed |= values.pop(key, None) is not None
        return changed

    def apply(self, message: Message) -> bool:
        """A signal of the service; one with another signature is ignored."""
        shape = (message.interface, message.member, message.signature)
        if shape == (PROPERTIES, "PropertiesChanged", "sa{sv}as"):
            return self.updated(message.path, *message.body)
        if shape == (OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}"):
            return self.added(*message.body)
        if shape == (OBJECT_MANAGER, "InterfacesRemoved", "oas"):
            return self.removed(*message.body)
        return False


# --- the connection ---------------------------------------------------------------------------------------


class _Bus(MessageBus):  # type: ignore[misc]  # dbus-next comes without types, so its classes are Any
    async def _auth_readline(self) -> str:
        """One line of the authentication; EOFError where dbus-next 0.2.3 would loop for ever."""
        line = b""
        while not line.endswith(b"\r\n"):
            byte = await self._loop.sock_recv(self._sock, 1)
            if not byte or len(line) > LARGEST_AUTH_LINE_BYTES:
                raise EOFError("the bus closed the connection while it was being opened")
            line += byte
        return line[:-2].decode(errors="replace")


def _close(bus: Any) -> None:
    """Close the socket, which the library leaves to the garbage collector."""
    loop = asyncio.get_running_loop()
    sock, stream = getattr(bus, "_sock", None), getattr(bus, "_stream", None)
    if sock is not None and sock.fileno() >= 0:
        loop.remove_reader(sock.fileno())
        loop.remove_writer(sock.fileno())
    for closable in (stream, sock):
        if closable is not None:
            with contextlib.suppress(OSError, ValueError):  # what was not written is lost
                closable.close()


async def _within(timeout_s: float, work: Any, what: str) -> Any:
    """The result of awaiting `work`. BusError if it fails in whatever way (NO_BUS), or takes longer."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise BusError(NOT_ANSWERING, f"{what}: no answer within {timeout_s:g} s")
    finally:
        task.cancel()
    # Not caught by type: the library passes on whatever its parser raised.
    error = None if task.cancelled() else task.exception()
    if error is not None or task.cancelled():
        raise BusError(NO_BUS, f"{what}: {str(error) or type(error).__name__}")
    return task.result()


def bus_address() -> str:
    """The address of the system bus."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or SYSTEM_BUS


@contextlib.asynccontextmanager
async def _connected(address: str) -> AsyncIterator[tuple[Any, asyncio.Future[None]]]:
    """A connection to the bus at `address`, and a future for its end. BusError if it cannot be made."""
    bus: Any = _Bus.__new__(_Bus)
    gone: asyncio.Future[None] | None = None
    try:
        # The constructor connects, and would block for ever if the bus hangs with a full backlog. With a
        # timeout, the kernel refuses at once. No other code of this thread runs meanwhile.
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(CALL_TIMEOUT_S)
        try:
            bus.__init__(bus_address=address)
        except (OSError, ValueError) as error:
            raise BusError(NO_BUS, f"{address}: {getattr(error, 'strerror', None) or error}") from None
        finally:
            socket.setdefaulttimeout(before)
        gone = asyncio.ensure_future(bus.wait_for_disconnect())
        await _within(CALL_TIMEOUT_S, bus.connect(), address)
        yield bus, gone
    finally:
        if gone is not None:
            gone.cancel()  # also tells asyncio that nobody will look at its exception
        _close(bus)


# --- following --------------------------------------------------------------------------------------------


class Follower:
    """One service on the bus: whether it runs, and a copy of its objects.

    `changed` is called in the event loop after objects or the status changed, at most once in SETTLE_S.
    """

    def __init__(self, service: Service, changed: Callable[[], None], address: str | None = None) -> None:
        self.service = service
        self.status = CONNECTING
        self.reason = ""  # why the status is not RUNNING, one line
        self._changed = changed
        self._address = address
        self._mirror = Mirror(service.properties)
        self._early: list[Message] | None = []  # signals that came before the reply to GetManagedObjects
        self._bus: Any = None
        self._owner = ""
        self._woken = asyncio.Event()
        self._flood_since = 0.0
        self._flood_count = 0
        self._settling: asyncio.TimerHandle | None = None

    @property
    def objects(self) -> Objects:
        """What the service last said; empty while it does not run."""
        return self._mirror.objects

    async def run(self) -> None:
        """Follow the service until cancelled."""
        pause, longest = FIRST_RETRY_S, LAST_RETRY_S
        loop = asyncio.get_running_loop()
        try:
            while True:
                started = loop.time()
                try:
                    await self._session()
                except DBusError as error:  # the bus itself refuses: a limit, a policy
                    self._become(NO_BUS, text(f"{error.type}: {error}"))
                    longest = LAST_RETRY_S
                except BusError as error:
                    self._become(error.status, str(error))
                    longest = LAST_RETRY_HUNG_S if error.status == NOT_ANSWERING else LAST_RETRY_S
                if loop.time() - started >= STEADY_S + CALL_TIMEOUT_S:
                    pause = FIRST_RETRY_S
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        finally:
            if self._settling is not None:
                self._settling.cancel()

    async def call(
        self, path: str, interface: str, member: str, signature: str, body: list[Any], within_s: float
    ) -> None:
        """Call a method of the service and ignore its result. BusError if the call failed.

        A call that is not answered within `within_s` leaves an entry in the library's table until the
        connection ends. So this is for calls that are made once per object and run.
        """
        if self._bus is None or not self._owner:
            raise BusError(ABSENT, f"{self.service.title} is not running")
        try:
            await self._ask(self._owner, path, interface, member, signature, body, within_s=within_s)
        except DBusError as error:
            raise BusError(RUNNING, text(f"{error.type}: {error}")) from None

    # one connection

    async def _session(self) -> None:
        """Follow the service over a new connection until that ends, which raises BusError."""
        address = self._address or bus_address()
        self._woken.clear()
        async with _connected(address) as (bus, gone):
            self._bus = bus
            self._owner, self._early, self._flood_count = "", [], 0
            bus.add_message_handler(self._receive)
            gone.add_done_callback(lambda _: self._woken.set())
            try:
                for rule in self.service.rules():
                    await self._ask(DBUS, DBUS_PATH, DBUS, "AddMatch", "s", [rule])
                self._owner = await self._name_owner()
                while not gone.done():
                    self._woken.clear()
                    await self._read()
                    while not await self._woken_within(ASK_INTERVAL_S):
                        await self._ask_whether_it_hangs()
                raise BusError(NO_BUS, f"{address}: the connection was lost")
            finally:
                self._bus, self._owner = None, ""
                bus.remove_message_handler(self._receive)

    async def _woken_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        return self._woken.is_set()

    async def _ask_whether_it_hangs(self) -> None:
        """BusError if the service, or the bus if there is no service, does not answer.

        GLib answers Introspect, unlike Ping, in the service's own loop.
        """
        with contextlib.suppress(DBusError):  # that is an answer, too
            if self._owner:
                await self._ask(self._owner, self.service.root, INTROSPECTABLE, "Introspect")
            else:
                await self._ask(DBUS, DBUS_PATH, DBUS, "GetId")

    async def _name_owner(self) -> str:
        try:
            reply = await self._ask(DBUS, DBUS_PATH, DBUS, "GetNameOwner", "s", [self.service.name])
        except DBusError as error:
            if error.type == f"{DBUS}.Error.NameHasNoOwner":
                return ""
            raise
        if reply.signature != "s":
            raise BusError(NO_BUS, "the bus does not speak D-Bus")
        # A NameOwnerChanged that came with the reply is newer, and the handler has seen it already.
        return self._owner or str(reply.body[0])

    async def _read(self) -> None:
        """Fill the copy from the running service."""
        owner = self._owner
        if not owner:
            self._become(ABSENT, f"{self.service.name} has no owner on the bus")
            return
        self._early = []
        if not await self._trusted(owner):
            return
        try:
            reply = await self._ask(owner, self.service.root, OBJECT_MANAGER, "GetManagedObjects")
        except DBusError as error:
            if self._woken.is_set():  # it went away, or another process took its name: look again
                return
            raise BusError(NOT_ANSWERING, text(f"{error.type}: {error}")) from None
        if owner != self._owner:
            return
        if reply.signature != "a{oa{sa{sv}}}":
            raise BusError(NOT_ANSWERING, f"{self.service.name}: not an ObjectManager")
        self._mirror.load(reply.body[0])
        # Signals that the reply already contains are applied again, up to the newest: that changes nothing.
        early, self._early = self._early, None
        for message in early:
            self._mirror.apply(message)
        self._become(RUNNING, "")
        self._tell()

    async def _trusted(self, owner: str) -> bool:
        """Whether root or this process's user owns the name; False also if the owner has left meanwhile.

        The bus's policy should let nobody else have it. Gateways follow from what the service says.
        """
        try:
            reply = await self._ask(DBUS, DBUS_PATH, DBUS, "GetConnectionUnixUser", "s", [owner])
        except DBusError as error:
            if self._woken.is_set():  # it went away, or another process took its name: look again
                return False
            raise BusError(NO_BUS, text(f"{error.type}: {error}")) from None
        uid = reply.body[0] if reply.signature == "u" else None
        if uid in (0, os.geteuid()):
            return True
        if owner == self._owner:
            self._owner = ""  # whatever it says is not heard
            reason = f"{self.service.name} belongs to user {uid}, not to root, and is not believed"
            logger.warning("%s: %s", self.service.title, reason)
            self._become(ABSENT, reason)
        return False

    async def _ask(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        within_s: float = CALL_TIMEOUT_S,
    ) -> Message:
        """Call a method. DBusError if the answer is an error, BusError if there is no answer."""
        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=body or [],
        )
        bus = self._bus
        if not bus.connected:
            raise BusError(NO_BUS, "the connection was lost")
        reply = await _within(within_s, bus.call(message), f"{destination} {interface}.{member}")
        if reply is None:
            raise BusError(NO_BUS, "the connection was lost")
        if reply.message_type is MessageType.ERROR:
            raise DBusError(reply.error_name, str(reply.body[0]) if reply.body else "")
        return reply

    # messages

    def _receive(self, message: Message) -> None:
        """Each message of the connection, in order."""
        now = asyncio.get_running_loop().time()
        if now - self._flood_since > FLOOD_WINDOW_S:
            self._flood_since, self._flood_count = now, 0
        self._flood_count += 1
        if self._flood_count == FLOOD:
            logger.warning("%s: more than %d messages a second; connecting again", self.service.title, FLOOD)
            self._bus.disconnect()  # the reader stops after what has arrived
        if self._flood_count >= FLOOD or not self._bus.connected:
            return
        if message.message_type is not MessageType.SIGNAL:
            return
        if message.sender == DBUS:
            if message.member == "NameOwnerChanged" and message.signature == "sss":
                name, _, new = message.body
                if name == self.service.name and new != self._owner:
                    self._owner, self._early = new, []
                    # Also when another process takes the name: nothing is known until that one is read.
                    self._become(ABSENT, f"{self.service.name} left the bus")
                    self._woken.set()
        elif self._owner and message.sender == self._owner:
            if self._early is not None:
                self._early.append(message)
            elif self._mirror.apply(message):
                self._tell()

    # telling

    def _tell(self) -> None:
        if self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self._changed()

    def _become(self, status: str, reason: str) -> None:
        if status != RUNNING:
            self._mirror.load({})
        before, self.status, self.reason = self.status, status, reason
        if before == status:
            return
        if status == RUNNING:
            logger.info("%s: followed on the bus", self.service.title)
        elif before == RUNNING:
            logger.warning("%s: %s (%s)", self.service.title, status, reason)
        elif before == CONNECTING:
            logger.info("%s: %s (%s); waiting for it", self.service.title, status, reason)
        else:  # it was away before, which has been logged
            logger.debug("%s: %s (%s)", self.service.title, status, reason)
        self._tell()


# --- watching --------------------------------------------------------------------------------------------

Fact = TypeVar("Fact")


class Watcher(Generic[Fact]):
    """Keeps the facts of one service. Raises nothing for what happens on the bus."""

    def __init__(self, service: Service, address: str | None) -> None:
        self._follower = Follower(service, self._changed, address)
        self._facts: tuple[Fact, ...] = ()
        self._look: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None
        self._reported = asyncio.Event()

    def start(self, look: Callable[[], None]) -> None:
        """Begin, in the running event loop. `look` is called there after each change of the facts."""
        self._look = look
        name = self._follower.service.title
        self._task = asyncio.get_running_loop().create_task(self._follower.run(), name=name)

    async def stop(self) -> None:
        """End; the facts stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None

    async def reported(self, within_s: float) -> bool:
        """Wait until the facts are known, or are known to be unavailable. False after `within_s` seconds.

        For the start of the agent: what is not known yet must not be taken for absent.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._reported.wait()
        return self._reported.is_set()

    def facts(self) -> tuple[Fact, ...]:
        """What the service says, or said before it went away."""
        return self._facts

    def status(self) -> str:
        """One of "connecting", "no bus", "absent", "not answering", "running"."""
        return self._follower.status

    def reason(self) -> str:
        """Why it is not running, on one line; "" while it runs."""
        return self._follower.reason

    def _read(self) -> tuple[Fact, ...]:
        """The facts now: from the follower's objects, or from what was known while there are none."""
        raise NotImplementedError

    def _changed(self) -> None:
        facts = self._read()
        self._reported.set()
        if facts != self._facts:
            self._facts = facts
            self._look()
