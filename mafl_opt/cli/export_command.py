"""The command ``export``: P or its master as a model file."""

from __future__ import annotations

import click

from mafl_opt.cli.arguments import load_scenario, out_option, require_output, scenario_argument

__all__ = ["export"]


@click.command()
@scenario_argument
@click.option("--format", "kind", type=click.Choice(["nl", "gms", "mps"]), required=True,
              help="nl, gms: P in natural form; mps: the master of minlp.")  # fmt: skip
@out_option("Model file to write, ending in the format's name.")
def export(scenario: str, kind: str, out: str) -> None:
    """Write the planning problem of SCENARIO as a model file for other solvers."""
    from mafl_opt.formulations.problem import Problem
    from mafl_opt.solvers.minlp import export_model

    path = require_output(out, (f".{kind}",), inputs=[scenario])
    export_model(Problem(scenario=load_scenario(scenario)), path)
    click.echo(f"wrote {path}")
