"""Federated runs without a plan: what is learned, from which models, in what order."""

from __future__ import annotations

import json
import math
import threading

import numpy as np
import pytest
import tolerances
import torch
from federated_runs import CLOUDS, SETTINGS, failing, small_run, small_system, step_back
from replay_inputs import softmax_gradient, softmax_loss, stream

from mafl_opt.core.errors import InputError
from mafl_opt.validation.delays import Delays
from mafl_opt.validation.federate import FederationOptions, federate
from mafl_opt.validation.holdings import DriftScheme
from mafl_opt.validation.partition import partition_labels
from mafl_opt.validation.systems.registry import SYSTEMS
from mafl_opt.validation.training import train_sessions


@pytest.mark.parametrize("name", SYSTEMS)
def test_system_learns_and_is_bit_equal_for_a_seed(name):
    rounds = 40 if name == "fedasync" else 12
    first, again, other = (
        small_run(small_system(name), rounds=rounds, seed=seed) for seed in (3, 3, 4)
    )
    assert first.same_course(again)
    assert not first.same_course(other)
    assert first.loss < 0.75 * first.records[0].loss
    assert first.rounds == rounds and len(first.records) == rounds + 1
    assert first.sessions == sum(len(record.clients) for record in first.records)
    assert first.lost == () and first.notes == ()


