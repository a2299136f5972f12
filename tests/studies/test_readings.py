"""Readings of made tables: each outcome is said, and none that the table does not bear."""

import itertools

import numpy as np
import pytest

from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.studies.experiment import get_experiment
from mafl_opt.studies.experiments import energy_accuracy, heterogeneity, unbounded_delays
from mafl_opt.studies.results import Results
from mafl_opt.studies.worlds import scaled

SEEDS = range(4)


def read(study, rows):
    results = Results(rows=tuple(rows))
    experiment = get_experiment(study)
    experiment.draw(results)  # the picture of every such table can be drawn
    return experiment.read(results)


def wobble(seed):
    """Return a little noise that has mean 0 over the seeds."""
    return 0.002 * (seed - 1.5)


def energy_accuracy_rows(lead, *, lost_to_skew=0.0, coverage=0.8):
    for seed, budget, method, partition, task in itertools.product(
        SEEDS, (0.5, 1.0), energy_accuracy._NAMES, ("0.5", "inf"), ("digits", "photos")
    ):
        own = method == "optimised"
        energy = budget * (1.2 if method == "fedavg" else 1.0)
        ahead = lead - lost_to_skew * (partition != "inf") + wobble(seed)
        yield {
            "budget": budget, "method": method, "seed": seed, "task": task,
            "partition": partition, "energy_j": energy,
            "accuracy": 0.4 + 0.3 * energy + ahead * own,
            "loss": 1.0 - 0.3 * energy - ahead * own,
            "progress": energy * (1.0 + 0.1 * own) + wobble(seed),
            "coverage": (coverage if own else 0.8) + wobble(seed) * own,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("lead", "said", "unsaid"),
    [
        (0.1, "above both baselines", "not clearly"),
        (-0.1, "below FedAvg and FedAsync: there the optimisation does not pay", "above both"),
        (0.0, "not clearly above FedAvg and FedAsync", "above both"),
    ],
)
def test_energy_accuracy_reading_says_who_is_above(lead, said, unsaid):
    text = read("energy-accuracy", energy_accuracy_rows(lead))
    assert text.count(said) == 2
    assert unsaid not in text
    assert f"{100 * lead:+.1f} points" in text or lead == 0.0


def test_energy_accuracy_reading_gives_the_reason_where_it_is_shown():
    shown, not_shown = "shown against FedAvg and FedAsync", "not shown by these fleets"
    rows = energy_accuracy_rows(0.1, lost_to_skew=0.1, coverage=0.5)
    text = read("energy-accuracy", rows)
    assert "label skew (Dirichlet 0.5): +0.0 points" in text
    assert "no label skew: +10.0 points" in text
    assert "their lead is larger by +10.0 points (+10.0 to +10.0) against FedAvg" in text
    assert shown in text and not_shown not in text
    text = read("energy-accuracy", energy_accuracy_rows(0.1, coverage=0.5))
    assert not_shown in text and shown not in text
    # With coverage as good as the others' there is nothing to explain.
    text = read("energy-accuracy", energy_accuracy_rows(0.1, lost_to_skew=0.1))
    assert "their lead is larger" not in text


def test_energy_accuracy_compares_at_equal_energy_not_at_equal_budget():
    """FedAvg spends more at the same budget; on one curve with it, nobody is ahead."""
    results = Results(rows=tuple(energy_accuracy_rows(0.0))).where(partition="inf")
    assert abs(np.mean(list(energy_accuracy.gain(results, "fedavg").values()))) < 1e-9
    by_budget = [
        results.where(method=m, budget=1.0).column("accuracy").mean()
        for m in ("optimised", "fedavg")
    ]
    assert by_budget[0] < by_budget[1] - 0.05


def test_coverage_is_one_for_work_in_proportion_to_data():
    fleet = Scenario.draw(devices=4, tasks=2, slots=3, seed=1)
    rows = [
        {"device": i, "task": 0, "receive": 0, "upload": 1, "cpu_hz": 1e8, "batch_size": 1,
         "iterations": 3}
        for i in range(4)
    ]  # fmt: skip
    whole = energy_accuracy.coverage(fleet, Sessions.from_rows(rows))
    assert whole[0] == pytest.approx(1.0)
    assert whole[1] is None
    alone = energy_accuracy.coverage(fleet, Sessions.from_rows(rows[:1]))
    assert alone[0] == pytest.approx(fleet.pairs.data_share[0, 0])


