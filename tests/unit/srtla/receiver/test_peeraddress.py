"""The addresses of peers, as people and other programs read them."""

from __future__ import annotations

from netbond.srtla.receiver.peeraddress import format_address, packed_address


def test_addresses_as_people_read_them() -> None:
    assert format_address(("192.0.2.1", 5)) == "192.0.2.1:5"
    assert format_address(("::ffff:192.0.2.1", 5, 0, 0)) == "192.0.2.1:5"
    assert format_address(("2001:db8::1", 5, 0, 0)) == "[2001:db8::1]:5"


def test_addresses_as_programs_read_them() -> None:
    assert packed_address(("192.0.2.1", 5)) == bytes.fromhex("c0000201 0005")
    assert packed_address(("::ffff:192.0.2.1", 5, 0, 0)) == bytes.fromhex("c0000201 0005")
    assert packed_address(("fe80::1%usb0", 258, 0, 7)) == bytes.fromhex("fe80" + 13 * "00" + "01" + "0102")
