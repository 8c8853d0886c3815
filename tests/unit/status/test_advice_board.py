"""Advice on its way to those who follow it: at once, the newest, and a sign of life each second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from netbond.errors import UnavailableError, UsageError
from netbond.srtla import watch
from netbond.srtla.advice import Advice
from netbond.srtla.statistics import SenderStatistics
from netbond.srtla.watch import FRESH_S, WatchLine
from netbond.status import advice_board
from netbond.status.advice_board import AdviceBoard
from netbond.status.schema import EngineStatus

ADVICE = Advice(3_600_000, 4_000_000, 35, 1000, 0.0, 48)
LOWER = Advice(1_000_000, 1_500_000, 35, 1000, 0.0, 48)
STATS = SenderStatistics("sender", "", "", None, None, "connected", None, 0, 0, 0, 0, 0)
ONE = EngineStatus("sender 127.0.0.1:6000", "sender", "running", 7, 0, "", "", STATS)
OTHER = EngineStatus("sender [::1]:6001", "sender", "backing off", None, 3, "killed", "", None)
RECEIVER = EngineStatus("receiver [::]:5000", "receiver", "running", 8, 0, "", "", None)


def line(name: str, state: str, advice: Advice | None) -> WatchLine:
    return WatchLine(watch.VERSION, name, state, advice)


async def soon(lines: AsyncGenerator[WatchLine, None]) -> WatchLine:
    return await asyncio.wait_for(anext(lines), 20)


def test_each_sender_has_its_line_and_receivers_have_none() -> None:
    board = AdviceBoard(lambda: [ONE, RECEIVER, OTHER])
    assert board.lines(100.0) == {
        "127.0.0.1:6000": line("127.0.0.1:6000", "connected", None),
        "[::1]:6001": line("[::1]:6001", "backing off", None),
    }
    board.post(ONE.name, ADVICE, 100.0)
    board.post(OTHER.name, LOWER, 100.1)
    assert [each.advice for each in board.lines(100.2).values()] == [ADVICE, LOWER]
    board.post(ONE.name, LOWER, 100.3)
    assert board.lines(100.3)["127.0.0.1:6000"].advice == LOWER


def test_old_advice_is_none_and_that_of_senders_that_are_gone_is_forgotten() -> None:
    board = AdviceBoard(lambda: [ONE])
    board.post(ONE.name, ADVICE, 100.0)
    assert board.lines(100.0 + FRESH_S)["127.0.0.1:6000"].advice is None
    for number in range(1000):  # each reload may bring another
        board.post(f"sender 127.0.0.1:{number}", ADVICE, 101.0 + number)
    assert len(board._latest) <= FRESH_S + 1


async def test_who_follows_hears_at_once_what_is_new_and_each_second_what_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(advice_board, "HEARTBEAT_S", 0.2)
    board = AdviceBoard(lambda: [ONE, OTHER])
    lines = board.follow("127.0.0.1:6000")
    assert (await soon(lines)).advice is None
    began = time.monotonic()
    assert (await soon(lines)).advice is None, "a sign of life"
    assert time.monotonic() - began > 0.15
    board.post(OTHER.name, LOWER, time.monotonic())  # of no interest
    board.post(ONE.name, ADVICE, time.monotonic())
    assert (await soon(lines)).advice is ADVICE
    for _ in range(3):  # who takes lines late gets the newest only
        board.post(ONE.name, ADVICE, time.monotonic())
    board.post(ONE.name, LOWER, time.monotonic())
    assert (await soon(lines)).advice is LOWER
    await lines.aclose()


async def test_news_wakes_each_who_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice_board, "HEARTBEAT_S", 3600.0)  # no sign of life meanwhile
    board = AdviceBoard(lambda: [ONE, OTHER])
    all_of_them, one = board.follow(""), board.follow("sender [::1]:6001")
    assert [(await soon(all_of_them)).sender for _ in range(2)] == ["127.0.0.1:6000", "[::1]:6001"]
    assert (await soon(one)).state == "backing off"
    waiting = [asyncio.ensure_future(anext(each)) for each in (all_of_them, one)]
    await asyncio.sleep(0)
    board.post(OTHER.name, LOWER, time.monotonic())
    for each in await asyncio.wait_for(asyncio.gather(*waiting), 20):
        assert (each.sender, each.advice) == ("[::1]:6001", LOWER)
    for lines in (all_of_them, one):
        await lines.aclose()


async def test_an_engine_that_advises_without_end_is_not_passed_on_without_end() -> None:
    """It faces the internet, and each line costs the agent time for each who follows."""
    board = AdviceBoard(lambda: [ONE])
    lines = board.follow("")
    taken, end = 0, time.monotonic() + 0.5

    async def flood() -> None:
        while time.monotonic() < end:
            board.post(ONE.name, replace(ADVICE), time.monotonic())
            await asyncio.sleep(0)

    flooding = asyncio.create_task(flood())
    while time.monotonic() < end:
        await soon(lines)
        taken += 1
    await flooding
    assert taken <= 12
    await lines.aclose()


async def test_a_sender_that_there_is_not_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"the agent has no sender; add a \[\[sender\]\]"):
        await soon(AdviceBoard(lambda: [RECEIVER]).follow(""))
    with pytest.raises(UsageError, match=r"no sender '127.0.0.1:1'; there is 127.0.0.1:6000, \[::1\]:6001"):
        await soon(AdviceBoard(lambda: [ONE, OTHER]).follow("127.0.0.1:1"))


async def test_a_sender_that_is_removed_from_the_configuration_ends_it() -> None:
    engines = [ONE, OTHER]
    board = AdviceBoard(lambda: engines)
    lines = board.follow("127.0.0.1:6000")
    await soon(lines)
    engines.remove(ONE)
    with pytest.raises(UsageError):
        await soon(lines)
