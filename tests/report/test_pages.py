from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import zlib

import numpy as np
import pytest
from report_pages import addresses, crowded_plan, number, read_page, replay_file
from small_plans import hand_made_plan, rows
from small_scenarios import plain_scenario
from tolerances import FLOAT32, FOUR_DIGITS, PLACES, SIX_DIGITS, TWO_DECIMALS

import mafl_opt as mo
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.report.page import page as page_module
from mafl_opt.report.page.page import write_report
from mafl_opt.report.page.plan_part import Room


def write(folder, *plans, scenario=None, replays=(), **options):
    """Write plans and replays to a folder, and a page about them; return what it holds."""
    scenario = scenario or plain_scenario()
    (folder / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
    for name, plan in plans:
        plan.save(folder / f"{name}.json")
    for k, replay in enumerate(replays):
        (folder / f"replay_{k}.json").write_text(json.dumps(replay), encoding="utf-8")
    out = folder / "page.html"
    material = write_report(folder, out=out, **options)
    return material, read_page(out)


def proved_plan(scenario):
    """A plan of `conic`, whose bound carries a certificate."""
    return mo.solve(scenario, "conic")


# -- figures -----------------------------------------------------------------------------------


def test_plan_table_and_bounds_are_the_checkers(tmp_path):
    scenario = plain_scenario()
    plans = [("hand", hand_made_plan(scenario)), ("proved", proved_plan(scenario))]
    _, page = write(tmp_path, *plans)
    (table,) = page.tables["Plans"]
    for row, (name, plan) in enumerate(plans):
        report = mo.check(scenario, plan)
        assert table.column("plan")[row] == name
        assert table.column("check")[row] == "Check passed"
        objective = number(table.column("objective")[row])
        assert objective == pytest.approx(report.objective, rel=SIX_DIGITS)
        spent = math.fsum(report.device_energy_j)
        assert number(table.column("energy (J)")[row]) == pytest.approx(spent, rel=FOUR_DIGITS)
        assert table.column("sessions")[row] == str(len(plan.sessions))
        bounds = page.tables["Convergence bound of each task, and what it is made of"][row]
        for task, cells in zip(report.tasks, bounds.rows, strict=True):
            assert cells[0] == task.name
            figures = [task.weight, task.sessions, task.bound, *task.parts.values()]
            assert [number(c) for c in cells[1:-1]] == pytest.approx(figures, rel=FOUR_DIGITS)
    bound = number(table.column("bound")[1])
    assert bound == pytest.approx(mo.check(scenario, plans[1][1]).certified_bound, rel=SIX_DIGITS)
    assert table.column("certificate") == ["No bound", "Proved"]


def test_objective_is_split_into_what_adds_up_to_it(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    _, page = write(tmp_path, ("hand", plan))
    report = mo.check(scenario, plan)
    (cells,) = page.tables["Objective, by task and energy"][0].rows
    shares = [task.weight * task.bound for task in report.tasks]
    energy = scenario.energy_weight * math.fsum(report.device_energy_j)
    assert [number(c) for c in cells[1:]] == pytest.approx(
        [*shares, energy, sum(shares) + energy], rel=SIX_DIGITS
    )
    assert sum(shares) + energy == pytest.approx(report.objective)
    bars = [m for m in page.marks("m") if (m.get("data-tip") or "").startswith("hand\n")]
    widths = [float(m["width"][:-1]) for m in bars if m.get("width")]
    parts = [100 * value / report.objective for value in (*shares, energy)]
    assert widths == pytest.approx(parts, abs=PLACES)


def test_sessions_add_up_to_the_energy_of_their_device(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    _, page = write(tmp_path, ("hand", plan))
    report = mo.check(scenario, plan)
    (sessions,) = page.tables["Sessions"]
    spent = np.zeros(scenario.num_devices)
    pairs = zip(sessions.column("device"), sessions.column("energy (J)"), strict=True)
    for device, energy in pairs:
        spent[int(device)] += number(energy)
    assert spent == pytest.approx(report.device_energy_j, rel=FOUR_DIGITS)
    (devices,) = page.tables["Energy by device"]
    energies = [number(c) for c in devices.column("energy (J)")]
    assert energies == pytest.approx(report.device_energy_j, rel=FOUR_DIGITS)
    shares = np.array(report.device_energy_j) / report.device_budget_j
    found = [number(c) for c in devices.column("share of budget")]
    assert found == pytest.approx(shares, abs=TWO_DECIMALS)
    expected = sorted((r["device"], r["receive"], r["upload"] - 1 - r["receive"]) for r in rows())
    columns = ("device", "receive at", "staleness")
    assert sorted(zip(*(map(int, sessions.column(c)) for c in columns), strict=True)) == expected


def test_bars_of_a_schedule_lie_where_the_times_say(tmp_path):
    scenario = plain_scenario()
    _, page = write(tmp_path, ("hand", hand_made_plan(scenario)))
    (sessions,) = page.tables["Sessions"]
    instants = scenario.time.instants_s
    bars = [a for tag, a in page.elements if tag == "g" and a.get("data-r", "").startswith("p0s")]
    assert [bar["data-r"] for bar in bars] == sessions.ids
    edges = page.marks("edge")[-len(bars) :]
    boxes = [box for box in page.marks("work") if (box["x"] or "").endswith("%")]
    for k, edge in enumerate(edges):
        receive, used = (int(sessions.column(c)[k]) for c in ("receive at", "used at"))
        x, width = (float(edge[name][:-1]) for name in ("x", "width"))
        assert x == pytest.approx(100 * instants[receive] / instants[-1], abs=PLACES)
        assert x + width == pytest.approx(100 * instants[used] / instants[-1], abs=PLACES)
        first, busy, last = (
            100 * number(sessions.column(f"{phase} (s)")[k]) / instants[-1]
            for phase in ("receive", "compute", "send")
        )
        for begin, length in ((x, first), (x + first, busy), (x + width - last, last)):
            assert any(
                float(box["x"][:-1]) == pytest.approx(begin, abs=PLACES)
                and float(box["width"][:-1]) == pytest.approx(length, abs=PLACES)
                for box in boxes
            )
    stale = [int(t) > 0 for t in sessions.column("staleness")]
    assert ["data-s" in bar for bar in bars] == stale


# -- replays, traces, gaps ---------------------------------------------------------------------


def test_replays_are_averaged_over_seeds(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    replays = [replay_file(scenario, plan, seed) for seed in (0, 2)]
    material, page = write(tmp_path, ("hand", plan), replays=replays)
    assert len(material.subjects[0].replays) == 2
    (table,) = page.tables["Replays of digits, instant by instant (means over seeds)"]
    accuracies = [number(c) for c in table.column("test accuracy")]
    assert accuracies == pytest.approx([0.2 + 0.05 * g for g in range(4)])
    assert [number(c) for c in table.column("energy (J)")] == pytest.approx([0, 0.01, 0.02, 0.03])
    (finals,) = page.tables["Replays: test accuracy and loss after the last aggregation"]
    assert [number(c) for c in finals.column("signals accuracy")] == pytest.approx([0.26, 0.46])
    assert len(page.marks("band")) == 4
    assert "hand-made" in page.words


def test_seed_that_diverged_leaves_a_gap_in_the_mean(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    replays = [replay_file(scenario, plan, seed) for seed in (0, 1)]
    replays[1]["records"][-2]["loss"] = None
    _, page = write(tmp_path, ("hand", plan), replays=replays)
    (table,) = page.tables["Replays of digits, instant by instant (means over seeds)"]
    assert table.column("test loss") == ["2", "1.7", "1.4", "-"]


def test_replay_of_another_plan_is_refused_alone_and_left_out_of_a_folder(tmp_path):
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    other = replay_file(scenario, plan, 0, plan_sha256="0" * 64)
    material, _ = write(tmp_path, ("hand", plan), replays=[other])
    assert material.notes == ("The replay replay_0 is of none of these plans and was left out.",)
    with pytest.raises(InputError, match="replay_0: expected a replay of one of the plans"):
        write_report(
            tmp_path / "hand.json", tmp_path / "replay_0.json", out=tmp_path / "p.html",
            scenario=scenario,
        )  # fmt: skip


def test_real_replay_finds_its_plan(tmp_path):
    scenario = mo.Scenario.default()
    plan = mo.solve(scenario, "random", seed=0)
    replay = mo.replay(scenario, plan)
    replay.save(tmp_path / "replay.json")
    material, page = write(tmp_path, ("rule", plan), scenario=scenario, classes=False)
    assert len(material.subjects[0].replays) == 1
    (finals,) = page.tables["Replays: test accuracy and loss after the last aggregation"]
    for task, accuracy in replay.accuracy.items():
        assert number(finals.column(f"{task} accuracy")[0]) == pytest.approx(
            accuracy, abs=TWO_DECIMALS
        )


def test_trace_is_shown_with_what_the_backend_added(tmp_path):
    scenario = plain_scenario()
    trace = (
        {"seconds": 0.1, "objective": 90.0, "bound": 1.0, "event": "sca 1", "violation": 0.5},
        {"seconds": 0.2, "objective": 80.0, "bound": 2.0, "event": "sca 2", "violation": 1e-6},
        {"seconds": "soon", "objective": math.nan, "bound": None, "event": None},
    )
    plan = hand_made_plan(scenario)
    _, page = write(tmp_path, ("hand", plan))
    assert "The plan has no trace." in page.words
    plan = plan.replace(trace=trace[:2], seconds=0.3)
    _, page = write(tmp_path, ("hand", plan))
    (table,) = page.tables["Trace"]
    assert table.column("largest violation") == ["0.5", "1e-06"]
    assert "largest violation over seconds of the solve" in page.words
    from mafl_opt.report.page.overview import trace_charts

    charts = trace_charts(plan.replace(trace=trace))
    assert [chart.title for chart in charts] == ["objective and bound", "largest violation"]


def test_comparison_keeps_its_order_and_names_backends_without_a_plan(tmp_path):
    scenario = plain_scenario()
    comparison = {
        "backends": [
            {"backend": "second", "ending": "done"},
            {"backend": "dead", "ending": "crashed", "message": "SIGSEGV; <oh>"},
            {"backend": "first", "ending": "done"},
        ]
    }
    (tmp_path / "comparison.json").write_text(json.dumps(comparison), encoding="utf-8")
    plan = proved_plan(scenario)
    material, page = write(tmp_path, ("first", plan), ("second", hand_made_plan(scenario)))
    assert [subject.name for subject in material.subjects] == ["second", "first"]
    assert "dead left no plan. The process was ended by a signal. SIGSEGV; <oh>" in page.words
    (table,) = page.tables["Time to gap"]
    assert {"second", "first"} == set(table.column("plan"))
    gap = number(page.tables["Plans"][0].column("gap to best bound")[1])
    assert gap == pytest.approx(material.comparison.gap(plan.objective), abs=TWO_DECIMALS)


def test_classes_are_those_of_classify(tmp_path):
    scenario = plain_scenario()
    _, page = write(tmp_path, ("hand", hand_made_plan(scenario)))
    (table,) = page.tables["Constraint blocks"]
    verdicts = mo.classify(scenario)
    assert table.column("block") == [v.id for v in verdicts]
    assert table.column("class") == [v.declared.name for v in verdicts]


# -- names of users ----------------------------------------------------------------------------


def test_names_and_events_of_users_stay_text(tmp_path):
    bad = "<script>alert('1')</script>"
    scenario = plain_scenario(**{"tasks.name": [bad, '"><img src=x onerror=alert(2)> & {{ 7*7 }}']})
    plan = hand_made_plan(scenario).replace(
        backend=f"<b>{bad}",
        trace=({"seconds": 1, "objective": 5, "event": bad},) * 2,
        objective=1.0,
        point=PointStatus.INFEASIBLE,
    )
    replay = replay_file(scenario, plan, 0, notes=[bad])
    _, page = write(tmp_path, ("<i>x", plan), scenario=scenario, replays=[replay])
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1
    assert not {"img", "b", "i"} & set(tags)
    assert not any(name.startswith("on") for _, given in page.elements for name in given)
    assert page.words.count(bad) > 5
    assert "{{ 7*7 }}" in page.words


def test_names_in_a_large_fleet_cannot_end_a_script(tmp_path):
    scenario = mo.Scenario.draw(devices=400, tasks=1, slots=3).replace(
        **{"tasks.name": ["</script><script>alert(1)//"]}
    )
    plan = crowded_plan(scenario, 300)
    _, page = write(tmp_path, ("crowd", plan), scenario=scenario)
    assert [a.get("class") for tag, a in page.elements if tag == "script"] == [
        "layout", "bytes", "layout", "bytes", None,
    ]  # fmt: skip


def test_page_asks_nothing_of_a_network_and_runs_its_own_script_alone(tmp_path):
    write(tmp_path, ("hand", hand_made_plan(plain_scenario())))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert addresses(text) == []
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert " style=" not in text


def test_ids_are_unique_and_links_lead_somewhere(tmp_path):
    scenario = plain_scenario()
    plans = [("a", hand_made_plan(scenario)), ("b", hand_made_plan(scenario))]
    _, page = write(tmp_path, *plans, classes=False)
    ids = [given["id"] for _, given in page.elements if given.get("id")]
    assert len(set(ids)) == len(ids)
    links = [given["href"] for _, given in page.elements if given.get("href")]
    assert {link[1:] for link in links if link != "data:,"} <= set(ids)
    rows = [given["data-r"] for _, given in page.elements if given.get("data-r")]
    assert rows and set(rows) <= set(ids)


# -- all sizes ---------------------------------------------------------------------------------


def test_one_device_one_task_one_slot(tmp_path):
    scenario = mo.Scenario.draw(devices=1, tasks=1, slots=1)
    _, page = write(tmp_path, ("greedy", mo.solve(scenario, "greedy")), scenario=scenario)
    assert "1 plan for 1 device" in page.words
    assert len(page.tables["Energy by device"][0].rows) == 1


def test_plan_without_sessions_says_what_is_not_trained(tmp_path):
    scenario = plain_scenario()
    plan = Plan(
        sessions=Sessions.empty(), backend="idle", termination=Termination.INFEASIBLE,
        point=PointStatus.NONE, scenario_sha256=scenario.sha256,
    )  # fmt: skip
    _, page = write(tmp_path, ("idle", plan))
    assert "infinite: digits, signals not trained" in page.words
    assert "The plan has no sessions." in page.words
    assert page.tables["Objective, by task and energy"][0].column("objective") == ["inf"]
    assert "No gap is known" in page.words


def test_broken_plan_shows_violations_and_leaves_out_what_means_nothing(tmp_path):
    scenario = plain_scenario(**{"devices.energy_budget_j": [1e-3, 0.0]})
    broken = [*rows(), {**rows()[0], "device": 99}, {**rows()[0], "receive": 2, "cpu_hz": -1.0}]
    plan = Plan.from_dict({"sessions": broken, "scenario_sha256": scenario.sha256})
    material, page = write(tmp_path, ("broken", plan), scenario=scenario)
    report = material.subjects[0].report
    assert not report.ok
    for violation in report.violations:
        assert " ".join(str(violation).split()) in page.words
    assert "2 sessions mean nothing in this scenario and are not shown." in page.words
    assert len(page.tables["Sessions"][0].rows) == len(rows())
    assert page.tables["Energy by device"][0].column("share of budget")[1] == "inf"
    assert len([m for m in page.marks("m") if "over" in (m["class"] or "").split()]) == 2


def test_large_fleet_is_summed_up(tmp_path):
    scenario = mo.Scenario.draw(devices=100_000, tasks=3, slots=20)
    plan = crowded_plan(scenario, 150_000)
    plan.save(tmp_path / "crowd.parquet")
    out = tmp_path / "page.html"
    write_report(tmp_path / "crowd.parquet", out=out, scenario=scenario)
    assert out.stat().st_size < 10_000_000
    page = read_page(out)
    assert "not classified, which takes a while" in page.words
    assert "Left out" not in page.words
    s = plan.sessions
    table = page.tables["Devices at work, slot by slot"][0]
    for slot in (0, 7, 19):
        inside = (s.receive <= slot) & (slot < s.upload)
        expected = [np.count_nonzero(inside & (s.task == j)) for j in range(3)]
        assert [int(c) for c in table.rows[slot][2:5]] == expected
        assert int(table.rows[slot][5]) == np.count_nonzero(s.upload == slot + 1)
    by_staleness = [int(c) for c in page.tables["Sessions by staleness"][0].column("all")]
    assert by_staleness == np.bincount(s.staleness).tolist()
    report = mo.check(scenario, plan)
    shares = np.array(report.device_energy_j) / report.device_budget_j
    top = [int(c) for c in page.tables["Energy by device"][0].column("device")]
    assert top == np.argsort(-shares, kind="stable")[: len(top)].tolist()
    assert "0 devices" in page.words


def test_lookup_holds_every_device_and_session(tmp_path):
    scenario = mo.Scenario.draw(devices=1000, tasks=2, slots=6)
    plan = crowded_plan(scenario, 3000)
    material, _ = write(tmp_path, ("crowd", plan), scenario=scenario, classes=False)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    layouts = re.findall(r'class="layout">(.*?)</script>', text)
    packed = re.findall(r'class="bytes">(.*?)</script>', text)
    devices, sessions = (
        unpack(json.loads(layout), zlib.decompress(base64.b64decode(data)))
        for layout, data in zip(layouts, packed, strict=True)
    )
    report = material.subjects[0].report
    assert devices["energy (J)"] == pytest.approx(report.device_energy_j, rel=FLOAT32)
    assert devices["budget (J)"] == pytest.approx(report.device_budget_j, rel=FLOAT32)
    assert devices["sessions"].sum() == len(plan.sessions)
    assert (np.diff(sessions["device"].astype(int)) >= 0).all()
    spent = np.bincount(sessions["device"], weights=sessions["energy (J)"], minlength=1000)
    assert spent == pytest.approx(report.device_energy_j, rel=FLOAT32)


def unpack(layout, raw):
    """Read packed columns as the page's script does."""
    columns, at = {}, 0
    for column in layout["columns"]:
        values = np.frombuffer(raw, dtype="<" + column["type"], count=layout["rows"], offset=at)
        columns[column["head"]], at = values, at + values.nbytes
    assert at == len(raw)
    return columns


def test_numbers_that_do_not_fit_are_left_out_with_words(tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "Room", lambda: Room(left=9000))
    scenario = mo.Scenario.draw(devices=400, tasks=2, slots=6)
    _, page = write(tmp_path, ("crowd", crowded_plan(scenario, 3000)), scenario=scenario)
    assert len(page.marks("layout")) == 1
    assert "Left out, to keep the page below ten megabytes: Sessions of every device." in page.words


def test_many_drawn_sessions_stay_below_ten_megabytes(tmp_path):
    scenario = mo.Scenario.draw(devices=300, tasks=3, slots=12)
    plans = [(f"crowd{k}", crowded_plan(scenario, 3900, k)) for k in range(3)]
    material, page = write(tmp_path, *plans, scenario=scenario, classes=False)
    assert (tmp_path / "page.html").stat().st_size < 10_000_000
    drawn = [len(table.rows) for table in page.tables["Sessions"]]
    assert drawn[:2] == [3900, 3900]
    assert all(count <= 500 for count in drawn[2:])
    assert len(material.subjects) == 3


# -- verdicts ----------------------------------------------------------------------------------


def test_certificate_verdicts_say_what_is_known(tmp_path):
    scenario = plain_scenario()
    plan = proved_plan(scenario)
    cases = {
        "a": (plan, "Proved. No feasible plan has an objective below"),
        "b": (plan.replace(certificate=None), "comes without a certificate"),
        "c": (plan.replace(bound=None, certificate=None), "The plan claims no lower bound"),
        "d": (plan.replace(certificate={"kind": "odd"}), "cannot be read"),
        "e": (plan.replace(bound=plan.bound * 1.001), "Partly proved. Derived from the certif"),
    }
    for name, (changed, words) in cases.items():
        folder = tmp_path / name
        folder.mkdir()
        _, page = write(folder, (name, changed), classes=False)
        assert words in page.words, name


def test_long_certificate_is_derived_when_asked_for(tmp_path, monkeypatch):
    import mafl_opt.report.page.material as material_module

    monkeypatch.setattr(material_module, "is_large", lambda scenario, certificate: True)
    scenario = plain_scenario()
    plan = proved_plan(scenario)
    _, page = write(tmp_path, ("big", plan), classes=False)
    assert page.tables["Plans"][0].column("certificate") == ["Not derived"]
    assert "was not derived again from its certificate, which takes a while" in page.words
    _, page = write(tmp_path, ("big", plan), classes=False, certificate=True)
    assert page.tables["Plans"][0].column("certificate") == ["Proved"]


# -- what is given -----------------------------------------------------------------------------


def test_scenario_is_that_of_the_folder_or_the_embedded_one(tmp_path):
    scenario = plain_scenario()
    hand_made_plan(scenario).save(tmp_path / "hand.json")
    with pytest.raises(InputError, match="name the scenario"):
        write_report(tmp_path, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    material = write_report(tmp_path, out=tmp_path / "page.html", scenario=scenario, classes=False)
    assert material.scenario == scenario
    embedded = mo.Scenario.default()
    mo.solve(embedded, "random").save(tmp_path / "hand.json")
    material = write_report(tmp_path / "hand.json", out=tmp_path / "page.html", classes=False)
    assert material.scenario == embedded


def test_folders_of_two_scenarios_are_refused(tmp_path):
    for name, price in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        scenario = plain_scenario(energy_weight=price)
        (tmp_path / name / "scenario.json").write_text(scenario.to_json(), encoding="utf-8")
        hand_made_plan(scenario).save(tmp_path / name / "hand.json")
    with pytest.raises(InputError, match="folders of one scenario"):
        write_report(tmp_path / "a", tmp_path / "b", out=tmp_path / "page.html")


def test_plans_of_equal_name_are_told_apart(tmp_path):
    scenario = plain_scenario()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        hand_made_plan(scenario).save(tmp_path / name / "hand.json")
    material = write_report(
        tmp_path / "a", tmp_path / "b" / "hand.json", out=tmp_path / "page.html",
        scenario=scenario, classes=False,
    )  # fmt: skip
    assert [subject.name for subject in material.subjects] == ["hand", "hand (2)"]


def test_other_files_of_a_folder_are_named_and_left_out(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "stress.json").write_text('{"draws": 3}', encoding="utf-8")
    # What `compare --resume` goes on from is nothing to look at.
    (tmp_path / "hand.trial.json").write_text("{}", encoding="utf-8")
    pq.write_table(pa.table({"seed": [1]}), tmp_path / "study.parquet")
    material, page = write(tmp_path, ("hand", hand_made_plan(plain_scenario())), classes=False)
    assert len(material.notes) == 2
    assert "stress.json is neither a plan nor a replay and was left out" in page.words


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("odd.json", '{"draws": 3}', "a plan, a replay or a folder"),
        ("none", None, "a readable file"),
        ("torn.parquet", "PAR1", "a Parquet plan"),
        ("replay.json", '{"records": {}, "plan_sha256": ""}', "replay.records: expected a list"),
        ("replay.json", '{"records": [7], "plan_sha256": ""}', r"records\[0\]: expected a table"),
        ("comparison.json", '{"backends": [3]}', "each with its backend"),
    ],
)
def test_bad_files_are_named(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text, encoding="utf-8")
    source = tmp_path if name == "comparison.json" else tmp_path / name
    with pytest.raises(InputError, match=message):
        write_report(source, out=tmp_path / "page.html", scenario=plain_scenario())


def test_folder_without_a_plan_and_other_suffixes_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one plan"):
        write_report(tmp_path, out=tmp_path / "page.html")
    with pytest.raises(InputError, match=r"ending in \.html"):
        write_report(tmp_path, out=tmp_path / "page.pdf")


def test_same_sources_give_the_same_page(tmp_path):
    write(tmp_path, ("hand", hand_made_plan(plain_scenario())), classes=False)
    first = (tmp_path / "page.html").read_bytes()
    write(tmp_path, ("hand", hand_made_plan(plain_scenario())), classes=False)
    assert (tmp_path / "page.html").read_bytes() == first
