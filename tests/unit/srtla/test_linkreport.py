"""The packet that tells an SRT server of the links, as one who knows its format reads it."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest

from netbond.srtla.linkreport import MAX_LINKS, ReportedLink, build_report

ADDRESS = socket.inet_aton("192.0.2.1") + (5000).to_bytes(2, "big")


def parse(data: bytes) -> dict[str, Any]:
    """Read it word by word, as its documentation has them."""
    assert len(data) % 4 == 0
    words = struct.unpack(f"!{len(data) // 4}I", data)
    assert words[0] == 0x9300 << 16
    assert words[1:3] == (0, 0)
    assert words[4] & 0xFFFF == 0
    count = words[4] >> 16 & 0xFF
    assert len(words) == 8 + 7 * count
    links = [words[at : at + 7] for at in range(8, len(words), 7)]
    return {
        "socket": words[3],
        "version": words[4] >> 24,
        "kbps": words[5],
        "ms": words[6] << 32 | words[7],
        "links": [(w[0], w[1], w[2], w[3] << 32 | w[4], w[5], w[6]) for w in links],
    }


def test_each_word_has_its_place() -> None:
    links = [ReportedLink(ADDRESS, 5 << 32, 3_000_000, 77), ReportedLink(b"", 9, 1_000_999, 3)]
    found = parse(build_report(0x1234ABCD, 3_600_000, links, 5_000_000.25))
    assert found.pop("links") == [
        (found_id(ADDRESS), 2699, 0, 5 << 32, 77, 3000),
        (0x811C9DC5, 900, 0, 9, 3, 1000),
    ]
    assert found == {"socket": 0x1234ABCD, "version": 1, "kbps": 3600, "ms": 5_000_000_250}


def found_id(address: bytes) -> int:
    """The id of a link with this address."""
    return int(parse(build_report(1, 0, [ReportedLink(address, 0, 0, 0)], 0.0))["links"][0][0])


@pytest.mark.parametrize(("text", "value"), [(b"a", 0xE40C292C), (b"foobar", 0xBF9CF968)])
def test_the_hash_is_fnv_1a(text: bytes, value: int) -> None:
    assert found_id(text) == value


def test_what_is_too_much_is_left_out() -> None:
    links = [ReportedLink(ADDRESS, 1, 1 << 60, 1 << 40)] * (MAX_LINKS + 1)
    found = parse(build_report(1 << 40, 1 << 60, links, 1.0))
    assert len(found["links"]) == MAX_LINKS
    assert found["kbps"] == found["links"][0][5] == 0xFFFFFFFF


def test_links_that_carry_nothing() -> None:
    assert parse(build_report(1, 0, [], 1.0))["links"] == []
    assert parse(build_report(1, 5_000, [ReportedLink(ADDRESS, 7, 0, 9)], 1.0))["links"][0][1] == 0
