"""Commands about plans: ``solve``, ``check``, ``replay`` and ``backends``."""

from __future__ import annotations

from typing import Any

import click

from mafl_opt.cli.arguments import (
    echo_json,
    finite,
    json_option,
    load_scenario,
    out_option,
    quiet_option,
    require_output,
    scenario_argument,
    seed_option,
)
from mafl_opt.cli.data_options import (
    device_option,
    folder_option,
    make_schemes,
    model_option,
    spread_options,
)
from mafl_opt.cli.progress import show_progress
from mafl_opt.cli.world_options import make_uncertainty, world_options
from mafl_opt.core.errors import InputError

__all__ = ["backends", "check", "replay", "solve"]

#: Exit code of an infeasible plan or a failed check.
FAILED = 1
# Above so many devices the default backend falls far behind `prices`.
_MANY_DEVICES = 40


@click.command()
@scenario_argument
@click.option("--backend", default="conic", show_default=True, metavar="NAME",
              help="Who plans; see `mafl-opt backends`.")  # fmt: skip
@out_option("Plan file to write, .json or .parquet.")
@click.option("--time-limit", type=float, callback=finite, metavar="S",
              help="Stop after this many seconds with the best plan so far.")  # fmt: skip
@click.option("--gap", type=float, callback=finite, metavar="REL",
              help="Stop when (objective - bound) / objective is this small.")  # fmt: skip
@seed_option
@click.option("--start", metavar="PLAN", help="Plan file to start from.")
@click.option("--solver", metavar="NAME", help="Numerical solver inside the backend.")
@click.option("--pyomo-solver", metavar="NAME",
              help="Give P itself to this solver of Pyomo (backend minlp).")  # fmt: skip
@click.option("--initial", metavar="NAME",
              help="Where to set out without --start: greedy or random.")  # fmt: skip
@click.option("--engine", metavar="NAME",
              help="Who works out a large fleet (prices): local, ray or torch (CUDA).")  # fmt: skip
@click.option("--checkpoint", metavar="FILE",
              help="Write to this .json (small fleets) or .npz, twice a minute, what --resume "
              "needs.")  # fmt: skip
@click.option("--resume", metavar="FILE",
              help="Go on from this checkpoint, and go on writing it.")  # fmt: skip
@json_option
@quiet_option
@click.pass_context
def solve(
    context: click.Context, /, scenario: str, backend: str, out: str, as_json: bool, quiet: bool,
    start: str | None, checkpoint: str | None, **flags: Any,
) -> None:  # fmt: skip
    """Plan the sessions of SCENARIO and write them to a file.

    Flags that the backend cannot use are refused by name. Ctrl-C ends the search with the best
    plan so far. Exit code 1: no feasible plan.
    """
    from mafl_opt.core.check import check as check_plan
    from mafl_opt.core.plan import Plan
    from mafl_opt.core.status import PointStatus
    from mafl_opt.report.summary import describe_plan, plan_digest
    from mafl_opt.solvers.registry import solve as solve_scenario

    path = require_output(out, (".json", ".parquet"), inputs=[scenario])
    loaded = load_scenario(scenario)
    options = {name: value for name, value in flags.items() if value is not None}
    if checkpoint is not None:
        inputs = [scenario, *([start] if start is not None else [])]
        options["checkpoint"] = str(require_output(checkpoint, (".json", ".npz"), inputs=inputs))
    if start is not None:
        options["start"] = Plan.load(start)
    chosen = context.get_parameter_source("backend") is not click.core.ParameterSource.DEFAULT
    if not chosen and loaded.num_devices > _MANY_DEVICES and not quiet:
        note = f"mafl-opt: for more than {_MANY_DEVICES} devices, --backend prices plans far better"
        click.echo(note, err=True)
    with show_progress(backend, silent=quiet or as_json) as progress:
        plan = solve_scenario(loaded, backend, progress=progress, **options)
    plan.save(path)
    report = check_plan(loaded, plan)
    if as_json:
        echo_json({"plan": str(path), **plan_digest(plan, report)})
    else:
        click.echo(describe_plan(plan, report))
        click.echo(f"wrote {path}")
    if plan.point is not PointStatus.FEASIBLE or not report.ok:
        context.exit(FAILED)


@click.command()
@scenario_argument
@click.argument("plan", metavar="PLAN")
@click.option("--certificate", is_flag=True,
              help="Derive the bound from the plan's certificate, however long that takes, and "
              "fail unless it is proved.")  # fmt: skip
