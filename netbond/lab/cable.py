"""Runs the radio links: one process moves packets between each modem and the internet, with impairments.

The lab has made two TUN devices for each link: one in the modem's namespace, one in the internet's. If both
were in one namespace, a flow would pass conntrack twice, which breaks the modem's NAT. line.py decides what a
link does to packets; this module reads a packet, waits until it is due, and writes it.

It answers on a unix socket, with one JSON line for the request and one for the answer:
  {"impair": "usb0", "words": ["rate=4", "up.loss=1"]}   ->  {"ok": {"up": {...}, "down": {...}}}
  {"stats": true}                                        ->  {"ok": {"usb0": {"up": {...}, "down": {...}}}}
  anything wrong                                         ->  {"error": "one line"}
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netbond.errors import NetbondError, UnavailableError
from netbond.lab import impair, netns
from netbond.lab.line import NEVER, Line

TUNSETIFF = 0x400454CA  # include/uapi/linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
PR_SET_TIMERSLACK = 29  # include/uapi/linux/prctl.h
READ_SIZE = 65536  # a TUN device never hands out more than a whole packet
BATCH = 64  # most packets read from one device before the others are read
REQUEST_LIMIT = 65536  # bytes of a request line
EARLY_S = 0.00005  # packets due within this time are written with those due now, which saves a wake-up
IDLE_S = 3600.0  # how long to sleep if no packet is in flight


@dataclass(frozen=True, slots=True)
class Wire:
    """A link: its name, and the namespaces and names of its two TUN devices."""

    name: str
    modem_netns: str
    modem_device: str
    net_netns: str
    net_device: str
    words: tuple[str, ...] = ()  # its initial impairments


class Link:
    """The two directions of one radio link and the devices at its ends."""

    def __init__(self, wire: Wire, rng: random.Random) -> None:
        up, down = impair.parse(wire.words).apply(impair.PERFECT, impair.PERFECT)
        self.name = wire.name
        self.up, self.down = Line(rng, up), Line(rng, down)
        self.modem = netns.call_in(wire.modem_netns, lambda: open_tun(wire.modem_device))
        self.net = netns.call_in(wire.net_netns, lambda: open_tun(wire.net_device))


def open_tun(device: str) -> int:
    """Open the TUN device of that name in this thread's namespace."""
    try:
        handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnavailableError("/dev/net/tun is missing", "load the kernel module: modprobe tun") from None
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return handle


class Cable:
    """All links of one lab."""

    def __init__(self, wires: list[Wire], socket_path: Path) -> None:
        rng = random.Random()  # noqa: S311 - which packet is lost is no secret
        self.links = {wire.name: Link(wire, rng) for wire in wires}
        # By input device, the line that its packets enter; for each line, its output device.
        self._inputs = {link.modem: link.up for link in self.links.values()}
        self._inputs |= {link.net: link.down for link in self.links.values()}
        self._outputs = [(link.up, link.net) for link in self.links.values()]
        self._outputs += [(link.down, link.modem) for link in self.links.values()]
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            socket_path.unlink()  # of a cable that was killed
        self._listener.bind(str(socket_path))
        self._listener.listen(8)
        self._stopping = False

    def stop(self) -> None:
        """Make `run` return."""
        self._stopping = True

    def run(self, wake: int) -> None:
        """Move packets until `stop`; `wake` becomes readable when a signal arrives."""
        # select() has a resolution of microseconds; epoll and poll have milliseconds.
        outputs = self._outputs
        lost = contextlib.suppress(OSError)
        watched = [*self._inputs, self._listener.fileno(), wake]
        while not self._stopping:
            due = min([line.next_due for line, _ in outputs])
            wait_s = IDLE_S if due == NEVER else max(0.0, due - time.monotonic())
            ready, _, _ = select.select(watched, (), (), wait_s)
            for handle in ready:
                if (line := self._inputs.get(handle)) is not None:
                    self._take(handle, line)
                elif handle == wake:
                    os.read(wake, 512)
                else:
                    self._answer()
            now = time.monotonic() + EARLY_S
            for line, handle in outputs:
                if line.next_due <= now:
                    for packet in line.due(now):
                        # EIO: the other device is down (an unplugged modem), so the packet is lost
                        with lost:
                            os.write(handle, packet)

    def _take(self, handle: int, line: Line) -> None:
        now = time.monotonic()
        for _ in range(BATCH):
            try:
                packet = os.read(handle, READ_SIZE)
            except BlockingIOError:
                return
            except OSError:  # EBADFD: the device is deleted, because the lab is being removed
                self._stopping = True
                return
            line.arrive(packet, now)

    def _answer(self) -> None:
        """Answer one request. Only root can connect (the folder is root's), so no user can block this."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(0.2)
            try:
                line = connection.makefile("rb").readline(REQUEST_LIMIT)
                answer = self._handle(json.loads(line))
            except NetbondError as error:
                answer = {"error": str(error)}
            except (OSError, ValueError, KeyError, TypeError) as error:
                answer = {"error": f"invalid request: {error!r}"}
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def _handle(self, request: dict[str, Any]) -> dict[str, Any]:
        if "stats" in request:
            return {"ok": {name: self._describe(link) for name, link in self.links.items()}}
        link = self.links[request["impair"]]
        up, down = impair.parse(request["words"]).apply(link.up.impairment, link.down.impairment)
        now = time.monotonic()
        link.up.change(up, now)
        link.down.change(down, now)
        return {"ok": self._describe(link)}

    def _describe(self, link: Link) -> dict[str, Any]:
        now = time.monotonic()
        return {
            direction: {
                "impairment": impair.to_json(line.impairment),
                "words": line.impairment.words(),
                "queued_bytes": round(line.queued_bytes(now)),
                **line.counters.as_dict(),
            }
            for direction, line in (("up", link.up), ("down", link.down))
        }


def request(socket_path: Path, message: dict[str, Any]) -> dict[str, Any]:
    """Send a request to a running cable and return its answer; NetbondError if the answer is an error."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(str(socket_path))
            connection.sendall(json.dumps(message).encode() + b"\n")
            line = connection.makefile("rb").readline()
            answer = json.loads(line)
    except (OSError, ValueError):
        raise UnavailableError(
            "the lab's radio links do not answer (the cable process has ended)",
            "restart the lab: netbond lab down; netbond lab up",
        ) from None
    if "error" in answer:
        raise NetbondError(answer["error"])
    return dict(answer["ok"])


def main(argv: list[str]) -> int:
    """Run `python -m netbond.lab.cable SOCKET WIRES`; WIRES is a JSON file with a list of Wires."""
    wires = [
        Wire(**{**item, "words": tuple(item["words"])}) for item in json.loads(Path(argv[1]).read_text())
    ]
    waker, wake = os.pipe()[::-1]
    os.set_blocking(waker, False)
    try:
        cable = Cable(wires, Path(argv[0]))
    except NetbondError as error:
        print(f"cable: {error}", file=sys.stderr)
        return error.exit_status
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: cable.stop())
    # Real-time priority, because real radio links do not wait for a processor. No garbage collection, because
    # this program makes no reference cycles.
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    gc.disable()
    cable.run(wake)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
