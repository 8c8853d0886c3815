"""Says what the tests of the pure core hold: changes the code in small ways, and sees whether they fail.

usage: .venv/bin/python scripts/mutate.py [--sample N] [--seed N] [MODULE...]    e.g. netbond/plan.py
       .venv/bin/python scripts/mutate.py --show [MODULE...]    the changes that no test noticed
       .venv/bin/python scripts/mutate.py --write                  brings docs/reliability.md to what was run

The changes ("mutants") are mutmut's (`pip install mutmut`); of each module N are drawn with the seed, and
only the module's own tests run (scripts/module_coverage.py), and those in `MORE`. Decorated functions and
what is outside of functions are not changed. What was run is kept in build/mutation, and not run again as
long as neither module nor tests have changed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from module_coverage import tests_of

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "mutation"
PAGE = ROOT / "docs" / "reliability.md"
MARKS = "<!-- made by scripts/mutate.py -->\n", "<!-- end -->\n"
CORE = (
    "netbond/plan.py",
    "netbond/tables.py",
    "netbond/rules.py",
    "netbond/uplinks.py",
    "netbond/usability.py",
    "netbond/ecmp.py",
    "netbond/srtla/wire.py",
    "netbond/srtla/schedule.py",
    "netbond/srtla/sender.py",
    "netbond/srtla/receiver/groups.py",
    "netbond/srtla/receiver/room.py",
    "netbond/srtla/receiver/receiver.py",
    "netbond/srtla/registration/keyring.py",
    "netbond/srtla/registration/psk.py",
    "netbond/srtla/registration/ticket.py",
)
# Tests that are named after another module, and look at it through this one.
MORE = {
    "netbond/uplinks.py": ("tests/unit/test_withheld.py", "tests/unit/test_gateways.py"),
    "netbond/srtla/sender.py": (
        "tests/unit/srtla/test_senderadvice.py",
        "tests/unit/srtla/classic/test_classic.py",
        "tests/unit/srtla/registration/test_psk.py",
    ),
    "netbond/srtla/receiver/receiver.py": (
        "tests/unit/srtla/receiver/test_groups.py",
        "tests/unit/srtla/receiver/test_room.py",
        "tests/unit/srtla/registration/test_psk.py",
    ),
}
COPIED = ("netbond", "tests", "bench", "contrib", "scripts")
LEFT_OUT = ("__pycache__", "_compiled", "corpus", "recordings", "*.xz")
SETTINGS = """\
[tool.mutmut]
source_paths = ["netbond"]
only_mutate = ["{module}"]
also_copy = ["bench", "contrib", "scripts"]
pytest_add_cli_args = ["-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=0", "--timeout=300"]
pytest_add_cli_args_test_selection = {tests}
timeout_constant = 10.0
track_dependencies = false
use_git_change_detection = false

