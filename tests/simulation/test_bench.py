"""The bench of bonds: its rows, its oracle, its summary, and its comparison of two runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest

from bench import interop
from bench.bonding import chosen_columns
from bench.bonds import NAMED, capacity, cases, wild_cases
from bench.columns import Column, Task, measure, parameters
from bench.table import Results, Run, against_first, compare, heading, line, load, quantile, save, summary
from netbond.config.schema import MODES
from netbond.srtla.modes import make_carrier
from netbond.srtla.sender import Sender
from tests.bondsim import BONDS, Simulation, least_loss

FULL = 6.0 * 1316 / 1360  # Mbit/s of payload that a link of 6 Mbit/s carries


@pytest.mark.parametrize(
    ("links", "mbps", "latency", "lost"),
    [
        (["up=6,delay=30"], FULL * 0.99, 1.0, 0.0),
        (["up=6,delay=30"], FULL * 1.25, 0.12, 20.0),
        (["up=6,delay=30", "up=3,delay=30"], FULL * 1.5 * 1.25, 0.12, 20.0),
        (["up=6,delay=30,loss=5,jitter=50,gep=1,ger=20"], FULL * 0.99, 0.12, 0.0),  # not counted
        (["up=6,delay=30,worse=0,up2=3"], FULL, 0.12, 50.0),
        (["up=6,delay=30,off=9,on=11,queue=2"], FULL * 0.9, 0.12, 10.0),  # of 20 s
        (["up=6,delay=30,stall=9,unstall=11"], FULL * 0.9, 0.12, 10.0),
        (["up=6,delay=30,off=9,on=10,every=5,queue=2"], FULL * 0.9, 0.12, 17.7),
        (["up=6,delay=30", "up=6,delay=200"], FULL * 2, 0.1, 50.0),  # the second one is always late
        (["up=6,delay=30", "up=6,delay=130"], FULL * 1.98, 0.12, 0.0),  # ... and just in time
        (["fading=6,delay=30,off=9,on=10,every=5"], 0.5, 2.0, 0.0),
        (["delay=5", "up=1,delay=30"], 100.0, 1.0, 0.0),
    ],
)
def test_no_scheduler_can_lose_less(links: list[str], mbps: float, latency: float, lost: float) -> None:
    assert least_loss(links, mbps, latency=latency) == pytest.approx(lost, abs=1.0)


def test_the_oracle_sends_a_late_link_what_has_time() -> None:
    """One queue for all links would give each chance to the oldest packet, and lose it on the slow link."""
    assert least_loss(["up=3,delay=20", "up=3,delay=130"], FULL * 0.98, latency=0.12) == 0


def test_the_oracle_counts_fading_and_the_streams_shape() -> None:
    assert least_loss(BONDS["fading2"], 4.0) == 0
    assert 11 < least_loss(BONDS["fading2"], 10.0) < 13
    assert least_loss(BONDS["clean3"], 8.8, latency=0.12, shape="keyframes") > 5


def test_random_bonds_depend_on_the_date_alone() -> None:
    for draw in (cases, wild_cases):
        first, again, other = (list(draw(date, 9)) for date in ("2026-11-30", "2026-11-30", "2026-12-01"))
        assert first == again
        assert first[-1].links != other[-1].links
        assert first[-1].name == again[-1].name != other[-1].name
        assert len({case.name for case in first}) == len(first)


def results(adaptive: float, classic: float) -> Results:
    runs = []
    for row in range(20):
        for seed in (1, 2):
            for column, lost in (("adaptive", adaptive), ("classic", classic)):
                runs.append(Run(f"bond{row}", 8.0, column, seed, lost * row + seed, 1.1))
        runs.append(Run(f"bond{row}", 8.0, "oracle", 0, 1.0, 1.0))
    return Results({"latency": 1.0}, runs)


def test_a_row_of_the_table() -> None:
    runs = results(0.1, 0.0).runs[-5:]
    assert heading(["adaptive", "classic", "oracle"]) == dedent("""\
        | bond | Mbit/s | adaptive lost % | sent | classic lost % | sent | oracle lost % |
        |---|---|---|---|---|---|---|""")
    assert line(runs) == "| bond19 | 8.00 | 3.40 | 1.100 | 1.50 | 1.100 | 1.00 | **worse** |"


def test_the_summary_names_the_worst_and_what_no_scheduler_could_help() -> None:
    assert summary(results(0.1, 0.5)) == dedent("""\
        | | rows | lost %: mean | 90th pct | worst | beyond oracle: mean | 90th pct | worst | sent |
        |---|---|---|---|---|---|---|---|---|
        | adaptive | 20 | 2.45 | 3.20 | 3.40 bond19 | 1.45 | 2.20 | 2.40 bond19 | 1.100 |
        | classic | 20 | 6.25 | 10.00 | 11.00 bond19 | 5.25 | 9.00 | 10.00 bond19 | 1.100 |
        | oracle | 20 | 1.00 | 1.00 | 1.00 bond0 | | | | |

        0 of 20 worse than classic by more than 0.1 points""")


def test_a_comparison_is_paired_and_has_a_confidence() -> None:
    text = compare(results(0.3, 0.5), results(0.1, 0.5)).splitlines()
    same = "1.100 | 1.100 | +0.000 (+0.000 to +0.000) |"
    assert text[2:4] == [
        f"| adaptive | 20 | 4.35 | 2.45 | -1.90 (-2.45 to -1.35) | {same}",
        f"| classic | 20 | 6.25 | 6.25 | +0.00 (+0.00 to +0.00) | {same}",
    ]
    assert text[7] == "| bond19 | adaptive | 7.20 | 3.40 | -3.80 |"


def test_runs_with_other_settings_are_not_compared() -> None:
    other = Results({"latency": 0.3}, results(0.1, 0.5).runs)
    with pytest.raises(ValueError, match=r"latency differs: 1\.0 and 0\.3"):
        compare(results(0.1, 0.5), other)


def test_runs_survive_their_file(tmp_path: Path) -> None:
    save(results(0.1, 0.5), tmp_path / "runs.json")
    assert load(tmp_path / "runs.json") == results(0.1, 0.5)


@pytest.mark.parametrize(("freedom", "expected"), [(5, 2.571), (9, 2.262), (30, 2.042), (239, 1.970)])
def test_students_quantiles(freedom: int, expected: float) -> None:
    assert quantile(0.975, freedom) == pytest.approx(expected, abs=0.005)


@dataclass(frozen=True)
class Parameters:
    target: float = 0.07
    most: int = 8


@pytest.fixture
def some_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(Parameters=Parameters)
    monkeypatch.setitem(sys.modules, "netbond.srtla.adaptive.parameters", module)


@pytest.mark.usefixtures("some_parameters")
def test_parameters_are_set_and_swept() -> None:
    columns = chosen_columns(["adaptive", "classic"], ["belabox"], ["most=4"], "target=0.05,0.1")
    assert columns == [
        Column("target=0.05", "adaptive", "belabox", (("most", "4"), ("target", "0.05"))),
        Column("target=0.1", "adaptive", "belabox", (("most", "4"), ("target", "0.1"))),
    ]
    assert parameters(columns[1].changes) == Parameters(0.1, 4)
    columns = chosen_columns(["classic"], ["belabox", "netbond"], ["most=4"], None)
    assert columns == [
        Column("classic, belabox", "classic", "belabox", (("most", "4"),)),
        Column("classic, netbond", "classic", "netbond", (("most", "4"),)),
    ]


@pytest.mark.usefixtures("some_parameters")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("aim=3", "unknown parameter 'aim'; there are target, most"),
        ("target", "'target' is not NAME=VALUE"),
        ("target=much", "'much' is no number, True or False"),
    ],
)
def test_wrong_parameters_are_refused(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen_columns(["adaptive"], ["belabox"], [change], None)


def test_adaptive_is_compared_with_classic_and_the_same_receiver() -> None:
    runs = [
        Run("bond", 8.0, f"{mode}, {receiver}", 1, lost, 1.0)
        for receiver, losses in (("belabox", (1.0, 2.0)), ("netbond", (1.0, 0.0)))
        for mode, lost in zip(("adaptive", "classic"), losses, strict=True)
    ]
    assert line(runs).endswith("**worse** |")
    assert "worse" not in line(runs[:2])
    assert "1 of 1 worse" in summary(Results({}, runs))


def test_the_values_of_a_sweep_are_compared_with_the_first() -> None:
    swept = Results({}, [*results(0.3, 0.5).runs, *(run for run in adapting(9.0).runs if run.carried)])
    assert against_first(swept).splitlines()[2:] == [
        "| classic | 20 | +1.90 (+1.35 to +2.45) | +0.000 (+0.000 to +0.000) |"
    ]


def test_every_named_row_can_be_played() -> None:
    column = Column("adaptive", "adaptive")
    for case in {case.links: case for case in cases("2026-11-30", 0)}.values():
        measure(Task(case, column, 0.3, 0.1, 1))
        assert 0 <= measure(Task(case, None, 0.3, 0.1, 1)).lost < 100


def adapting(rate: float) -> Results:
    runs = [
        Run(f"encoder{row}", 16.0, column, 0, 0.5, 1.0, carried + row)
        for row in range(3)
        for column, carried in (("adaptive", rate), ("oracle", 12.0))
    ]
    return Results({"latency": 1.0}, [*results(0.1, 0.5).runs, *runs])


def test_an_encoder_that_adapts_is_judged_by_what_it_carries() -> None:
    assert (
        line(adapting(9.0).runs[-2:])
        == "| encoder2 | 16.00 | 0.50 of 11.00 Mbit/s | 1.000 | 0.50 of 14.00 Mbit/s |"
    )
    text = summary(adapting(9.0))
    assert text.startswith(summary(results(0.1, 0.5)))
    assert text.endswith(
        dedent("""\
        | the encoder adapts | rows | Mbit/s carried | lost % |
        |---|---|---|---|
        | adaptive | 3 | 10.00 | 0.50 |
        | oracle | 3 | 13.00 | 0.50 |""")
    )
    assert "| adaptive | 3 | 9.00 | 10.00 | +1.00 (+1.00 to +1.00) |" in compare(adapting(8.0), adapting(9.0))


@pytest.mark.parametrize("bond", ["fading2", "die3", "skew4"])
@pytest.mark.parametrize("latency", [1.0, 0.12])
def test_no_mode_loses_less_than_the_oracle(bond: str, latency: float) -> None:
    mbps = capacity(NAMED[bond]) * 1.1
    ideal = least_loss(NAMED[bond], mbps, latency=latency, seconds=6.0)
    for mode in MODES:
        simulation = Simulation(
            NAMED[bond],
            lambda rnd, now, mode=mode: Sender(rnd, make_carrier(mode), now),  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
            mbps=mbps,
            seconds=6.0,
            latency=latency,
        )
        assert simulation.run().lost_pct >= ideal


def test_the_table_of_who_works_with_whom() -> None:
    outcomes = {
        "netbond -> B: handshake": "ok",
        "A -> netbond: handshake": "2.0 % lost",
        "netbond -> B: wrap": "ok (flaky)",
    }
    assert interop.table({"outcomes": outcomes}) == (
        "| sender, receiver | stream | wrap |\n|---|---|---|\n"
        "| A to netbond | 2.0 % lost |  |\n| netbond to B | ok | ok (flaky) |"
    )
    assert [interop.is_good(each) for each in ("ok, 20 carry", "3 s", "2.0 % lost", "no: it ended")] == [
        True, True, False, False
    ]  # fmt: skip