def importance_rows(effect):
    for seed, weight, (j, task) in itertools.product(
        SEEDS, (1.0, 16.0), enumerate(("digits", "photos"))
    ):
        change = effect * (weight > 1) * (1 if j == 0 else -1)
        yield {
            "weight": weight, "seed": seed, "task": task,
            "role": "other" if j else "emphasised",
            "progress": np.exp(change + wobble(seed) * weight), "progress_share": 0.5 + change / 10,
            "bound": np.exp(-change + wobble(seed) * weight),
            "energy_j": 1.0 + wobble(seed) * weight,
            "accuracy": 0.5 + change / 10 + wobble(seed) * (1 + (weight > 1)),
        }  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (0.5, "So weight moves work to digits, and the others pay with theirs. "),
        (-0.5, "digits gets less work, and the others get more too. "),
        (0.0, "The work on digits does not clearly change, and the others' work does not"),
    ],
)
def test_importance_reading_says_where_work_goes(effect, said):
    text = read("importance", importance_rows(effect))
    assert said in text
    assert ("Its accuracy clearly gains" in text) == (effect > 0)
    assert ("Its accuracy clearly loses" in text) == (effect < 0)


def heterogeneity_rows(shift):
    for seed, scale in itertools.product(SEEDS, (0.0, 2.0)):
        yield {
            "scale": scale, "seed": seed, "sessions": 20, "idle_devices": 1,
            "similar_share": 0.5 + shift * scale + wobble(seed) * (1 + scale),
            "rank_correlation": -shift,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (0.1, "So scheduling shifts to devices with similar data."),
        (-0.1, "So scheduling shifts away from devices with similar data"),
        (0.0, "So no shift to devices with similar data is shown."),
    ],
)
def test_heterogeneity_reading_says_whether_work_shifts(shift, said):
    text = read("heterogeneity", heterogeneity_rows(shift))
    assert said in text
    assert text.count("So ") == 1


def test_heterogeneity_assigns_the_same_devices_at_every_scale():
    fleet = Scenario.draw(devices=6, tasks=2, slots=4, seed=3)
    one, two = (heterogeneity.assigned(fleet, s, 5).pairs.dissimilarity for s in (1.0, 2.0))
    np.testing.assert_array_equal(two, 2.0 * one)
    assert sorted(one[:, 0].tolist()) == np.linspace(0.0, 2.0, 6).tolist()
    other = heterogeneity.assigned(fleet, 1.0, 6).pairs.dissimilarity
    assert (other != one).any()


def warm_rows(saved, lost):
    for seed, steps, planned in itertools.product(SEEDS, (0, 400), ("its start", "a cold start")):
        if not steps and planned == "a cold start":
            continue
        own = steps > 0 and planned == "its start"
        for task in ("digits", "photos"):
            yield {
                "warm_steps": steps, "seed": seed, "planned_for": planned, "task": task,
                "initial_gap": 1.0, "energy_j": np.exp(-saved * own + wobble(seed) * own),
                "first_accuracy": 0.8 if steps else 0.1,
                "accuracy": (0.85 if steps else 0.6) - lost * own + wobble(seed) * own,
            }  # fmt: skip


@pytest.mark.parametrize(
    ("saved", "lost", "said"),
    [
        (0.3, 0.0, "makes the plan spend less, without a clear difference in accuracy"),
        (0.3, 0.1, "makes the plan spend less, at a price in accuracy"),
        (-0.3, -0.1, "makes the plan spend more, and gains accuracy"),
        (0.0, 0.0, "does not clearly change what the plan spends"),
    ],
)
def test_warm_start_reading_says_what_knowing_saves(saved, lost, said):
    assert said in read("warm-start", warm_rows(saved, lost))


def robustness_rows(cost):
    cases = [("nothing", 0.0), ("cpu", 0.3), ("channel", 0.3)]
    for seed, (what, level), headroom in itertools.product(SEEDS, cases, (0.0, 0.2)):
        hit = what == "cpu"
        for task in ("digits", "photos"):
            yield {
                "what": what, "level": level, "seed": seed, "headroom": headroom, "task": task,
                "accuracy": 0.7 - cost * hit + wobble(seed) * (level + 1),
                "late_share": (0.5 - headroom) * hit, "over_budget_share": 0.1 * hit,
            }  # fmt: skip


def test_robustness_reading_names_what_harms():
    text = read("robustness", robustness_rows(0.2))
    assert "Clearly harmful to accuracy: cycles a sample." in text
    assert "No clear loss of accuracy from channel gains." in text
    assert "Running 20 % faster than planned" in text
    assert "errors in cycles a sample -20.0 points (-20.0 to -20.0) late" in text


