"""Four users who flood the control socket: root is answered, and routing reacts as before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import lockout
from bench.routing import percentile
from tests.netns.box import Box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o711)  # other users reach the socket in it, as in /run/netbond
    with Box(tmp_path) as found:
        for number in range(lockout.UPLINKS):
            found.plug(f"u{number}", number, default=False)
        uplinks = "".join(
            f'[[uplink]]\nmatch = "u{number}"\ngateway = "10.0.{number}.1"\n'
            for number in range(lockout.UPLINKS)
        )
        found.configure(uplinks)
        found.start()
        yield found


@pytest.mark.parametrize(("kind", "one_uid"), [("connect", False), ("hold", True)])
def test_root_is_answered_and_routing_reacts(box: Box, kind: str, *, one_uid: bool) -> None:
    path = box.folder / "control.sock"
    tables = {uplink["device"]: uplink["table"] for uplink in box.status()["uplinks"]}
    with lockout.flooded(kind, path, one_uid=one_uid):
        answers, reactions = lockout.asked(path), lockout.reactions(box, tables)
    # Much more than what is measured (3 ms, 4 ms), because other tests run at the same time. Before, it was
    # 2 s, and more than 5 s.
    assert percentile(answers, 0.9) < 0.5
    assert percentile(reactions, 0.5) < 0.5
