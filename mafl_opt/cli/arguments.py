"""What several commands take: scenarios, output names, and flags."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mafl_opt.core.errors import InputError

if TYPE_CHECKING:
    from mafl_opt.core.scenario import Scenario

__all__ = [
    "echo_json",
    "finite",
    "json_option",
    "load_scenario",
    "out_option",
    "quiet_option",
    "require_output",
    "scenario_argument",
    "seed_option",
]

#: Stands for the embedded scenario wherever a command takes a scenario file.
DEFAULT_WORD = "default"

scenario_argument = click.argument("scenario", metavar="SCENARIO")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on stdout and nothing else."
)
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
seed_option = click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Seed of every random draw."
)


def out_option(words: str) -> Callable[[Any], Any]:
    """Return the required option ``--out`` with its help text."""
    return click.option("--out", required=True, metavar="FILE", help=words)


def finite(_context: click.Context, option: click.Parameter, value: float | None) -> float | None:
    """Accept a finite number from 0 up, or nothing."""
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter(f"{value:g} is not a finite number >= 0", param=option)
    return value


def load_scenario(word: str) -> Scenario:
    """Read the scenario a user named: a file, or the word ``default``.

    Raises
    ------
    InputError
        If the file is missing or something in it is wrong.
    """
    from mafl_opt.core.scenario import Scenario

    return Scenario.default() if word == DEFAULT_WORD else Scenario.load(word)


def require_output(name: str, suffixes: tuple[str, ...], *, inputs: Sequence[str] = ()) -> Path:
    """Return the path of an output file after making sure that it can be written.

    Called before any long work, so that no hour of solving ends at a misspelt folder.

    Raises
    ------
    InputError
        If the suffix is not one of `suffixes`, the folder is missing or closed, a folder has the
        name, or one of the files `inputs` would be overwritten.
    """
    path = Path(name)
    if path.suffix not in suffixes:
        raise InputError(str(path), f"a name ending in {' or '.join(suffixes)}", path.suffix)
    if path.is_dir():
        raise InputError(str(path), "a file name", "a folder")
    if not path.parent.is_dir():
        raise InputError(str(path), "a file in an existing folder", str(path.parent))
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(str(path), "a folder one may write to", str(path.parent))
    if any(path.exists() and Path(other).exists() and path.samefile(other) for other in inputs):
        raise InputError(str(path), "another file than the input", name)
    return path


def echo_json(value: Any) -> None:
    """Print one JSON value; NaN and infinity are bugs here, not output."""
    click.echo(json.dumps(value, allow_nan=False))
