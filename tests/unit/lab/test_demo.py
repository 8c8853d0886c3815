"""What the demo makes of what it saw."""

import pytest

from netbond.lab.demo import Pull, current_mbps, judge
from netbond.lab.payload import Report


def a_report(lost: int = 0, trouble: str = "") -> Report:
    return Report(30.0, 22796, 22796 - lost, lost, 0, 0, 8.0, {}, [], trouble)


CARRIED = {"usb0": 16_000_000, "usb1": 9_000_000, "usb2": 7_000_000, "usb3": 4_000_000}
PULL = Pull("usb1", removed_s=0.05, lease_s=0.2, restored_s=0.02)


def fails(
    result: Report | None = None, carried: dict[str, int] | None = None, pull: Pull | None = None
) -> list[str]:
    checks = judge(result or a_report(), carried or CARRIED, pull or PULL)
    return [check.text for check in checks if not check.holds]


def test_all_is_well() -> None:
    checks = judge(a_report(), CARRIED, PULL)
    assert [check.text for check in checks] == [
        "0 of 22796 packets lost",
        "all 4 links carried traffic, the twins usb2 and usb3 too",
        "usb1's rules and routes were removed 50 ms after it was unplugged",
        "usb1's rules and routes were restored 20 ms after its new lease",
    ]
    assert all(check.holds for check in checks)


def test_one_lost_packet_is_a_failure() -> None:
    assert fails(a_report(lost=1)) == ["1 of 22796 packets lost"]


def test_an_engine_that_died_is_a_failure_even_if_nothing_was_lost() -> None:
    assert fails(a_report(trouble="agent ended")) == ["0 of 22796 packets lost (agent ended)"]


def test_keepalives_alone_do_not_count_as_taking_part() -> None:
    assert fails(carried={**CARRIED, "usb3": 3000}) == ["carried no traffic: usb3"]


@pytest.mark.parametrize(
    ("pull", "says"),
    [
        (
            Pull("usb1", 1.5, 0.2, 0.02),
            ["usb1's rules and routes were removed 1500 ms after it was unplugged"],
        ),
        (Pull("usb1", 0.1, 0.2, 1.2), ["usb1's rules and routes were restored 1200 ms after its new lease"]),
        (Pull("usb1", 0.1, None, None), ["usb1's rules and routes were not restored after its new lease"]),
        (
            Pull("usb1", error="no such lab"),
            [
                "usb1's rules and routes were not removed after it was unplugged (no such lab)",
                "usb1's rules and routes were not restored after its new lease (no such lab)",
            ],
        ),
    ],
)
def test_rules_that_stay_or_come_late(pull: Pull, says: list[str]) -> None:
    assert fails(pull=pull) == says


def test_rates_are_those_of_the_last_second() -> None:
    samples = [(t / 4, {"a": t * 250_000, "b": 0}) for t in range(20)]  # 1 MB a second
    assert current_mbps(samples) == pytest.approx({"a": 8.0, "b": 0.0})
    assert current_mbps([*samples, (6.0, {"a": samples[-1][1]["a"], "b": 0})]) == pytest.approx(
        {"a": 0.0, "b": 0.0}
    )
    assert current_mbps(samples[:1]) == {}
