"""The page on dependencies against what is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_page_lists_what_is_needed_to_run_and_its_licences() -> None:
    check = [sys.executable, str(ROOT / "scripts/dependencies.py"), "--check"]
    run = subprocess.run(check, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_no_licence_is_unknown_and_each_dependency_has_a_purpose() -> None:
    text = (ROOT / "docs/dependencies.md").read_text()
    rows = re.findall(r"^\| ([\w-]+) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)[1:]
    assert rows
    for package, by, purpose, licence in rows:
        assert not licence.startswith("unknown"), package
        assert purpose or "netbond" not in by, package
