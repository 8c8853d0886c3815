"""Runs engines and a real SRT stream in network namespaces, for the SRTLA tests that need root."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Self

from tests import ready

CHUNK = 1316
RECEIVER = "203.0.113.10"
_serial = itertools.count()


def sh(*command: str) -> str:
    """Run a command that must succeed; return its output."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, f"{' '.join(command)}: {result.stderr}"
    return result.stdout


PATIENCE = 4  # times the given seconds, because the machine may be busy


def eventually(true: Callable[[], object], within: float = 5.0, what: str = "") -> None:
    """Wait until `true()` is true.

    `within` seconds are what it may take on an idle machine; AssertionError after PATIENCE times as long.
    """
    end = time.monotonic() + within * PATIENCE
    while not true():
        assert time.monotonic() < end, f"not within {within * PATIENCE} s: {what or true}"
        time.sleep(0.02)


class Net:
    """A box with links usb0, usb1, ... to a far end that has the address 203.0.113.10."""

    def __init__(self, directory: Path, links: int, *, multihomed: bool = False) -> None:
        """`multihomed`: the far end's kernel answers on each link from that link's address by default."""
        self.multihomed = multihomed
        tag = f"nbe{os.getpid()}x{next(_serial)}"
        self.box, self.far = tag + "b", tag + "r"
        self.directory = directory
        self.links = links
        self.extra: list[str] = []
        self.closing = contextlib.ExitStack()
        self._processes: list[subprocess.Popen[Any]] = []

    def build(self) -> None:
        for name in (self.box, self.far):
            sh("ip", "netns", "add", name)
            sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", self.far, "addr", "add", f"{RECEIVER}/32", "dev", "lo")
        for number in range(self.links):
            self.add_link(number)

    def add_link(self, number: int) -> None:
        """Add usb<number> with address 10.7.<number>.2, its table and its rule."""
        box, far, net = self.box, self.far, f"10.7.{number}"
        sh(
            "ip",
            "link",
            "add",
            f"usb{number}",
            "netns",
            box,
            "type",
            "veth",
            "peer",
            f"net{number}",
            "netns",
            far,
        )
        sh("ip", "-n", far, "addr", "add", f"{net}.1/24", "dev", f"net{number}")
        sh("ip", "-n", far, "link", "set", f"net{number}", "up")
        if not self.multihomed:
            route = (f"{net}.0/24", "dev", f"net{number}", "src", RECEIVER)
            sh("ip", "-n", far, "route", "replace", *route)
        sh("ip", "-n", box, "addr", "add", f"{net}.2/24", "dev", f"usb{number}")
        sh("ip", "-n", box, "link", "set", f"usb{number}", "up")
        table = str(100 + number)
        sh(
            "ip",
            "-n",
            box,
            "route",
            "replace",
            "default",
            "via",
            f"{net}.1",
            "dev",
            f"usb{number}",
            "table",
            table,
        )
        subprocess.run(["ip", "-n", box, "rule", "del", "priority", table], capture_output=True)
        sh("ip", "-n", box, "rule", "add", "from", f"{net}.2", "table", table, "priority", table)

    def namespace(self, suffix: str) -> str:
        """Make another namespace of this net."""
        name = self.box + suffix
        sh("ip", "netns", "add", name)
        self.extra.append(name)
        return name

    def ips(self, *lines: str, name: str = "ips") -> Path:
        """Write a list file; by default of all links."""
        path = self.directory / name
        lines = lines or tuple(f"10.7.{number}.2%usb{number}" for number in range(self.links))
        path.write_text("".join(line + "\n" for line in lines))
        return path

    def popen(
        self, namespace: str, command: Sequence[str], log: str = "", **more: Any
    ) -> subprocess.Popen[Any]:
        """Start a program in a namespace; its standard error goes to the file `log`."""
        stderr: IO[bytes] | int = (self.directory / log).open("ab") if log else subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command],
                stderr=stderr,
                **{"stdin": subprocess.DEVNULL, "stdout": stderr, **more},
            )
        finally:
            if not isinstance(stderr, int):
                stderr.close()
        self._processes.append(process)
        return process

    def netbond(self, namespace: str, *args: str, log: str) -> subprocess.Popen[Any]:
        """Start `netbond ARGS`, an engine, and wait until it listens."""
        before = self.log(log).count("listening")
        process = self.popen(namespace, [sys.executable, "-m", "netbond", *args], log)
        path = self.directory / log
        ready.wait(lambda: self.log(log).count("listening") > before, "the engine listens", process, path)
        return process

    def send(self, *, ips: Path | None = None, log: str = "send.log") -> subprocess.Popen[Any]:
        """Start a drop-in sender on port 6000."""
        path = ips or self.ips()
        return self.netbond(self.box, "send", "6000", RECEIVER, "5000", str(path), log=log)

    def recv(self, *, log: str = "recv.log") -> subprocess.Popen[Any]:
        """Start a drop-in receiver on port 5000 for an SRT server on 5002."""
        return self.netbond(
            self.far,
            "recv",
            "--srtla_port",
            "5000",
            "--srt_hostname",
            "127.0.0.1",
            "--srt_port",
            "5002",
            log=log,
        )

    def log(self, name: str) -> str:
        """Return what a program has logged so far."""
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def in_namespace(self, namespace: str, work: Callable[[], Any]) -> Any:
        """Run `work` in a thread that has entered the namespace; return its result."""
        result: list[Any] = []

        def enter() -> None:
            with Path(f"/run/netns/{namespace}").open() as file:
                _setns(file.fileno())
            result.append(work())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join(100)
        assert result, "failed in the namespace"
        return result[0]

    def close(self) -> None:
        self.closing.close()
        for process in reversed(self._processes):
            if process.poll() is None:
                process.kill()
            process.wait(40)
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()
        for name in (self.box, self.far, *self.extra):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)


