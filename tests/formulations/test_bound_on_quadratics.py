"""The convergence bound against federations of quadratics whose every constant is known exactly.

The measured side is exact (see `quadratics`), so the inequality is tested without a margin for
sampling. The constants are the smallest the assumptions allow on the very run, which makes the
bound as tight as it can be. Worst cases beside the random ones show that no error term is idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from quadratic_draws import as_scenario, as_sessions, draw
from quadratics import Constants, Federation, Run, Session, norm, plain_bound
from tolerances import EXACT_MOMENTS, SAME_FORMULA, SAMPLING_SIGMAS

from mafl_opt.core.errors import InputError
from mafl_opt.formulations.bound import task_bounds

NUM_DRAWS = 300


def drawn(*, drifting: bool, mixing: bool = False) -> Iterator[tuple[Federation, Constants, float]]:
    for seed in range(NUM_DRAWS):
        feds, split = draw(seed, drifting=drifting, mixing=mixing)
        for fed in feds:
            yield fed, Run(fed).constants(), split


# -- the bound holds --------------------------------------------------------------------------


@pytest.mark.parametrize("drifting", [False, True])
def test_bound_covers_measured_gradient_norm_on_random_federations(drifting):
    ratios = []
    for seed in range(NUM_DRAWS):
        feds, split = draw(seed, drifting=drifting)
        known = [Run(fed).constants() for fed in feds]
        bound = task_bounds(as_scenario(feds, known, split), as_sessions(feds)).bound
        measured = np.array([k.measured for k in known])
        assert (measured <= bound * (1 + EXACT_MOMENTS)).all(), f"seed {seed}"
        ratios += list(bound / measured)
    # A bound far above everything would pass too; the nearest draws are within a factor of two.
    assert min(ratios) < 2.0


@pytest.mark.parametrize("drifting", [False, True])
def test_bound_of_mixing_rule_covers_measured_gradient_norm(drifting):
    ratios = [
        plain_bound(fed, known, split) / known.measured
        for fed, known, split in drawn(drifting=drifting, mixing=True)
    ]
    assert min(ratios) >= 1 - EXACT_MOMENTS
    assert min(ratios) < 2.0


@pytest.mark.parametrize("drifting", [False, True])
def test_task_bounds_equals_plain_loops(drifting):
    for seed in range(0, NUM_DRAWS, 5):
        feds, split = draw(seed, drifting=drifting)
        known = [Run(fed).constants() for fed in feds]
        bound = task_bounds(as_scenario(feds, known, split), as_sessions(feds)).bound
        plain = [plain_bound(fed, k, split) for fed, k in zip(feds, known, strict=True)]
        np.testing.assert_allclose(bound, plain, rtol=SAME_FORMULA)


def test_random_federations_notice_an_error_term_divided_by_four():
    cases = list(drawn(drifting=False))
    assert any(plain_bound(f, k, h, error_scale=0.25) < k.measured for f, k, h in cases)


# -- the measured side is right -----------------------------------------------------------------


def sampled_squares(fed: Federation, runs: int, seed: int) -> np.ndarray:
    """|grad F^(u)(w^(u-1))|^2 of every run and slot, mini-batches really drawn; (runs, slots)."""
    rng = np.random.default_rng(seed)
    models = [np.tile(fed.start, (runs, 1))]
    squares = []
    for g in range(1, fed.num_slots + 1):
        hessian, linear = fed.loss(g)
        squares.append(((models[-1] @ hessian - linear) ** 2).sum(1))
        step = np.zeros_like(models[0])
        for s in (s for s in fed.sessions if s.upload == g):
            origin = models[s.receive]
            y, count = origin, fed.samples[s.device]
            for k in range(s.steps):
                batch = rng.random((runs, count)).argsort(1)[:, : s.batch]
                pull = fed.linears[s.device][s.data[k]][batch].mean(1)
                gradient = np.einsum("rab,rb->ra", fed.hessians[s.device][batch].mean(1), y) - pull
                y = y - fed.eta * (gradient + fed.rho * (y - origin))
            rate = fed.alpha * fed.share[s.device] * float(fed.weight(s.staleness))
            step += rate * (y - (models[-1] if fed.mixing else origin))
        models.append(models[-1] + step)
    return np.array(squares).T


@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize("seed", [3, 11, 20])
def test_exact_moments_match_sampled_runs(seed, mixing):
    fed = draw(seed, drifting=True, mixing=mixing)[0][0]
    run = Run(fed)
    exact = np.array([norm(run.gradient(g)) ** 2 for g in range(1, fed.num_slots + 1)])
    squares = sampled_squares(fed, runs=4000, seed=seed)
    error = squares.std(0) / np.sqrt(len(squares))
    assert error.max() > 0, "the draw has no noise to compare"
    margin = SAMPLING_SIGMAS * error + EXACT_MOMENTS * exact
    assert (np.abs(squares.mean(0) - exact) <= margin).all()


# -- no error term can be cut ---------------------------------------------------------------------
# One dimension, F_i(y) = (y - m_i)^2 / 2, so L = 1; every aggregation meets its step cap.

SPLIT = 0.25


def line(
    minimisers: list[list[float]],
    start: float,
    sessions: list[Session],
    *,
    step_cap: float = 0.5,
    eta: float = 0.01,
    path: list[float] | None = None,
) -> Federation:
    """Federation on the line; minimisers[i] of the samples of device i move along `path`."""
    slots = max(s.upload for s in sessions)
    moved = np.zeros(slots + 1) if path is None else np.array(path)
    fed = Federation(
        hessians=tuple(np.ones((len(m), 1, 1)) for m in minimisers),
        linears=tuple(moved[:, None, None] + np.array(m)[None, :, None] for m in minimisers),
        offset=moved**2 / 2,
        start=np.array([start]),
        sessions=tuple(sessions),
        eta=eta,
    )
    return replace(fed, alpha=step_cap / max(fed.steps_to(g) for g in range(1, slots + 1)))


def session(device: int, receive: int, upload: int, *, steps: int = 1) -> Session:
    return Session(
        device=device, receive=receive, upload=upload, batch=1, steps=steps, data=(receive,) * steps
    )


def every_slot(slots: int, *, steps: int = 1) -> list[Session]:
    return [session(0, g, g + 1, steps=steps) for g in range(slots)]


def staggered(staleness: int, slots: int) -> list[Session]:
    """One upload a slot, each of the given staleness, by staleness + 1 devices in turn."""
    turn = staleness + 1
    return [session(i, r, r + turn) for i in range(turn) for r in range(i, slots - turn + 1, turn)]


def one_sided() -> Federation:
    """Only one of two opposed devices trains and holds the model at its own minimiser."""
    return line([[1.0], [-1.0]], 1.0, every_slot(20))


def overshooting_steps() -> Federation:
    """Two local steps of size 2/L undo each other: much work, no movement."""
    return line([[0.0]], 1.0, every_slot(20, steps=2), eta=2.0)


def delayed(staleness: int, slots: int) -> Federation:
    """Gradient steps of size 1/(2L) that come `staleness` slots late swing up from three on."""
    return line([[0.0]] * (staleness + 1), 1.0, staggered(staleness, slots))


def noisy() -> Federation:
    """The model starts at the minimum and is kept off it by gradient noise alone."""
    return line([[-1.0, 1.0]], 0.0, every_slot(40))


def alternating() -> Federation:
    """The minimiser jumps to and fro, and each session trains on where it was before."""
    return line([[0.0]], 0.0, every_slot(40), step_cap=0.2, path=[(-1.0) ** g for g in range(41)])


def assert_bound_holds(fed: Federation, known: Constants) -> None:
    scenario = as_scenario([fed], [known], SPLIT)
    whole = task_bounds(scenario, as_sessions([fed])).bound[0]
    assert whole == pytest.approx(plain_bound(fed, known, SPLIT), rel=SAME_FORMULA)
    assert known.measured <= whole * (1 + EXACT_MOMENTS)


@pytest.mark.parametrize(
    "fed",
    [one_sided(), overshooting_steps(), delayed(4, 12)],
    ids=["dissimilarity", "local drift", "staleness"],
)
def test_bound_fails_when_error_is_divided_by_four(fed):
    known = Run(fed).constants()
    assert_bound_holds(fed, known)
    assert plain_bound(fed, known, SPLIT, error_scale=0.25) < known.measured


@pytest.mark.parametrize("staleness", [3, 4, 6])
def test_bound_fails_when_staleness_is_dropped(staleness):
    fed = delayed(staleness, 20)
    known = Run(fed).constants()
    assert_bound_holds(fed, known)
    assert plain_bound(fed, known, SPLIT, staleness=False) < known.measured


def test_bound_fails_when_gradient_noise_is_halved():
    fed = noisy()
    known = Run(fed).constants()
    assert_bound_holds(fed, known)
    halved = replace(known, gradient_std=known.gradient_std / np.sqrt(2))
    assert plain_bound(fed, halved, SPLIT) < known.measured


def test_bound_fails_when_gradient_drift_is_dropped():
    fed = alternating()
    known = Run(fed).constants()
    assert_bound_holds(fed, known)
    still = replace(known, gradient_drift=np.zeros(1))
    assert plain_bound(fed, still, SPLIT) < known.measured


def test_bound_fails_when_initial_gap_uses_the_first_infimum():
    # The minimiser moves away while the loss at the model stays: no upward drift, no gap to the
    # first infimum, and yet a gradient of one. The session sees the data as they are at its use.
    fresh = replace(session(0, 0, 1), data=(1,))
    fed = replace(line([[0.0]], 0.0, [fresh], path=[0.0, 1.0]), offset=np.zeros(2))
    known = replace(Run(fed).constants(), gradient_drift=np.zeros(1))
    assert_bound_holds(fed, known)
    assert known.loss_drift == pytest.approx(0.0)
    assert plain_bound(fed, replace(known, initial_gap=0.0), SPLIT) < known.measured


@pytest.mark.parametrize("step", [1.05, 1.5, 2.0])
def test_bound_fails_when_the_step_cap_is_ignored(step):
    # One session a slot, its effective step `step`/L against a cap of 1/(2L): the model overshoots.
    fed = line([[0.0]], 1.0, every_slot(20), step_cap=step)
    known = Run(fed).constants()
    believed = as_scenario([fed], [replace(known, step_cap=0.5)], SPLIT)
    assert task_bounds(believed, as_sessions([fed])).bound[0] < known.measured
    assert plain_bound(fed, known, SPLIT) < known.measured
    with pytest.raises(InputError, match=r"tasks\.step_cap\[0\]: expected at most 1/\(2 smooth"):
        as_scenario([fed], [known], SPLIT)


@pytest.mark.parametrize("step", [0.1, 0.5])
def test_bound_holds_when_the_step_cap_is_met(step):
    fed = line([[0.0]], 1.0, every_slot(20), step_cap=step)
    assert_bound_holds(fed, Run(fed).constants())
