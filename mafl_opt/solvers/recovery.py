"""Integer plans around relaxations: the one way every relaxing backend gets its plans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.pricing import Prices
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.schedule import Schedule

__all__ = ["first_plan", "polish", "recover", "warm_up"]

# Rounds of ruin and recreate without improvement: a few on the way, many at the end.
_QUICK_ROUNDS = 30
_FINAL_ROUNDS = 150
# Share of the time limit at which the first shaking ends: its last tenths of a percent are dearer
# than the prices and the bound that come after it.
_WARM_SHARE = 0.15


def first_plan(run: Run) -> Schedule:
    """Offer the plan given and the greedy one; returns the latter, which may lack a task."""
    if run.start is not None:
        run.offer(Schedule.from_sessions(run.problem, run.start.sessions), "start")
    schedule = Schedule(run.problem)
    fill(schedule, stop=run.stop)
    run.offer(schedule, "greedy")
    return schedule


def warm_up(run: Run, improver: Improver, *, search: bool = True) -> None:
    """Find an incumbent before any relaxation: greedy and local search, beside the plan given.

    Parameters
    ----------
    run : Run
    improver : Improver
    search : bool
        Whether to search; not worth its time where the first relaxation leads to better plans.
    """

    def stop() -> bool:
        limit = run.options.time_limit
        return run.stop() or (limit is not None and run.seconds >= _WARM_SHARE * limit)

    schedule = first_plan(run)
    if search:
        schedule = improver.descend(run.schedule or schedule)
        run.offer(schedule, "local search")
        improver.shake(
            schedule, rounds=_QUICK_ROUNDS, stop=stop,
            found=lambda found: run.offer(found, "local search"),
        )  # fmt: skip


def recover(
    run: Run, improver: Improver, wish: NDArray[np.float64], prices: Prices, *, thorough: bool
) -> None:
    """Round a fractional point and improve what comes of it.

    Parameters
    ----------
    run : Run
    improver : Improver
        Charged with the prices from now on.
    wish : (columns,)
        x of the relaxation, in [0, 1].
    prices : Prices
        The relaxation's.
    thorough : bool
        Whether to shake the result too.
    """
    improver.charge(prices)
    schedule = improver.descend(improver.round(wish, prices))
    run.offer(schedule, "rounding")
    if thorough:
        improver.shake(
            schedule, rounds=_QUICK_ROUNDS, found=lambda found: run.offer(found, "rounding")
        )


def polish(run: Run, improver: Improver) -> None:
    """Search on from the best plan, if there is one."""
    if run.schedule is not None:
        improver.shake(
            run.schedule, rounds=_FINAL_ROUNDS, found=lambda found: run.offer(found, "local search")
        )
