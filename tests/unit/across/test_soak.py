"""What a soak (scripts/soak) calls growth."""

from __future__ import annotations

import os
from collections.abc import Callable

from bench.soak import Reading, Sample, read, rows, table


def samples(memory_mb: Callable[[int], float], descriptors: Callable[[int], int]) -> list[Sample]:
    found = []
    for minute in range(60):
        agent = Reading(10, memory_mb(minute), descriptors(minute), 3, 0.6 * minute)
        others = Reading(11, 20.0, 12, 1, 0.6 * minute)
        readings = {"agent": agent, "sender": others, "receiver": others}
        found.append(Sample(minute, readings, 1.0, 0, 0, 0, dict.fromkeys(readings, 0.01)))
    return found


def grown(found: list[Sample]) -> list[tuple[str, str]]:
    return [(row.process, row.measure) for row in rows(found) if row.grown]


def test_what_stays_and_what_only_warms_up_has_not_grown() -> None:
    assert grown(samples(lambda minute: 37.0 + 0.01 * (minute % 3), lambda _: 23)) == []
    assert grown(samples(lambda minute: 37.0 - 2 / (minute + 1), lambda minute: 23 + minute % 2)) == []


def test_what_leaks_has_grown() -> None:
    assert grown(samples(lambda minute: 37.0 + 0.05 * minute, lambda _: 23)) == [("agent", "memory MB")]
    leak = samples(lambda _: 37.0, lambda minute: 23 + minute // 6)
    assert grown(leak) == [("agent", "descriptors")]
    assert "| agent | descriptors | 26.0 | 31.0 | 32.0 | yes |" in table(rows(leak))


def test_a_process_is_read() -> None:
    found = read(os.getpid())
    assert found.memory_mb > 5
    assert found.descriptors >= 3
    assert found.threads >= 1
