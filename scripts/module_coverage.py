"""Writes docs/coverage.md: what each module's own test covers of it, run alone.

usage: .venv/bin/python scripts/module_coverage.py [MODULE...]      e.g. netbond/plan.py; without: all of them

The own test of netbond/a/b.py is tests/unit/a/test_b.py, and tests/unit/a/test_b_*.py. Fails if a test does,
or if a module of the core is covered too little. With MODULEs, prints the lines that are not covered and
leaves the page as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage.md"
CORE_PERCENT = 95
# What decides, at the top of netbond/, and what else has neither sockets nor files.
CORE_ROOMS = ("netbond", "netbond/config")
CORE = {
    "netbond/dhcp/lease.py", "netbond/health/judge.py", "netbond/srtla/receiver/groups.py",
    "netbond/srtla/receiver/receiver.py", "netbond/srtla/receiver/room.py", "netbond/srtla/schedule.py",
    "netbond/srtla/sender.py", "netbond/srtla/wire.py",
}  # fmt: skip
NOT_CORE = {"netbond/agent.py", "netbond/reconciler.py"}  # the loop, and one pass of it

HEAD = """\
# What each module's own test covers
The test of `netbond/plan.py` is `tests/unit/test_plan.py` (and what begins so). The table says how many of a
module's statements this test alone executes. Tests in other folders and in `tests/unit/across` come on top.
Bold: the core, which is pure and has to reach {percent} %. `scripts/test --coverage` writes this page.

| module | statements | covered by its own test |
|---|---|---|
"""


@dataclass
class Covered:
    """A module, and which of its statements its own test executes."""

    module: str
    tests: list[Path]
    statements: int = 0
    missing: str = ""
    missed: int = 0
    failure: str = ""

    @property
    def percent(self) -> int:
        """Rounded down."""
        return 100 * (self.statements - self.missed) // self.statements if self.statements else 100


def modules() -> list[str]:
    """All modules; those that only make a package or start the command left out."""
    found = (path.relative_to(ROOT) for path in (ROOT / "netbond").rglob("*.py"))
    return sorted(str(p) for p in found if not p.stem.startswith("__") and "_compiled" not in p.parts)


def is_core(module: str) -> bool:
    """Whether the module is pure, and so has to be covered by its own test."""
    room = str(Path(module).parent)
    return (module in CORE or room in CORE_ROOMS) and module not in NOT_CORE


def tests_of(module: str) -> list[Path]:
    """The module's own tests: those named after it, and after no other whose name goes on as theirs does."""
    path = ROOT / module
    room = ROOT / "tests" / "unit" / path.parent.relative_to(ROOT / "netbond")
    longer = [other.stem for other in path.parent.glob(f"{path.stem}_*.py")]
    found = [room / f"test_{path.stem}.py", *room.glob(f"test_{path.stem}_*.py")]
    return sorted(
        test
        for test in found
        if test.exists()
        and not any(test.stem == f"test_{each}" or test.stem.startswith(f"test_{each}_") for each in longer)
    )


def measure(module: str) -> Covered:
    """Run the module's own tests, alone in a process, and see which of its statements are executed."""
    import coverage  # not at the top: a test asks this file whose test is where

    found = Covered(module, tests_of(module))
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={data}", f"--include={module}"]
        command += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--timeout=300"]
        environment = os.environ | {"NETBOND_PURE": "1"}
        if found.tests:
            command += map(str, found.tests)
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            if done.returncode:
                found.failure = done.stdout[-3000:] + done.stderr[-1000:]
        reader = coverage.Coverage(data_file=str(data), config_file=False)
        reader.exclude("raise NotImplementedError")  # of interfaces: it is there to be overridden
        if data.exists():
            reader.load()
        _, statements, _, missing, shown = reader.analysis2(str(ROOT / module))
    found.statements, found.missed, found.missing = len(statements), len(missing), shown
    return found


def page(table: list[Covered]) -> str:
    """docs/coverage.md."""
    rows = []
    for each in table:
        name = each.module.removeprefix("netbond/")
        name = f"**`{name}`**" if is_core(each.module) else f"`{name}`"
        rows.append(f"| {name} | {each.statements} | {f'{each.percent} %' if each.tests else 'no test'} |")
    return HEAD.format(percent=CORE_PERCENT) + "\n".join(rows) + "\n"


def main(names: list[str]) -> int:
    """Measure, write and judge; the exit status."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        table = list(pool.map(measure, names or modules()))
    if names:
        for each in table:
            print(f"{each.module}: {each.percent} % of {each.statements}; not: {each.missing}{each.failure}")
    else:
        PAGE.write_text(page(table))
    status = 0
    for each in table:
        if each.failure:
            print(f"{each.module}: its test fails\n{each.failure}", file=sys.stderr)
            status = 1
        elif is_core(each.module) and each.percent < CORE_PERCENT:
            print(
                f"{each.module}: its own test covers {each.percent} %, less than {CORE_PERCENT} %;"
                f" not these lines: {each.missing}",
                file=sys.stderr,
            )
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
