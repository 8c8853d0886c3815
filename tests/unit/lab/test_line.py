"""The radio link in virtual time: what it does to packets, to the microsecond, without a clock."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netbond.lab.impair import LOWEST_RATE, Impairment
from netbond.lab.line import NEVER, Line

PACKET = bytes(1250)  # 10,000 bits: 1 ms at 10 Mbit/s
RATES = st.one_of(st.just(0.0), st.floats(LOWEST_RATE, 20))


def line(seed: int = 1, **settings: float) -> Line:
    return Line(random.Random(seed), Impairment(**settings))  # type: ignore[arg-type]  # off is not used here


def drain(link: Line) -> list[tuple[float, bytes]]:
    """Everything under way, with the moment it comes out."""
    out = []
    while (at := link.next_due) != NEVER:
        out += [(at, packet) for packet in link.due(at)]
    return out


def test_a_perfect_link_hands_over_at_once_and_unchanged() -> None:
    link = line()
    link.arrive(b"abc", 5.0)
    assert link.next_due == 5.0
    assert link.due(5.0) == [b"abc"]
    assert link.due(5.0) == []
    assert link.next_due == NEVER


def test_delay_is_one_way_and_starts_when_the_packet_is_on_the_air() -> None:
    link = line(rate=10, delay=30)
    link.arrive(PACKET, 1.0)
    assert link.due(1.0309) == []
    assert link.next_due == pytest.approx(1.031)


def test_rate_spaces_packets_evenly() -> None:
    link = line(rate=10)
    for _ in range(5):
        link.arrive(PACKET, 0.0)
    assert [at for at, _ in drain(link)] == pytest.approx([0.001, 0.002, 0.003, 0.004, 0.005])


def test_an_idle_link_saves_nothing_up() -> None:
    link = line(rate=10)
    link.arrive(PACKET, 0.0)
    link.arrive(PACKET, 9.0)
    assert [at for at, _ in drain(link)] == pytest.approx([0.001, 9.001])


def test_what_does_not_fit_the_queue_is_dropped_from_its_tail() -> None:
    link = line(rate=10, queue=5)  # kB: four packets, counting the one being sent
    for number in range(6):
        link.arrive(bytes([number]) * 1250, 0.0)
    assert [packet[0] for _, packet in drain(link)] == [0, 1, 2, 3]
    assert link.counters.dropped == 2
    assert link.counters.lost == 0


def test_room_in_the_queue_comes_back_as_it_drains() -> None:
    link = line(rate=10, queue=5)
    for _ in range(4):
        link.arrive(PACKET, 0.0)
    assert link.queued_bytes(0.0) == pytest.approx(5000)
    assert link.queued_bytes(0.0021) == pytest.approx(2375)
    link.arrive(PACKET, 0.0021)
    assert link.counters.dropped == 0


def test_a_queue_matters_only_with_a_rate() -> None:
    link = line(queue=2, delay=100)
    for _ in range(100):
        link.arrive(PACKET, 0.0)
    assert len(drain(link)) == 100


def test_jitter_spreads_within_its_bound() -> None:
    link = line(delay=20, jitter=10)
    waits = []
    for number in range(1000):
        link.arrive(b"x", float(number))
        waits.append(link.next_due - number)
        link.due(link.next_due)
    assert min(waits) >= 0.020
    assert max(waits) <= 0.030
    assert sum(waits) / 1000 == pytest.approx(0.025, abs=0.0005)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.lists(st.tuples(st.floats(0, 0.05), st.integers(20, 1500)), max_size=60),
    RATES,
    st.floats(0, 50),
    st.floats(0, 50),
    st.lists(st.tuples(st.integers(0, 59), RATES, st.floats(0, 50)), max_size=3),
)
def test_order_is_kept_and_nothing_is_early_or_made_up(
    arrivals: list[tuple[float, int]],
    rate: float,
    delay: float,
    jitter: float,
    changes: list[tuple[int, float, float]],
) -> None:
    link = line(rate=rate, delay=delay, jitter=jitter)
    now, sent_at, shortest, out = 0.0, [], delay / 1000, []
    for number, (gap, size) in enumerate(arrivals):
        now += gap
        out += [(now, packet) for packet in link.due(now)]
        for at, new_rate, new_delay in changes:
            if at == number:
                link.change(Impairment(rate=new_rate, delay=new_delay, jitter=jitter), now)
                shortest = min(shortest, new_delay / 1000)
        sent_at.append(now)
        link.arrive(number.to_bytes(2, "big") + bytes(size - 2), now)
    out += drain(link)
    numbers = [int.from_bytes(packet[:2], "big") for _, packet in out]
    assert numbers == sorted(set(numbers))
    assert len(out) + link.counters.dropped == len(arrivals)
    assert all(at >= sent_at[number] + shortest - 1e-9 for (at, _), number in zip(out, numbers, strict=True))


def test_random_loss_has_its_rate() -> None:
    link = line(loss=5)
    for _ in range(20_000):
        link.arrive(b"x", 0.0)
    assert link.counters.lost == pytest.approx(1000, rel=0.15)
    assert len(drain(link)) + link.counters.lost == 20_000


def test_burst_loss_comes_in_bursts() -> None:
    link = line(burst_enter=1, burst_leave=10)  # 10 packets long on average, 1 in 11 lost
    fates = []
    for _ in range(50_000):
        before = link.counters.lost
        link.arrive(b"x", 0.0)
        fates.append(link.counters.lost > before)
    lost = sum(fates)
    bursts = sum(1 for a, b in zip([False, *fates], fates, strict=False) if b and not a)
    assert lost / 50_000 == pytest.approx(1 / 11, rel=0.15)
    assert lost / bursts == pytest.approx(10, rel=0.15)


def test_off_lets_nothing_in_and_what_is_under_way_arrives() -> None:
    link = line(delay=50)
    link.arrive(b"before", 0.0)
    link.change(Impairment(delay=50, off=True), 0.01)
    link.arrive(b"during", 0.02)
    link.change(Impairment(delay=50), 0.03)
    link.arrive(b"after", 0.04)
    assert [(round(at, 6), packet) for at, packet in drain(link)] == [(0.05, b"before"), (0.09, b"after")]
    assert link.counters.lost == 1


def test_a_new_rate_counts_for_what_is_queued() -> None:
    link = line(rate=1)  # 10 ms a packet
    for _ in range(3):
        link.arrive(PACKET, 0.0)
    assert len(link.due(0.010)) == 1
    link.change(Impairment(rate=10), 0.010)
    assert [at for at, _ in drain(link)] == pytest.approx([0.011, 0.012])
    link.arrive(PACKET, 0.012)
    assert [at for at, _ in drain(link)] == pytest.approx([0.013])


def test_a_shorter_delay_does_not_let_packets_overtake() -> None:
    link = line(delay=100)
    link.arrive(b"first", 0.0)
    link.change(Impairment(), 0.01)
    link.arrive(b"second", 0.02)
    assert [(round(at, 6), packet) for at, packet in drain(link)] == [(0.1, b"first"), (0.1, b"second")]


def test_the_same_seed_gives_the_same_fate() -> None:
    def fates(seed: int) -> list[float]:
        link = line(seed, loss=20, jitter=10)
        for number in range(100):
            link.arrive(b"x", number / 10)
        return [at for at, _ in drain(link)]

    assert fates(7) == fates(7)
    assert fates(7) != fates(8)


def test_counters_count_what_came_out() -> None:
    link = line()
    link.arrive(bytes(100), 0.0)
    link.arrive(bytes(50), 0.0)
    link.due(0.0)
    assert link.counters.as_dict() == {"packets": 2, "bytes": 150, "lost": 0, "dropped": 0}