def _setns(fd: int) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


@contextlib.contextmanager
def net(directory: Path, links: int = 3, *, multihomed: bool = False) -> Iterator[Net]:
    """Make a Net, and always remove it at the end."""
    made = Net(directory, links, multihomed=multihomed)
    try:
        made.build()
        yield made
    finally:
        made.close()


class Stream:
    """A real SRT stream: numbered chunks go from an SRT caller on the box to a remote SRT listener."""

    def __init__(
        self,
        net: Net,
        *,
        latency: int = 1000,
        listener: bool = True,
        again: bool = False,
        port: int = 5002,
        caller_port: int = 6000,
        options: str = "",
        calls: str = "",
    ) -> None:
        """`again`: when a caller has gone, the listener takes the next. `port`: the listener's;
        `caller_port`: where the caller calls. `options`: of SRT, for both; `calls`: for the caller."""
        self.net = net
        self.again = again
        self.port, self.caller_port = port, caller_port
        self.options, self.calls = options, calls
        self.got: list[int] = []
        self.sent = 0
        self._filler = 0
        self._stop = threading.Event()
        self._done = threading.Event()
        self.latency = latency
        if listener:
            self.listen()

    def listen(self) -> None:
        """Start the listener, and wait until it accepts callers."""
        self.listener = self.net.popen(
            self.net.far,
            [
                "srt-live-transmit", "-q", "-a:yes" if self.again else "-a:no", f"-chunk:{CHUNK}",
                f"srt://127.0.0.1:{self.port}?mode=listener&lossmaxttl=40&latency={self.latency}{self.options}",
                "file://con",
            ],
            "listener.log",
            stdout=subprocess.PIPE,
        )  # fmt: skip
        ready.udp_port(self.port, self.listener, self.net.directory / "listener.log")
        self._reader = threading.Thread(target=self._read, args=(self.listener.stdout,), daemon=True)
        self._reader.start()

    def call(self) -> None:
        """Start the caller."""
        self.caller = self.net.popen(
            self.net.box,
            [
                "srt-live-transmit", "-q", "-a:no", f"-chunk:{CHUNK}", "file://con",
                f"srt://127.0.0.1:{self.caller_port}?mode=caller&latency={self.latency}{self.options}{self.calls}",
            ],
            "caller.log",
            stdin=subprocess.PIPE,
        )  # fmt: skip

    def start(self, mbps: float = 3.0) -> None:
        """Start the caller, and send until `finish`."""
        self.call()
        self._writer = threading.Thread(target=self._write, args=(mbps,), daemon=True)
        self._writer.start()

    def _write(self, mbps: float) -> None:
        interval = CHUNK * 8 / (mbps * 1e6)
        start = time.monotonic()
        pipe = self.caller.stdin
        assert pipe is not None
        written = 0
        while not self._done.is_set():
            numbered = not self._stop.is_set()  # then send filler: the listener's output is buffered
            head = b"NBTEST00" if numbered else b"NBFILLER"
            try:
                pipe.write(head + self.sent.to_bytes(8, "big") + bytes(CHUNK - 16))
                pipe.flush()
            except (OSError, ValueError):  # the caller has ended, or the test has
                return
            self.sent += numbered
            written += 1
            time.sleep(max(start + written * interval - time.monotonic(), 0))

    def _read(self, pipe: Any) -> None:
        while len(data := pipe.read(CHUNK)) == CHUNK:
            if data[:8] == b"NBTEST00":
                self.got.append(int.from_bytes(data[8:16], "big"))
            else:
                assert data[:8] == b"NBFILLER"
                self._filler += 1

    def arrives(self, within: float = 10.0) -> None:
        """Wait until a new chunk arrives."""
        have = len(self.got)
        eventually(lambda: len(self.got) > have + 20, within, "the stream arrives")

    def stop_numbers(self) -> None:
        """Send filler from now on, which brings out what the listener has in its buffer."""
        self._stop.set()

    def finish(self) -> list[int]:
        """Stop, and wait for the rest; return the numbers that did not arrive."""
        self.stop_numbers()
        self._writer.join(20)
        eventually(
            lambda: self.got and self.got[-1] == self.sent - 1, 5 + self.latency / 1000, "the last chunk"
        )
        assert self.caller.poll() is None, "the SRT connection broke"
        assert self.listener.poll() is None, "the SRT connection broke"
        # srt-live-transmit drops data until it is connected, so count from the first arrival.
        return sorted(set(range(min(self.got), self.sent)) - set(self.got))


