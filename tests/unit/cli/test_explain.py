"""`netbond explain`: the question as the command line puts it, and the answer for people and programs."""

from __future__ import annotations

import errno
import ipaddress
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from netbond.cli import explain, main
from netbond.config.load import parse
from netbond.desired import desired
from netbond.explain import Query
from netbond.model import MAIN_TABLE, Facts, Nexthop, Route, Rule
from tests.unit.boxes import box

SYSTEM = (
    Rule(0, 4, table=255), Rule(32766, 4, table=MAIN_TABLE), Rule(32767, 4, table=253),
)  # fmt: skip
GOAL = desired(box("usb0"), parse(""))
FACTS = replace(box("usb0"), routes=GOAL.routes, rules=(*SYSTEM, *GOAL.rules))
VIA_USB0 = Route(
    222, ipaddress.ip_network("0.0.0.0/0"), (Nexthop("usb0", ipaddress.ip_address("10.0.0.1")),), protocol=78
)


@pytest.fixture
def explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Explained:
    return Explained(tmp_path, monkeypatch, capsys)


class Explained:
    """The command on a box, with a kernel that answers as told; the question that it was asked."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.asked: list[Query] = []
        self.capsys = capsys
        self.facts: Facts = FACTS
        self.answer: tuple[Route | None, str] = (VIA_USB0, "")
        self.config = folder / "netbond.toml"
        self.config.touch()
        monkeypatch.setattr(explain, "gather", lambda _: self.facts)
        monkeypatch.setattr(explain, "ask", self.ask)

    def ask(self, query: Query) -> tuple[Route | None, str]:
        self.asked.append(query)
        return self.answer

    def __call__(self, *words: str) -> tuple[int, str]:
        status = main(["explain", "--config", str(self.config), *words])
        shown = self.capsys.readouterr()
        return status, shown.out + shown.err


def test_they_agree(explained: Explained) -> None:
    status, shown = explained("8.8.8.8")
    assert status == 0
    assert shown.startswith("the kernel's rules:\n")
    assert shown.endswith("netbond intends the same.\n")
    assert "via 10.0.0.1 dev usb0" in shown
    assert explained.asked == [Query(ipaddress.ip_address("8.8.8.8"), None, "", uid=os.geteuid(), ipproto=17)]


def test_they_do_not(explained: Explained) -> None:
    explained.facts = replace(FACTS, rules=SYSTEM)
    explained.answer = (None, "none")
    status, shown = explained("8.8.8.8")
    assert status == 2
    assert "the kernel's own answer: no route" in shown
    assert "netbond intends:" in shown
    assert shown.endswith("`netbond plan` shows what is missing.\n")


def test_for_programs(explained: Explained) -> None:
    status, shown = explained("8.8.8.8", "--json")
    found = json.loads(shown)
    assert (status, found["agree"]) == (0, True)
    assert found["kernel"] == found["intended"]
    assert found["kernel"]["ways"] == [{"device": "usb0", "gateway": "10.0.0.1"}]


def test_the_kernel_says_otherwise_than_its_rules(explained: Explained) -> None:
    explained.answer = (None, "prohibit")
    status, shown = explained("8.8.8.8")
    assert status == 2
    assert "the kernel's own answer: refused: prohibit (this differs)" in shown


def test_all_that_can_be_asked(explained: Explained) -> None:
    explained(
        "8.8.8.8", "--from", "10.0.0.10", "--dev", "usb0", "--mark", "0x64", "--proto", "tcp", "--sport", "5",
        "--dport", "443", "--uid", "0",
    )  # fmt: skip
    assert explained.asked == [
        Query(
            ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("10.0.0.10"), "usb0",
            mark=100, uid=0, ipproto=6, sport=5, dport=443,
        )
    ]  # fmt: skip
    explained("127.0.0.1", "--uid", "root")
    assert explained.asked[-1].uid == 0


def test_the_policy_is_named(explained: Explained) -> None:
    text = '[[policy]]\nname = "web"\nport = 443\ninterface = "usb0"\nuplinks = ["usb0", "lte"]'
    explained.config.write_text(text)
    goal = desired(box("usb0"), parse(text))
    explained.facts = replace(box("usb0"), routes=goal.routes, rules=(*SYSTEM, *goal.rules))
    explained.answer = (replace(VIA_USB0, table=7801), "")
    packet = ("8.8.8.8", "--from", "10.9.9.9", "--in", "usb0", "--dport", "443", "--proto")
    status, shown = explained(*packet, "tcp")
    assert (status, shown.splitlines()[-1]) == (0, "policy web: usb0 (tier 1 of 2)")
    assert json.loads(explained(*packet, "udp", "--json")[1])["policy"] == "policy web: usb0 (tier 1 of 2)"
    assert json.loads(explained("8.8.8.8", "--json")[1])["policy"] == ""
    assert explained.asked[0] == Query(
        ipaddress.ip_address("8.8.8.8"),
        ipaddress.ip_address("10.9.9.9"),
        ipproto=6,
        dport=443,
        comes_in="usb0",
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["8.8.8.8", "--from", "x"], "--from 'x' is not an address"),
        (["8.8.8.8", "--from", "10.9.9.9"], "--from 10.9.9.9 is not an address of this box"),
        (["8.8.8.8", "--in", "usb0"], "--in is for a client's packet"),
        (["8.8.8.8", "--in", "usb0", "--from", "10.9.9.9", "--uid", "0"], "omit --dev and --uid"),
        (["8.8.8.8", "--in", "usb9", "--from", "10.9.9.9"], "--in 'usb9': there is no such interface"),
        (["8.8.8.8", "--dscp", "64"], "--dscp '64' is not a number from 0 to 63"),
        (["8.8.8.8", "--dev", "usb9"], "--dev 'usb9': there is no such interface"),
        (["2001:db8::1", "--from", "10.0.0.10"], "are of different families"),
        (["8.8.8.8", "--proto", "icmp", "--dport", "1"], "--proto icmp has no ports"),
        (["8.8.8.8", "--dport", "70000"], "--dport '70000' is not a number from 0 to 65535"),
        (["8.8.8.8", "--mark", "x"], "--mark 'x' is not a number"),
        (["8.8.8.8", "--uid", "no-such-user"], "--uid 'no-such-user': there is no such user"),
        (["-- ", "--uid", "99999999999"], "--uid '99999999999' is not a number"),
        (["a b"], "'a b' is not an address, and does not resolve"),
    ],
)
def test_mistakes(explained: Explained, words: list[str], says: str) -> None:
    status, shown = explained(*(word if word != "-- " else "8.8.8.8" for word in words))
    assert status == 64
    assert says in shown
    assert explained.asked == []


@pytest.mark.parametrize(
    ("number", "word"),
    [
        (errno.EHOSTUNREACH, "unreachable"),
        (errno.ENETUNREACH, "none"),
        (errno.EPERM, "Operation not permitted"),
    ],
)
def test_how_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch, number: int, word: str) -> None:
    class Refusing:
        async def __aenter__(self) -> Refusing:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def lookup(self, *_: object, comes_in: str) -> Route:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr("netbond.kernel.client.Kernel", Refusing)
    query = Query(ipaddress.ip_address("8.8.8.8"), None, "")
    assert explain.ask(query) == (None, word)
