"""A policy as it is applied."""

from __future__ import annotations

from netbond.policies.model import PolicyInUse, PolicyMatch, PolicyWay


def test_what_it_does_for_a_family() -> None:
    way = PolicyWay(6, PolicyMatch(), best=1, tier=2, uplinks=(("lte1", 2), ("lte2", 1)))
    policy = PolicyInUse("bank", 3, 7803, (("dsl",), ("lte1", "lte2")), (way,))
    assert policy.families == (6,)
    assert (policy.way(4), policy.way(6)) == (None, way)
    assert way.names == ("lte1", "lte2")
