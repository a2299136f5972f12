"""Pages as a reader meets them, in headless Chromium."""

from __future__ import annotations

import json

import pytest
from chromium import Browser, find_chromium
from report_pages import crowded_plan, number, read_page, replay_file
from small_plans import hand_made_plan
from small_scenarios import plain_scenario
from tolerances import FOUR_DIGITS

import mafl_opt as mo
from mafl_opt.report.page.page import write_report

TIP = "(() => { const t = document.getElementById('tip'); return t.hidden ? '' : t.textContent })()"
SHOWN = "[...document.querySelectorAll('.gantt .row[data-d]')].filter(r => !r.hidden).length"
WORDS = "document.querySelector('#filter-words').textContent"


@pytest.fixture(scope="module")
def small_page(tmp_path_factory):
    """Two plans of two devices, with replays and a trace."""
    folder = tmp_path_factory.mktemp("small")
    scenario = plain_scenario()
    plan = hand_made_plan(scenario)
    trace = ({"seconds": 0.1, "objective": 9.0, "bound": 1.0}, {"seconds": 1, "objective": 8.0})
    plans = [plan.replace(trace=trace), mo.solve(scenario, "greedy")]
    for k, each in enumerate(plans):
        each.save(folder / f"plan{k}.json")
    (folder / "replay.json").write_text(json.dumps(replay_file(scenario, plan, 0)))
    write_report(folder, out=folder / "page.html", scenario=scenario)
    return folder / "page.html"


@pytest.fixture(scope="module")
def large_page(tmp_path_factory):
    """A fleet too large to draw."""
    folder = tmp_path_factory.mktemp("large")
    scenario = mo.Scenario.draw(devices=100_000, tasks=3, slots=20)
    crowded_plan(scenario, 120_000).save(folder / "crowd.parquet")
    write_report(folder, out=folder / "page.html", scenario=scenario)
    return folder / "page.html"


@pytest.fixture(scope="module")
def program():
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium in the PATH")
    with Browser(path) as browser:
        yield browser


@pytest.fixture
def browser(program):
    """A new tab."""
    program.renew()
    return program


def settle(browser):
    """Wait until the script has answered what was typed."""
    browser.ask("new Promise(done => setTimeout(done, 0))")


@pytest.mark.parametrize("page", ["small_page", "large_page"])
def test_page_opens_quietly_and_asks_nothing_of_a_network(browser, request, page):
    path = request.getfixturevalue(page)
    browser.open(path)
    assert browser.ask("document.querySelectorAll('section').length") >= 7
    browser.ask("document.querySelectorAll('details').forEach(d => { d.open = true })")
    browser.hover(".gantt .m")
    assert browser.complaints == []
    assert {url for url in browser.requests if not url.startswith("data:")} == {path.as_uri()}


def test_hovering_a_session_shows_its_row_of_the_table(browser, small_page):
    browser.open(small_page)
    (table, *_) = read_page(small_page).tables["Sessions"]
    assert browser.ask(TIP) == ""
    browser.ask("document.querySelectorAll('details.plan').forEach(d => { d.open = true })")
    for k, row in enumerate(table.rows):
        browser.hover(".gantt g.m", k)
        expected = [f"{h}: {c}" for h, c in zip(table.headers, row, strict=True)]
        assert browser.ask(TIP).split("\n") == expected
    assert "staleness: 1" in expected or "staleness: 0" in expected
    browser.press("Escape")
    assert browser.ask(TIP) == ""


