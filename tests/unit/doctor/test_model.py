"""What a finding is to programs."""

from __future__ import annotations

from netbond.doctor.model import ERROR, OK, SEVERITIES, Finding
from netbond.system.typed_json import to_json


def test_a_finding_as_json() -> None:
    assert to_json(Finding("clock", OK, "", "a time server sets the clock")) == {
        "code": "clock",
        "severity": "ok",
        "subject": "",
        "verdict": "a time server sets the clock",
        "evidence": "",
        "mend": "",
        "fix": [],
    }


def test_the_worst_is_first() -> None:
    assert SEVERITIES[0] == ERROR
    assert SEVERITIES[-1] == OK
