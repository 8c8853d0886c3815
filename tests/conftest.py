"""Sets up pytest and Hypothesis for all tests."""

import asyncio
import inspect
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.machine import why_not_a_machine

# On a busy machine an example may be slow, so do not limit its time.
settings.register_profile("netbond", deadline=None)
settings.load_profile("netbond")


# Under nohup, SIGHUP is ignored, and a shell cannot trap a signal that was ignored when it started.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# If a script runs this in the background (`scripts/test &`), SIGINT is ignored. Then all programs that tests
# start would ignore it, too, also in tests of Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need root in a chroot, before any fixture: they would change files outside of it."""
    if item.get_closest_marker("root") and os.geteuid() == 0 and (why := why_not_a_machine()):
        pytest.fail(why, pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is an `async def` in an event loop of its own; fixtures run outside of the loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """What a test's command does to the signals of its process must not reach the next test's programs."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    for number, handler in handlers.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
