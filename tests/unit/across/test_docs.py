"""The documents against the tree: nothing is left out, and no link leads nowhere."""

from __future__ import annotations

import ast
import itertools
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


def imported_by(file: str) -> set[str]:
    """The files of netbond that this one imports, for types and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {f"{name.replace('.', '/')}.py" for name in names}
    return found


def data_paths() -> dict[str, list[tuple[str, str]]]:
    """From docs/architecture.md, by heading: the steps, each a file and what is said of it."""
    text = (ROOT / "docs/architecture.md").read_text()
    section = re.search(r"^## Four data paths\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section
    _, *parts = re.split(r"^### (.*)\n", section[1], flags=re.MULTILINE)
    return {
        name: re.findall(r"^\d+\. `([^`]+)`: (.*)$", steps, re.MULTILINE)
        for name, steps in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_architecture_has_four_data_paths() -> None:
    paths = data_paths()
    assert len(paths) == 4
    assert all(len(steps) >= 5 for steps in paths.values())


@pytest.mark.parametrize("name", data_paths())
def test_neighbours_in_a_data_path_know_each_other(name: str) -> None:
    """One imports the other, or the second says by which command or message the value comes."""
    steps = data_paths()[name]
    for (before, _), (file, text) in itertools.pairwise(steps):
        if not re.search(r"\*\*By a (command|file|netlink message|D-Bus message)\*\*", text):
            assert file in imported_by(before) or before in imported_by(file), f"{before} -> {file}"


@pytest.mark.parametrize("name", data_paths())
def test_a_data_path_has_no_step_back_up(name: str) -> None:
    """From the edges where facts come in, to what decides at the top of netbond/, to those that write."""

    def rank(file: str) -> int:
        folder = file.removeprefix("netbond/").rpartition("/")[0]
        return {"": 1, "kernel": 2, "router": 2, "outputs": 2, "status": 2}.get(folder, 0)

    files = [file for file, _ in data_paths()[name]]
    assert len(set(files)) == len(files)
    assert [rank(file) for file in files] == sorted(rank(file) for file in files)


def test_the_index_of_decisions_lists_each_record() -> None:
    folder = ROOT / "docs/decisions"
    listed = re.findall(
        r"^\| \[(\d{4})\]\((\1-[\w-]+\.md)\) \|", (folder / "README.md").read_text(), re.MULTILINE
    )
    assert [file for _, file in listed] == sorted(path.name for path in folder.glob("[0-9]*.md"))
    for number, file in listed:
        title, *sections = re.findall(r"^#+ (.*)$", prose(f"docs/decisions/{file}"), re.MULTILINE)
        assert title.startswith(f"{number}: ")
        assert sections[:3] == ["Context", "Decision", "Consequences"]


@pytest.mark.parametrize("form", ["bug", "modem", "feature"])
def test_issue_forms_ask_for_what_a_report_needs_and_say_what_to_mask(form: str) -> None:
    text = (ROOT / f".github/ISSUE_TEMPLATE/{form}.yml").read_text()
    for wanted in ("netbond status --json", "netbond explain", "journalctl -u netbond", "Mask"):
        assert wanted in text


def test_hooks_before_a_commit_download_nothing() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (.*)", text) == ["local"]
    assert len(re.findall(r"language: system$", text, re.MULTILINE)) == len(re.findall(r"- id: ", text))
