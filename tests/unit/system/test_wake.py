"""What wakes the agent's loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time

from netbond.system.wake import Wake, pause


async def test_news_wakes_it_once() -> None:
    wake = Wake()
    assert not await wake.wait(time.monotonic() + 0.01)
    wake.look()
    assert await wake.wait(time.monotonic() + 60)
    assert not wake.answered()  # no reload was asked for
    assert not await wake.wait(time.monotonic())


async def test_a_reload_is_told_once() -> None:
    wake = Wake()
    wake.reload()
    assert await wake.wait(time.monotonic() + 60)
    assert wake.answered()
    assert not wake.answered()


async def test_signals() -> None:
    wake = Wake()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    signal.pthread_kill(threading.get_ident(), signal.SIGHUP)  # as `netbond run` holds it back
    with contextlib.ExitStack() as stack:
        wake.heed_signals(stack)
        assert await wake.wait(time.monotonic() + 60)
        assert wake.answered()
        assert not wake.stopping()
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        assert await wake.wait(time.monotonic() + 60)
        assert wake.stopping()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_what_hangs_has_a_moment_to_finish_once_it_is_to_end() -> None:
    wake = Wake()
    asyncio.get_running_loop().call_later(0.01, wake.stop)
    hangs = asyncio.create_task(asyncio.sleep(3600))
    assert not await wake.finish(hangs, 0.02)
    await asyncio.wait({hangs})
    assert hangs.cancelled()
    assert await wake.finish(asyncio.create_task(asyncio.sleep(0.01)), 5.0)


async def test_what_ends_by_itself_is_not_disturbed() -> None:
    ends = asyncio.create_task(asyncio.sleep(0.01, "done"))
    assert await Wake().finish(ends, 0.0)
    assert ends.result() == "done"


async def test_pauses_of_less_than_a_millisecond_let_others_run() -> None:
    ran: list[bool] = []
    asyncio.get_running_loop().call_soon(ran.append, True)
    began = time.monotonic()
    await pause(0.0005)
    assert time.monotonic() - began >= 0.0005
    assert ran
    await pause(0.002)
    assert time.monotonic() - began >= 0.0025
