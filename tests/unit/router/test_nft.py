"""Router mode's edge: what is asked of netlink, what is said of failures, and what is recorded."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.config.schema import RouterConfig
from netbond.errors import KernelLacksError, UnavailableError
from netbond.lan import Lan, Mark
from netbond.model import Address, Uplink
from netbond.router import nft

CONFIG = RouterConfig(lan=("eth1", "br*"))
LAN = Lan(("eth1",))
ADDRESS = Address("usb0", ipaddress.ip_interface("10.0.0.10/24"))
USB0 = Uplink("usb0", ADDRESS.interface, None, "test", table=100, addresses=(ADDRESS,))


@pytest.mark.parametrize(("family", "head"), [(4, "02010000"), (6, "0a010000")])
def test_the_request_that_deletes_connections(family: int, head: str) -> None:
    """Byte by byte: a filter that the kernel does not understand would delete all connections of the box."""
    request = nft.delete_request(Mark(0x64000000, family), 0xFF000000)
    length, kind, flags, _, _ = struct.unpack_from("=IHHII", request)
    assert (length, kind, flags) == (len(request), 0x0102, 0x0005)
    assert request[16:] == bytes.fromhex(head) + b"".join(
        struct.pack("=HH", 8, number) + value
        for number, value in ((8, b"\x64\x00\x00\x00"), (21, b"\xff\x00\x00\x00"))
    )


@pytest.mark.parametrize(
    ("mark", "mask"), [(0, 0), (1, 0), (0, 0xFF000000), (0x164000000, 0xFF000000), (1, 0xFF000000)]
)
def test_no_request_that_would_delete_more_than_is_meant(mark: int, mask: int) -> None:
    with pytest.raises(ValueError, match="not within the mask"):
        nft.delete_request(Mark(mark, 4), mask)


def test_nft_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nft, "_PATH", str(tmp_path))
    with pytest.raises(UnavailableError) as caught:
        nft.program()
    assert str(caught.value) == (
        "router mode needs the program nft, which is not installed; install the package nftables"
    )


def test_a_kernel_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_request: bytes) -> bytes:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(nft, "_ask", refuse)
    with pytest.raises(KernelLacksError, match="CONFIG_NF_CONNTRACK_MARK"):
        nft.release([Mark(0x64000000, 4)], 0xFF000000)


async def test_another_mask_after_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks of before are in bits that are not ours any more: they go by the mask they were made with."""
    asked: list[tuple[list[Mark], int]] = []
    monkeypatch.setattr(nft, "release", lambda found, mask: asked.append((list(found), mask)))

    async def apply(_table: nft.Table, _text: str) -> bool:
        return True

    monkeypatch.setattr(nft.Table, "apply", apply)

    table = nft.Router(tmp_path)
    for mask in (0xFF000000, 0x00FF0000, 0x00FF0000):
        await table.sync([USB0], LAN, replace(CONFIG, mark_mask=mask))
    assert [(found, mask) for found, mask in asked if found] == [([Mark(100 << 24, 4)], 0xFF000000)]
    for found, mask in asked:
        for each in found:
            nft.delete_request(each, mask)  # ValueError if it does not lie within


async def test_a_record_that_cannot_be_written_is_said_and_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def feed(_text: str) -> None:
        pass

    async def listing() -> str:
        return "table"

    released_marks: list[int] = []
    monkeypatch.setattr(nft, "feed", feed)
    monkeypatch.setattr(nft, "listing", listing)
    monkeypatch.setattr(nft, "generation", lambda: 1)
    monkeypatch.setattr(nft, "release", lambda _marks, mask: released_marks.append(mask))
    (tmp_path / "state").write_text("in the way")
    table = nft.Router(tmp_path / "state")
    problems = await table.sync([USB0], LAN, CONFIG)
    assert problems == [
        f"{tmp_path}/state/nft.json: Not a directory;"
        " router mode works, but a restart applies its rules again"
    ]
    assert released_marks == [CONFIG.mark_mask]
