"""The types of the snapshot: a key that does not exist is found before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from netbond.status import schema
from netbond.system.typed_json import from_json

ROOT = Path(__file__).parents[3]

READER = """\
from netbond.status.schema import ModemStatus, Snapshot


def way(snapshot: Snapshot) -> str | None:
    return snapshot.uplinks[0].{uplink}


def heard(modem: ModemStatus) -> float | None:
    return modem.{modem}
"""


def type_errors(folder: Path, **keys: str) -> str:
    """What mypy says of a reader with these keys, with the project's settings and its cache."""
    file = folder / "reader_of_a_snapshot.py"
    file.write_text(READER.format(**keys))
    words = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty", str(file)]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert found.stderr == ""
    return found.stdout


def test_the_type_check_knows_the_keys(tmp_path: Path) -> None:
    assert type_errors(tmp_path, uplink="gateway", modem="rssi_dbm") == ""
    misspelt = type_errors(tmp_path, uplink="gatewy", modem="rssi_db")
    assert '5: error: "UplinkStatus" has no attribute "gatewy"; maybe "gateway' in misspelt
    assert '9: error: "ModemStatus" has no attribute "rssi_db"; maybe ' in misspelt


def test_what_is_said_without_an_agent() -> None:
    kernel = schema.KernelStatus(("a rule",), ("a route",))
    said = schema.WithoutAgent(schema.VERSION, schema.NoAgent(False, "it is not running"), kernel)
    assert schema.to_json(said) == {
        "version": 1,
        "agent": {"running": False, "error": "it is not running"},
        "kernel": {"rules": ["a rule"], "routes": ["a route"]},
        "verdict": None,
    }
    assert from_json(schema.WithoutAgent, schema.to_json(said)) == said
    with pytest.raises(ValueError, match="version: missing"):
        schema.from_json({"agent": {}})
