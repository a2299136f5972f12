"""``mafl-opt demo``: the whole way once on the embedded scenario, with a table and pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mafl_opt.cli.arguments import quiet_option
from mafl_opt.cli.progress import Progress, show_progress

if TYPE_CHECKING:
    from mafl_opt.core.check import CheckReport
    from mafl_opt.core.plan import Plan
    from mafl_opt.core.scenario import Scenario
    from mafl_opt.report.tradeoff import Outcome

__all__ = ["BACKENDS", "demo"]

#: The planner with a bound first, then the baselines it is measured against.
BACKENDS = ("conic", "greedy", "fedavg", "fedasync", "random")

FAILED = 1

#: Longest solve, s, of a backend that takes a limit; a safeguard for slow machines.
_TIME_LIMIT_S = 60.0


_CAUTION = (
    "The objectives rest on convergence constants that this scenario chooses, not measured ones:\n"
    "they rank plans and bound nothing about these networks. `mafl-opt calibrate` measures them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What one backend did; `seconds` is the wall-clock time of solving and replaying."""

    plan: Plan
    report: CheckReport
    outcome: Outcome
    seconds: float


@click.command()
@click.option("--out", default="out/demo", show_default=True, metavar="DIR",
              help="Folder for plans, replays and pictures; made if missing.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1, max=100), default=3, show_default=True,
              metavar="N", help="Replays of every plan, seeds 0..N-1.")  # fmt: skip
@quiet_option
@click.pass_context
def demo(context: click.Context, out: str, seeds: int, quiet: bool) -> None:
    """Plan, check and replay the embedded scenario with five backends; draw what happened.

    Exit code 1: a plan failed its check.
    """
    from mafl_opt.core.files import make_folder, write_text
    from mafl_opt.core.locks import sole_use
    from mafl_opt.core.scenario import Scenario
    from mafl_opt.report.page.page import write_report
    from mafl_opt.report.tradeoff import draw_accuracy_energy

    folder = make_folder(out)
    scenario = Scenario.default()
    with sole_use(folder), show_progress("demo", silent=quiet) as progress:
        write_text(folder / "scenario.json", scenario.to_json())
        runs = [
            _run(scenario, backend, seeds, folder, _part(progress, backend, index))
            for index, backend in enumerate(BACKENDS)
        ]
    picture = folder / "accuracy_energy.png"
    outcomes = [run.outcome for run in runs if run.outcome.accuracy]
    if outcomes:
        draw_accuracy_energy(outcomes, picture)
    page = folder / "report.html"
    write_report(folder, out=page, scenario=scenario)
    click.echo(_table(scenario, runs))
    click.echo(f"\n{_CAUTION}")
    for run in runs:
        for violation in run.report.violations:
            click.echo(f"{run.plan.backend}: {violation}", err=True)
    click.echo(f"\nall of it on one page: {page}")
    click.echo(f"pictures: {folder}/schedule_*.png and {picture}")
    if not all(run.report.ok for run in runs):
        context.exit(FAILED)


def _part(progress: Progress | None, backend: str, index: int) -> Progress | None:
    """Return a progress function for one backend's share of the whole."""
    if progress is None:
        return None

    def report(message: str, fraction: float | None) -> None:
        progress(f"{backend}: {message}", (index + (fraction or 0.0)) / len(BACKENDS))

    return report


def _run(
    scenario: Scenario, backend: str, seeds: int, folder: Path, progress: Progress | None
) -> _Run:
    """Solve, check, draw and replay with one backend; a plan that fails is not replayed."""
    from mafl_opt.core.check import check
    from mafl_opt.report.schedule import draw_schedule
    from mafl_opt.report.tradeoff import Outcome
    from mafl_opt.solvers.registry import get_backend, solve
    from mafl_opt.validation.replay import replay

    start = time.monotonic()
    limit = _TIME_LIMIT_S if "time_limit" in get_backend(backend).accepts else None
    plan = solve(scenario, backend, time_limit=limit, progress=_share(progress, 0.0, 0.5))
    plan.save(folder / f"{backend}.json")
    report = check(scenario, plan)
    reached: dict[str, tuple[float, ...]] = {}
    if report.ok:
        draw_schedule(scenario, plan, folder / f"schedule_{backend}.png")
        for seed in range(seeds):
            low, high = (0.5 + 0.5 * k / seeds for k in (seed, seed + 1))
            result = replay(scenario, plan, seed=seed, progress=_share(progress, low, high))
            result.save(folder / f"replay_{backend}_{seed}.json")
            for name, value in result.accuracy.items():
                reached[name] = (*reached.get(name, ()), value)
    outcome = Outcome(backend=backend, energy_j=sum(report.device_energy_j), accuracy=reached)
    return _Run(plan=plan, report=report, outcome=outcome, seconds=time.monotonic() - start)


def _share(progress: Progress | None, low: float, high: float) -> Progress | None:
    if progress is None:
        return None

    def report(message: str, fraction: float | None) -> None:
        progress(message, low + (high - low) * (fraction or 0.0))

    return report


def _table(scenario: Scenario, runs: list[_Run]) -> str:
    from mafl_opt.report.table import format_number, format_percent, format_table

    rows = []
    for run in runs:
        accuracy = run.outcome.accuracy
        means = [
            format_percent(sum(accuracy[name]) / len(accuracy[name])) if accuracy else "-"
            for name in scenario.tasks.name
        ]
        rows.append([
            run.plan.backend,
            format_number(run.plan.objective),
            format_number(run.plan.bound),
            format_percent(run.plan.gap),
            format_number(run.outcome.energy_j),
            str(len(run.plan.sessions)),
            *means,
            f"{run.plan.seconds:.1f}",
            f"{run.seconds:.1f}",
            "ok" if run.report.ok else "FAILED",
        ])  # fmt: skip
    headers = [
        "backend", "objective", "bound", "gap", "energy J", "sessions",
        *(f"{name} acc." for name in scenario.tasks.name), "solve s", "total s", "check",
    ]  # fmt: skip
    return format_table(headers, rows, align="l" + "r" * (len(headers) - 2) + "l")
