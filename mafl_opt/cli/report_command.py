"""``mafl-opt report``: plans, replays and comparisons on one page of HTML."""

from __future__ import annotations

import click

from mafl_opt.cli.arguments import (
    echo_json,
    json_option,
    load_scenario,
    out_option,
    quiet_option,
    require_output,
)
from mafl_opt.cli.progress import show_progress

__all__ = ["report"]

#: Exit code when a plan fails its check.
FAILED = 1


@click.command()
@click.argument("sources", metavar="DIR|PLAN|REPLAY...", nargs=-1, required=True)
@click.option("--scenario", metavar="SCENARIO",
              help="Scenario of the plans; without it scenario.json of a folder, or the embedded "
              "one.")  # fmt: skip
@click.option("--certificate", is_flag=True,
              help="Derive the bounds of large plans too, however long that takes.")  # fmt: skip
@click.option("--classes/--no-classes", default=None,
              help="Classify the constraints or not; left open, on small fleets.")  # fmt: skip
@out_option("Page to write, .html.")
@json_option
@quiet_option
@click.pass_context
def report(
    context: click.Context, sources: tuple[str, ...], scenario: str | None, certificate: bool,
    classes: bool | None, out: str, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Write one self-contained page of HTML about plans of one scenario.

    Takes folders as `mafl-opt compare` and `mafl-opt demo` write them, plan files, and replay files
    of these plans. Every plan is checked again. Exit code 1: a plan fails its check.
    """
    inputs = [*sources, *([scenario] if scenario is not None else [])]
    path = require_output(out, (".html",), inputs=inputs)
    loaded = None if scenario is None else load_scenario(scenario)
    from mafl_opt.report.page.page import write_report

    with show_progress("report", silent=quiet or as_json) as progress:
        material = write_report(
            *sources, out=path, scenario=loaded, certificate=certificate, classes=classes,
            progress=progress,
        )  # fmt: skip
    failed = [subject.name for subject in material.subjects if not subject.report.ok]
    if as_json:
        echo_json({
            "report": str(path),
            "bytes": path.stat().st_size,
            "plans": [subject.name for subject in material.subjects],
            "failed": failed,
            "replays": sum(len(subject.replays) for subject in material.subjects),
            "notes": list(material.notes),
        })  # fmt: skip
    else:
        for note in material.notes:
            click.echo(f"note: {note}")
        click.echo(f"wrote {path}: {len(material.subjects)} plans, {len(failed)} fail the check")
    if failed:
        context.exit(FAILED)
