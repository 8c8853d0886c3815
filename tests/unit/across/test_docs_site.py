"""The documentation as a site: each page is in the navigation, and a broken link fails the build."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts/docs_site.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs_site = load()


def test_an_index_page_is_the_navigation() -> None:
    index = """\
# Documentation
- [not below a heading](x.md)

## How to
- [Alerts](alerts.md)
- [What netbond is](../README.md), in short
- no link

## Reference
- [Decisions](decisions/README.md)
"""
    assert docs_site.navigation(index) == [
        {"How to": [{"Alerts": "docs/alerts.md"}, {"What netbond is": "README.md"}]},
        {"Reference": [{"Decisions": "docs/decisions/README.md"}]},
    ]


def test_each_page_of_docs_is_in_the_index_once() -> None:
    nav = docs_site.navigation((ROOT / "docs/README.md").read_text())
    listed = [
        path
        for section in nav
        for entries in section.values()
        for entry in entries
        for path in entry.values()
    ]
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} - {"docs/README.md"}
    assert sorted(path for path in listed if Path(path).parent == Path("docs")) == sorted(pages)
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("page", [str(page) for page in docs_site.pages()])
def test_lists_begin_after_a_blank_line(page: str) -> None:
    """Or after a heading: Python's Markdown, with which the site is made, sees no list elsewhere."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert not re.findall(r"^(?![-*#<]|\d+\. |  |$).*\n(?:[-*]|\d+\.) .*", text, re.MULTILINE)


@pytest.fixture
def zensical() -> None:
    pytest.importorskip("zensical", reason="zensical is not installed; scripts/test installs it")


@pytest.mark.timeout(400)  # it takes two seconds, and much longer on a machine that is busy
@pytest.mark.usefixtures("zensical")
def test_the_site_is_built(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "site"
    docs_site.prepare(folder)
    assert docs_site.build(folder) == 0, capfd.readouterr()
    for page in (
        "index.html",
        "docs/config/index.html",
        "bench/index.html",
        "docs/advice.svg",
        "search.json",
    ):
        assert (folder / "html" / page).is_file(), page


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("zensical")
def test_what_leads_nowhere_fails_the_build(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/index.md").write_text("# A page\n\n[a](nothing.md) [b](index.md#nothing)\n")
    (tmp_path / "zensical.toml").write_text(docs_site.SETTINGS.format(nav='["index.md"]'))
    assert docs_site.build(tmp_path) == 1
    said = "".join(capfd.readouterr())
    assert "page does not exist" in said
    assert "anchor does not exist" in said
