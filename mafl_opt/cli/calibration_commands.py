"""Commands about the figures of the bound: ``calibrate`` and ``bound-report``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mafl_opt.cli.arguments import (
    echo_json,
    json_option,
    load_scenario,
    out_option,
    quiet_option,
    require_output,
    scenario_argument,
    seed_option,
)
from mafl_opt.cli.data_options import (
    add_options,
    folder_option,
    make_schemes,
    model_option,
    spread_options,
)
from mafl_opt.cli.progress import show_progress

if TYPE_CHECKING:
    from mafl_opt.core.scenario import Scenario

__all__ = ["bound_report", "calibrate"]

#: Exit code of a broken bound.
FAILED = 1

_warm_option = click.option(
    "--warm-steps", type=click.IntRange(min=1), metavar="N",
    help="Train every model N steps before the plan begins: a warm start.",
)  # fmt: skip
#: On which data.
_data_options = add_options([folder_option, model_option, spread_options, _warm_option])
#: How thoroughly to measure.
_EFFORT_OPTIONS = (
    click.option("--runs", type=click.IntRange(min=2), default=4, show_default=True, metavar="N",
                 help="Probe runs a task."),
    click.option("--points", type=click.IntRange(min=1), default=4, show_default=True,
                 metavar="N", help="Aggregations of a run at which models are measured."),
    click.option("--upper", is_flag=True,
                 help="Take the upper ends of the intervals for the scenario."),
)  # fmt: skip


def _schemes(scenario: Scenario, flags: dict[str, Any]) -> dict[str, Any]:
    """Return partition, drift, model and start as the flags say; take them out of the flags."""
    steps = flags.pop("warm_steps")
    return {
        **make_schemes(flags),
        "model": flags.pop("model"),
        "warm_steps": {} if steps is None else dict.fromkeys(scenario.tasks.name, steps),
    }


@click.command()
@scenario_argument
@_data_options
@add_options(_EFFORT_OPTIONS)
@click.option("--operations-per-cycle", type=float, metavar="X",
              help="Write model sizes and cycles a sample too, for such processors.")  # fmt: skip
@click.option("--figures", metavar="FILE",
              help="Write all figures with their intervals to this .json too.")  # fmt: skip
@seed_option
@out_option("Calibrated scenario to write, .json.")
@json_option
@quiet_option
def calibrate(
    scenario: str, data: str | None, operations_per_cycle: float | None, figures: str | None,
    seed: int | None, out: str, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Measure the figures of the bound on real data and write a scenario that has them.

    Smoothness, gradient bound, gradient noise, dissimilarity, initial gap and drifts come from
    probe runs on the tasks' data and models; everything else is kept.
    """
    path = require_output(out, (".json",), inputs=[scenario])
    table = None if figures is None else require_output(figures, (".json",), inputs=[scenario, out])
    loaded = load_scenario(scenario)
    from mafl_opt.report.calibration import describe_calibration
    from mafl_opt.validation.calibration.calibrate import CalibrationOptions
    from mafl_opt.validation.calibration.calibrate import calibrate as measure

    schemes = _schemes(loaded, flags)
    options = CalibrationOptions(operations_per_cycle=operations_per_cycle, **schemes, **flags)
    with show_progress("calibrate", silent=quiet or as_json) as progress:
        result = measure(loaded, data=data, seed=seed or 0, options=options, progress=progress)
    result.save(path)
    if table is not None:
        result.save_figures(table)
    if as_json:
        echo_json({"scenario": str(path), **result.to_dict()})
    else:
        click.echo(describe_calibration(loaded, result))
        click.echo(f"wrote {path}" + (f" and {table}" if table is not None else ""))


@click.command("bound-report")
@scenario_argument
@_data_options
@click.option("--plans", type=click.IntRange(min=3), default=30, show_default=True, metavar="N",
              help="Plans to make and replay.")  # fmt: skip
@seed_option
@click.option("--out", required=True, metavar="DIR",
              help="Folder for table and picture; made if missing.")  # fmt: skip
@json_option
@quiet_option
@click.pass_context
def bound_report(
    context: click.Context, /, scenario: str, data: str | None, plans: int, seed: int | None,
    out: str, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Replay many plans of SCENARIO and set what they reach against their bounds.

    Takes the figures of SCENARIO as they are: calibrate it first, with the same seed and options.
    Exit code 1: more was measured than a bound allows.
    """
    loaded = load_scenario(scenario)
    from mafl_opt.report import bound_report as reports
    from mafl_opt.validation.record import ReplayOptions

    # Only the first and the last models need testing.
    options = ReplayOptions(evaluate_every=loaded.num_slots, **_schemes(loaded, flags))
    with show_progress("bound-report", silent=quiet or as_json) as progress:
        result = reports.bound_report(
            loaded, plans=plans, data=data, seed=seed or 0, options=options, out=out,
            progress=progress,
        )  # fmt: skip
    if as_json:
        echo_json({"folder": out, **result.to_dict()})
    else:
        click.echo(reports.describe_bound_report(result))
        click.echo(f"wrote {out}/bound_report.json and bound_report.png")
    if result.broken:
        context.exit(FAILED)