def test_settings_cover_every_system():
    assert set(SETTINGS) == set(SYSTEMS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_session_starts_from_the_server_s_model_of_its_version(name):
    # The public code of the second article never loads the server's model back into its clients.
    starts, results = [], {}

    def train(job, session):
        starts.append((job.version, job.start.clone()))
        results[job.number] = step_back(job, session) + job.number
        return results[job.number]

    seen = {}
    system = small_system(name)
    for rounds in (1, 2, 3, 4):
        starts.clear()
        history = small_run(system, rounds=rounds, training=train)
        seen[rounds] = torch.from_numpy(history.parameters.copy())
    for version, start in starts:
        if version:
            assert torch.equal(start, seen[version])
    assert {version for version, _ in starts} >= {0, 1, 2}


@pytest.mark.parametrize("name", ["afl", "fedasync", "fedbuff", "mafl"])
def test_asynchronous_ends_within_a_few_points_of_synchronous_at_equal_work(name):
    options = FederationOptions(evaluate_every=1000)
    work = {"clients": 10, "options": options, "seed": 1}
    synchronous = federate("fedavg", "digits", "logistic", sessions=150, **work)
    settings = {}
    if name == "mafl":
        system = small_system(name, learning_rate=0.05, concurrency=5, period=1.0, server_rate=3.0)
        other = federate(system, "digits", "logistic", rounds=30, **work)
        assert 120 < other.sessions < 180
    else:
        if name == "afl":
            # Its rate falls with the square root of the rounds.
            settings = {"learning_rate": 0.02, "clients_per_round": 5, "concurrency": 10}
        system = small_system(name, **{"learning_rate": 0.05, "batch_size": 32, **settings})
        other = federate(system, "digits", "logistic", sessions=150, **work)
    assert max(max(record.staleness, default=0) for record in other.records) >= 1
    assert synchronous.accuracy > 0.85
    assert abs(other.accuracy - synchronous.accuracy) < 0.05


def test_fedasync_matches_numpy_on_full_batches():
    clients, rounds, seed = 4, 9, 2
    delays = Delays(kind="exponential", heterogeneity=0.5)
    system = small_system(
        "fedasync", concurrency=clients, batch_size=64, steps=3, learning_rate=0.2, proximal=0.5,
        mixing=0.7, staleness_a=1.0,
    )  # fmt: skip
    options = FederationOptions(dtype="float64", delays=delays)
    history = small_run(system, clients=clients, rounds=rounds, seed=seed, options=options)
    sizes = np.full(clients, len(CLOUDS.train_labels) // clients)
    rows = partition_labels(CLOUDS.train_labels, sizes, 0.5, stream(seed, 0, 0))
    w, version = np.zeros((3, 5)), 0
    flights = {c: (delays.draw(seed, c, 0), w, 0, 0) for c in range(clients)}
    losses = [softmax_loss(w, CLOUDS.test_inputs, CLOUDS.test_labels)]
    while version < rounds:
        client = min(flights, key=lambda c: flights[c][0])
        now, start, received, count = flights[client]
        y = start.copy()
        for _ in range(3):
            held = rows[client]
            gradient = softmax_gradient(y, CLOUDS.train_inputs[held], CLOUDS.train_labels[held])
            y = y - 0.2 * (gradient + 0.5 * (y - start))
        rate = 0.7 / (1 + version - received)
        w = (1 - rate) * w + rate * y
        version += 1
        losses.append(softmax_loss(w, CLOUDS.test_inputs, CLOUDS.test_labels))
        due = now + delays.draw(seed, client, count + 1)
        flights[client] = (due, w, version, count + 1)
        assert history.records[version].time_s == pytest.approx(now, rel=tolerances.SAME_FORMULA)
        assert history.records[version].clients == (client,)
    found = [record.loss for record in history.records]
    np.testing.assert_allclose(found, losses, rtol=tolerances.SAME_TRAINING)


@pytest.mark.parametrize("name", SYSTEMS)
def test_clients_at_work_never_exceed_the_crew_and_no_client_works_twice_at_once(name):
    spans = []

    def train(job, session):
        spans.append((job.client, job.version, job.due_s))
        return step_back(job, session)

    history = small_run(small_system(name), training=train, rounds=15)
    begun = {record.round: record.time_s for record in history.records}
    if name != "mafl":  # whose clients begin between aggregations
        for client, version, due in spans:
            others = [s for s in spans if s[0] == client and begun[s[1]] < due <= s[2]]
            assert len(others) == 1 or min(s[1] for s in others) == version
    crew = small_system(name).crew(6)
    assert len({client for client, version, _ in spans if version == 0}) >= crew
    assert sum(version == 0 for _, version, _ in spans) >= crew


def test_mini_batches_come_from_the_stream_of_the_client_and_its_session():
    seen = {}

    def train(job, session):
        count = sum(client == job.client for client, _ in seen)
        seen[job.client, count] = [rows.tolist() for rows in session.batches]
        return step_back(job, session)

    system = small_system("fedavg", batch_size=7, steps=3)
    small_run(system, rounds=6, seed=5, training=train)
    rows = partition_labels(CLOUDS.train_labels, np.full(6, 20), 0.5, stream(5, 0, 0))
    for (client, count), batches in seen.items():
        draws = stream(5, 2, client, 0, count)
        expected = [rows[client][draws.choice(20, 7, replace=False)].tolist() for _ in range(3)]
        assert batches == expected
    assert max(count for _, count in seen) >= 2


def test_epochs_go_through_all_samples_once_each():
    def train(job, session):
        assert [len(rows) for rows in session.batches] == [8, 8, 4] * 2
        for epoch in (session.batches[:3], session.batches[3:]):
            assert len(set(torch.cat(epoch).tolist())) == 20
        return step_back(job, session)

    system = small_system("fedavg", batch_size=8, epochs=2)
    assert small_run(system, rounds=3, training=train).lost == ()


def test_synchronous_rounds_have_the_right_size_and_no_stale_upload():
    history = small_run(small_system("fedavg"), rounds=20)
    drawn = [record.clients for record in history.records[1:]]
    assert all(len(set(clients)) == 3 for clients in drawn)
    assert all(set(record.staleness) <= {0} for record in history.records)
    assert set().union(*drawn) == set(range(6)) and len(set(drawn)) > 5


def test_afl_round_ends_with_its_last_upload_while_others_are_at_work():
    history = small_run(small_system("afl", clients_per_round=2, concurrency=5), rounds=20)
    assert all(len(record.clients) == 2 for record in history.records[1:])
    assert max(max(record.staleness) for record in history.records[1:]) >= 2
    alone = small_run(small_system("afl", clients_per_round=5, concurrency=5), rounds=10)
    assert {tau for record in alone.records for tau in record.staleness} == {0}


def test_afl_draws_with_replacement_when_asked():
    system = small_system("afl", clients_per_round=4, concurrency=4, sampling="with")
    history = small_run(system, rounds=25)
    repeated = [r for r in history.records[1:] if len(set(r.clients)) < len(r.clients)]
    assert repeated
    without = small_run(small_system("afl", clients_per_round=4, concurrency=4), rounds=25)
    assert all(len(set(record.clients)) == 4 for record in without.records[1:])


def test_afl_learns_slower_from_the_delays_it_has_seen():
    rates = {}

    def train(job, session):
        rates[job.number] = (job.version, session.learning_rate)
        return step_back(job, session)

    system = small_system("afl", delay_factor=1.0, learning_rate=0.5)
    small_run(system, rounds=12, training=train)
    full = [0.5 / math.sqrt(version + 1) for version, _ in rates.values()]
    found = [rate for _, rate in rates.values()]
    ratios = np.array(found) / full
    assert ratios[:5].tolist() == [1.0] * 5
    assert ratios.min() <= 0.5 and ratios.max() == 1.0


def test_mafl_aggregates_by_the_clock_and_drops_what_is_too_stale():
    delays = Delays(kind="exponential", heterogeneity=1.0)
    options = FederationOptions(delays=delays, dtype="float64")
    system = small_system("mafl", period=0.5, staleness_max=1)
    history = small_run(system, rounds=20, options=options)
    times = [record.time_s for record in history.records]
    np.testing.assert_allclose(times, 0.5 * np.arange(21), rtol=tolerances.SAME_FORMULA)
    assert {tau for record in history.records for tau in record.staleness} == {0, 1}
    stale = [session for session in history.lost if session.reason == "stale"]
    assert stale and history.notes == (f"lost sessions: {len(stale)} stale",)
    free = small_run(small_system("mafl", period=0.5), rounds=20, options=options)
    assert max(max(record.staleness, default=0) for record in free.records) > 1


def test_uploads_of_equal_work_end_the_run():
    assert small_run(small_system("fedavg"), rounds=None, sessions=12).rounds == 4
    assert small_run(small_system("fedasync"), rounds=None, sessions=12).rounds == 12


@pytest.mark.parametrize("how", ["raise", "nan", "shape", "none"])
@pytest.mark.parametrize("name", SYSTEMS)
def test_failing_client_loses_its_sessions_only(name, how):
    history = small_run(small_system(name), rounds=12, training=failing({1: how, 4: how}))
    reason = "not finite" if how == "nan" else "raised"
    assert {(session.client, session.reason) for session in history.lost} == {
        (1, reason), (4, reason),
    }  # fmt: skip
    assert history.rounds == 12
    merged = {client for record in history.records for client in record.clients}
    assert merged == {0, 2, 3, 5}
    # Three in a row, and a client is drawn no more.
    assert len(history.lost) <= 6
    assert history.notes == (f"lost sessions: {len(history.lost)} {reason}",)
    if how == "raise":
        assert history.lost[0].detail == "ValueError: out of battery"


@pytest.mark.parametrize("name", ["fedavg", "afl", "fedasync", "fedbuff"])
def test_run_ends_when_every_client_fails(name):
    everyone = dict.fromkeys(range(6), "raise")
    history = small_run(small_system(name), rounds=30, training=failing(everyone))
    assert history.sessions == 0 and history.rounds < 30
    assert len(history.lost) == 18
    assert "no client was left" in history.notes[0]
    assert history.loss == history.records[0].loss


@pytest.mark.parametrize("name", SYSTEMS)
def test_client_that_hangs_in_virtual_time_loses_its_sessions_only(name):
    release = threading.Event()
    try:
        history = small_run(
            small_system(name), rounds=8, training=failing({1: "hang"}, release), patience_s=0.1
        )
    finally:
        release.set()
    assert history.rounds == 8 and history.lost
    assert {(session.client, session.reason) for session in history.lost} == {(1, "late")}
    assert 1 not in {client for record in history.records for client in record.clients}


def test_silent_clients_are_given_up_after_the_timeout():
    options = FederationOptions(delays=Delays(kind="constant", loss=0.3), timeout_s=2.5)
    history = small_run(small_system("fedavg"), rounds=15, options=options)
    assert history.rounds == 15
    late = [session for session in history.lost if session.reason == "late"]
    assert late == list(history.lost) and len(late) >= 5
    whole = {r.round: r.time_s for r in history.records}
    lengths = np.diff([whole[k] for k in range(16)])
    assert set(np.round(lengths, 9)) == {1.0, 2.5}


def test_hanging_clients_without_a_timeout_leave_the_others_to_work():
    options = FederationOptions(delays=Delays(loss=0.2))
    history = small_run(small_system("fedasync"), rounds=200, options=options)
    assert history.rounds < 200
    assert "no client was left" in history.notes[0]


def test_data_may_change_its_names_between_rounds():
    still = FederationOptions(dtype="float64")
    drifting = FederationOptions(dtype="float64", drift=DriftScheme(kind="label", period=3))
    one, other = (small_run(small_system("fedavg"), options=o) for o in (still, drifting))
    # Clients that call two classes by each other's names teach the wrong thing.
    assert one.records[0] == other.records[0]
    assert one.loss < 0.8 * other.loss


def test_clients_may_hold_unequal_parts():
    seen = {}

    def train(job, session):
        seen[job.client] = sum(len(rows) for rows in session.batches)
        return step_back(job, session)

    small_run(small_system("fedavg"), clients=[10, 20, 40], training=train)
    assert seen == {0: 10, 1: 20, 2: 40}


def test_own_training_sees_what_the_built_in_one_does():
    def train(job, session):
        (result,) = train_sessions(model, inputs, labels, [session])
        return result

    from mafl_opt.validation.models import build_model

    model = build_model(CLOUDS, "logistic")
    inputs, labels = torch.tensor(CLOUDS.train_inputs), torch.tensor(CLOUDS.train_labels)
    own = small_run(small_system("fedprox", proximal=1.0), training=train)
    alone = FederationOptions(dtype="float64", batched=False)
    built_in = small_run(small_system("fedprox", proximal=1.0), options=alone)
    np.testing.assert_allclose(own.parameters, built_in.parameters, rtol=tolerances.SAME_TRAINING)


def test_first_model_may_be_given():
    before = small_run(small_system("fedavg"), rounds=6)
    after = small_run(small_system("fedavg"), rounds=1, initial=before.parameters)
    assert after.records[0].loss == before.loss
    with pytest.raises(InputError, match=r"initial: expected 15 numbers for task points"):
        small_run(small_system("fedavg"), initial=np.zeros(3))
    with pytest.raises(InputError, match=r"initial: expected finite numbers"):
        small_run(small_system("fedavg"), initial=np.full(15, np.nan))


def test_history_is_saved_without_the_model(tmp_path):
    options = FederationOptions(dtype="float64", evaluate_every=3)
    history = small_run(small_system("fedavg"), options=options)
    history.save(tmp_path / "history.json")
    stored = json.loads((tmp_path / "history.json").read_text())
    assert stored == json.loads(json.dumps(history.to_dict()))
    assert "parameters" not in stored
    assert stored["settings"]["options"]["timeout_s"] is None
    assert [r["loss"] is not None for r in stored["records"]] == [
        k % 3 == 0 or k == 8 for k in range(9)
    ]
    assert history.rounds_to(0.0) == 0 and history.rounds_to(1.01) is None
    with pytest.raises(InputError, match=r"a name ending in \.json"):
        history.save(tmp_path / "history.csv")


def test_diverging_run_says_so():
    history = small_run(small_system("fedbuff", server_rate=1e308), rounds=20)
    assert any("diverged" in note or "lost sessions" in note for note in history.notes)
    json.dumps(history.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"rounds": None}, "rounds: expected either rounds or sessions"),
        ({"sessions": 5}, "rounds: expected either rounds or sessions"),
        ({"rounds": 0}, "rounds: expected an integer >= 1"),
        ({"clients": 0}, "clients: expected an integer from 1 to 120"),
        ({"clients": [3, 0]}, r"clients\[1\]: expected an integer >= 1"),
        ({"seed": -1}, "seed: expected an integer >= 0"),
        ({"checkpoint_every": 0}, "checkpoint_every: expected an integer >= 1"),
    ],
)
def test_run_refuses_what_has_no_meaning(changes, text):
    with pytest.raises(InputError, match=text):
        small_run(small_system("fedavg"), **changes)


