"""The rules of the house about tests: each module has one of its name, at the mirrored path."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]

# Tests of the command line and of all state machines at once: of a package, whose name they have.
OF_PACKAGES = {"tests/unit/cli/test_cli.py", "tests/unit/srtla/test_srtla.py"}


@pytest.fixture(scope="module")
def mirror() -> ModuleType:
    """scripts/module_coverage.py, which knows whose test is where."""
    spec = importlib.util.spec_from_file_location("mirror", ROOT / "scripts" / "module_coverage.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look there
    spec.loader.exec_module(found)
    return found


def test_each_module_has_a_test_of_its_name(mirror: ModuleType) -> None:
    without = {module for module in mirror.modules() if not mirror.tests_of(module)}
    assert without == set(), "write tests/unit/ROOM/test_MODULE.py"


def test_each_test_is_named_after_a_module(mirror: ModuleType) -> None:
    """Else it tells nobody what it tests: rename it, or move it to across/."""
    named = {str(test.relative_to(ROOT)) for module in mirror.modules() for test in mirror.tests_of(module)}
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "unit").rglob("test_*.py")}
    assert {each for each in found - named if "/across/" not in each} == OF_PACKAGES


def test_the_core_is_what_it_is_said_to_be(mirror: ModuleType) -> None:
    core = {module for module in mirror.modules() if mirror.is_core(module)}
    assert {"netbond/plan.py", "netbond/config/load.py", "netbond/srtla/wire.py"} <= core
    assert not {"netbond/agent.py", "netbond/kernel/client.py"} & core
    assert core >= mirror.CORE


def test_a_test_belongs_to_the_module_with_the_longest_name(mirror: ModuleType) -> None:
    """cli/status.py and cli/status_view.py: test_status_view.py is the second's."""
    assert [path.name for path in mirror.tests_of("netbond/usability.py")] == [
        "test_usability.py",
        "test_usability_states.py",
    ]
    assert "test_status_view.py" not in [path.name for path in mirror.tests_of("netbond/cli/status.py")]
