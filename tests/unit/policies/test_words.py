"""What a policy does, in a line."""

from __future__ import annotations

from dataclasses import replace

from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay
from netbond.policies.words import changes, limits, policy_words, problems, way_words

FIRST = PolicyWay(4, PolicyMatch(), 1, 1, (("dsl", 1),))
SECOND = PolicyWay(4, PolicyMatch(), 2, 2, (("lte1", 2), ("lte2", 1)), "tier 1: dsl: no carrier")
BANK = PolicyInUse("bank", 1, 7801, (("dsl",), ("lte1", "lte2")), (FIRST,))


def test_in_a_line() -> None:
    assert policy_words(BANK, 4) == "policy bank: dsl (tier 1 of 2)"
    assert policy_words(BANK, 6) == ""
    assert policy_words(replace(BANK, ways=(SECOND,)), 4) == "policy bank: lte1, lte2 (tier 2 of 2)"
    assert way_words(0, 2, (), "share") == "like other traffic: no tier works"
    assert way_words(0, 2, (), "unreachable") == "refused: no tier works"


def test_only_changes_are_told() -> None:
    assert changes([], [BANK]) == ["policy bank: dsl (tier 1 of 2)"]
    assert changes([BANK], [BANK]) == []
    six = replace(FIRST, family=6)
    assert changes([BANK], [replace(BANK, ways=(SECOND, six))]) == [
        "policy bank: lte1, lte2 (tier 2 of 2): tier 1: dsl: no carrier",
        "policy bank: dsl (tier 1 of 2) for IPv6",
    ]


def test_what_does_nothing_or_not_all_that_it_should() -> None:
    nothing = replace(BANK, name="video", ways=(), problem="this kernel cannot")
    not_all = replace(BANK, name="calls", problem="this kernel cannot for all")
    assert problems([BANK, nothing, not_all]) == ["policy video: this kernel cannot"]
    assert limits([BANK, nothing, not_all]) == ["policy calls: this kernel cannot for all"]
