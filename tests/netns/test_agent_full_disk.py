"""A `state_dir` that cannot be written: no lease is lost while the agent runs, and it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.box import Box, sh, wait_for
from tests.netns.test_agent_hooks import gateways, hook

pytestmark = pytest.mark.root

SIZE = 1 << 20  # bytes: once it is free, there is room for all that an agent writes


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system without any room, at the place of `state_dir`."""
    place = tmp_path / "state"
    place.mkdir()
    sh("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", str(place))
    try:
        (place / "filler").write_bytes(bytes(SIZE))
        yield place
    finally:
        sh("umount", "--lazy", str(place))


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with Box(tmp_path) as box:
        for number in range(2):
            box.plug(f"usb{number}", number, default=False)
        box.configure()
        yield box


def lost(box: Box) -> list[str]:
    return [problem for problem in box.status()["agent"]["problems"] if "would lose" in problem]


def test_a_full_disk(full: Path, box: Box) -> None:
    text = box.config_file.read_text()
    box.config_file.write_text(text.replace(f"{box.folder}/control.sock", f"{full}/control.sock"))
    (box.folder / "control.sock").symlink_to(full / "control.sock")
    box.start()
    hook(box, 0)
    wait_for(lambda: gateways(box) == {"usb0": "10.0.0.1 dhclient"}, 5, "the lease counts")
    assert "default via 10.0.0.1 dev usb0" in box.table(100)
    assert len(lost(box)) == 1
    hook(box, 1)
    hook(box, 0, reason="RELEASE")
    wait_for(lambda: gateways(box) == {"usb1": "10.0.1.1 dhclient"}, 5, "one is let go")
    (full / "filler").unlink()
    hook(box, 0)
    wait_for(lambda: len(gateways(box)) == 2, 5, "both count")
    wait_for(lambda: lost(box) == [], 5, "both are stored")
    box.stop()
    box.start()
    assert gateways(box) == {"usb0": "10.0.0.1 dhclient", "usb1": "10.0.1.1 dhclient"}


def test_a_folder_that_others_can_write(box: Box) -> None:
    """netbond reads nothing there, and writes nothing there."""
    place = box.folder / "state" / "leases"
    place.mkdir(parents=True)
    place.chmod(0o777)
    box.start()
    hook(box, 0)
    wait_for(lambda: gateways(box) == {"usb0": "10.0.0.1 dhclient"}, 5, "the lease counts")
    assert os.listdir(place) == []  # noqa: PTH208
    assert "users other than root can write there; a restart would lose" in lost(box)[0]
