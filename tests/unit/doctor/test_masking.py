"""What must not be in a bug report is not there, and what a reader needs is."""

from __future__ import annotations

import time

import pytest

from netbond.doctor.masking import Masker


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("from 10.0.1.10 lookup 101", "from <ip4-private-1> lookup 101"),
        ("default via 192.168.8.1 dev usb0 proto 78", "default via <ip4-private-1> dev usb0 proto 78"),
        ("203.0.113.7:5000", "<ip4-private-1>:5000"),  # documentation addresses are not public
        ("93.184.216.34/24.", "<ip4-public-1>/24."),
        ("100.64.3.9", "<ip4-carrier-1>"),
        ("169.254.3.9", "<ip4-link-1>"),
        ("0.0.0.0/0, 127.0.0.53, ::, ::1", "0.0.0.0/0, 127.0.0.53, ::, ::1"),
        ("fe80::1%usb0", "<ip6-link-1>%usb0"),
        ("2a00:1450::5: no answer", "<ip6-public-1>: no answer"),
        ("address:2a00:1450::5", "address:<ip6-public-1>"),
        ("[2a00:1450::5]:5000", "[<ip6-public-1>]:5000"),
        ("at 19:12:03 on pci-0000:00:14.0-usb-0:1.2:1.0", "at 19:12:03 on pci-0000:00:14.0-usb-0:1.2:1.0"),
        ("Linux 6.18.44, netbond 0.2.0", "Linux 6.18.44, netbond 0.2.0"),
        ("link/ether 0c:5b:8f:27:9a:64 brd", "link/ether <mac-1> brd"),
        ("client-id 01:0c:5b:8f:27:9a:64", "client-id <mac-1>"),
        ("enx0c5b8f279a64: up", "enx<mac-1>: up"),
        ("SIM 8949020000012345678F", "SIM <number-1>"),
        ("IMEI 356938035643809,", "IMEI <number-1>,"),
        ("passphrase=abc&x", "passphrase=<passphrase-1>"),
        ('"password": "two words"', '"password": "<password-1>"'),
        ("https://api.telegram.org/bot1:AB", "https://<url-1>"),
        ("srt://host:5000?streamid=x", "srt://<url-1>"),
        ("/home/alice/netbond", "/home/<user-1>/netbond"),
        ("hex 9f86d081884c7d659a2feaa0c55ad015", "hex <secret-1>"),
        ("net.ipv4.fib_multipath_hash_policy", "net.ipv4.fib_multipath_hash_policy"),
    ],
)
def test_masked_by_its_form(text: str, masked: str) -> None:
    assert Masker().mask(text) == masked


def test_an_ipv4_address_within_one_of_ipv6() -> None:
    assert "184" not in Masker().mask("[::ffff:93.184.216.34]:5000")
    assert Masker().mask("12:34:56:93.184.216.34") == "12:34:56:<ip4-public-1>"


def test_what_is_told_is_masked_wherever_it_stands() -> None:
    masker = Masker(secrets=["hunter2", "x", ""], hosts=["bond.example.org"])
    assert masker.mask("to bond.example.org:5000 with hunter2, x") == "to <host-1>:5000 with <secret-1>, x"


def test_the_same_value_has_the_same_mask() -> None:
    masker = Masker()
    assert masker.mask("10.0.0.1 and 10.0.0.2") == "<ip4-private-1> and <ip4-private-2>"
    assert masker.mask_json({"a": "10.0.0.2", "b": ["10.0.0.1"]}) == {
        "a": "<ip4-private-2>",
        "b": ["<ip4-private-1>"],
    }


def test_json_by_its_keys() -> None:
    masker = Masker()
    assert masker.mask_json(
        {"serial": "ABC", "iccid": 89490200000, "own_numbers": ["+49170"], "pin": None, "ssid": "",
         "rtt_ms": 12, "10.0.0.1": True, "key": {"name": "one"}}
    ) == {
        "serial": "<serial-1>", "iccid": "<iccid-1>", "own_numbers": ["<own_numbers-1>"], "pin": None,
        "ssid": "", "rtt_ms": 12, "<ip4-private-1>": True, "key": {"name": "one"},
    }  # fmt: skip
    assert masker.json_text({"serial": "ABC"}) == '{\n  "serial": "<serial-1>"\n}\n'


@pytest.mark.parametrize("piece", ["f", ":", "a:", "0.", "key=", "=", "+1"])
def test_long_texts_are_masked_in_one_pass(piece: str) -> None:
    began = time.process_time()
    Masker(["hunter2"]).mask(piece * 20_000)
    assert time.process_time() - began < 2
