"""All checks together: order, exit status, the summary."""

from __future__ import annotations

from dataclasses import replace

from netbond.doctor.checkup import examine, exit_status, fixes, summary, worst_first
from netbond.doctor.model import ERROR, OK, UNKNOWN, WARNING, Finding
from tests.unit.doctor.boxes import SYSTEM, healthy, with_facts


def finding(severity: str) -> Finding:
    return Finding("x", severity, "", f"it is {severity}")


def test_a_box_that_is_well() -> None:
    found = examine(healthy())
    assert {each.severity for each in found} == {OK, UNKNOWN}  # no systemd in the test
    assert exit_status(found) == 0


def test_each_fault_has_evidence_and_what_mends_it() -> None:
    found = examine(replace(healthy(), snapshot=None, no_agent="nobody answers", pure_because="no compiler"))
    wrong = [each for each in found if each.severity in (ERROR, WARNING)]
    assert wrong
    assert all(each.evidence and each.mend for each in wrong)


def test_the_exit_status_is_that_of_the_worst() -> None:
    assert exit_status([]) == exit_status([finding(OK), finding(UNKNOWN)]) == 0
    assert exit_status([finding(OK), finding(WARNING)]) == 1
    assert exit_status([finding(WARNING), finding(ERROR)]) == 2


def test_the_worst_first_and_counted() -> None:
    found = [finding(each) for each in (OK, WARNING, UNKNOWN, ERROR, WARNING)]
    assert [each.severity for each in worst_first(found)] == [ERROR, WARNING, WARNING, UNKNOWN, OK]
    assert summary(found) == "1 error, 2 warnings, 1 not checked, 1 fine"


def test_each_command_is_run_once() -> None:
    one, other = replace(finding(WARNING), fix=("a", "b")), replace(finding(ERROR), fix=("b",))
    assert fixes([one, other, finding(OK)]) == [(one, "a"), (one, "b")]


def test_rules_and_routes_are_never_mended_unasked() -> None:
    """They are somebody's only way out: the agent is there for that."""
    well = healthy()
    found = examine(with_facts(well, replace(well.facts, rules=SYSTEM)))
    assert any(each.code == "source-route" and each.severity == ERROR for each in found)
    assert fixes(found) == []
