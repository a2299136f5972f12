"""Prices of what devices share, drawn for a scenario."""

import numpy as np

from mafl_opt.solvers.prices.fleet.arcs import Table


def table_of(scenario, seed):
    """Prices at which devices find something to do, some of them of everything shared."""
    random = np.random.default_rng(seed)
    shape = scenario.num_slots, scenario.num_tasks
    progress = 0.05 * scenario.tasks.step_cap * scenario.num_slots * random.uniform(0.3, 3.0)
    error = scenario.tasks.weight / progress
    return Table(
        error=error, progress=error * 4.0 * scenario.tasks.initial_gap / progress,
        uplink=random.uniform(0.0, 0.3, shape[0]), step=random.uniform(0.0, 200.0, shape),
    )  # fmt: skip
