"""The types of requests and replies, over a real socket where that matters."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from netbond.model import FACTS_VERSION
from netbond.status import protocol
from netbond.status.control import Command, ControlServer, Peer, request
from netbond.status.protocol import (
    FactsReply,
    FactsRequest,
    HookReply,
    HookRequest,
    StatusReply,
    StatusRequest,
    read_reply,
    read_request,
)
from netbond.system.typed_json import to_json
from tests.unit.boxes import box

FACTS = box("usb0", "usb1")


async def answered(folder: Path, command: Command, asked: dict[str, Any]) -> dict[str, Any]:
    """What the client gets for a request to an agent that knows this command only."""
    server = ControlServer(folder / "s", {asked["command"]: command})
    await server.start()
    try:
        return await asyncio.to_thread(request, folder / "s", asked)
    finally:
        await server.stop()


async def test_facts_go_over_the_socket_and_are_the_same(tmp_path: Path) -> None:
    async def look(_request: FactsRequest, _peer: Peer) -> FactsReply:
        return FactsReply(FACTS_VERSION, FACTS)

    reply = await answered(tmp_path, Command.typed(FactsRequest, look), to_json(FactsRequest()))
    assert list(reply) == ["ok", "version", "facts"]
    assert read_reply(FactsReply, reply) == FactsReply(FACTS_VERSION, FACTS)


async def test_a_hook_of_another_version_is_understood(tmp_path: Path) -> None:
    heard: list[HookRequest] = []

    def hear(hook: HookRequest, _peer: Peer) -> HookReply:
        heard.append(hook)
        return HookReply()

    said = {"command": "hook", "device": "usb0", "colour": "green", "source": 7}
    assert await answered(tmp_path, Command.typed(HookRequest, hear), said) == {"ok": True}
    assert heard == [HookRequest("", "usb0")]


async def test_a_request_that_lacks_something_is_refused_in_one_line(tmp_path: Path) -> None:
    command = Command.typed(FactsReply, lambda request, peer: HookReply())  # one that needs two keys
    reply = await answered(tmp_path, command, {"command": "x", "version": 1})
    assert reply == {"ok": False, "error": "the request is not understood: facts: missing"}


async def test_an_answer_too_long_to_be_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    command = Command(lambda request, peer: {"text": "x" * protocol.MAX_REPLY})
    reply = await answered(tmp_path, command, {"command": "x"})
    assert reply == {"ok": False, "error": "the answer has 4194329 bytes, and 4194304 are the limit"}


def test_the_forms_on_the_wire() -> None:
    requests = (StatusRequest(), HookRequest("dhclient", "usb0"), FactsRequest())
    assert [to_json(each) for each in requests] == [
        {"command": "status"},
        {"source": "dhclient", "device": "usb0", "command": "hook"},
        {"command": "facts"},
    ]
    assert [read_request(type(each), to_json(each)) for each in requests] == list(requests)
    assert to_json(StatusReply(None)) == {"status": None}
    assert json.loads(protocol.encode(protocol.refusal("no"))) == {"ok": False, "error": "no"}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ({"ok": True}, "version: missing"),
        ({"ok": True, "version": 1, "facts": {"interfaces": 7}}, "facts.interfaces: 7 is no list"),
        ({"ok": True, "version": 1, "facts": {"moons": []}}, "facts: unknown key 'moons'"),
    ],
)
def test_facts_of_another_form_are_not_guessed_at(reply: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        read_reply(FactsReply, reply)
    assert str(caught.value) == problem