def test_robustness_reading_names_nothing_where_nothing_harms():
    text = read("robustness", robustness_rows(0.0))
    assert "Clearly harmful" not in text
    assert "No clear loss of accuracy from cycles a sample and channel gains." in text


def bound_rows(slack):
    for seed, dirichlet, plan, task in itertools.product(
        SEEDS, ("0.1", "inf"), range(4), ("wine", "iris")
    ):
        bound = 5.0 + plan
        yield {
            "dirichlet": dirichlet, "seed": seed, "plan": plan, "task": task,
            "mean_staleness": 0.0 if plan < 2 else 0.4, "bound": bound,
            "trivial_bound": 6.5, "measured": bound / (slack + plan), "loss": 1.0 + plan,
            "broken": slack + plan < 1.0,
        }  # fmt: skip


def test_bound_reading_says_that_it_holds_and_how_loosely():
    text = read("bound-measurement", bound_rows(4.0))
    assert "None of 64 measurements" in text
    assert "the nearest is 4 times below" in text
    assert "wine 1 " in text
    assert "32 of the 64 bounds are above V^2" in text


def test_bound_reading_says_that_it_is_broken():
    text = read("bound-measurement", bound_rows(0.5))
    assert (
        "16 of 64 measurements (plans times tasks) are above their bound, by up to 2 times" in text
    )
    assert "None of" not in text


def scalability_rows(feasible):
    for seed, devices, backend in itertools.product(SEEDS, (10, 100), ("prices", "greedy")):
        for tasks in (1, 3) if devices == 100 else (3,):
            yield {
                "devices": devices, "tasks": tasks, "backend": backend, "seed": seed,
                "objective": 10.0 + (backend == "greedy"), "feasible": feasible,
                "gap": 0.1 if backend == "prices" else None,
                "plan_cpu_seconds": devices**2 * tasks * 1e-3,
            }  # fmt: skip


@pytest.mark.parametrize(
    ("feasible", "said"), [(True, "All 24 plans pass"), (False, "24 of 24 plans fail")]
)
def test_scalability_reading_says_growth_and_checks(feasible, said):
    text = read("scalability", scalability_rows(feasible))
    assert said in text
    assert "devices, between the last two like the power 2.00" in text
    assert "tasks, between the last two like the power 1.00" in text
    assert "objective of greedy is above that of prices by 10 % with 10 devices" in text


def round_row(number, accuracy, loss, **more):
    return {"round": number, "time_s": float(number), "uploads": 5 * number, "loss": loss,
            "accuracy": accuracy, "staleness_mean": 1.0, "staleness_max": 2, **more}  # fmt: skip


@pytest.mark.parametrize(
    ("end", "said"),
    [(0.95, "So it learns"), (0.3, "keeps more than half of its first value")],
)
def test_baseline_reading_says_whether_it_learns(end, said):
    rows = [
        {"clients_per_round": 5, "seed": seed,
         **round_row(k, 0.1 + (end - 0.1) * k / 4 + wobble(seed), 2.3 * (1 - (end - 0.1) * k / 4))}
        for seed in SEEDS for k in range(5)
    ]  # fmt: skip
    text = read("baseline", rows)
    assert said in text
    assert ("No seed reaches 90 %" in text) == (end < 0.9)
    assert "rises in 0 % of the rounds" in text


@pytest.mark.parametrize(
    ("lead", "said"),
    [
        (0.05, "so J = 8 makes more of its uploads"),
        (-0.05, "so J = 3, which aggregates more often"),
        (0.0, "which does not tell them apart"),
    ],
)
def test_quorum_reading_compares_at_equal_uploads(lead, said):
    rows = [
        {"clients_per_round": quorum, "seed": seed,
         **round_row(k, 0.1 + 0.15 * k + lead * (quorum == 8) + wobble(seed) * quorum, 1.0)}
        for quorum in (3, 8) for seed in SEEDS for k in range(5)
    ]  # fmt: skip
    text = read("quorum", rows)
    assert said in text
    assert "Not all runs reach 85%" in text


