"""Picture of the runs of `regimes.py`: the share of fleets within a gap over time."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter
from regime_figures import DERIVED

from mafl_opt.report.canvas import save_figure
from mafl_opt.report.gap_curves import LEAST_S
from mafl_opt.report.palette import CURVE_COLOURS, CURVE_DASHES, INK, MARKERS

__all__ = ["draw_shares"]

_ROWS = (
    ("proved_s", "proved by the backend"),
    ("near_s", "plan near the best bound of all"),
)


def draw_shares(rows, gaps, backends, paths):
    """Draw the share of fleets within each gap over time, for the rows of one size.

    Above: within the gap of the backend's own bound, which is its claim where it has no
    certificate. Below: the plan in hand within the gap of the best derived bound of all backends.
    """
    figure = Figure(figsize=(3.6 * len(gaps) + 0.8, 6.4), layout="constrained")
    panels = figure.subplots(len(_ROWS), len(gaps), sharex=True, sharey=True, squeeze=False)
    limit = max(row["time_limit"] for row in rows)
    for line, (column, title) in zip(panels, _ROWS, strict=True):
        for axes, gap in zip(line, gaps, strict=True):
            for backend in backends:
                mine = [row for row in rows if row["backend"] == backend]
                _draw(axes, [row[column][gap] for row in mine], limit, _style(backends, backend))
            axes.set_title(f"{title}: {100 * gap:g} %", fontsize=9.5)
            axes.grid(which="major", color="#e3e3e3", linewidth=0.6)
            axes.set_axisbelow(True)
        line[0].set_ylabel("share of fleets")
    for axes in panels[-1]:
        axes.set_xlabel("seconds of the solve")
    corner = panels[0][0]
    corner.set_xscale("log")
    first = min((t for row in rows for c, _ in _ROWS for t in row[c].values() if t), default=1.0)
    corner.set_xlim(min(0.1, max(0.7 * first, LEAST_S)), 1.15 * limit)
    corner.set_ylim(-0.02, 1.03)
    corner.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    corner.yaxis.set_major_formatter(PercentFormatter(1.0))
    claimed = {r["backend"] for r in rows} - {r["backend"] for r in rows if r["bounds"] == DERIVED}
    claimed &= {r["backend"] for r in rows if r["claimed_bound"] is not None}
    handles = [
        Line2D([], [], label=name + (" (claimed)" if name in claimed else ""),
               **_style(backends, name))
        for name in backends
    ]  # fmt: skip
    fleets = len({(row["regime"], row["seed"]) for row in rows})
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9
    )
    figure.suptitle(
        f"{rows[0]['size']} (devices x tasks x slots), {fleets} fleets: higher and further left"
        " is better",
        fontsize=11,
    )
    for path in paths:
        save_figure(figure, path)


def _style(backends, backend):
    index = list(backends).index(backend)
    return {
        "color": CURVE_COLOURS[index % len(CURVE_COLOURS)],
        "linestyle": CURVE_DASHES[index // len(CURVE_COLOURS) % len(CURVE_DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "linewidth": 1.6, "markersize": 5, "markeredgecolor": INK, "markeredgewidth": 0.5,
    }  # fmt: skip


def _draw(axes, times, limit, style):
    """Draw one curve of steps to the limit, a mark a step; nothing where no fleet came so far."""
    reached = sorted(max(t, LEAST_S) for t in times if t is not None)
    if not reached:
        return
    shares = [k / len(times) for k in range(1, len(reached) + 1)]
    axes.plot(
        [reached[0], *reached, limit], [0.0, *shares, shares[-1]], drawstyle="steps-post",
        markevery=slice(1, len(reached) + 1), **style,
    )  # fmt: skip