def test_arrow_keys_go_from_session_to_session(browser, small_page):
    browser.open(small_page)
    (table, *_) = read_page(small_page).tables["Sessions"]
    browser.ask("document.querySelectorAll('details.plan').forEach(d => { d.open = true })")
    browser.ask("document.querySelector('.gantt g.m[tabindex]').focus()")
    assert browser.ask(TIP).startswith(f"device: {table.rows[0][0]}\ntask: {table.rows[0][1]}")
    browser.press("ArrowRight")
    assert f"receive at: {table.rows[1][2]}" in browser.ask(TIP)
    label = browser.ask("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("device: 0, task: ")
    browser.press("ArrowDown")
    assert browser.ask(TIP).startswith("device: 1")
    browser.press("ArrowUp")
    assert browser.ask(TIP).startswith("device: 0")
    stops = "document.querySelector('.gantt').querySelectorAll('[tabindex=\"0\"]').length"
    assert browser.ask(stops) == 1


def test_tab_reaches_the_filter_and_the_charts(browser, small_page):
    browser.open(small_page)
    reached = set()
    for _ in range(60):
        browser.press("Tab")
        reached.add(
            browser.ask(
                "document.activeElement.id || document.activeElement.getAttribute('class') || ''"
            )
        )
    assert "filter" in reached
    assert any(name.startswith("m") for name in reached)


def test_filter_hides_rows_and_dims_sessions(browser, small_page):
    browser.open(small_page)
    assert browser.ask(SHOWN) == 4
    browser.type("#filter", "1")
    settle(browser)
    assert browser.ask(SHOWN) == 2
    assert browser.ask(WORDS) == "2 of 4 rows of devices"
    rows = "[...document.querySelectorAll('#p0s0, #p0s1, #p0s2, #p0s3')].map(r => r.hidden)"
    assert browser.ask(rows) == [True, True, False, False]
    browser.type("#filter", "0-5, signals, stale")
    settle(browser)
    dim = (
        "[...document.querySelectorAll('#plan0 .gantt g.m')].map(b => b.classList.contains('dim'))"
    )
    (table, *_) = read_page(small_page).tables["Sessions"]
    pairs = zip(table.column("task"), table.column("staleness"), strict=True)
    assert browser.ask(dim) == [not (task == "signals" and tau != "0") for task, tau in pairs]
    browser.type("#filter", "gibberish")
    settle(browser)
    assert browser.ask(WORDS).endswith("not understood: gibberish")
    assert browser.ask(SHOWN) == 4


def test_any_device_of_a_large_fleet_can_be_looked_up(browser, large_page):
    browser.open(large_page)
    # What makes a page slow to open; a row a device would be ten times as many.
    assert browser.ask("document.getElementsByTagName('*').length") < 20_000
    assert large_page.stat().st_size < 10_000_000
    browser.type("#filter", "99990-99999")
    found = "[...document.querySelectorAll('.lookup table')].map(t => t.tBodies[0].rows.length)"
    wait = (
        "new Promise((done, fail) => { let left = 200; const look = () => {"
        f" const n = {found}; if (n.every(k => k)) done(n);"
        " else if (left--) setTimeout(look, 50); else fail(n) }; look() })"
    )
    devices, sessions = browser.ask(wait)
    assert devices == 10
    scenario = mo.Scenario.draw(devices=100_000, tasks=3, slots=20)
    plan = crowded_plan(scenario, 120_000)
    assert sessions == int((plan.sessions.device >= 99_990).sum())
    report = mo.check(scenario, plan)
    cells = browser.ask(
        "[...document.querySelector('.lookup table').tBodies[0].rows].map(r =>"
        " [...r.cells].map(c => c.textContent))"
    )
    for i, (device, energy, budget, _) in enumerate(cells, start=99_990):
        assert device == str(i)
        assert number(energy) == pytest.approx(report.device_energy_j[i], rel=FOUR_DIGITS)
        assert number(budget) == pytest.approx(report.device_budget_j[i], rel=FOUR_DIGITS)
    assert browser.complaints == []


@pytest.mark.parametrize("page", ["small_page", "large_page"])
def test_page_fits_a_phone(browser, request, page):
    browser.resize(360, 740, mobile=True)
    browser.open(request.getfixturevalue(page))
    browser.ask("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert browser.ask("document.documentElement.scrollWidth") == 360
    sizes = browser.ask(
        "[...document.querySelectorAll('svg text')].map(t =>"
        " parseFloat(getComputedStyle(t).fontSize) * (t.getScreenCTM() ? t.getScreenCTM().a : 1))"
    )
    assert min(sizes) >= 10


def test_page_without_javascript_shows_the_tables(browser, small_page):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open_plainly(small_page)
    assert browser.ask("document.querySelector('.filter').offsetHeight") == 0
    assert browser.ask("document.querySelector('#plans table').offsetHeight") > 20
    assert browser.ask("document.querySelectorAll('#plan0 .gantt g.m').length") == 4


def test_print_shows_every_plan_opened(browser, small_page):
    browser.open(small_page)
    closed = "[...document.querySelectorAll('details.plan:not([open]) .gantt')]"
    assert browser.ask(f"{closed}.map(g => g.checkVisibility())") == [False]
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.ask(f"{closed}.map(g => g.checkVisibility())") == [True]
    assert browser.ask("document.querySelector('.filter').offsetHeight") == 0
    assert len(browser.call("Page.printToPDF")["data"]) > 10_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser, small_page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.call("Emulation.setEmulatedMedia", features=features)
    browser.open(small_page)
    ratios = browser.ask(
        """(() => {
        const light = (c) => c.map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const ground = (e) => {
          for (; e; e = e.parentElement) {
            const c = rgb(getComputedStyle(e).backgroundColor);
            if (c.length === 3 || c[3] > 0) return c.slice(0, 3);
          }
          return [255, 255, 255];
        };
        return ['p', '.note', 'a', 'th', 'td', '.verdict.good', '.verdict.open', 'summary', 'nav a']
          .map(s => document.querySelector(s)).map(e => {
            const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
            return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          });
        })()"""
    )
    # What the web's accessibility guidelines (level AA) ask of text.
    assert min(ratios) >= 4.5
