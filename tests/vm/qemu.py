"""A virtual machine: QEMU, its monitor (QMP), and qemu-guest-agent as the way in.

The way in is a virtio port, not the network: the machine has no interface but those that a test plugs in, and
what the test does to them cannot cut it off. Monitor and agent are reached through socket pairs: no paths.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

MEMORY = 1024  # MiB
PORTS = 8  # USB ports at the machine: 1 to PORTS
BOOT_TIMEOUT = 600.0  # s; emulated, on a busy machine
JOB_PORT = "/dev/virtio-ports/job"  # what the machine writes here ends in the file job.log


class MachineError(Exception):
    """The machine did not do what it was asked."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command: exit status and what it wrote."""

    status: int
    out: str
    err: str


class _Lines:
    """JSON objects by line over a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def close(self) -> None:
        self._sock.close()

    def send(self, message: dict[str, Any], ahead: bytes = b"") -> None:
        self._sock.settimeout(30)
        self._sock.sendall(ahead + json.dumps(message).encode() + b"\n")

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next object; TimeoutError when none came by `deadline` (monotonic seconds)."""
        while b"\n" not in self._rest:
            self._sock.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._sock.recv(1 << 16)
            if not data:
                raise MachineError("the virtual machine is gone; see console.log")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line.rpartition(b"\xff")[2])
        return answer


