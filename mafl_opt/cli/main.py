"""The ``mafl-opt`` command: its group, its exit codes and its one-line errors.

Exit codes: 0 fine; 1 the plan is infeasible or a check fails; 2 bad input; 130 interrupted.
Nothing heavy is imported here or at the top of the command modules: ``mafl-opt --help`` answers
without numpy, torch, cvxpy or pyomo.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click

from mafl_opt.cli.calibration_commands import bound_report, calibrate
from mafl_opt.cli.compare_commands import classify, compare
from mafl_opt.cli.demo import demo
from mafl_opt.cli.explain_command import explain
from mafl_opt.cli.export_command import export
from mafl_opt.cli.learning_commands import federate, stress
from mafl_opt.cli.plan_commands import backends, check, replay, solve
from mafl_opt.cli.report_command import report
from mafl_opt.cli.scenario_commands import init, show
from mafl_opt.cli.study_command import study
from mafl_opt.core.errors import MaflError

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130


class _Program(click.Group):
    """A group that turns every foreseen failure into one line on stderr and an exit code."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None,
        complete_var: str | None = None, standalone_mode: bool = True, **extra: Any,
    ) -> Any:  # fmt: skip
        """Run the program; see `click.Group.main`."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        try:
            # Without click's own handling, a finished command returns the code it exited with.
            code = super().main(args, prog_name, complete_var, False, **extra)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "mafl-opt"
            code = _fail(f"{error.format_message().rstrip('.')} (see {command} --help)")
        except click.Abort:
            click.echo("mafl-opt: interrupted", err=True)
            code = INTERRUPTED
        except MaflError as error:
            code = _fail(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            code = _fail(f"{where}{error.strerror or error}")
        sys.exit(code or 0)


def _fail(message: str) -> int:
    click.echo("mafl-opt: " + " ".join(message.split()), err=True)
    return BAD_INPUT


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    epilog="Exit codes: 0 fine; 1 the plan is infeasible or a check fails; 2 bad input.",
)
@click.version_option(package_name="mafl-opt", prog_name="mafl-opt")
@click.pass_context
def main(context: click.Context) -> None:
    """Plan asynchronous multi-model federated learning over a radio network.

    SCENARIO is a .toml or .json file, or the word "default" for the embedded one.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    init, show, solve, check, explain, replay, demo, backends, classify, compare, export, federate,
    stress, calibrate, bound_report, report, study,
):  # fmt: skip
    main.add_command(_command)