@json_option
@quiet_option
@click.pass_context
def check(
    context: click.Context, scenario: str, plan: str, certificate: bool, as_json: bool, quiet: bool
) -> None:
    """Re-derive objective, bound and feasibility of PLAN from the model page.

    Certificates of large fleets are left out unless asked for. Exit code 1: a constraint is
    broken, the plan's header claims something untrue, or with --certificate its bound is not
    proved.
    """
    from mafl_opt.core.check import check as check_plan
    from mafl_opt.core.plan import Plan
    from mafl_opt.report.summary import describe_proof

    loaded, chosen = load_scenario(scenario), Plan.load(plan)
    with show_progress("check", silent=quiet or as_json) as progress:
        report = check_plan(loaded, chosen, certificate=certificate or None, report=progress)
    if as_json:
        echo_json(report.to_dict())
    else:
        click.echo(str(report))
        if certificate:
            click.echo(f"\n{describe_proof(report)}")
    if not report.ok or (certificate and not report.is_proved):
        context.exit(FAILED)


@click.command()
@scenario_argument
@click.argument("plan", metavar="PLAN")
@folder_option
@model_option
@spread_options
@click.option("--aggregation", type=click.Choice(["delta", "mixing"]), default="delta",
              show_default=True, help="The server's rule.")  # fmt: skip
@world_options
@click.option(
    "--warm",
    multiple=True,
    metavar="TASK=STEPS",
    help="Train a task's first model for so many steps beforehand; may be repeated.",
)
@click.option("--real-time", type=float, callback=finite, metavar="SCALE",
              help="Run in real time, SCALE real seconds a virtual one.")  # fmt: skip
@click.option("--evaluate-every", type=click.IntRange(min=1), default=1, show_default=True,
              metavar="N", help="Test the models every N aggregations.")  # fmt: skip
@device_option
@click.option("--checkpoint", metavar="FILE", help="Keep the replay's state in this .npz file.")
@click.option("--resume", metavar="FILE", help="Go on from a checkpoint of the same replay.")
@seed_option
@out_option("Replay file to write, .json.")
@json_option
@quiet_option
@click.pass_context
def replay(
    context: click.Context, /, scenario: str, plan: str, data: str | None, model: str,
    aggregation: str, late: str, warm: tuple[str, ...], real_time: float | None,
    evaluate_every: int, device: str, checkpoint: str | None, resume: str | None,
    seed: int | None, out: str, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Train the models of SCENARIO exactly as PLAN says and record what they reach.

    With one of --gain-db, --downlink-db, --speed and --outage the world is drawn around the plan's
    values. A plan that fails the check is not replayed: exit code 1.
    """
    from mafl_opt.core.check import check as check_plan
    from mafl_opt.core.plan import Plan
    from mafl_opt.report.summary import describe_replay, replay_digest

    path = require_output(out, (".json",), inputs=[scenario, plan])
    loaded, chosen = load_scenario(scenario), Plan.load(plan)
    report = check_plan(loaded, chosen)
    if not report.ok:
        click.echo(f"mafl-opt: {plan} fails the check: {report.violations[0]}", err=True)
        context.exit(FAILED)
    # After the check: torch takes a second or two to import.
    from mafl_opt.validation.engine.real_time import RealTime
    from mafl_opt.validation.replay import ReplayOptions
    from mafl_opt.validation.replay import replay as replay_plan

    options = ReplayOptions(
        aggregation=aggregation,
        model=model,
        evaluate_every=evaluate_every,
        device=device,
        warm_steps=dict(_warm_steps(word) for word in warm),
        **make_schemes(flags),
    )
    clock = None if real_time is None else RealTime(scale=real_time)
    with show_progress("replay", silent=quiet or as_json) as progress:
        result = replay_plan(
            loaded, chosen, data=data, seed=seed or 0, progress=progress, checkpoint=checkpoint,
            resume=resume, uncertainty=make_uncertainty(late, **flags), options=options,
            clock=clock,
        )  # fmt: skip
    result.save(path)
    if as_json:
        echo_json({"replay": str(path), **replay_digest(result)})
    else:
        click.echo(describe_replay(result))
        click.echo(f"wrote {path}")


def _warm_steps(word: str) -> tuple[str, int]:
    name, separator, steps = word.rpartition("=")
    if not separator or not steps.isdecimal():
        raise InputError("--warm", "TASK=STEPS", word)
    return name, int(steps)


@click.command()
@json_option
def backends(as_json: bool) -> None:
    """List who can plan, what each proves and which flags it takes."""
    from mafl_opt.report.summary import backend_digest, describe_backends
    from mafl_opt.solvers.registry import backends as list_backends

    found = list_backends()
    if as_json:
        echo_json([backend_digest(info) for info in found])
    else:
        click.echo(describe_backends(found))
