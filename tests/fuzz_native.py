"""Builds the fuzzer of the compiled data path, tests/fuzz_fastpath.c, and makes its initial inputs.

scripts/fuzz builds it with clang's libFuzzer; the inputs that it finds are kept (tests/fuzz_corpus.py).
tests/unit/across/test_fuzz_native.py replays them with any C compiler. An input is a program: each step is
one byte that chooses it (`step` in the C file), and the data that it reads.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = HERE / "fuzz_fastpath.c"
FASTPATH = HERE.parent / "netbond" / "srtla" / "native" / "fastpath.c"
SANITIZERS = "-fsanitize=address,undefined", "-fno-sanitize-recover=all"

DATA, NAK, ACK, KEEPALIVE, SRTLA_ACK, REGISTRATION, STRANGE, RAW = range(8)
NOW, SOON, LATER, MUCH_LATER = 0, 2, 4, 6  # arrives in 0, 1 ms, 30 ms, 1.5 s


def fastpath(folder: Path, *flags: str, source: Path = FASTPATH) -> Path | None:
    """Build a program in `folder` that runs the files that it is given, and return its path.

    None if there is no C compiler, or none that can build it with `flags`. `source` is the code under test.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = folder / "replay"
    definitions = ["-DREPLAY", f'-DFASTPATH="{source}"']
    command = [compiler, "-g", *flags, *definitions, "-o", str(program), str(SOURCE)]
    return program if subprocess.run(command, capture_output=True).returncode == 0 else None


TARGETS = (fastpath,)


# --- steps --------------------------------------------------------------------------------------------------


def add_group(server: int) -> bytes:
    """Make the socket of SRT server 0 to 7 belong to a group."""
    return bytes([0, server])


def drop_group(server: int) -> bytes:
    """Remove the group of that SRT server."""
    return bytes([1, server])


def add_links(server: int, peer: int, shape: int = 1, count: int = 1, credit: int = 10_000) -> bytes:
    """Make peers, in sequence, links of that group; odd ones are IPv6.

    `shape` says with which ancillary messages packets come to us (0 to 7), and how they are answered (8 or
    16).
    """
    return bytes([2, server, shape, peer, _repeat(count)]) + credit.to_bytes(2, "big")


def drop_link(number: int) -> bytes:
    """Remove a link."""
    return bytes([4, number])


def expect(peer: int, shape: int = 1) -> bytes:
    """Give out this peer's datagrams as a stream; 255: nobody's."""
    return bytes([15, 254, peer, shape])


def from_peer(
    peer: int,
    kind: int = DATA,
    size: int = 1316,
    *,
    shape: int = 1,
    count: int = 1,
    when: int = NOW,
    gap: int = 0,
    mark: int = 7,
    second: int = 1,
) -> bytes:
    """Receive datagrams from a peer: together, or one each 0.3, 2 or 20 ms.

    RAW ones begin with `mark` and `second`.
    """
    return bytes(
        [5, peer, shape, kind | when << 3 | gap << 6, size >> 8, size & 255, _repeat(count), mark, second]
    )


def packed(
    peer: int, kind: int, size: int, parts: int, *, cut: int = 0, shape: int = 1, count: int = 1
) -> bytes:
    """Receive several datagrams that the kernel hands over as one; the last is shorter by `cut`."""
    head = bytes([5, peer, shape | 0x20, kind, size - 1 >> 8, size - 1 & 255, _repeat(count)])
    return head + bytes([cut, parts - 1, 7, 1])


def strangely_packed(peer: int, size: int, segment: int, *, shape: int = 1) -> bytes:
    """Receive the same with an invalid segment size."""
    head = bytes([5, peer, shape | 0x30, DATA, size >> 8, size & 255, 0])
    return head + (segment & 0xFFFFFFFF).to_bytes(4, "big") + b"\7\1"


def from_server(server: int, kind: int = ACK, size: int = 44, *, count: int = 1, mark: int = 7) -> bytes:
    """Receive datagrams from an SRT server; 8 and more: on sockets that Python reads."""
    return bytes([8, server, kind, size >> 8, size & 255, _repeat(count), mark, 1])


def run(duration: int = 2, patience: int = 0, room: int = 64) -> bytes:
    """Call nb_run, for 0, 1 ms, 5 ms, 20 ms, 0.1 s, 2 s, 40 s or 3 h."""
    return bytes([10, duration | patience << 3, room - 1, 0])


def send(*runs: int) -> bytes:
    """Call nb_send; each of `runs` is a size (low half: table index) and a count (high half, squared)."""
    return bytes([13, sum(1 + (each >> 4) ** 2 for each in runs), *runs])


def unlucky(*results: int) -> bytes:
    """Set the results of the next attempts to send.

    Each is the index of an error in a table; 0: no error; 128 + n: n + 1 datagrams are sent.
    """
    return bytes([14, 0xC0 | len(results) - 1, *results])


def socket_error(descriptor: int, error: int = 1) -> bytes:
    """Make a socket report an error (1: ECONNREFUSED); 0 is the listener, 7 the first server's socket."""
    return bytes([14, 0x80 | descriptor, error])


INTERRUPT = bytes([14, 1])
SPURIOUS = bytes([14, 0x40])
HEARD = bytes([11, 15])
FAILED = bytes([12])
SENDER = bytes([15, 255])  # of copies of ACKs, one is reported


def _repeat(count: int) -> int:
    return count + 191 if count > 1 else 0


