"""How many uploads a round should wait for: J = 3, 5, 8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.learning import data_digest, federated, last_rounds, round_rows
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval, paired
from mafl_opt.studies.wording import amount, joined, points, share, verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

#: Test accuracy to reach.
TARGET = 0.85


def run(cell: Cell) -> list[Row]:
    """Run AFL for a number of uploads, equal local work for every J: a row a round."""
    return round_rows(federated(cell))


def first_reaching(results: Results, column: str) -> dict[int, float]:
    """Return a column's value in the first round of the target accuracy, by seed."""
    found: dict[int, float] = {}
    for seed, rows in results.groups("seed"):
        good = rows.filter(lambda row: row["accuracy"] >= TARGET)
        if len(good):
            found[seed] = float(good.rows[0][column])
    return found


def draw(results: Results) -> Figure:
    """Draw accuracy over rounds, uploads and virtual time, a line a J and seed mean."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    seeds = len(results.levels("seed"))
    figure, panels = empty_figure(f"Uploads a round, J (mean of {seeds} seeds, 95 % interval)", 3)
    axes = (("round", "round"), ("uploads", "uploads"), ("time_s", "virtual time (mean sessions)"))
    for panel, (column, words) in zip(panels, axes, strict=True):
        lines = []
        for quorum, rows in results.groups("clients_per_round"):
            rounds = [rows.where(round=r) for r in rows.levels("round")]
            whole = [r for r in rounds if len(r) == seeds]
            lines.append(Line(
                label=f"J = {quorum}", x=[float(r.column(column).mean()) for r in whole],
                y=[mean_interval(100 * r.column("accuracy")) for r in whole],
            ))  # fmt: skip
        draw_lines(
            panel, lines, title=f"over {words}", x_label=words, y_label="test accuracy (%)",
            legend=panel is panels[0], is_share=True,
        )  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say what a larger J costs and brings, in rounds, uploads and time."""
    quorums = sorted(results.levels("clients_per_round"))
    of = {q: results.where(clients_per_round=q) for q in quorums}
    ends = {q: last_rounds(of[q]) for q in quorums}
    seeds = len(results.levels("seed"))
    budget = amount(mean_interval(last_rounds(results).column("uploads")))
    finals = [f"{share(mean_interval(ends[q].column('accuracy')))} with J = {q}"
              for q in quorums]  # fmt: skip
    least, most = quorums[0], quorums[-1]
    difference = paired(ends[most].by_seed("accuracy"), ends[least].by_seed("accuracy"))
    sentences = [
        f"After {budget} uploads, the same local work for all, the test accuracy is "
        f"{joined(finals)} ({seeds} seeds).",
        f"J = {most} against J = {least}: {points(difference)}, "
        + verdict(difference, f"so J = {most} makes more of its uploads.",
                  f"so J = {least}, which aggregates more often, makes more of its uploads.",
                  "which does not tell them apart."),
    ]  # fmt: skip
    reached = {q: first_reaching(of[q], "round") for q in quorums}
    if all(len(reached[q]) == seeds for q in quorums):
        rounds = [f"{amount(mean_interval(reached[q].values()))} with J = {q}" for q in quorums]
        times = [
            f"{amount(mean_interval(first_reaching(of[q], 'time_s').values()))} with J = {q}"
            for q in quorums
        ]
        fewer = paired(reached[most], reached[least])
        sentences.append(
            f"Rounds to {TARGET:.0%}: {joined(rounds)}; "
            + verdict(fewer, "a larger J needs more of them.", "a larger J needs fewer of them.",
                      "the intervals do not tell whether a larger J needs fewer.")
            + f" Virtual time to there, in mean sessions: {joined(times)}."
        )  # fmt: skip
    else:
        counts = [f"{len(reached[q])} of {seeds} with J = {q}" for q in quorums]
        sentences.append(f"Not all runs reach {TARGET:.0%}: {joined(counts)} do.")
    return " ".join(sentences)


EXPERIMENT = Experiment(world=data_digest, run=run, draw=draw, read=read)
