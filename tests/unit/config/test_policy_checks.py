"""Policies as a whole: each mistake has one line that says what to do."""

from __future__ import annotations

import pytest

from netbond.config.load import parse
from netbond.errors import ConfigError


def policy(*lines: str, name: str = "bank", uplinks: str = '["dsl", "lte"]') -> str:
    return "\n".join(["[[policy]]", f'name = "{name}"', f"uplinks = {uplinks}", *lines])


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (policy() + "\n" + policy(), "two policies are named 'bank'", "a name of its own"),
        (
            policy('overflow = "8Mbit/s"', uplinks='["dsl"]'),
            "policy 'bank' has overflow and one tier",
            'uplinks = ["dsl", "lte"]',
        ),
        (policy('failback = "keep"'), "has failback = 'keep' without sticky", 'add sticky = "10min"'),
        (
            policy('mark = "0x1000000/0xff000000"'),
            "0x1000000/0xff000000 has bits of netbond's own marks, 0xff000000",
            "use other bits",
        ),
        (policy('uid = "backup"', 'interface = "br0"'), "has uid and interface", "take one out"),
        (
            policy("port = 443", 'protocol = ["tcp", "icmp"]'),
            "has port and protocol = 'icmp', which has no ports",
            "leave port out",
        ),
        (
            policy('source = "192.168.1.0/24"', 'destination = "2001:db8::/32"'),
            "has IPv4 on one side and IPv6 on the other",
            "no packet",
        ),
        (
            policy(f"port = {list(range(1, 50))}", 'source = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]'),
            "makes 294 rules",
            "256 are the limit",
        ),
        (
            '[[uplink]]\nmatch = "eth0"\nlabel = "fibre"\n' + policy(uplinks='["fiber"]'),
            "policy 'bank'.uplinks names 'fiber', which is no uplink",
            "did you mean 'fibre'?",
        ),
        (
            '[[uplink]]\nmatch = "wwan0"\n' + policy(uplinks='["wwwan0"]'),
            "names 'wwwan0', which is no uplink",
            "did you mean 'wwan0'?",
        ),
        ("\n".join(policy(name=f"p{n}") for n in range(65)), "65 policies", "64 are the limit"),
        (
            "[routing]\necmp_priority = 32765\n" + policy(),
            "leaves no room for 1 policies",
            "choose a lower one",
        ),
        (policy('destnation = "a.example"'), "unknown key 'destnation'", "did you mean 'destination'?"),
        (policy('failback = "kut"'), "policy[1].failback = 'kut' is not valid", "'keep', 'drain', 'cut'"),
        (policy("uplinks2 = 1").replace("name =", "#"), "policy[1] has an unknown key 'uplinks2'", "uplinks"),
        ('[[policy]]\nname = "a"', "policy[1] lacks the key 'uplinks'", "add uplinks"),
    ],
)
def test_mistakes(text: str, says: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert says in caught.value.args[0]
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        policy('destination = ["bank.example", "203.0.113.0/24"]'),
        policy('sticky = "10min"', 'failback = "keep"', 'overflow = "8Mbit/s"'),
        policy('uid = "backup"', 'interface = "lo"'),
        policy('source = "192.168.1.0/24"', 'destination = "bank.example"'),
        policy('mark = ["0x10/0xff", 3]'),
        # Names that no [[uplink]] has, and that may be right all the same.
        '[[uplink]]\nmatch = "usb0"\n' + policy(uplinks='["usb1", "eth*"]'),
        '[[uplink]]\nmatch = "usb*"\n[[uplink]]\nmatch = "*"\nenabled = false\n' + policy(uplinks='["usb1"]'),
        '[[uplink]]\nmatch = {path = "*1.2*"}\nlabel = "dsl"\n' + policy(),
    ],
)
def test_fine(text: str) -> None:
    assert parse(text).policy[0].name == "bank"
