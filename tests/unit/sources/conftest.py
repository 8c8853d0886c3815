"""A system bus of a test's own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dbus_next import Message

from tests.netns.buses import PrivateBus

# Whoever runs the tests may take the names of system services on it: the distribution's policy is for root.
ANYBODY = """
<policy context="mandatory">
  <allow own="*"/><allow send_destination="*"/>
</policy>
"""


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivateBus]:
    """A running system bus, which netbond takes for the machine's."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is not installed")
    made = PrivateBus()
    made.configure(ANYBODY)
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", made.address)
    with made:
        yield made


def serving(objects: dict[str, Any]) -> Callable[[Message], Message | None]:
    """The answers of a service that has these objects, and answers nothing else."""

    def answer(message: Message) -> Message | None:
        if message.member == "GetManagedObjects":
            return Message.new_method_return(message, "a{oa{sa{sv}}}", [objects])
        return None

    return answer
