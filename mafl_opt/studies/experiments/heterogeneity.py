"""Heterogeneity delta: whether scheduling shifts to devices whose data is like the whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

from mafl_opt.core.scenario import Scenario
from mafl_opt.studies.cell import Cell
from mafl_opt.studies.experiment import Experiment, Row
from mafl_opt.studies.results import Results
from mafl_opt.studies.statistics import mean_interval, paired
from mafl_opt.studies.wording import amount, points, share, verdict
from mafl_opt.studies.worlds import drawn_fleet, make_plan, scenario_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["EXPERIMENT"]

#: Stream of the assignment of dissimilarities to devices.
_STREAM = 2305


def assigned(scenario: Scenario, scale: float, seed: int) -> Scenario:
    """Spread dissimilarities evenly from 0 to 2, times `scale`, over devices drawn at random.

    At random: in the embedded fleet slow devices hold the typical data, so a shift to similar
    devices could not be told from one to slow devices.
    """
    order = np.random.default_rng([_STREAM, seed]).permutation(scenario.num_devices)
    levels = np.linspace(0.0, 2.0, scenario.num_devices)[order]
    across = np.tile((scale * levels)[:, None], (1, scenario.num_tasks))
    return scenario.replace(**{"pairs.dissimilarity": across})


def run(cell: Cell) -> list[Row]:
    """Plan and see who works: one row."""
    fleet = drawn_fleet(cell)
    scenario = assigned(fleet, cell["scale"], cell.seed)
    # Who is similar is told by the order, which the scale 0 has too.
    rank = assigned(fleet, 1.0, cell.seed).pairs.dissimilarity[:, 0]
    plan, report = make_plan(scenario, cell["planner"], gap=cell["gap"])
    sessions = plan.sessions
    work = np.bincount(
        sessions.device,
        weights=sessions.iterations * scenario.pairs.data_share[sessions.device, sessions.task],
        minlength=scenario.num_devices,
    )
    similar = rank <= np.median(rank)
    counts = np.bincount(sessions.device, minlength=scenario.num_devices)
    return [{
        "sessions": len(sessions),
        "similar_share": float(work[similar].sum() / work.sum()) if work.sum() else None,
        "similar_sessions_share": float(counts[similar].sum() / max(counts.sum(), 1)),
        "rank_correlation": _rank_correlation(rank, work),
        "idle_devices": int((counts == 0).sum()),
        "mean_staleness": float(sessions.staleness.mean()) if len(sessions) else None,
        "energy_j": math.fsum(report.device_energy_j),
        "objective": report.objective if math.isfinite(report.objective) else None,
    }]  # fmt: skip


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    if np.ptp(second) == 0:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def draw(results: Results) -> Figure:
    """Draw the similar half's share of the work, its rank correlation, and the sessions."""
    from mafl_opt.studies.pictures import Line, draw_lines, empty_figure

    scales, seeds = results.levels("scale"), len(results.levels("seed"))
    figure, panels = empty_figure(
        f"Dissimilarity of the devices' data (mean of {seeds} fleets, bars: 95 % intervals)", 3
    )
    columns = (
        ("similar_share", "similar half's share of the progress (%)", 100.0),
        ("rank_correlation", "rank correlation of work with dissimilarity", 1.0),
        ("sessions", "sessions of the plan", 1.0),
    )
    for panel, (column, words, scale) in zip(panels, columns, strict=True):
        y = [mean_interval(scale * rows.column(column)) for _, rows in results.groups("scale")]
        draw_lines(panel, [Line(label=words, x=scales, y=y)], title=words,
                   x_label="scale of the dissimilarities", y_label="",
                   is_share=column == "similar_share")  # fmt: skip
    return figure


def read(results: Results) -> str:
    """Say whether the similar half works more as dissimilarity grows."""
    least, most = min(results.levels("scale")), max(results.levels("scale"))
    low, high = (results.where(scale=s) for s in (least, most))
    shift = paired(high.by_seed("similar_share"), low.by_seed("similar_share"))
    shares = [share(mean_interval(r.column("similar_share"))) for r in (low, high)]
    ranks = [amount(mean_interval(r.column("rank_correlation"))) for r in (low, high)]
    answer = verdict(
        shift,
        "So scheduling shifts to devices with similar data.",
        "So scheduling shifts away from devices with similar data, against what the bound says of "
        "one session.",
        "So no shift to devices with similar data is shown.",
    )
    fewer = paired(high.by_seed("sessions"), low.by_seed("sessions"))
    counts = [amount(mean_interval(r.column("sessions"))) for r in (low, high)]
    leaves = verdict(
        fewer, "The plan also becomes larger", "The plan also becomes smaller",
        "Its size does not clearly change",
    )  # fmt: skip
    idle = [amount(mean_interval(r.column("idle_devices"))) for r in (low, high)]
    return " ".join([
        f"As dissimilarities, spread from 0 to 2, are scaled by {least:g} to {most:g}, the half of "
        f"the devices with the more similar data goes from {shares[0]} to {shares[1]} of the "
        f"progress, a change of {points(shift)} (95 % intervals over "
        f"{len(results.levels('seed'))} fleets).",
        answer,
        f"The rank correlation of a device's work with its dissimilarity goes from {ranks[0]} to "
        f"{ranks[1]}.",
        f"{leaves}: {counts[0]} sessions, then {counts[1]}; devices without a session {idle[0]}, "
        f"then {idle[1]}.",
        "Dissimilarity is given to devices at random here, so none of this is the shift to slow or "
        "fast ones.",
    ])  # fmt: skip


EXPERIMENT = Experiment(world=scenario_digest, run=run, draw=draw, read=read)