class Agent:
    """The agent's end of an engine's channel."""

    def __init__(
        self, net: Net, namespace: str, *args: str, resume: Any = None, log: str, user: str = "nobody"
    ) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [
                sys.executable,
                "-m",
                "netbond",
                *args,
                # With an agent, what becomes of single links is for debugging, and tests wait for it.
                *(("--log-level", "debug") if args[0] == "send" else ()),
                "--control-fd",
                str(theirs.fileno()),
                "--user",
                user,
            ]
            self.process = net.popen(namespace, command, log, pass_fds=[theirs.fileno()])
        self.socket = net.closing.enter_context(ours)
        self.ready = False
        self.resume: dict[str, Any] = {}
        self.stats: dict[str, Any] = {}
        self.fatal = ""
        self.say({"resume": resume or {}})
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, message: dict[str, Any]) -> None:
        self.socket.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self.socket.makefile("rb") as lines:
            for line in lines:
                message = json.loads(line)
                self.ready = self.ready or "ready" in message
                self.resume = message.get("resume", self.resume)
                self.stats = message.get("stats", self.stats)
                self.fatal = message.get("fatal", self.fatal)

    def until_ready(self) -> Self:
        """Wait until the engine reports that it is ready, or has ended; `fatal` then has the reason."""
        ready.wait(lambda: self.ready or self.process.poll() is not None, "the engine is ready")
        return self

    def kill(self) -> None:
        """Kill the engine with SIGKILL."""
        self.process.kill()
        self.process.wait(20)
        self.socket.close()


def sending_agent(
    net: Net,
    *,
    resume: Any = None,
    links: Sequence[dict[str, str]] | None = None,
    more: Sequence[str] = (),
    user: str = "nobody",
) -> Agent:
    """`netbond send` as the agent starts it."""
    agent = Agent(
        net, net.box, "send", "--listen", "127.0.0.1:6000", "--receiver", f"{RECEIVER}:5000", *more,
        resume=resume, log="send.log", user=user,
    )  # fmt: skip
    default = [{"label": f"usb{n}", "address": f"10.7.{n}.2", "device": f"usb{n}"} for n in range(net.links)]
    agent.say({"links": default if links is None else list(links)})
    return agent.until_ready()


def receiving_agent(net: Net, *, resume: Any = None, more: Sequence[str] = ()) -> Agent:
    """`netbond recv` as the agent starts it."""
    return Agent(
        net,
        net.far,
        "recv",
        "--listen",
        "0.0.0.0:5000",
        "--srt",
        "127.0.0.1:5002",
        *more,
        resume=resume,
        log="recv.log",
    ).until_ready()


def streaming(lab: Net, links: int, *, mbps: float = 3.0, latency: int = 1000) -> tuple[Stream, Agent, Agent]:
    """Start a stream over the engines as the agent starts them; return it, the receiver's and the sender's.

    It arrives over links that are all up.
    """
    stream = Stream(lab, latency=latency)
    receiver, sender = receiving_agent(lab), sending_agent(lab)
    eventually(lambda: [link["state"] for link in sender.stats.get("links", [])] == ["up"] * links, 10)
    stream.start(mbps)
    stream.arrives()
    return stream, receiver, sender


def streaming_drop_ins(lab: Net, links: int, *, mbps: float = 3.0) -> Stream:
    """Start a stream over the engines as a user starts them; it arrives over links that are all up."""
    stream = Stream(lab)
    lab.recv()
    lab.send()
    eventually(lambda: lab.log("send.log").count(": up") == links, 10)
    stream.start(mbps)
    stream.arrives()
    return stream