class Machine:
    """A running machine. `folder` gets console.log, job.log and a capture of each modem (NAME.pcap)."""

    def __init__(
        self,
        image: Path,
        boot: Path,
        folder: Path,
        *,
        memory: int = MEMORY,
        namespace: str = "",
        internet: bool = False,
        disks: Sequence[Path] = (),
        persistent: bool = False,
    ) -> None:
        """Start on a copy-on-write layer over `image`, with the kernel in `boot`, in a network namespace.

        `internet`: with a card that leads where this process's network leads (for installing). `disks` are
        given read-only, as /dev/vdb and so on. `persistent`: write to `image` itself.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._events: list[dict[str, Any]] = []
        self._ids = itertools.count(1)
        self._links: dict[str, str] = {}  # the modems that are plugged in, and their networks
        ends: list[socket.socket] = []

        def channel() -> tuple[int, _Lines]:
            ours, theirs = socket.socketpair()
            ends.append(theirs)
            return theirs.fileno(), _Lines(ours)

        monitor, self._monitor = channel()
        agent, self._agent = channel()
        # usb-net's own boot ROM is of no use; the discs are virtio; the clock is the host's.
        argv = [
            *(["ip", "netns", "exec", namespace] if namespace else []),
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "pc", "-accel", os.environ.get("NETBOND_VM_ACCEL", "tcg"), "-cpu", "max"),
            *("-smp", "2", "-m", str(memory), "-device", "virtio-rng-pci"),
            *("-kernel", str(boot / "vmlinuz"), "-initrd", str(boot / "initrd.img")),
            *("-append", "root=/dev/vda rw console=ttyS0 quiet no_timer_check"),
            *("-drive", f"file={image},if=virtio,format={'raw' if image.suffix == '.raw' else 'qcow2'}"
              f",discard=unmap,cache=unsafe,snapshot={'off' if persistent else 'on'}"),
            *("-serial", f"file:{folder / 'console.log'}"),
            *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,fd={agent}"),
            *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
            *("-chardev", f"file,id=job,path={folder / 'job.log'}"),
            *("-device", "virtserialport,chardev=job,name=job"),
            *("-device", f"qemu-xhci,id=usb,p2={PORTS},p3={PORTS}"),
        ]  # fmt: skip
        for disk in disks:
            argv += ["-drive", f"file={disk},if=virtio,format=raw,readonly=on"]
        if internet:
            argv += ["-netdev", "user,id=internet,ipv6=off"]
            argv += ["-device", "virtio-net-pci,netdev=internet,romfile=,addr=0x10"]
        with (folder / "qemu.log").open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                pass_fds=[end.fileno() for end in ends],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": str(folder)},  # where the copy-on-write layer is
            )
        for end in ends:
            end.close()
        try:
            self._monitor.receive(time.monotonic() + 30)  # the greeting
            self.monitor("qmp_capabilities")
            self.wait_until_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the monitor --------------------------------------------------------------------------------------

    def monitor(self, command: str, **arguments: Any) -> Any:
        """A command to QEMU itself; its answer. Events that come meanwhile are kept."""
        self._monitor.send({"execute": command, "arguments": arguments})
        deadline = time.monotonic() + 60
        while True:
            answer = self._monitor.receive(deadline)
            if "event" in answer:
                self._events.append(answer)
            elif "error" in answer:
                raise MachineError(f"{command}: {answer['error']['desc']}")
            else:
                return answer["return"]

    def _await_event(self, name: str, device: str | None = None, timeout: float = 60) -> None:
        """Wait for an event, of a device if one is named; those that came before are seen as well."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self._events:
                if event["event"] == name and device in (None, event["data"].get("device")):
                    self._events.remove(event)
                    return
            message = self._monitor.receive(deadline)
            if "event" in message:
                self._events.append(message)

    def plug(self, name: str, port: int, network: str, *, mac: str = "0c:5b:8f:27:9a:64") -> None:
        """Plug the modem `name` into a USB port: a real USB network card (cdc_ether).

        Its network is QEMU's: `network` such as "192.168.8" gives the lease .100 and the gateway .1. The
        default `mac` is the one that all modems of a well-known maker have.
        """
        self._plug(
            name,
            port,
            mac,
            type="user",
            net=f"{network}.0/24",
            host=f"{network}.1",
            dns=f"{network}.3",
            dhcpstart=f"{network}.100",
            ipv6=False,
        )

    def plug_cable(self, name: str, port: int, *, mac: str) -> None:
        """Plug a card into a USB port; all such cards are on one switch, and no other is."""
        self._plug(name, port, mac, type="hubport", hubid=1)

    def _plug(self, name: str, port: int, mac: str, **network: Any) -> None:
        link = f"{name}-{next(self._ids)}"
        self.monitor("netdev_add", id=link, **network)
        capture = str(self.folder / f"{name}.pcap")
        self.monitor(
            "object-add", **{"qom-type": "filter-dump", "id": f"dump-{link}"}, netdev=link, file=capture
        )
        self.monitor(
            "device_add", driver="usb-net", id=name, netdev=link, bus="usb.0", port=str(port), mac=mac
        )
        self._links[name] = link

    def unplug(self, name: str) -> None:
        """Pull the modem `name` out."""
        link = self._links.pop(name)
        self.monitor("device_del", id=name)
        self._await_event("DEVICE_DELETED", name)
        self.monitor("object-del", id=f"dump-{link}")
        self.monitor("netdev_del", id=link)

    # --- inside -------------------------------------------------------------------------------------------

    def ask(self, command: str, timeout: float = 60, **arguments: Any) -> Any:
        """A command to the guest agent; its answer."""
        self._agent.send({"execute": command, "arguments": arguments})
        answer = self._agent.receive(time.monotonic() + timeout)
        if "error" in answer:
            raise MachineError(f"{command}: {answer['error']['desc']}")
        return answer["return"]

    def wait_until_up(self) -> None:
        """Until the machine has started and all its services with it."""
        deadline = time.monotonic() + BOOT_TIMEOUT
        while True:
            if self._process.poll() is not None:
                raise MachineError(f"QEMU ended: {(self.folder / 'qemu.log').read_text()}")
            number = next(self._ids)
            try:
                # The byte 0xff makes the agent forget what it had half read.
                sync = {"execute": "guest-sync-delimited", "arguments": {"id": number}}
                self._agent.send(sync, ahead=b"\xff")
                while self._agent.receive(time.monotonic() + 3).get("return") != number:
                    pass
                break
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise MachineError("the virtual machine does not start; see console.log") from None
        self.run("systemctl is-system-running --wait", check=False, timeout=BOOT_TIMEOUT)

    def run(self, command: str, *, check: bool = True, timeout: float = 600, given: str = "") -> Done:
        """Run a shell command as root, which may read what is `given`; MachineError when it fails and `check`
        is set."""
        more: dict[str, Any] = {
            "capture-output": True,
            "input-data": base64.b64encode(given.encode()).decode(),
        }
        started = self.ask("guest-exec", path="/bin/sh", arg=["-c", command], **more)
        deadline = time.monotonic() + timeout
        pause = 0.05
        while not (state := self.ask("guest-exec-status", pid=started["pid"]))["exited"]:
            if time.monotonic() > deadline:
                raise MachineError(f"not done after {timeout:g} s: {command}")
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
        out, err = (base64.b64decode(state.get(key, "")).decode() for key in ("out-data", "err-data"))
        done = Done(state.get("exitcode", 128 + state.get("signal", 0)), out, err)
        if check and done.status:
            raise MachineError(f"exit status {done.status} of: {command}\n{done.out}{done.err}")
        return done

    def out(self, command: str, **options: Any) -> str:
        """What a command that succeeds writes."""
        return self.run(command, **options).out

    def log_job(self, command: str, *, timeout: float) -> int:
        """Run a long command whose output goes to job.log as it comes; its exit status."""
        return self.run(f"( {command} ) >{JOB_PORT} 2>&1", check=False, timeout=timeout).status

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders to it."""
        quoted = shlex.quote(path)
        self.run(f"mkdir -p $(dirname {quoted}) && cat >{quoted}", given=text)

    def reboot(self) -> None:
        """Shut down properly and start again."""
        self._events.clear()
        with contextlib.suppress(TimeoutError, MachineError):
            self.ask("guest-exec", path="/bin/systemctl", arg=["reboot"], timeout=5)
        self._await_event("RESET", timeout=BOOT_TIMEOUT)
        self.wait_until_up()

    def shut_down(self) -> None:
        """Shut down properly, so that the image is complete."""
        with contextlib.suppress(TimeoutError, MachineError):
            self.ask("guest-exec", path="/bin/systemctl", arg=["poweroff"], timeout=5)
        self._process.wait(120)

    def close(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.wait()
        self._monitor.close()
        self._agent.close()
