"""Integer plans around relaxations: the one way every relaxing backend gets its plans."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mafl_opt.formulations.pricing import Prices
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.improve import Improver, fill
from mafl_opt.solvers.schedule import Schedule

__all__ = ["first_plan", "polish", "quick_search", "recover", "warm_up"]

# Moves of annealing a device and slot: a few on the way, many at the end.
_QUICK = 2_500
_FINAL = 20_000
# Share of the time limit at which the first annealing ends: its last tenths of a percent are dearer
# than the prices and the bound that come after it.
_WARM_SHARE = 0.15
# The same of greedy insertion, which annealing overtakes where columns are very many.
_FIRST_SHARE = 0.1
# Seconds that it may take however little time there is: the rest of a plan is worth that.
_FIRST_S = 0.5


def warm_up(run: Run, improver: Improver, *, search: bool = True) -> None:
    """Find an incumbent before any relaxation: greedy and local search, beside the plan given.

    Parameters
    ----------
    run : Run
    improver : Improver
    search : bool
        Whether to search; not worth its time where the first relaxation leads to better plans.
    """
    first_plan(run)
    if search:
        quick_search(run, improver)


def first_plan(run: Run) -> Schedule:
    """Offer the plan given and a greedy one, which may lack a task.

    On large fleets it is part of one, so that it comes early in the time.
    """
    if run.start is not None:
        run.offer(Schedule.from_sessions(run.problem, run.start.sessions), "start")
    limit = run.options.time_limit
    until = None if limit is None else max(_FIRST_SHARE * limit, _FIRST_S)
    schedule = Schedule(run.problem)
    fill(schedule, stop=lambda: until is not None and run.seconds >= until)
    run.offer(schedule, "greedy")
    return schedule


def quick_search(run: Run, improver: Improver) -> None:
    """Turn the first plan, if there is one, into a good one in little time."""
    if run.schedule is None:
        return
    limit = run.options.time_limit
    schedule = improver.anneal(
        run.schedule, effort=_QUICK, found=lambda found: run.offer(found, "local search"),
        seconds=None if limit is None else max(_WARM_SHARE * limit - run.seconds, 0.0),
    )  # fmt: skip
    run.offer(improver.descend(schedule), "local search")


def recover(
    run: Run, improver: Improver, wish: NDArray[np.float64], prices: Prices, *, thorough: bool
) -> None:
    """Round a fractional point and improve what comes of it.

    Parameters
    ----------
    run : Run
    improver : Improver
    wish : (columns,)
        x of the relaxation, in [0, 1].
    prices : Prices
        The relaxation's.
    thorough : bool
        Whether to anneal around the result too.
    """
    schedule = improver.descend(improver.round(wish, prices))
    run.offer(schedule, "rounding")
    if thorough:
        improver.anneal(
            schedule, effort=_QUICK, warm=True, seconds=run.remaining(),
            found=lambda found: run.offer(found, "rounding"),
        )  # fmt: skip


def polish(run: Run, improver: Improver) -> None:
    """Search on from the best plan, if there is one."""
    if run.schedule is not None:
        improver.anneal(
            run.schedule, effort=_FINAL, seconds=run.remaining(),
            found=lambda found: run.offer(found, "local search"),
        )  # fmt: skip
