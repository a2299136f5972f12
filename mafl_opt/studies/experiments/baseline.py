"""The loss curve of asynchronous federated learning with the article's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.learning import data_digest, federated, last_rounds, round_rows
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval
from mafl_opt.studies.wording import amount, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

#: Part of the fall of the loss that counts as a fall at all.
_FALL = 0.5


def run(cell: Cell) -> list[Row]:
    """Run AFL: a row a round."""
    return round_rows(federated(cell))


def draw(results: Results) -> Figure:
    """Draw loss and accuracy over the rounds."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    seeds = len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Asynchronous federated learning, mean of {seeds} seeds and 95 % interval", 2
    )
    axes = (("loss", "test loss", 1.0), ("accuracy", "test accuracy (%)", 100.0))
    for panel, (column, words, scale) in zip(panels, axes, strict=True):
        rounds = results.levels("round")
        y = [mean_interval(scale * results.where(round=r).column(column)) for r in rounds]
        draw_lines(
            panel, [Line(label=words, x=rounds, y=y)], title=words, x_label="round", y_label=words,
            is_share=column == "accuracy",
        )  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say how far the loss falls, how unsteadily, and when 90 % are reached."""
    ends = last_rounds(results)
    first = results.where(round=0)
    rises, reached = [], []
    for _, rows in results.groups("seed"):
        rises.append(float(np.mean(np.diff(rows.column("loss")) > 0)))
        good = rows.filter(lambda row: row["accuracy"] >= 0.9)
        if len(good):
            reached.append(float(good.rows[0]["round"]))
    start, end = (mean_interval(part.column("loss")) for part in (first, ends))
    seeds = len(results.levels("seed"))
    sentences = [
        f"Over {max(results.levels('round'))} rounds the test loss goes from {amount(start)} to "
        f"{amount(end)} and the test accuracy reaches "
        f"{share(mean_interval(ends.column('accuracy')))}; 95 % intervals over "
        f"{seeds} seeds."
    ]
    if end.mean <= _FALL * start.mean:
        sentences.append("So it learns with the article's settings.")
    else:
        sentences.append(
            "The loss keeps more than half of its first value: with the article's settings it "
            "learns little in so many rounds on these data."
        )
    if reached:
        sentences.append(
            f"{len(reached)} of {seeds} seeds reach 90 %, after "
            f"{amount(mean_interval(reached), 'rounds')}."
        )
    else:
        sentences.append("No seed reaches 90 %.")
    risen = mean_interval(rises)
    sentences.append(
        f"The loss rises in {share(risen)} of the rounds: it is the trend that counts, not a round."
    )
    return " ".join(sentences)


EXPERIMENT = Experiment(world=data_digest, run=run, draw=draw, read=read)
