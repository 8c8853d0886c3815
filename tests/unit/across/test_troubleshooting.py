"""docs/troubleshooting.md: its codes are those of doctor and of problems, and each serious one has a row."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
# What says all that there is to say, or is not about a fault.
WITHOUT_A_ROW = {
    *("uplink-gone", "uplink-degraded", "streams-blocked", "no-links", "receiver-failover"),
    *("caller-gone", "stream-stopped", "stream-links", "engine-restarted", "configuration-restart"),
    *("conflict", "policy"),
}


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


def test_each_problem_has_a_row() -> None:
    problems = first_cells("status.md", "## Problems")
    assert {code for code in problems - WITHOUT_A_ROW if f"`{code}`" not in PAGE} == set()
