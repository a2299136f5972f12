"""Delays without a bound: how far staleness goes, and whether learning still holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.learning import data_digest, federated, round_rows
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import Interval, mean_interval, paired
from mafl_opt.studies.wording import amount, joined, points, ratio, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]


def run(cell: Cell) -> list[Row]:
    """Run AFL: a row every few rounds."""
    return round_rows(federated(cell, evaluate_every=cell["evaluate_every"]))


def largest_so_far(results: Results) -> Results:
    """Put the largest staleness up to each row in place of that since the last one."""
    rows: list[Row] = []
    for _, run_rows in _runs(results):
        largest = np.fmax.accumulate(run_rows.column("staleness_max"))
        rows += [
            {**row, "staleness_max": None if np.isnan(value) else value}
            for row, value in zip(run_rows.rows, largest.tolist(), strict=True)
        ]
    return Results(rows=tuple(rows))


def _runs(results: Results) -> list[tuple[tuple[str, str, int], Results]]:
    return [
        ((delay, rule, seed), of_seed)
        for delay, level in results.groups("delays")
        for rule, rows in level.groups("rule")
        for seed, of_seed in rows.groups("seed")
    ]


def growth(results: Results) -> Interval:
    """Return the ratio of the largest staleness of the whole run to that of its first half."""
    ratios = []
    for _, rows in _runs(largest_so_far(results)):
        largest, rounds = rows.column("staleness_max"), rows.column("round")
        first = largest[rounds <= rounds[-1] / 2][-1]
        ratios.append(float(largest[-1] / first) if first > 0 else float("nan"))
    return mean_interval(ratios)


def settled(results: Results) -> Results:
    """Keep the rows of the last quarter of the rounds."""
    last = max(results.levels("round"))
    return results.filter(lambda row: row["round"] > 0.75 * last)


def draw(results: Results) -> Figure:
    """Draw the largest staleness so far and the loss over the rounds."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    rules, seeds = results.levels("rule"), len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Delays with and without a bound (mean of {seeds} seeds, 95 % interval)", 1 + len(rules)
    )
    plain = largest_so_far(results.where(rule=rules[0])).filter(lambda row: row["round"] > 0)

    def lines(rows: Results, column: str) -> list[Line]:
        return [
            Line(
                label=delay, x=part.levels("round"),
                y=[mean_interval(p.column(column)) for _, p in part.groups("round")],
            )
            for delay, part in rows.groups("delays")
        ]  # fmt: skip

    draw_lines(panels[0], lines(plain, "staleness_max"), title="largest staleness so far",
               x_label="round", y_label="aggregations")  # fmt: skip
    for panel, (rule, rows) in zip(panels[1:], results.groups("rule"), strict=True):
        draw_lines(panel, lines(rows, "loss"), title=f"test loss, {rule}", x_label="round",
                   y_label="test loss", legend=False)  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say how far staleness goes without a bound and what that does to accuracy."""
    rules, delays = results.levels("rule"), results.levels("delays")
    plain, seeds = delays[0], len(results.levels("seed"))
    first = results.where(rule=rules[0])
    largest = {
        delay: {
            s: math.log(max(v, 1.0)) for s, v in rows.by_seed("staleness_max", np.nanmax).items()
        }
        for delay, rows in first.groups("delays")
    }
    parts, beyond = [], []
    for delay, rows in first.groups("delays"):
        most = mean_interval(rows.by_seed("staleness_max", np.nanmax).values())
        mean = mean_interval(rows.by_seed("staleness_mean", np.nanmean).values())
        parts.append(f"{delay} {amount(most)}, with a mean of {amount(mean)}")
        excess = paired(largest[delay], largest[plain])
        if delay != plain and excess.is_above:
            beyond.append(f"{delay} {ratio(excess)}")
    sentences = [
        f"Largest staleness of a run of {max(results.levels('round'))} rounds, all delays of mean "
        f"1 ({seeds} seeds): {'; '.join(parts)}."
    ]
    if beyond:
        sentences.append(
            f"That is, against {plain} delays, {joined(beyond)}: a tau_max that holds where "
            "durations are bounded (assumption 3) does not hold there, and none would in a run "
            "that is long enough."
        )
    else:
        sentences.append(
            f"In runs of this length that is not clearly beyond {plain} delays, though no tau_max "
            "(assumption 3) would hold in one that is long enough."
        )
    grown = [f"{delay} {amount(growth(rows))} times" for delay, rows in first.groups("delays")]
    sentences.append(f"From the first half of the runs to the whole it grows: {joined(grown)}.")
    hurt, helped = [], []
    for rule in rules:
        base = settled(results.where(rule=rule, delays=plain)).by_seed("accuracy")
        words = []
        for delay in delays[1:]:
            rows = settled(results.where(rule=rule, delays=delay))
            difference = paired(rows.by_seed("accuracy"), base)
            words.append(f"{delay} {points(difference)}")
            if difference.is_below:
                hurt.append(f"{delay} delays ({rule})")
            if difference.is_above:
                helped.append(f"{delay} delays ({rule})")
        has = share(mean_interval(base.values()))
        sentences.append(
            f"Accuracy at the end, {rule}, against {plain} delays ({has}): {joined(words)}."
        )
    if hurt:
        sentences.append(f"Learning clearly suffers under {joined(hurt)}.")
    else:
        sentences.append(
            "Learning does not clearly suffer: the assumption fails before the method does."
        )
    if helped:
        sentences.append(
            f"At equal rounds it even gains under {joined(helped)}. Likely because, of durations "
            "with one mean, those with the longer tail are mostly shorter: many fresh uploads "
            "outweigh a few very stale ones."
        )
    sentences.append("The drift of the models (assumption 4) is not measured here.")
    return " ".join(sentences)


EXPERIMENT = Experiment(world=data_digest, run=run, draw=draw, read=read)
