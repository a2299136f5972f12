"""The figures of the bound on the models of one probe run, and the gap to the least loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mafl_opt.validation.calibration.estimates import CalibrationOptions, Estimate
from mafl_opt.validation.calibration.losses import TaskLosses, loss_and_gradient
from mafl_opt.validation.calibration.probe import ProbeRun
from mafl_opt.validation.calibration.spectrum import largest_eigenvalue

__all__ = ["RunFigures", "measure_gap", "measure_run"]

#: Residual of the Hessian's largest eigenvalue, relative to it.
_SETTLED = 0.02

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFigures:
    """What one run needs of each constant: the largest over the models measured.

    smoothness, gradient_bound : shape ()
    gradient_std, dissimilarity, gradient_drift : (devices,)
    loss_drift : (slots,)
    """

    smoothness: Floats
    gradient_bound: Floats
    gradient_std: Floats
    dissimilarity: Floats
    gradient_drift: Floats
    loss_drift: Floats


def measure_run(
    losses: TaskLosses,
    run: ProbeRun,
    options: CalibrationOptions,
    generator: np.random.Generator,
) -> RunFigures:
    """Measure at some aggregations u of a run: at w^(u-1) and at a last local iterate.

    L is the largest modulus of an eigenvalue of the Hessian of F^(u), with the residual of its
    iteration added; V, sigma_i, delta_i and Delta_i are the largest norms of gradients, of their
    spread and of their differences over the points (eqs. 12 and 13).
    """
    devices = np.flatnonzero(losses.sizes).tolist()
    shape = len(losses.sizes)
    smooth = steep = 0.0
    variance, apart, drift = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for u, point, is_global in _points(run, options.points):
        whole = losses.gradient(point, u)
        if is_global:
            smooth = max(smooth, _smoothness(losses, point, u, options, generator))
        for i in devices:
            own = losses.device_gradient(point, i, u)
            steep = max(steep, float(own.norm()))
            apart[i] = max(apart[i], float((own - whole).norm()))
            variance[i] = max(
                variance[i],
                losses.gradient_variance(point, i, u, options.samples, generator),
            )
            for held in losses.holdings.stages[i][1:]:
                after, before = (
                    losses.device_gradient(point, i, g) for g in (held.start, held.start - 1)
                )
                drift[i] = max(drift[i], float((after - before).norm()))
                # A step may see the data of another instant than that of its upload.
                steep = max(steep, float(after.norm()), float(before.norm()))
    return RunFigures(
        smoothness=np.array(smooth),
        gradient_bound=np.array(steep),
        gradient_std=np.sqrt(variance),
        dissimilarity=apart,
        gradient_drift=drift,
        loss_drift=_loss_drift(losses, run),
    )


def measure_gap(losses: TaskLosses, start: Tensor, near: Tensor, steps: int) -> Estimate:
    """Gamma = F^(0)(w^(0)) - inf F^(G) (A7), by minimising the last loss from a model near it.

    Returns
    -------
    gap : Estimate of shape ()
        ``value`` and ``low``: to the least loss found; ``high``: to the floor of the loss.
    """
    data = losses.everything(losses.holdings.num_slots)
    objective = losses.objective
    point = near.detach().clone().requires_grad_()
    seen = [loss_and_gradient(objective, near, *data)[0]]
    search = torch.optim.LBFGS(
        [point], max_iter=max(1, steps), max_eval=2 * steps + 2, line_search_fn="strong_wolfe",
        tolerance_grad=1e-9, tolerance_change=1e-12,
    )  # fmt: skip

    def closure() -> float:
        value, gradient = loss_and_gradient(objective, point.detach(), *data)
        point.grad = gradient
        seen.append(value)
        return value

    if steps:
        search.step(closure)  # type: ignore[no-untyped-call]
    first = losses.loss(start, 0)
    least = min(value for value in seen if np.isfinite(value))
    found = np.array(max(0.0, first - least))
    floor = np.array(first - objective.loss_floor)
    return Estimate(value=found, low=found, high=np.maximum(found, floor))


def _points(run: ProbeRun, count: int) -> Iterator[tuple[int, Tensor, bool]]:
    """Yield (u, model, whether it is w^(u-1)), from u = 1 on."""
    slots = len(run.models) - 1
    for u in np.unique(np.linspace(1, slots, count).round().astype(int)).tolist():
        yield u, run.models[u - 1], True
        if u in run.last_iterates:
            yield u, run.last_iterates[u][1], False


def _smoothness(
    losses: TaskLosses,
    point: Tensor,
    instant: int,
    options: CalibrationOptions,
    generator: np.random.Generator,
) -> float:
    start = torch.from_numpy(generator.standard_normal(len(point))).to(point)
    found = largest_eigenvalue(
        losses.hessian_products(point, instant, options.rows, generator),
        start,
        products=options.products,
        tolerance=_SETTLED,
    )
    return found.value + found.residual


def _loss_drift(losses: TaskLosses, run: ProbeRun) -> Floats:
    drift = np.zeros(len(run.models) - 1)
    for g in losses.holdings.changes():
        model = run.models[g - 1]
        drift[g - 1] = max(0.0, losses.loss(model, g) - losses.loss(model, g - 1))
    return drift
