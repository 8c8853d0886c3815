"""The documents against the tree: nothing is left out, and no link leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from netbond.cli import COMMANDS

ROOT = Path(__file__).parents[3]
PAGES = tuple(
    str(page.relative_to(ROOT))
    for folder, pattern in ((ROOT, "*.md"), (ROOT / "docs", "**/*.md"), (ROOT / "bench", "**/*.md"))
    for page in sorted(folder.glob(pattern))
)
FOLDERS = ("bench", "contrib", "docs", "netbond", "scripts", "tests")


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "scripts/docs.py", "--check"], capture_output=True, text=True
    )
    assert run.returncode == 0, f"run scripts/docs.py: {run.stdout}{run.stderr}"


def test_the_readme_lists_the_commands() -> None:
    named = re.findall(r"^\| `netbond (\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)


def slug(heading: str) -> str:
    """The anchor that a heading gets on the usual sites."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def prose(page: str) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = prose(page)
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), f"{page}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    """Paths of the checkout (`netbond/plan.py`, tests/netns), and bare names of Python files (`plan.py`)."""
    text = prose(page)
    paths = set(re.findall(rf"(?<![\w/.:-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w", text))
    assert not sorted(path for path in paths if not (ROOT / path).exists())
    bare = set(re.findall(r"(?<![\w/.])\w+\.py\b", text))
    known = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert bare <= known, sorted(bare - known)
