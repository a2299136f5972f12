"""Commands that set things side by side: ``compare`` and ``classify``."""

from __future__ import annotations

from typing import Any

import click

from mafl_opt.cli.arguments import (
    echo_json,
    finite,
    json_option,
    load_scenario,
    quiet_option,
    scenario_argument,
    seed_option,
)
from mafl_opt.cli.progress import show_progress

__all__ = ["classify", "compare"]

FAILED = 1


@click.command()
@scenario_argument
@click.option("--backends", metavar="A,B,C",
              help="Backends to run; all that are available by default.")  # fmt: skip
@click.option("--time-limit", type=float, callback=finite, default=60.0, show_default=True,
              metavar="S", help="Of each backend; its process is ended 30 s later.")  # fmt: skip
@click.option("--gap", type=float, callback=finite, metavar="REL",
              help="For the backends that can stop at a gap.")  # fmt: skip
@seed_option
@click.option("--out", required=True, metavar="DIR",
              help="Folder for table, curves, picture and plans; made if missing.")  # fmt: skip
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a comparison that was cut short: keep the trials in DIR.",
)
@json_option
@quiet_option
@click.pass_context
def compare(
    context: click.Context, /, scenario: str, backends: str | None, out: str, as_json: bool,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Run backends on SCENARIO, each in a process of its own, and compare what they reach.

    A backend that fails, dies or does not come to an end is a row of the table. Exit code 1: no
    backend has a plan, or a plan fails its check.
    """
    from mafl_opt.core.files import make_folder
    from mafl_opt.report import comparison

    folder = make_folder(out)
    loaded = load_scenario(scenario)
    names = None if backends is None else [name.strip() for name in backends.split(",")]
    with show_progress("compare", silent=quiet or as_json) as progress:
        result = comparison.compare(loaded, names, out=folder, progress=progress, **options)
    if as_json:
        echo_json({"folder": str(folder), **comparison.comparison_digest(result)})
    else:
        click.echo(comparison.describe_comparison(result))
        click.echo(f"wrote {folder}/comparison.json, comparison.csv, curves.csv, time_to_gap.png")
    checks = [trial.report.ok for trial in result.trials if trial.report is not None]
    if not checks or not all(checks):
        context.exit(FAILED)


@click.command()
@scenario_argument
@json_option
def classify(scenario: str, as_json: bool) -> None:
    """Show which constraints of SCENARIO are convex, with evidence.

    Convex blocks compile under the rules of disciplined convex programming; for the others there
    are two points whose midpoint breaks the block, and what the solvers put in its place.
    """
    from mafl_opt.report.classes import describe_classes
    from mafl_opt.solvers.dcp import classify as classify_scenario

    verdicts = classify_scenario(load_scenario(scenario))
    if as_json:
        echo_json([verdict.to_dict() for verdict in verdicts])
    else:
        click.echo(describe_classes(verdicts))
