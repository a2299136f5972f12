"""Commands about scenarios: ``init`` and ``show``."""

from __future__ import annotations

import click

from mafl_opt.cli.arguments import json_option, load_scenario, require_output, scenario_argument
from mafl_opt.core.errors import InputError

__all__ = ["init", "show"]


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--force", is_flag=True, help="Overwrite the file if it exists.")
def init(file: str, force: bool) -> None:
    """Write the default scenario as a TOML file to edit."""
    from mafl_opt.core.files import write_text
    from mafl_opt.core.scenario_files import default_text

    path = require_output(file, (".toml",))
    if path.exists() and not force:
        raise InputError(str(path), "a new file", "an existing one", "--force overwrites it")
    write_text(path, default_text())
    click.echo(f"wrote {path}; next: mafl-opt show {path}")


@click.command()
@scenario_argument
@json_option
def show(scenario: str, as_json: bool) -> None:
    """Show a scenario with all its draws made.

    With --json, the resolved numbers, which are a scenario file themselves.
    """
    loaded = load_scenario(scenario)
    if as_json:
        click.echo(loaded.to_json())
        return
    from mafl_opt.report.summary import describe_scenario

    click.echo(describe_scenario(loaded))