def asynchrony_rows(lead):
    for spread, method, seed, k in itertools.product(
        (0.0, 1.0), ("asynchronous", "synchronous, all 10"), SEEDS, range(5)
    ):
        slower = 1.0 if method == "asynchronous" else 2.0
        row = round_row(
            k, 0.2 + 0.15 * k + lead * (method == "asynchronous") + wobble(seed) * slower, 1.0
        )
        yield {"client_spread": spread, "method": method, "seed": seed, **row,
               "time_s": slower * k}  # fmt: skip


def test_asynchrony_reading_tells_time_from_work():
    text = read("asynchrony", asynchrony_rows(0.0))
    # Synchronous rounds take twice as long: at t = 4 the others are two rounds ahead.
    assert "+30.0 points" in text
    assert "At equal virtual time, 2 of 2 comparisons favour asynchrony" in text
    assert "At equal uploads, 0 of 2 comparisons favour asynchrony, 0 are against it and 2" in text


def test_asynchrony_reading_says_when_it_costs():
    text = read("asynchrony", asynchrony_rows(-0.1))
    assert "At equal uploads, 0 of 2 comparisons favour asynchrony and 2 are against it." in text


def ablation_rows(effect, by_rate=0.0):
    changes = {"a = 0": 0.0, "a = 1": effect, "a = 0, rate / 2": by_rate}
    for spread, rule, seed, k in itertools.product((0.0, 2.0), changes, SEEDS, range(9)):
        change = changes[rule] + wobble(seed) * (rule == "a = 1")
        control = "a = 0, rate / 2" if rule == "a = 1" else "a = 0"
        yield {"client_spread": spread, "rule": rule, "control": control, "seed": seed,
               **round_row(k, 0.1 * k + change, 1.0)}  # fmt: skip


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (0.05, "Clearly better than a = 0: a = 1 (at spread 0 and 2)."),
        (-0.05, "Clearly worse: a = 1 (at spread 0 and 2)."),
        (0.0, "No factor is clearly better than a = 0"),
    ],
)
def test_delay_ablation_reading_says_which_factors_help(effect, said):
    text = read("delay-ablation", ablation_rows(effect))
    assert said in text
    assert ("Clearly better" in text) == (effect > 0)
    assert ("Clearly worse" in text) == (effect < 0)


@pytest.mark.parametrize(
    ("by_rate", "said"),
    [
        (-0.05, "a = 1 against a = 0, rate / 2 +0.0 points"),
        (-0.09, "clearly better than its control is a = 1"),
        (0.0, "clearly worse than its control is a = 1"),
    ],
)
def test_delay_ablation_reading_tells_the_factor_from_the_rate(by_rate, said):
    text = read("delay-ablation", ablation_rows(-0.05, by_rate))
    assert said in text
    assert ("what it does is what the rate does" in text) == (by_rate == -0.05)


def delay_rows(grows, effect):
    for delays, rule, seed, k in itertools.product(
        ("uniform", "exponential"), ("aware", "blind"), SEEDS, range(9)
    ):
        heavy = delays == "exponential"
        row = round_row(k, 0.1 * k + (effect + wobble(seed)) * heavy, 1.0)
        most = None if k == 0 else 4 + (k + seed % 2) * grows * heavy
        yield {"delays": delays, "rule": rule, "seed": seed, **row, "staleness_max": most}


@pytest.mark.parametrize(
    ("grows", "effect", "said"),
    [
        (3, -0.1, "Learning clearly suffers under exponential delays (aware) and exponential"),
        (3, 0.1, "it even gains under exponential delays (aware)"),
        (0, 0.0, "that is not clearly beyond uniform delays"),
    ],
)
def test_unbounded_delays_reading_says_what_breaks(grows, effect, said):
    text = read("unbounded-delays", delay_rows(grows, effect))
    assert said in text
    assert ("does not hold there" in text) == (grows > 0)


def test_largest_staleness_so_far_never_falls():
    largest = unbounded_delays.largest_so_far(Results(rows=tuple(delay_rows(3, 0.0))))
    for _, rows in largest.where(delays="exponential", rule="aware").groups("seed"):
        values = rows.column("staleness_max")[1:]
        assert (np.diff(values) >= 0).all()
        assert np.isnan(rows.column("staleness_max")[0])


def test_scaled_multiplies_one_field():
    fleet = Scenario.draw(devices=3, tasks=2, slots=3, seed=0)
    half = scaled(fleet, devices__energy_budget_j=0.5)
    np.testing.assert_allclose(half.devices.energy_budget_j, 0.5 * fleet.devices.energy_budget_j)
    assert half.replace(**{"devices.energy_budget_j": fleet.devices.energy_budget_j}) == fleet