def test_run_by_the_clock_needs_a_number_of_rounds():
    with pytest.raises(InputError, match="a number of rounds for mafl"):
        small_run(small_system("mafl"), rounds=None, sessions=5)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FederationOptions(timeout_s=0.0), "options.timeout_s"),
        (lambda: FederationOptions(give_up_after=0), "options.give_up_after"),
        (lambda: FederationOptions(evaluate_every=True), "options.evaluate_every"),
        (lambda: FederationOptions(device="tpu"), "options.device"),
        (lambda: Delays(kind="normal"), "delays.kind"),
        (lambda: Delays(mean_s=0.0), "delays.mean_s"),
        (lambda: Delays(spread=math.inf), "delays.spread"),
        (lambda: Delays(loss=1.5), "delays.loss"),
    ],
)
def test_options_refuse_what_has_no_meaning(make, text):
    with pytest.raises(InputError, match=text):
        make()


@pytest.mark.parametrize("kind", ["constant", "uniform", "exponential", "lognormal"])
def test_delays_have_their_mean_and_do_not_depend_on_each_other(kind):
    delays = Delays(kind=kind, mean_s=3.0, spread=0.4)
    drawn = [delays.draw(0, client, count) for client in range(20) for count in range(100)]
    error = tolerances.SAMPLING_SIGMAS * max(np.std(drawn), 1e-12) / math.sqrt(len(drawn))
    assert abs(np.mean(drawn) - 3.0) <= error + 1e-9
    assert delays.draw(0, 7, 30) == drawn[730]
    lost = Delays(kind=kind, mean_s=3.0, spread=0.4, loss=0.5)
    some = [lost.draw(0, 0, count) for count in range(100)]
    assert {value for value in some if value < math.inf} <= set(drawn[:100])
    assert 20 < sum(value == math.inf for value in some) < 80