def seeds() -> list[bytes]:
    """Return programs with each kind of step."""
    group = add_group(0) + add_links(0, 1) + add_links(0, 2, shape=1 | 8)
    every = b"".join(
        from_peer(peer, kind, size)
        for peer in (1, 2, 3)
        for kind in range(8)
        for size in (0, 15, 16, 1500, 1501)
    )
    flows = b"".join(from_peer(1, count=12, when=when) for when in (NOW, SOON, LATER, MUCH_LATER))
    return [
        group + every + run(),
        group
        + b"".join(from_peer(1, RAW, 20, mark=each) for each in (0x7F, 0x80, 0x8F, 0x90, 0xBF, 0xC0))
        + b"".join(from_peer(1, RAW, size, mark=0x80, second=0) for size in (15, 16, 64))
        + run(),
        group + from_peer(1, count=25) + run() + run(4) + HEARD,
        group + from_peer(1, count=64) + from_peer(2, count=20) + run() + run(4) + HEARD,
        group + flows + run(5) + HEARD + run(6, patience=4) + flows + run(7, patience=3) + FAILED,
        group
        + b"".join(
            from_peer(1, count=64, gap=gap) + run(5, patience) for gap in (1, 2, 3) for patience in range(8)
        ),
        group
        + packed(1, DATA, 1316, 40, cut=200)
        + packed(2, DATA, 64, 128)
        + packed(3, DATA, 1316, 9)
        + run(),
        group + packed(1, RAW, 300, 60) + packed(1, DATA, 1316, 49, shape=9) + from_peer(2) + run(),
        group + packed(1, DATA, 64, 70, count=60) + run(),
        expect(3)
        + every
        + run()
        + expect(2)
        + from_peer(3)
        + from_peer(2)
        + packed(2, DATA, 1316, 9)
        + run(),
        expect(4) + packed(4, DATA, 16, 128, count=40) + run() + expect(255) + from_peer(4) + run(),
        group + expect(1) + from_peer(1) + from_peer(1, RAW, 20, mark=0x80, second=0) + run(),
        group
        + b"".join(strangely_packed(1, 9000, each) for each in (0, -1, 1, 15, 1500, 1501, 2**31 - 1))
        + run(),
        b"".join(add_group(0) + add_links(0, 5, shape=each) + from_peer(5, shape=each) for each in range(8))
        + b"".join(
            packed(5, DATA, 500, 4, shape=each | last, count=3) for each in range(8) for last in (0, 8)
        )
        + run(),
        add_group(1)
        + add_links(1, 0, count=64)
        + add_links(1, 70, count=2)
        + from_peer(9)
        + from_server(1)
        + run(),
        group
        + from_peer(1)
        + from_server(0, count=30)
        + run()
        + b"".join(
            from_server(0, kind, size)
            for kind in range(8)
            for size in (0, 15, 16, 64, 0x8000 + 1500, 0x8000 + 2049)
        )
        + run(),
        add_group(0)
        + add_links(0, 1, count=8)
        + from_server(0, count=16)
        + run()
        + from_server(0, count=17)
        + run(),
        add_group(0)
        + add_links(0, 3, credit=171)
        + from_server(0, size=72)
        + run()
        + from_server(0, size=71)
        + run(),
        group
        + add_links(0, 3, credit=172)
        + from_server(0, count=3)
        + run()
        + from_peer(3)
        + from_server(0)
        + run(),
        add_group(0)
        + add_group(1)
        + from_server(0)
        + from_server(1)
        + run()
        + SENDER
        + from_server(0)
        + from_server(1)
        + from_server(1, mark=8)
        + from_server(0, NAK)
        + from_server(1, NAK)
        + run()
        + b"".join(from_server(0, mark=each) for each in range(20))
        + run()
        + from_server(0, mark=1)
        + b"".join(from_server(0, size=each) for each in (44, 16, 64, 65, 65, 44))
        + run(),
        group + unlucky(5, 0, 1, 1, 2, 0, 1, 0) + from_peer(1, count=9) + from_peer(2) + run() + FAILED,
        group + unlucky(0, 2, 130, 3) + from_peer(1, count=30) + from_server(0, count=16) + run(4) + FAILED,
        group + unlucky(0x82, 8, 0x81) + from_peer(1) + from_server(0, count=16) + run(4) + FAILED,
        group
        + socket_error(0)
        + socket_error(7)
        + from_peer(1)
        + run()
        + SPURIOUS
        + INTERRUPT
        + run(4)
        + run(),
        group + from_peer(1, count=9) + run() + socket_error(7) + run() + FAILED,
        group + socket_error(7, 2) + run() + socket_error(7, 14) + run() + SPURIOUS + run(),
        group + from_server(8) + from_server(9) + from_peer(1) + run(room=1) + from_server(10) + run(),
        group
        + from_peer(1)
        + run()
        + drop_link(0)
        + from_peer(1)
        + run()
        + add_links(0, 7)
        + HEARD
        + from_peer(7)
        + run()
        + drop_group(0)
        + from_peer(2)
        + run()
        + add_group(3)
        + add_links(3, 2)
        + from_peer(2)
        + run(),
        b"".join(
            send(*each)
            for each in ((0x80,), (0xF0, 1, 2, 3), (0x34, 0x35), (0x84, 0x84), tuple(range(16)), (0x1A, 0x7B))
        ),
        b"".join(
            unlucky(*each) + send(0x80) for each in ((5, 0, 0, 1, 0, 2), (1, 1, 1), (2,), (9, 4), (10, 0, 12))
        ),
    ]
