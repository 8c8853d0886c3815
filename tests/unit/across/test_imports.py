"""The rules of the house about imports: what lies where decides what it may use (docs/architecture.md)."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "netbond"

# Each layer may import those before it, and itself only where SELF says so. An entry is a module, or a room
# with all that is in it; the most exact entry counts.
LAYERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "base",
        (
            *("errors", "model", "config", "system", "dhcp.lease"),
            *("status.schema", "srtla.advice", "srtla.encoder", "srtla.statistics", "srtla.options"),
            "srtla.watch",
        ),
    ),
    ("pure", ("*", "doctor", "installation", "policies")),  # all other modules at the top level, and rooms
    (
        "codecs",  # pure modules of the edges: bytes and texts into nouns
        ("dhcp.clients", "kernel.rtnetlink", "srtla.linkspec", "srtla.process.protocol", "srtla.wire"),
    ),
    ("edges", ("kernel", "router", "watchers", "dhcp", "health", "engines", "programs", "status")),
    ("adapters", ("sources", "outputs")),
    ("agent", ("agent", "reconciler")),
    ("commands", ("cli", "lab", "page", "__main__")),
)
SELF = {"base", "pure", "codecs", "adapters", "agent", "commands"}
NOT_PURE = frozenset(
    (
        *("asyncio", "fcntl", "os", "random", "select", "shutil", "signal", "socket", "subprocess"),
        *("threading", "time"),
    )
)
LIBRARIES = ("pyroute2", "dbus_next", "pyudev")


def name_of(path: Path) -> str:
    """The module's dotted name below netbond, "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, ast.Module]:
    return {
        name_of(path): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
        if "_compiled" not in path.parts
    }


def imported(tree: ast.Module) -> set[str]:
    """All that a module imports, at any place and also for types only."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def arrows() -> dict[str, set[str]]:
    """Which of netbond's modules each of them imports."""
    found: dict[str, set[str]] = {}
    for name, tree in modules().items():
        targets = {word.removeprefix("netbond.") for word in imported(tree) if word.startswith("netbond.")}
        # `from netbond.model import Link` is about the module netbond.model.
        found[name] = {target if target in modules() else target.rpartition(".")[0] for target in targets} - {
            name,
            "",
        }
    return found


def layer(name: str) -> tuple[int, str]:
    """The layer of a module: its place and its name."""
    best = (-1, 1, "pure")
    for place, (title, entries) in enumerate(LAYERS):
        for entry in entries:
            if name == entry or name.startswith(f"{entry}."):
                best = max(best, (len(entry), place, title))
    if best[0] < 0:
        assert "." not in name, f"{name} lies in a room that no layer has"
    return best[1], best[2]


def test_no_circles() -> None:
    try:
        TopologicalSorter(arrows()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_nothing_points_up() -> None:
    up = []
    for name, targets in arrows().items():
        if not name or name.startswith("srtla"):
            continue
        place, title = layer(name)
        for target in targets:
            if target.startswith("srtla") and layer_of_srtla(target) is None:
                if title != "commands":
                    up.append(f"{name} ({title}) imports {target}")
                continue
            other, other_title = layer(target)
            same_room = name.split(".")[0] == target.split(".")[0] and "." in name
            if other > place or (other == place and title not in SELF and not same_room):
                up.append(f"{name} ({title}) imports {target} ({other_title})")
    assert up == []


def layer_of_srtla(name: str) -> str | None:
    """The layer of those modules of srtla that others than commands may import."""
    entries = {entry for _, names in LAYERS for entry in names if entry.startswith("srtla.")}
    return layer(name)[1] if name in entries else None


def test_srtla_knows_neither_the_agent_nor_the_edges() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, targets in arrows().items()
        for target in targets
        if name.startswith("srtla") and not target.startswith("srtla") and layer(target)[1] != "base"
    ]
    assert wrong == []


def test_what_decides_does_no_input_or_output() -> None:
    pure = [
        name
        for name in modules()
        if name.startswith(("doctor.", "policies."))
        or (name and "." not in name and layer(name)[1] == "pure" and name not in ("cli", "lab", "srtla"))
    ]
    assert {"plan", "tables", "rules", "uplinks", "desired"} <= set(pure)
    wrong = {
        name: found
        for name in pure
        if (found := {word.split(".")[0] for word in imported(modules()[name])} & NOT_PURE)
    }
    assert wrong == {}


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_of_the_world_is_imported_in_one_file(library: str) -> None:
    users = [
        name
        for name, tree in modules().items()
        if any(word.split(".")[0] == library for word in imported(tree))
    ]
    assert len(users) == 1
    assert users[0].split(".")[0] in ("watchers", "kernel")


def test_packages_import_nothing() -> None:
    """`netbond hook` is on a DHCP client's way: what it imports, it imports by name."""
    allowed = {"cli", "srtla"}  # the command's entry point, and the loader of compiled modules
    wrong = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("__init__.py")
        if name_of(path) not in allowed | {""}
        and [type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body] != [ast.Expr]
    ]
    assert wrong == []


def test_each_first_line_says_what_the_module_is_for() -> None:
    """docs/architecture.md's table is made of them."""
    wrong = {
        name: first
        for name, tree in modules().items()
        if name and not (first := (ast.get_docstring(tree) or "").split("\n", 1)[0]).endswith((".", ")"))
    }
    assert wrong == {}
