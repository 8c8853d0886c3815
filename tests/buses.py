"""Runs a system bus for a test: a real dbus-daemon with the distribution's policies, without services."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dbus_next import Message, MessageType
from dbus_next.aio import MessageBus

from tests import ready

CONFIG = """\
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path={socket}</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <includedir>/usr/share/dbus-1/system.d</includedir>
  <includedir>/etc/dbus-1/system.d</includedir>
  {anybody}
  {more}
</busconfig>
"""


# The distribution's policies let only root own the names of system services.
ANYBODY = '<policy context="mandatory"><allow own="*"/><allow send_destination="*"/></policy>'


def end(process: subprocess.Popen[bytes] | None, *, kill: bool = False) -> None:
    """Stop one of our processes by its PID, and wait for it."""
    if process is None or process.poll() is not None:
        return
    if kill:
        process.kill()
    else:
        process.terminate()
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> float:
    """Wait for `condition`; return the seconds that it took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while not condition():
        assert loop.time() - started < seconds, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.005)
    return loop.time() - started


class PrivateBus:
    """A bus at `socket`, for as long as the context lasts; within it, several starts and stops.

    With `anybody`, the test need not be root to have the name of a system service on it.
    """

    def __init__(self, *, anybody: bool = False) -> None:
        self._anybody = ANYBODY if anybody else ""
        # Not in pytest's folder, because only root may enter it, and polkitd runs as another user.
        self._folder = Path(tempfile.mkdtemp(prefix="nbtbus"))
        self._folder.chmod(0o755)
        self.socket = self._folder / "bus"
        self._config = self._folder / "bus.conf"
        self.configure("")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The value for DBUS_SYSTEM_BUS_ADDRESS."""
        return f"unix:path={self.socket}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program that uses this bus."""
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "LC_ALL": "C.UTF-8"}

    def configure(self, more: str) -> None:
        """Add lines to the daemon's configuration; they apply from its next start."""
        self._config.write_text(CONFIG.format(socket=self.socket, anybody=self._anybody, more=more))

    def start(self) -> None:
        """Start the daemon, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._config}", "--nofork", "--nopidfile"],
            stderr=subprocess.DEVNULL,
        )
        with socket.socket(socket.AF_UNIX) as client:
            listens = lambda: client.connect_ex(str(self.socket)) == 0  # noqa: E731 - the socket exists before it listens
            ready.wait(listens, "the bus listens", self.process)

    def stop(self) -> None:
        """Kill it, as a crash would."""
        end(self.process, kill=True)
        self.process = None

    def __enter__(self) -> PrivateBus:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)


Answer = Callable[[Message], Message | None]


class StandIn:
    """A service (or, without a name, a client) that answers calls by a function, or not at all."""

    def __init__(self, bus: PrivateBus, name: str, answer: Answer) -> None:
        self._address = bus.address
        self._name = name
        self._answer = answer
        self._bus: Any = None

    async def __aenter__(self) -> StandIn:
        self._bus = await MessageBus(bus_address=self._address).connect()
        self._bus.add_message_handler(self._receive)
        if self._name:
            reply = await self._bus.request_name(self._name)
            assert reply.name == "PRIMARY_OWNER", reply
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._bus.disconnect()
        await self._bus.wait_for_disconnect()
        self._bus._stream.close()
        self._bus._sock.close()

    @property
    def unique(self) -> str:
        """Its unique name."""
        return str(self._bus.unique_name)

    async def signal(
        self, path: str, interface: str, member: str, signature: str, body: list[Any], *, to: str = ""
    ) -> None:
        """Emit a signal; with `to`, to that connection only, as any user may on a system bus."""
        message = Message.new_signal(path, interface, member, signature, body)
        message.destination = to or None
        # Send one at a time: dbus-next 0.2.3 treats a full socket as a broken one.
        await self._bus.send(message)

    def _receive(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL:
            return None
        return self._answer(message) or True


def serving(objects: dict[str, Any], calls: list[Message] | None = None) -> Answer:
    """A service that has these objects, and answers no other calls; it records the `calls`."""

    def answer(message: Message) -> Message | None:
        if calls is not None:
            calls.append(message)
        if message.member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [objects])
        return None

    return answer
