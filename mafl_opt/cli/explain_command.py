"""The command ``explain``: why a plan is as it is."""

from __future__ import annotations

import click

from mafl_opt.cli.arguments import (
    echo_json,
    json_option,
    load_scenario,
    quiet_option,
    scenario_argument,
)
from mafl_opt.cli.progress import show_progress

__all__ = ["explain"]


@click.command()
@scenario_argument
@click.argument("plan", metavar="PLAN")
@click.option("--top", type=click.IntRange(min=0), default=10, show_default=True, metavar="N",
              help="How many limits of each kind and idle devices to list.")  # fmt: skip
@json_option
@quiet_option
def explain(scenario: str, plan: str, top: int, as_json: bool, quiet: bool) -> None:
    """Say what PLAN's bounds are made of, what binds, who idles and why, and what to fear.

    Prices come from the plan's certificate; docs/explain.md says how to read them.
    """
    from mafl_opt.core.plan import Plan
    from mafl_opt.report.explain.analysis import explain as explain_plan

    loaded, chosen = load_scenario(scenario), Plan.load(plan)
    with show_progress("explain", silent=quiet or as_json) as progress:
        found = explain_plan(loaded, chosen, top=top, progress=progress)
    if as_json:
        echo_json(found.to_dict())
    else:
        click.echo(str(found))
