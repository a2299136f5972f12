"""The delay factor a of the learning rate, over levels of delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.learning import data_digest, federated, round_rows
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval, paired
from mafl_opt.studies.wording import amount, joined, points, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]


def run(cell: Cell) -> list[Row]:
    """Run AFL: a row every tenth round and one at the end; the last ten rounds are what is read."""
    return round_rows(federated(cell, evaluate_every=cell["evaluate_every"]))


def settled(results: Results) -> Results:
    """Keep the rows of the last quarter of the rounds: one round alone is noisy."""
    last = max(results.levels("round"))
    return results.filter(lambda row: row["round"] > 0.75 * last)


def draw(results: Results) -> Figure:
    """Draw loss and accuracy at the end over the staleness that the level of delay brings."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    ends, seeds = settled(results), len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Delay factor a of the learning rate (mean of {seeds} seeds, bars: 95 % intervals)", 2
    )
    for panel, column, scale in zip(panels, ("loss", "accuracy"), (1.0, 100.0), strict=True):
        lines = []
        for rule, rows in ends.groups("rule"):
            levels = [part for _, part in rows.groups("client_spread")]
            lines.append(Line(
                label=rule, x=rows.levels("client_spread"),
                y=[mean_interval([scale * v for v in p.by_seed(column).values()]) for p in levels],
            ))  # fmt: skip
        words = "test loss" if column == "loss" else "test accuracy (%)"
        draw_lines(
            panel, lines, title=f"{words}, mean of the last quarter",
            x_label="spread of the clients' mean durations (logarithm)", y_label=words,
            legend=panel is panels[0], is_share=column == "accuracy",
        )  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say which factors are clearly better or worse than none, and than a rate changed for all."""
    ends = settled(results)
    rules = results.levels("rule")
    plain, seeds = rules[0], len(results.levels("seed"))
    controls = {rule: results.where(rule=rule).levels("control")[0] for rule in rules}
    factors = [r for r in rules[1:] if r not in controls.values()]
    sentences = [
        f"Test accuracy over the last quarter of the rounds, minus that of {plain}; 95 % intervals "
        f"over {seeds} seeds."
    ]
    better: dict[str, list[str]] = {}
    worse: dict[str, list[str]] = {}
    for spread, level in ends.groups("client_spread"):
        stale = mean_interval(level.where(rule=plain).by_seed("staleness_mean").values())
        base = level.where(rule=plain).by_seed("accuracy")
        parts = []
        for rule in rules[1:]:
            difference = paired(level.where(rule=rule).by_seed("accuracy"), base)
            parts.append(f"{rule} {points(difference)}")
            if rule in factors and difference.is_above:
                better.setdefault(rule, []).append(f"{spread:g}")
            if rule in factors and difference.is_below:
                worse.setdefault(rule, []).append(f"{spread:g}")
        sentences.append(
            f"Spread {spread:g} (mean staleness {amount(stale)}; {plain} has "
            f"{share(mean_interval(base.values()))}): {joined(parts)}."
        )
    if better:
        sentences.append(f"Clearly better than {plain}: {_listed(better)}.")
    else:
        sentences.append(
            f"No factor is clearly better than {plain} at any of these delays: the ablation does "
            "not show that the delay term of the learning rate helps."
        )
    if worse:
        sentences.append(f"Clearly worse: {_listed(worse)}.")
    return " ".join([*sentences, *_beside_controls(ends, controls, factors)])


def _listed(rules: dict[str, list[str]]) -> str:
    return joined([f"{rule} (at spread {joined(spreads)})" for rule, spreads in rules.items()])


def _beside_controls(ends: Results, controls: dict[str, str], factors: list[str]) -> list[str]:
    """Compare factors with a rate that is lower or higher for all, whatever their staleness."""
    plain = next(iter(controls))
    checked = {rule: controls[rule] for rule in factors if controls[rule] != plain}
    if not checked:
        return []
    parts, better, worse = [], [], []
    for rule, control in checked.items():
        difference = paired(
            ends.where(rule=rule).by_seed("accuracy"), ends.where(rule=control).by_seed("accuracy")
        )
        parts.append(f"{rule} against {control} {points(difference)}")
        if difference.is_above:
            better.append(rule)
        if difference.is_below:
            worse.append(rule)
    sentences = [
        "A factor changes the mean rate too, so some have a control with about that rate for all, "
        "whatever their staleness (not quite: a client's first session has no staleness to go by, "
        "so a factor leaves the first and largest rates as they are); over all spreads: "
        f"{joined(parts)}."
    ]
    if better:
        sentences.append(f"So clearly better than its control is {joined(better)}.")
    if worse:
        sentences.append(f"So clearly worse than its control is {joined(worse)}.")
    same = [rule for rule in checked if rule not in (*better, *worse)]
    if same:
        sentences.append(
            f"Of {joined(same)} nothing is left beside its control: what it does is what the rate "
            "does."
        )
    return sentences


EXPERIMENT = Experiment(world=data_digest, run=run, draw=draw, read=read)
