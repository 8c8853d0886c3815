"""The carrier of each mode."""

from __future__ import annotations

import pytest

from netbond.config.schema import MODES
from netbond.srtla.adaptive.bonding import Bonding
from netbond.srtla.classic.classic import Classic
from netbond.srtla.modes import make_carrier
from netbond.srtla.schedule import Carrier


@pytest.mark.parametrize(("mode", "kind"), [("adaptive", Bonding), ("classic", Classic)])
def test_each_mode_has_its_carrier(mode: str, kind: type[Carrier]) -> None:
    assert mode in MODES
    assert type(make_carrier(mode)) is kind


def test_a_latency_that_was_learnt_is_used_until_there_is_a_handshake() -> None:
    assert make_carrier("adaptive", learnt_s=0.3).learnt_latency() == 0.3
    assert make_carrier("adaptive").learnt_latency() is None
    assert make_carrier("adaptive", 0.5, 0.3).learnt_latency() is None, "the user's counts"
    assert make_carrier("classic", learnt_s=0.3).learnt_latency() is None
