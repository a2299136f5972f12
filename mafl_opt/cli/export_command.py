"""The command ``export``: P or its master as a model file."""

from __future__ import annotations

import click

from mafl_opt.cli.arguments import load_scenario, out_option, require_output, scenario_argument

__all__ = ["export"]

FORMATS = ("nl", "gms", "mps")


@click.command()
@scenario_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    help="nl, gms: P in natural form; mps: the master of minlp.  [default: as in --out]",
)
@out_option("Model file to write, ending in .nl, .gms or .mps.")
def export(scenario: str, kind: str | None, out: str) -> None:
    """Write the planning problem of SCENARIO as a model file for other solvers.

    Beside an .nl file stand .row and .col with the names of its rows and columns; docs/export.md
    says what they mean.
    """
    from mafl_opt.formulations.problem import Problem
    from mafl_opt.solvers.minlp import export_model

    kinds = FORMATS if kind is None else (kind,)
    path = require_output(out, tuple(f".{name}" for name in kinds), inputs=[scenario])
    export_model(Problem(scenario=load_scenario(scenario)), path)
    click.echo(f"wrote {path}")
