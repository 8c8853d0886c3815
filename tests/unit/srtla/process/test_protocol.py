"""The messages of the channel: written, read, and refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from netbond.srtla.linkspec import MAX_LINKS, LinkSpec
from netbond.srtla.process.protocol import (
    FROM_AGENT,
    FROM_ENGINE,
    FROM_FRONT,
    FROM_WORKER,
    MAX_ADVICE_BYTES,
    MAX_LINE_BYTES,
    AdviceMessage,
    ChannelError,
    EncoderThere,
    Fatal,
    Forget,
    Hello,
    Links,
    Message,
    Ready,
    Resume,
    Stats,
    VideoRate,
    encode,
    parse,
)
from tests.unit.srtla.process.json_values import json_values

LINKS = Links(
    (LinkSpec("usb0", "10.0.0.10", "usb0", 5, enabled=False, metered=True), LinkSpec("usb1", "2001:db8::5"))
)


@pytest.mark.parametrize(
    ("message", "line", "expected"),
    [
        (Ready(), b'{"ready":true}\n', FROM_ENGINE),
        (Resume({"group": None}), b'{"resume":{"group":null}}\n', FROM_AGENT),
        (Stats({"links": []}), b'{"stats":{"links":[]}}\n', FROM_ENGINE),
        (AdviceMessage({"links": []}), b'{"advice":{"links":[]}}\n', FROM_ENGINE),
        (EncoderThere(None), b'{"encoder":null}\n', FROM_AGENT),
        (EncoderThere(0.25), b'{"encoder":0.25}\n', FROM_AGENT),
        (VideoRate(4_200_000), b'{"video":4200000}\n', FROM_ENGINE),
        (Fatal("port taken"), b'{"fatal":"port taken"}\n', FROM_ENGINE),
        (Hello(4711), b'{"hello":4711}\n', FROM_WORKER),
        (Forget(["192.0.2.1", 5]), b'{"forget":["192.0.2.1",5]}\n', FROM_FRONT),
        (
            LINKS,
            b'{"links":[{"label":"usb0","address":"10.0.0.10","device":"usb0","priority":5,"enabled":false,'
            b'"metered":true},'
            b'{"label":"usb1","address":"2001:db8::5","device":"","priority":0,"enabled":true,"metered":false}]}\n',
            FROM_AGENT,
        ),
    ],
)
def test_messages(message: Message, line: bytes, expected: tuple[type[Message], ...]) -> None:
    assert encode(message) == line
    assert parse(line, expected) == [message]


def test_several_messages_in_a_line() -> None:
    line = b'{"stats": {"links": []}, "later": 1, "resume": {}, "ready": false}\n'
    assert parse(line, FROM_ENGINE) == [Resume({}), Stats({"links": []})]


def test_what_the_other_end_does_not_send_is_passed_over() -> None:
    assert parse(b'{"from a later version": 1}\n', FROM_ENGINE) == []
    assert parse(b'{"links": 1, "hello": 1, "forget": 1}\n', FROM_ENGINE) == []
    assert parse(b'{"stats": 1, "ready": 1}\n', FROM_AGENT) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"hello\n", "sent what is not JSON: b'hello\\n'"),
        (b"\xff\n", "sent what is not JSON: b'\\xff\\n'"),
        (b"\x1b[2J" * 99, "sent what is not JSON: b'" + "\\x1b[2J" * 10 + "'"),
        (b"[" * MAX_LINE_BYTES, "sent what is not JSON: b'" + "[" * 40 + "'"),
        (b'{"stats": {"rtt": NaN}}', 'sent what is not JSON: b\'{"stats": {"rtt": NaN}}\''),
        (b'{"stats": {"rtt": 1e999}}', 'sent what is not JSON: b\'{"stats": {"rtt": 1e999}}\''),
        (
            b'{"stats": ' + b'{"a": ' * 17 + b"1" + b"}" * 18,
            "sent what is not JSON: b'" + '{"stats": {"a": {"a": {"a": {"a": {"a": ' + "'",
        ),
        (b"[1]\n", "sent what is not a JSON object: b'[1]\\n'"),
        (b'{"ready": 1}', "sent 'ready' with a value of the wrong kind"),
        (b'{"stats": []}', "sent 'stats' with a value of the wrong kind"),
        (b'{"resume": null}', "sent 'resume' with a value of the wrong kind"),
        (b'{"fatal": {}}', "sent 'fatal' with a value of the wrong kind"),
    ],
)
def test_garbage(line: bytes, says: str) -> None:
    with pytest.raises(ChannelError) as error:
        parse(line, FROM_ENGINE)
    assert str(error.value) == says


@pytest.mark.parametrize("pid", ["true", "1", "0", "-5", "4194305", '"5"', "1.5", "null"])
def test_a_worker_is_a_process(pid: str) -> None:
    with pytest.raises(ChannelError, match="sent 'hello' with a value of the wrong kind"):
        parse(f'{{"hello": {pid}}}'.encode(), FROM_WORKER)


@pytest.mark.parametrize("rate", ["true", "-1", "1.5", "null", '"1M"', "[1]", "1000000000001"])
def test_a_video_rate_is_a_number(rate: str) -> None:
    with pytest.raises(ChannelError, match="sent 'video' with a value of the wrong kind"):
        parse(f'{{"video": {rate}}}'.encode(), FROM_ENGINE)


@pytest.mark.parametrize("share", ["true", "-0.1", "0.6", '"0.1"', "[]"])
def test_an_overhead_is_a_share(share: str) -> None:
    with pytest.raises(ChannelError, match="sent 'encoder' with a value of the wrong kind"):
        parse(f'{{"encoder": {share}}}'.encode(), FROM_AGENT)


def test_much_advice_is_none() -> None:
    """It would be passed on to all who follow, many times a second."""
    line = encode(AdviceMessage({"links": ["x" * MAX_ADVICE_BYTES]}))
    with pytest.raises(ChannelError, match=r"sent \d+ bytes of advice; 131072 are the limit"):
        parse(line, FROM_ENGINE)
    link = {"label": "\U0001f4f6" * 64, **dict.fromkeys("abcdefgh", 10**10)}
    assert parse(encode(AdviceMessage({"links": [link] * MAX_LINKS})), FROM_ENGINE)


def test_what_is_accepted_can_be_sent_again() -> None:
    line = b'{"stats": {"text": "\\ud800 \\u001b[31m", "n": 123456789012345678901234567890}}'
    (message,) = parse(line, FROM_ENGINE)
    assert parse(encode(message), FROM_ENGINE) == [message]


@settings(max_examples=300, deadline=None)
@given(json_values)
def test_whatever_comes_is_a_message_or_refused(value: Any) -> None:
    keys = ("ready", "resume", "stats", "advice", "fatal", "links", "hello", "forget", "encoder", "video")
    for key in keys:
        line = json.dumps({key: value}).encode()
        for expected in (FROM_AGENT, FROM_ENGINE, FROM_WORKER, FROM_FRONT):
            try:
                messages = parse(line, expected)
            except ChannelError:
                continue
            for message in messages:
                assert parse(encode(message), expected) == [message]


def test_a_line_that_is_too_long_is_not_written() -> None:
    room = MAX_LINE_BYTES - len(encode(Fatal("")))
    assert len(encode(Fatal("x" * room))) == MAX_LINE_BYTES
    with pytest.raises(ChannelError, match="1048577 bytes to send in one line; 1048576 are the limit"):
        encode(Fatal("x" * (room + 1)))


# --- links -------------------------------------------------------------------------------------------------


def test_entries_that_are_no_links_are_left_out() -> None:
    good = {"address": "10.0.0.10"}
    entries = [7, {}, {"address": "nowhere"}, {"address": "10.0.0.11", "device": "a b"}, good]
    (message,) = parse(json.dumps({"links": entries}).encode(), FROM_AGENT)
    assert message == Links((LinkSpec("10.0.0.10", "10.0.0.10"),))


def test_more_links_than_a_sender_has_room_for() -> None:
    entries = [{"address": f"10.0.{number}.10"} for number in range(MAX_LINKS + 9)]
    (message,) = parse(json.dumps({"links": entries}).encode(), FROM_AGENT)
    assert isinstance(message, Links)
    assert len(message.links) == MAX_LINKS


@pytest.mark.parametrize(
    ("entry", "priority", "enabled", "metered"),
    [
        ({}, 0, True, False),
        ({"priority": 7, "enabled": False, "metered": True}, 7, False, True),
        ({"priority": -1, "enabled": 0, "metered": 1}, 0, True, False),
        ({"priority": True, "enabled": None, "metered": "yes"}, 0, True, False),
        ({"priority": 101}, 0, True, False),
        ({"priority": "7"}, 0, True, False),
    ],
)
def test_what_the_agent_says_of_a_link(
    entry: dict[str, Any], priority: int, enabled: bool, metered: bool
) -> None:
    line = json.dumps({"links": [{"label": "a", "address": "10.0.0.10", "device": "usb0", **entry}]})
    (message,) = parse(line.encode(), FROM_AGENT)
    assert isinstance(message, Links)
    (spec,) = message.links
    assert (spec.priority, spec.enabled, spec.metered) == (priority, enabled, metered)
