"""Builds the documentation as a site, with search: what scripts/site runs.

usage: .venv/bin/python scripts/docs_site.py [FOLDER]      (default: build/site)

The pages stay where they are, and are read on any forge. This copies them with the files that they link to,
and lets Zensical make HTML of the copy. docs/README.md is the navigation. A link that leads nowhere ends it
with exit status 1.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(#[^)\s]*)?\)")

# Headings get the anchors that they have on a forge.
SETTINGS = """\
[project]
site_name = "netbond"
site_description = "Routes and bonds the uplinks of a box with several modems"
docs_dir = "pages"
site_dir = "html"
nav = {nav}

# A usage in square brackets is no reference.
[project.validation]
unresolved_references = false

[project.theme]
language = "en"
font = false
features = ["navigation.sections", "navigation.indexes", "navigation.top", "search.highlight", "toc.follow",
            "content.code.copy"]

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "dark"

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "light"

[project.markdown_extensions.attr_list]
[project.markdown_extensions.md_in_html]
[project.markdown_extensions.tables]
[project.markdown_extensions.toc]
permalink = true
slugify = {{ object = "pymdownx.slugs.slugify", kwds = {{ case = "lower" }} }}
[project.markdown_extensions.pymdownx.highlight]
[project.markdown_extensions.pymdownx.superfences]
"""


def pages(root: Path = ROOT) -> list[Path]:
    """Return the pages of the site, relative to the checkout."""
    found = [*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "bench").rglob("*.md")]
    return sorted(path.relative_to(root) for path in found)


def navigation(index: str, folder: str = "docs") -> list[dict[str, object]]:
    """Return the navigation that an index page describes: sections by headings, pages by list items.

    ``index``: the page's text, ``folder``: where it is. Paths in the result are relative to the checkout.
    """
    sections: list[dict[str, object]] = []
    entries: list[object] = []
    for line in index.splitlines():
        if heading := re.match(r"## (.+)$", line):
            entries = []
            sections.append({heading[1]: entries})
        elif item := re.match(r"- \[([^\]]+)\]\(([^)#]+\.md)\)", line):
            entries.append({item[1]: _normal(f"{folder}/{item[2]}")})
    return sections


def _normal(path: str) -> str:
    """Return the path without ``..``; ValueError if it leaves the checkout."""
    return str((ROOT / path).resolve().relative_to(ROOT))


def stage(into: Path) -> None:
    """Copy the pages into a folder, with what they link to: files, and of each folder a list of its files."""
    for page in pages():
        text = (ROOT / page).read_text(encoding="utf-8")
        target = into / page
        target.parent.mkdir(parents=True, exist_ok=True)
        links = partial(_link, page=page, into=into)
        target.write_text(LINK.sub(links, text), encoding="utf-8")


def _link(link: re.Match[str], page: Path, into: Path) -> str:
    """Copy what a link leads to, and return the link; one to a folder leads to the list of its files."""
    path = (ROOT / page).parent / link[1]
    if path.suffix == ".md" or not path.exists():
        return link[0]  # of a page that is copied anyway, or broken: Zensical says so
    relative = path.resolve().relative_to(ROOT)
    if not path.is_dir():
        (into / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into / relative)
        return link[0]
    if (path / "README.md").exists():
        return f"]({link[1].rstrip('/')}/README.md)"
    run = subprocess.run(
        ["git", "ls-files", "--", path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [Path(name) for name in run.stdout.split()]
    for file in files:
        (into / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, into / file)
    names = [file.relative_to(relative) for file in files]
    listing = "".join(f"- [{name}]({name})\n" for name in names)
    (into / relative / "files.md").write_text(f"# {relative}\n\n{listing}", encoding="utf-8")
    return f"]({link[1].rstrip('/')}/files.md)"


def prepare(folder: Path) -> None:
    """Write into ``folder`` what Zensical makes the site of; what was in it is deleted."""
    shutil.rmtree(folder, ignore_errors=True)
    stage(folder / "pages")
    nav = navigation((ROOT / "docs/README.md").read_text(encoding="utf-8"))
    (folder / "zensical.toml").write_text(SETTINGS.format(nav=_toml(nav)), encoding="utf-8")


def build(folder: Path) -> int:
    """Build the site in ``folder``/html from what was prepared there; return Zensical's exit status."""
    zensical = Path(sys.executable).with_name("zensical")
    command = [str(zensical), "build", "--strict", "--config-file", "zensical.toml"]
    return subprocess.run(command, check=False, cwd=folder, env=os.environ | {"NO_COLOR": "1"}).returncode


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def main(arguments: list[str]) -> int:
    """Build the site; return the exit status."""
    folder = Path(arguments[0] if arguments else ROOT / "build/site").resolve()
    prepare(folder)
    return build(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
