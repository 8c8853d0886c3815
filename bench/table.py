"""Shows the results of bench/bonding.py: a table of rows, a summary, and what two runs differ in."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

ORACLE = "oracle"  # the column of the ideal scheduler (tests/bondsim.py, least_loss)
TOLERANCE = 0.1  # percentage points of loss by which adaptive may be worse than classic by chance
MOST_CHANGED = 12  # rows that a comparison shows
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one simulated stream."""

    row: str
    mbps: float
    column: str
    seed: int
    lost: float  # % of the payload
    sent: float  # datagrams per packet delivered
    carried: float = 0.0  # Mbit/s of payload in time, if the encoder adapts; else 0


@dataclass(frozen=True, slots=True)
class Results:
    """The runs of one table, and the settings that must be the same for a comparison."""

    about: dict[str, Any]
    runs: list[Run]

    def columns(self) -> list[str]:
        """Return the columns in the order of the table."""
        return list(dict.fromkeys(run.column for run in self.runs))

    def means(self, column: str, value: Callable[[Run], float]) -> dict[str, float]:
        """Return for each row the mean over its seeds."""
        rows: dict[str, list[float]] = {}
        for run in self.runs:
            if run.column == column:
                rows.setdefault(run.row, []).append(value(run))
        return {row: fmean(values) for row, values in rows.items()}


def lost(run: Run) -> float:
    return run.lost


def sent(run: Run) -> float:
    return run.sent


def carried(run: Run) -> float:
    return run.carried


def save(results: Results, path: Path) -> None:
    """Write the runs as JSON, one a line."""
    runs = ",\n".join(json.dumps(asdict(run)) for run in results.runs)
    path.write_text(f'{{"about": {json.dumps(results.about)},\n"runs": [\n{runs}\n]}}\n', encoding="utf-8")


def load(path: Path) -> Results:
    """Read what `save` wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return Results(data["about"], [Run(**run) for run in data["runs"]])


def heading(columns: Sequence[str]) -> str:
    """Return the first two lines of the table."""
    names = [f"{name} lost %" + ("" if name == ORACLE else " | sent") for name in columns]
    marks = ["---|" + ("" if name == ORACLE else "---|") for name in columns]
    return f"| bond | Mbit/s | {' | '.join(names)} |\n|---|---|{''.join(marks)}"


def line(runs: Sequence[Run]) -> str:
    """Return the table's line of one row."""
    results = Results({}, list(runs))
    row = runs[0].row
    losses = {name: results.means(name, lost)[row] for name in results.columns()}
    cells = []
    for name, loss in losses.items():
        rate = results.means(name, carried)[row]
        cells.append(f"{loss:.2f}" + (f" of {rate:.2f} Mbit/s" if rate else ""))
        if name != ORACLE:
            cells.append(f"{results.means(name, sent)[row]:.3f}")
    mark = " **worse** |" if is_worse(losses) and not any(map(carried, runs)) else ""
    return f"| {row} | {runs[0].mbps:.2f} | {' | '.join(cells)} |{mark}"


def is_worse(losses: dict[str, float]) -> bool:
    """Whether adaptive loses more than classic with a receiver, of the losses of a row by column."""
    return any(losses[ours] > losses[theirs] + TOLERANCE for ours, theirs in _rivals(losses))


def _rivals(columns: Iterable[str]) -> list[tuple[str, str]]:
    names = list(columns)
    rivals = [(name, name.replace("adaptive", "classic", 1)) for name in names if name.startswith("adaptive")]
    return [(ours, theirs) for ours, theirs in rivals if theirs in names]


def summary(results: Results) -> str:
    """Return a table with a line per column: loss, loss beyond the oracle's, datagrams sent.

    Rows with an encoder that adapts have a table of their own: less is lost there where less is carried.
    """
    fixed, adapting = _by_encoder(results)
    lines = []
    if fixed.runs:
        lines += _summary_of_losses(fixed)
    if adapting.runs:
        lines += [""] if lines else []
        lines += ["| the encoder adapts | rows | Mbit/s carried | lost % |", "|---|---|---|---|"]
        for name in adapting.columns():
            rates = adapting.means(name, carried)
            loss = fmean(adapting.means(name, lost).values())
            lines.append(f"| {name} | {len(rates)} | {fmean(rates.values()):.2f} | {loss:.2f} |")
    return "\n".join(lines)


def _by_encoder(results: Results) -> tuple[Results, Results]:
    """Return the runs with a fixed rate, and those with an encoder that adapts."""
    fixed = [run for run in results.runs if not run.carried]
    adapting = [run for run in results.runs if run.carried]
    return Results(results.about, fixed), Results(results.about, adapting)


