"""Asynchronous against synchronous rounds, with clients alike and unlike in speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.learning import (
    at_time,
    data_digest,
    federated,
    last_rounds,
    round_rows,
)
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import Interval, mean_interval, paired
from mafl_opt.studies.wording import amount, joined, points

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

_ASYNCHRONOUS = "asynchronous"


def run(cell: Cell) -> list[Row]:
    """Run AFL, which is synchronous when as many work as a round waits for: a row a round."""
    return round_rows(federated(cell))


def gains(results: Results, rival: str, spread: float) -> tuple[Interval, Interval]:
    """Return accuracy gained by asynchrony at equal virtual time and at equal uploads.

    The time is that at which the first of a seed's two runs ends.
    """
    timed: dict[int, float] = {}
    here = results.where(client_spread=spread)
    for seed, rows in here.groups("seed"):
        pair = [rows.where(method=method) for method in (_ASYNCHRONOUS, rival)]
        end = min(float(r.column("time_s")[-1]) for r in pair)
        timed[seed] = at_time(pair[0], "accuracy", end) - at_time(pair[1], "accuracy", end)
    ends = [last_rounds(here.where(method=m)).by_seed("accuracy") for m in (_ASYNCHRONOUS, rival)]
    return mean_interval(timed.values()), paired(*ends)


def draw(results: Results) -> Figure:
    """Draw accuracy over virtual time (above) and uploads (below), a column a spread of speeds."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    spreads, seeds = results.levels("client_spread"), len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Asynchronous and synchronous rounds (mean of {seeds} seeds, 95 % interval)",
        len(spreads), 2,
    )  # fmt: skip
    rows_of = (("time_s", "virtual time (mean sessions)"), ("uploads", "uploads"))
    for row, (column, words) in enumerate(rows_of):
        for place, spread in enumerate(spreads):
            panel, lines = panels[row * len(spreads) + place], []
            for method, rows in results.where(client_spread=spread).groups("method"):
                rounds = [rows.where(round=r) for r in rows.levels("round")]
                whole = [r for r in rounds if len(r) == seeds]
                lines.append(Line(
                    label=method, x=[float(r.column(column).mean()) for r in whole],
                    y=[mean_interval(100 * r.column("accuracy")) for r in whole],
                ))  # fmt: skip
            draw_lines(
                panel, lines, title=f"spread of clients' speeds {spread:g}", x_label=words,
                y_label="test accuracy (%)", legend=panel is panels[0], is_share=True,
            )  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say what asynchrony gains in time and costs in work, for every rival and spread."""
    rivals = [method for method in results.levels("method") if method != _ASYNCHRONOUS]
    sentences = [
        f"Test accuracy of asynchronous rounds minus that of synchronous ones, 95 % intervals over "
        f"{len(results.levels('seed'))} seeds."
    ]
    timed: list[Interval] = []
    worked: list[Interval] = []
    for spread in results.levels("client_spread"):
        parts = []
        for rival in rivals:
            in_time, in_work = gains(results, rival, spread)
            timed.append(in_time)
            worked.append(in_work)
            parts.append(
                f"against {rival} {points(in_time)} at equal time and {points(in_work)} at equal "
                "uploads"
            )
        sentences.append(f"Speeds spread by {spread:g}: {'; '.join(parts)}.")
    sentences.append(_sum_up(timed, "at equal virtual time"))
    sentences.append(_sum_up(worked, "at equal uploads"))
    stale = last_rounds(results.where(method=_ASYNCHRONOUS)).by_seed("staleness_mean")
    sentences.append(
        f"Uploads of the last asynchronous rounds had a mean staleness of "
        f"{amount(mean_interval(stale.values()))}; synchronous ones have none."
    )
    return " ".join(sentences)


def _sum_up(intervals: list[Interval], when: str) -> str:
    better, worse = sum(i.is_above for i in intervals), sum(i.is_below for i in intervals)
    count = len(intervals)
    parts = [f"{better} of {count} comparisons favour asynchrony", f"{worse} are against it"]
    rest = count - better - worse
    if rest:
        parts.append(f"{rest} {'does' if rest == 1 else 'do'} not tell")
    return f"{when[0].upper()}{when[1:]}, {joined(parts)}."


EXPERIMENT = Experiment(world=data_digest, run=run, draw=draw, read=read)
