"""Writes docs/dependencies.md: the packages that netbond needs to run, and their licences; audits them.

usage: .venv/bin/python scripts/dependencies.py            writes the page
       .venv/bin/python scripts/dependencies.py --check    fails if the page is not up to date
       .venv/bin/python scripts/dependencies.py --audit    known vulnerabilities, by pip-audit
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
WHY = {
    "dbus-next": "NetworkManager and ModemManager, on the system bus",
    "prometheus-client": "metrics",
    "pyroute2": "sockets to the kernel for routes, rules and links",
    "pyudev": "which hardware an interface is",
    "rich": "tables and colours of `netbond status`",
    "tomli": "the configuration file",
}
# As their licences, which are compatible with netbond's MIT, are named in their packages.
LICENCES = {
    "BSD License": "BSD",
    "BSD-2-Clause": "BSD-2-Clause",
    "BSD-3-Clause": "BSD-3-Clause",
    "Apache-2.0": "Apache-2.0",
    "Apache-2.0 AND BSD-2-Clause": "Apache-2.0 and BSD-2-Clause",
    "Apache Software License": "Apache-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1 or later",
    "GPL-2.0-or-later OR Apache-2.0": "GPL-2.0 or later, or Apache-2.0",
    "MIT": "MIT",
    "MIT License": "MIT",
    "LGPL-2.1-or-later": "LGPL-2.1 or later",
}
HEAD = """\
# Dependencies
What `pip install` brings with netbond, all of it from PyPI. The tests need more (`[project.optional-dependencies]`
in pyproject.toml); none of that is installed on a box. netbond imports pyroute2, dbus-next and pyudev in one file
each. `scripts/dependencies.py` writes this page, and a test says when it is out of date.

| package | needed by | what for | licence |
|---|---|---|---|
"""  # noqa: E501  # a page may have lines of 120
TAIL = """
Of pyroute2's two licences, netbond uses Apache-2.0. pyudev (LGPL) is imported as a package of its own, which users
can replace.

`scripts/dependencies.py --audit` asks PyPI's data for known vulnerabilities of the installed versions, by pip-audit.
It is no part of the tests: the data is on the internet. No run of it is on record: where netbond has been developed
so far, the data was out of reach.
"""  # noqa: E501  # as above


def requirements(package: str) -> list[str]:
    """The packages that this one needs to run here; those of extras and of other systems left out."""
    found = []
    for line in distribution(package).requires or ():
        name, _, marker = line.partition(";")
        name = re.split(r"[\s<>=!~\[(]", name.strip())[0].lower().replace("_", "-")
        if "extra" in marker or "win32" in marker or "python_version" in marker:
            continue
        try:
            distribution(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return sorted(found)


def licence(package: str) -> str:
    """The licence as the package's metadata have it."""
    metadata = distribution(package).metadata
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier", [])
        if line.startswith("License")
    ]
    fields = [text for field in ("License-Expression", "License") for text in metadata.get_all(field, [])]
    named = fields[0] if "License-Expression" in metadata else "; ".join(classified) or "".join(fields)
    return LICENCES.get(named, f"unknown: {named[:60]}")


def rows() -> list[str]:
    """One of each package, netbond's own first."""
    by: dict[str, list[str]] = {}
    wanted = ["netbond"]
    for package in wanted:
        for needed in requirements(package):
            by.setdefault(needed, []).append(package)
            if needed not in wanted:
                wanted.append(needed)
    order = sorted(by, key=lambda name: ("netbond" not in by[name], name))
    return [f"| {name} | {', '.join(by[name])} | {WHY.get(name, '')} | {licence(name)} |" for name in order]


def page() -> str:
    """docs/dependencies.md."""
    return HEAD + "\n".join(rows()) + "\n" + TAIL


def audit() -> int:
    """Run pip-audit on what is installed; its exit status."""
    packages = [row.split(" | ")[0].removeprefix("| ") for row in rows()]
    pinned = "".join(f"{name}=={distribution(name).version}\n" for name in packages)
    command = ["pip-audit", "--no-deps", "--disable-pip", "--requirement", "/dev/stdin"]
    try:
        return subprocess.run(command, input=pinned, text=True, check=False).returncode
    except FileNotFoundError:
        print("pip-audit is missing; install it: pip install pip-audit", file=sys.stderr)
        return 1


def main(arguments: list[str]) -> int:
    """Write, check or audit; the exit status."""
    if arguments == ["--audit"]:
        return audit()
    if arguments == ["--check"]:
        if PAGE.read_text() == page():
            return 0
        print("docs/dependencies.md is out of date: run scripts/dependencies.py", file=sys.stderr)
        return 1
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
