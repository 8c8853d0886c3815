"""docs/troubleshooting.md: its codes are those of doctor and of problems, and each one has a row."""

import ast
import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
NO_FAULT = {"watchdog", "problems"}  # doctor only tells of it; says that there is nothing


def first_cells(page: str, title: str) -> set[str]:
    """The codes in the first column of the table under a title."""
    text = (DOCS / page).read_text(encoding="utf-8").partition(f"{title}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {code for row in rows for code in re.findall(r"`([a-z_-]+)`", row)}


def test_each_code_is_one_that_exists() -> None:
    known = first_cells("doctor.md", "## Checks") | first_cells("status.md", "## Problems")
    assert "not-registered" in known
    assert "path-mtu" in known
    named = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", PAGE)) | set(re.findall(r"doctor's `([a-z-]+)`", PAGE))
    assert named - known == set()


def test_each_problem_and_each_finding_has_a_row() -> None:
    codes = first_cells("status.md", "## Problems") | first_cells("doctor.md", "## Checks")
    assert {code for code in codes - NO_FAULT if f"`{code}`" not in PAGE} == set()


def constants(files: str, call: str) -> set[str]:
    """The constants that calls of a class have as first argument: the codes of findings or problems."""
    return {
        node.args[0].value
        for path in (DOCS.parent / "netbond").glob(files)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == call
        and node.args
        if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    }


def test_each_code_in_the_program_is_in_the_tables() -> None:
    findings, problems = constants("doctor/*.py", "Finding"), constants("status/troubles.py", "Problem")
    assert {"path-mtu", "root"} <= findings
    assert {"no-uplink", "link-mtu"} <= problems
    assert findings <= first_cells("doctor.md", "## Checks")
    # "sender": what an engine says that has no code of its own, as the last row of that table has it.
    assert problems - first_cells("status.md", "## Problems") == {"sender"}
