"""The pictures in docs/screenshots are what `netbond status` shows."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "screenshots"


def test_they_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/screenshots.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, f"run scripts/screenshots.py: {done.stdout}{done.stderr}"


def test_they_load_nothing_from_elsewhere_and_say_what_the_view_says() -> None:
    files = sorted(FOLDER.glob("*.svg"))
    assert [file.name for file in files] == [
        "status-60.svg",
        "status-80.svg",
        "watch-60x24.svg",
        "watch-80x24.svg",
    ]
    for file in files:
        drawn = ET.fromstring(file.read_text())  # noqa: S314 - a file of ours
        words = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
        assert {"sender 127.0.0.1:6000", "running"} <= words
        assert "http" not in file.read_text().replace("http://www.w3.org/2000/svg", "")
