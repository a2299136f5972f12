"""The convergence bound of a schedule: what a session adds to error and progress.

Model page, section 5. A session adds ``progress`` to the denominator A_j and
``error + noise nu(B)`` to the numerator N_j of the bound Xi_j = N_j / A_j on the progress-weighted
mean of E|grad F_j(w)|^2. Both are sums over sessions, which is what every solver here lives on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario

__all__ = [
    "LocalSums",
    "SessionTerms",
    "TaskBounds",
    "initial_error",
    "local_sums",
    "noise_factor",
    "session_terms",
    "task_bounds",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LocalSums:
    """Sums over the local steps k = 0..l-1 of a session, b = 1 - eta rho, w_k = b^(l-1-k).

    Every array has shape (iterations_max + 1,) and is indexed by l; entry 0 is 0.

    first : sum_k w_k, the C1 of the model page
    last_weight : b^(l-1), the weight of step 0
    square : sum_k w_k^2, the C4 of the model page
    drift_0, drift_1, drift_2 : sum_k w_k (1 + h [k>=1]) k1(k)^p for p = 0, 1, 2
    noise : sum_k w_k k2(k)
    """

    first: Floats
    last_weight: Floats
    square: Floats
    drift_0: Floats
    drift_1: Floats
    drift_2: Floats
    noise: Floats


def local_sums(decay: float, error_split: float, iterations_max: int) -> LocalSums:
    """Tabulate the local-step sums of one task for l = 0..iterations_max.

    Parameters
    ----------
    decay : float
        b = 1 - eta rho in (0, 1].
    error_split : float
        h > 0.
    iterations_max : int
    """
    table = np.zeros((7, iterations_max + 1))
    powers = decay ** np.arange(max(iterations_max, 1))
    k1 = np.concatenate([[0.0], np.cumsum(powers)])
    k2 = np.concatenate([[0.0], np.cumsum(powers**2)])
    for steps in range(1, iterations_max + 1):
        weights = powers[steps - 1 :: -1]
        split = weights * (1.0 + error_split)
        split[0] = weights[0]
        drift = k1[:steps]
        table[:, steps] = (
            weights.sum(), weights[0], (weights**2).sum(),
            split.sum(), split @ drift, split @ drift**2, weights @ k2[:steps],
        )  # fmt: skip
    table.setflags(write=False)
    return LocalSums(
        first=table[0], last_weight=table[1], square=table[2], drift_0=table[3],
        drift_1=table[4], drift_2=table[5], noise=table[6],
    )  # fmt: skip


def noise_factor(batch_size: Floats | Ints, samples: Floats | Ints) -> Floats:
    """nu(B) = 1/B - 1/D: variance of a mini-batch mean drawn without replacement, by sigma^2."""
    return np.asarray(1.0 / batch_size - 1.0 / samples, dtype=np.float64)


def initial_error(scenario: Scenario) -> Floats:
    """Gamma'_j = Gamma_j + sum_g Delta_F,j(g): what N_j holds before any session; (tasks,)."""
    return np.asarray(scenario.tasks.initial_gap + scenario.loss_drift.sum(axis=0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionTerms:
    """What sessions add, apart from their batch size; every array has shape (sessions,).

    progress : a_s = c_s C1(l) / 2, added to A_j
    error, noise : phi_s = error + noise nu(B), added to N_j
    step : c_s C1(l), counted against the step cap theta_j
    """

    progress: Floats
    error: Floats
    noise: Floats
    step: Floats


def session_terms(
    scenario: Scenario, device: Ints, task: Ints, receive: Ints, upload: Ints, iterations: Ints
) -> SessionTerms:
    """Progress and error of sessions (model page, section 5).

    Parameters
    ----------
    scenario : Scenario
    device, task, receive, upload, iterations : (sessions,)
        Iterations in 1..iterations_max of the task.

    Returns
    -------
    SessionTerms
    """
    tasks, pairs = scenario.tasks, scenario.pairs
    share = pairs.data_share
    out = {name: np.zeros(device.size) for name in ("progress", "error", "noise", "step")}
    for j in np.unique(task):
        here = np.flatnonzero(task == j)
        i, r, u, count = device[here], receive[here], upload[here], iterations[here]
        eta, smooth, bound = tasks.learning_rate[j], tasks.smoothness[j], tasks.gradient_bound[j]
        theta, split = tasks.step_cap[j], tasks.error_split[j]
        sums = local_sums(1.0 - eta * tasks.proximal[j], split, int(tasks.iterations_max[j]))
        tau = u - 1 - r
        rate = tasks.server_rate[j] * eta
        weight = rate * share[i, j] * tasks.staleness_weight[j](tau)
        variance = pairs.gradient_std[:, j] ** 2
        loudest = (rate * share[:, j] * variance).max()
        moved = tau * theta * bound + np.sqrt(tau * theta * loudest)
        apart = smooth * moved + pairs.dissimilarity[i, j] + pairs.gradient_drift[i, j] * (u - r)
        slope = smooth * eta * bound
        squares = (
            apart**2 * sums.drift_0[count]
            + 2.0 * apart * slope * sums.drift_1[count]
            + slope**2 * sums.drift_2[count]
        )
        later = (
            (sums.square[count] - 1.0)
            * smooth
            * weight
            * (sums.first[count] - sums.last_weight[count])
        )
        spread = 0.5 * weight * (1.0 + 1.0 / split) * (smooth * eta) ** 2 * sums.noise[count]
        spread += 0.5 * smooth * weight**2 * (sums.square[count] + later / (1.0 - smooth * theta))
        out["step"][here] = weight * sums.first[count]
        out["progress"][here] = 0.5 * weight * sums.first[count]
        out["error"][here] = 0.5 * weight * squares
        out["noise"][here] = spread * variance[i]
    return SessionTerms(**out)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TaskBounds:
    """The bound of every task; arrays of shape (tasks,).

    numerator : N_j
    progress : A_j
    bound : Xi_j = N_j / A_j, inf where A_j = 0
    """

    numerator: Floats
    progress: Floats
    bound: Floats


def task_bounds(scenario: Scenario, sessions: Sessions) -> TaskBounds:
    """Bound of every task under a plan.

    Parameters
    ----------
    scenario : Scenario
    sessions : Sessions
        Sessions that exist in the scenario, with whole batch sizes and iterations.
    """
    terms = session_terms(
        scenario, sessions.device, sessions.task, sessions.receive, sessions.upload,
        sessions.iterations,
    )  # fmt: skip
    nu = noise_factor(sessions.batch_size, scenario.pairs.samples[sessions.device, sessions.task])
    numerator = initial_error(scenario)
    np.add.at(numerator, sessions.task, terms.error + terms.noise * nu)
    progress = np.zeros(scenario.num_tasks)
    np.add.at(progress, sessions.task, terms.progress)
    ratio = np.full(scenario.num_tasks, np.inf)
    np.divide(numerator, progress, out=ratio, where=progress > 0)
    return TaskBounds(numerator=numerator, progress=progress, bound=ratio)