def _summary_of_losses(results: Results) -> list[str]:
    ideal = results.means(ORACLE, lost)
    lines = [
        "| | rows | lost %: mean | 90th pct | worst | beyond oracle: mean | 90th pct | worst | sent |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in results.columns():
        losses = results.means(name, lost)
        beyond = {row: loss - ideal[row] for row, loss in losses.items() if row in ideal}
        text = f"| {name} | {len(losses)} | {_spread(losses)} |"
        if name == ORACLE:
            lines.append(f"{text} | | | |")
            continue
        after = _spread(beyond) if beyond else "| |"
        lines.append(f"{text} {after} | {fmean(results.means(name, sent).values()):.3f} |")
    rows = [
        {name: results.means(name, lost).get(row, 0.0) for name in results.columns()}
        for row in dict.fromkeys(run.row for run in results.runs)
    ]
    if _rivals(results.columns()):
        worse = sum(map(is_worse, rows))
        lines += ["", f"{worse} of {len(rows)} worse than classic by more than {TOLERANCE} points"]
    return lines


def _spread(values: dict[str, float]) -> str:
    ordered = sorted(values.values())
    worst = max(values, key=values.__getitem__)
    ninetieth = ordered[math.ceil(0.9 * len(ordered)) - 1]
    name = f" {worst}" if values[worst] else ""
    return f"{fmean(ordered):.2f} | {ninetieth:.2f} | {values[worst]:.2f}{name}"


def compare(old: Results, new: Results) -> str:
    """Return what changed from old to new: mean differences with confidence, and the rows that changed most.

    A run is paired with the run of the same row, column and seed. The seeds of a row are not independent of
    each other, so the interval is that of the mean over the rows. Raises ValueError if the settings differ.
    """
    for key in sorted({*old.about, *new.about}):
        if old.about.get(key) != new.about.get(key):
            raise ValueError(f"{key} differs: {old.about.get(key)} and {new.about.get(key)}")
    parts = list(zip(_by_encoder(old), _by_encoder(new), strict=True))
    lines = [
        "| | rows | lost %: old | new | difference | sent: old | new | difference |",
        "|---|---|---|---|---|---|---|---|",
        *_differences(*parts[0], {lost: 2, sent: 3}),
    ]
    if parts[1][1].runs:
        lines += [
            "",
            "| the encoder adapts | rows | Mbit/s: old | new | difference | lost %: old | new | difference |",
            "|---|---|---|---|---|---|---|---|",
            *_differences(*parts[1], {carried: 2, lost: 2}),
        ]
    lines += ["", "| changed most | | lost %: old | new | difference |", "|---|---|---|---|---|"]
    lines += _most_changed(*parts[0])
    alone = {run.row for run in old.runs} ^ {run.row for run in new.runs}
    if alone:
        lines += ["", f"{len(alone)} rows are in one of the two only"]
    return "\n".join(lines)


def against_first(results: Results) -> str:
    """Return how each column differs from the first one, with confidence, on the rows with a fixed rate."""
    results, _ = _by_encoder(results)
    first, *others = [name for name in results.columns() if name != ORACLE]
    lines = [f"| instead of {first} | rows | lost % | sent |", "|---|---|---|---|"]
    old = [run for run in results.runs if run.column == first]
    for name in others:
        pairs = _pairs(
            Results({}, [replace(run, column=name) for run in old]), Results({}, results.runs), name
        )
        cells = []
        for value, places in ((lost, 2), (sent, 3)):
            before, after = _paired_means(pairs, value)
            differences = [after[row] - before[row] for row in after]
            cells.append(f"{fmean(differences):+.{places}f} {_interval(differences, places)}")
        lines.append(f"| {name} | {len({run.row for run, _ in pairs})} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(old: Results, new: Results, digits: dict[Callable[[Run], float], int]) -> list[str]:
    """Return a line for each column, with old, new and difference of each value."""
    lines = []
    for name in new.columns():
        pairs = _pairs(old, new, name)
        if name == ORACLE or not pairs:
            continue
        cells = [name, str(len({run.row for run, _ in pairs}))]
        for value, places in digits.items():
            before, after = _paired_means(pairs, value)
            differences = [after[row] - before[row] for row in after]
            cells += [f"{fmean(before.values()):.{places}f}", f"{fmean(after.values()):.{places}f}"]
            cells.append(f"{fmean(differences):+.{places}f} {_interval(differences, places)}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _most_changed(old: Results, new: Results) -> list[str]:
    changed: list[tuple[float, str]] = []
    for name in new.columns():
        if name == ORACLE:
            continue
        before, after = _paired_means(_pairs(old, new, name), lost)
        for row, loss in after.items():
            change = loss - before[row]
            changed.append((change, f"| {row} | {name} | {before[row]:.2f} | {loss:.2f} | {change:+.2f} |"))
    changed.sort(key=lambda each: -abs(each[0]))
    return [text for change, text in changed[:MOST_CHANGED] if change]


def _pairs(old: Results, new: Results, column: str) -> list[tuple[Run, Run]]:
    before = {(run.row, run.seed): run for run in old.runs if run.column == column}
    return [
        (before[run.row, run.seed], run)
        for run in new.runs
        if run.column == column and (run.row, run.seed) in before
    ]


def _paired_means(
    pairs: Sequence[tuple[Run, Run]], value: Callable[[Run], float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return for each row the mean over its seeds, before and after."""
    means: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})
    for pair in pairs:
        for rows, run in zip(means, pair, strict=True):
            rows.setdefault(run.row, []).append(value(run))
    before, after = ({row: fmean(values) for row, values in rows.items()} for rows in means)
    return before, after


def _interval(differences: Iterable[float], digits: int) -> str:
    """Return the confidence interval of the mean, by Student's distribution."""
    values = list(differences)
    if len(values) < 2:
        return "(one row)"
    half = quantile(0.5 + CONFIDENCE / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"({fmean(values) - half:+.{digits}f} to {fmean(values) + half:+.{digits}f})"


def quantile(share: float, freedom: int) -> float:
    """Return a quantile of Student's distribution (Abramowitz and Stegun, 26.7.5).

    It is 1 % too small for 3 degrees of freedom, and 24 % for 1.
    """
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