[tool.pytest.ini_options]
markers = ["root: needs root"]
"""
KILLED, SURVIVED, TIMED_OUT, UNTESTED = "killed", "survived", "timed out", "untested"
OUTCOMES = {0: SURVIVED, 1: KILLED, 3: KILLED, 5: UNTESTED, 33: UNTESTED}
for _code in (36, 24, -24, 152, 255):
    OUTCOMES[_code] = TIMED_OUT  # an endless loop: the tests would hang


@dataclass
class Result:
    """What was found of a module."""

    module: str
    mutants: int
    seed: int
    outcomes: dict[str, str] = field(default_factory=dict)  # of each that was drawn

    def count(self, outcome: str) -> int:
        """How many have this one."""
        return sum(each == outcome for each in self.outcomes.values())

    @property
    def percent(self) -> int:
        """How many of those that were drawn were noticed, rounded down."""
        noticed = self.count(KILLED) + self.count(TIMED_OUT)
        return 100 * noticed // len(self.outcomes) if self.outcomes else 0


class Workshop:
    """A copy of the tree in which one module is changed."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.tests = [str(path.relative_to(ROOT)) for path in tests_of(module)] + list(MORE.get(module, ()))
        self.folder = FOLDER / module.removeprefix("netbond/").removesuffix(".py").replace("/", "-")
        self.result = self.folder / "result.json"

    def state(self, folder: Path) -> str:
        """Changes with the module and its tests in this tree."""
        names = [self.module, *self.tests]
        return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()

    def load(self) -> Result | None:
        """What was found; None: nothing, or of another state."""
        if not self.result.exists():
            return None
        found = json.loads(self.result.read_text())
        return Result(**found["result"]) if found["state"] == self.state(ROOT) else None

    def save(self, result: Result) -> None:
        """Keep what was found."""
        self.result.write_text(
            json.dumps({"state": self.state(self.folder), "result": asdict(result)}, indent=1)
        )

    def prepare(self) -> None:
        """Make the copy anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for name in COPIED:
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
        settings = SETTINGS.format(module=self.module, tests=json.dumps(self.tests))
        (self.folder / "pyproject.toml").write_text(settings)

    def mutmut(self, *names: str) -> str:
        """Run it for these mutants; what it printed."""
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
        environment = os.environ | {"NETBOND_PURE": "1"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.stdout[-2000:] + done.stderr[-2000:]

    def codes(self) -> dict[str, int | None]:
        """All mutants, and the exit status of the tests; None: not run."""
        meta = self.folder / "mutants" / f"{self.module}.meta"
        if not meta.exists():
            return {}
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        return codes

    def run(self, sample: int, seed: int) -> Result:
        """Draw mutants and run the tests on each that was not run yet."""
        known = self.load()
        if known is None or not self.codes():
            self.prepare()
            said = self.mutmut("none")  # it makes them, and then finds none of that name
            if not self.codes():
                raise SystemExit(f"{self.module}: mutmut made no mutants: {said}")
        names = sorted(self.codes())
        random.Random(seed).shuffle(names)  # noqa: S311  # no secret
        drawn = names[:sample]  # so that a larger sample has the smaller one in it
        self.save(Result(self.module, len(names), seed))
        missing = [name for name in drawn if self.codes().get(name) is None]
        said = self.mutmut(*missing) if missing else ""
        codes = self.codes()
        result = Result(self.module, len(names), seed)
        for name in drawn:
            code = codes.get(name)
            if code is not None:
                result.outcomes[name] = OUTCOMES.get(code, KILLED)
        if not result.outcomes:
            raise SystemExit(f"{self.module}: mutmut did not run: {said}")
        self.save(result)
        return result

    def show(self, name: str) -> str:
        """The change."""
        command = [sys.executable, "-m", "mutmut", "show", name]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False).stdout


def row(result: Result) -> str:
    """The result's row in the table."""
    name = result.module.removeprefix("netbond/")
    unnoticed = result.count(SURVIVED) + result.count(UNTESTED)
    return (
        f"| `{name}` | {result.mutants} | {len(result.outcomes)} | {result.count(KILLED)} |"
        f" {result.count(TIMED_OUT)} | {unnoticed} | {result.percent} % |"
    )


def write(results: list[Result]) -> None:
    """Bring the page's table to these results; rows of modules that were not run stay."""
    text = PAGE.read_text()
    before, _, rest = text.partition(MARKS[0])
    table, _, after = rest.partition(MARKS[1])
    rows = {name: line for line, name in re.findall(r"^(\| `([\w/.]+)` .*)$", table, re.MULTILINE)}
    rows |= {result.module.removeprefix("netbond/"): row(result) for result in results}
    order = [module.removeprefix("netbond/") for module in CORE]
    head = "| module | mutants | drawn | killed | timed out | unnoticed | score |\n" + "|---" * 7 + "|\n"
    body = "".join(f"{rows[name]}\n" for name in sorted(rows, key=order.index))
    PAGE.write_text(before + MARKS[0] + head + body + MARKS[1] + after)


def main(arguments: list[str]) -> int:
    """Run, show or write; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", default=list(CORE))
    parser.add_argument("--sample", type=int, default=150, help="mutants of each module (150)")
    parser.add_argument("--seed", type=int, default=18, help="of the draw (18)")
    parser.add_argument("--show", action="store_true", help="print the changes that no test noticed")
    parser.add_argument("--write", action="store_true", help="update docs/reliability.md")
    options = parser.parse_args(arguments)
    results = []
    for module in options.modules:
        shop = Workshop(module)
        result = shop.load() if options.show or options.write else shop.run(options.sample, options.seed)
        if result is None or not result.outcomes:
            continue
        results.append(result)
        if not options.write:
            print(row(result), flush=True)
        if options.show:
            for name, outcome in sorted(result.outcomes.items()):
                if outcome in (SURVIVED, UNTESTED):
                    print(f"{outcome}: {shop.show(name)}")
    if options.write:
        write(results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
