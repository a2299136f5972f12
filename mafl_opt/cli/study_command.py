"""``mafl-opt study``: the experiments of the papers, and the list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mafl_opt.cli.arguments import echo_json, json_option, quiet_option
from mafl_opt.cli.progress import show_progress
from mafl_opt.core.errors import InputError

if TYPE_CHECKING:
    from mafl_opt.studies.study import StudyState

__all__ = ["study"]


@click.command()
@click.argument("name", required=False)
@click.option("--out", metavar="DIR",
              help="Folder for runs, table, picture and reading; made if missing.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), metavar="N",
              help="Seeds of every point of the grid; each study has a default.")  # fmt: skip
@click.option("--engine", type=click.Choice(["local", "processes"]), default="local",
              show_default=True, help="One run at a time, or one a worker.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="For --engine processes; one a processor by default.")  # fmt: skip
@click.option("--data", metavar="DIR",
              help="Folder of image files, MNIST say, in place of embedded digits (studies of "
              "learning systems).")  # fmt: skip
@click.option("--tiny", is_flag=True, help="The smallest size: shows that it runs, says nothing.")
@click.option("--list", "as_list", is_flag=True, help="List the studies.")
@json_option
@quiet_option
def study(
    name: str | None, out: str | None, as_list: bool, as_json: bool, quiet: bool, **options: Any
) -> None:  # fmt: skip
    """Run the study NAME, or what is left of it; without a name, list the studies.

    Finished runs in DIR are not done again. Ctrl-C keeps what is finished; the same command goes
    on.
    """
    if name is None or as_list:
        if out is not None:
            raise InputError("study", "a NAME to run", None)
        _list(as_json)
        return
    if out is None:
        raise InputError("--out", "a folder", None)
    from mafl_opt.studies.study import study as run_study

    reached: list[StudyState] = []
    try:
        with show_progress(name, silent=quiet or as_json) as progress:
            result = run_study(name, out=out, progress=progress, watch=reached.append, **options)
    except KeyboardInterrupt:
        if reached:
            state = reached[-1]
            click.echo(
                f"{state.finished} of {state.runs} runs are finished and kept in {out}; "
                f"the same command goes on", err=True,
            )  # fmt: skip
        raise click.Abort from None
    for note in result.notes:
        click.echo(f"mafl-opt: {note}", err=True)
    if as_json:
        echo_json(result.to_dict())
        return
    click.echo(f"{result.title}: {result.question}\n\n{result.reading}\n")
    state = result.state
    click.echo(f"{state.runs} runs, {state.reused} of them found finished, "
               f"{result.cpu_seconds:.0f} s of processor in all")  # fmt: skip
    click.echo(f"wrote {out}/reading.md, {name}.png, {name}.svg, results.csv, results.parquet, "
               "timings.csv")  # fmt: skip


def _list(as_json: bool) -> None:
    from mafl_opt.report.table import format_table
    from mafl_opt.studies.description import describe, studies

    found = [describe(name) for name in studies()]
    if as_json:
        echo_json([{"name": d.name, "source": d.source, "question": d.question} for d in found])
        return
    rows = [[d.name, d.source, d.question] for d in found]
    click.echo(format_table(["study", "paper", "asks"], rows, align="lll"))
