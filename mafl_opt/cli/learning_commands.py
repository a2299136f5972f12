"""Commands that learn without, or around, a plan: ``federate`` and ``stress``."""

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
from mafl_opt.cli.data_options import device_option, make_schemes, model_option, spread_options
from mafl_opt.cli.progress import show_progress
from mafl_opt.cli.world_options import NUMBERS, make_uncertainty, world_options
from mafl_opt.core.errors import InputError

__all__ = ["federate", "stress"]

#: Exit code of an infeasible plan.
FAILED = 1


@click.command()
@click.argument("system", metavar="SYSTEM")
@click.option("--data", default="digits", show_default=True, metavar="DIR|NAME",
              help="Folder of image files, or an embedded set.")  # fmt: skip
@model_option
@click.option("--clients", type=click.IntRange(min=1), default=10, show_default=True, metavar="N")
@click.option("--rounds", type=click.IntRange(min=1), metavar="N", help="End after N aggregations.")
@click.option("--sessions", type=click.IntRange(min=1), metavar="N",
              help="End after N uploads: equal local work for every system.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE",
              help="Change a setting of the system; may be repeated.")  # fmt: skip
@spread_options
@click.option("--delay", type=float, callback=finite, default=1.0, show_default=True, metavar="S",
              help="Mean virtual time of a session.")  # fmt: skip
@click.option("--evaluate-every", type=click.IntRange(min=1), default=1, show_default=True,
              metavar="N", help="Test the model every N rounds.")  # fmt: skip
@click.option("--real-time", type=float, callback=finite, metavar="SCALE",
              help="Run in real time, SCALE real seconds a virtual one.")  # fmt: skip
@device_option
@click.option("--checkpoint", metavar="FILE", help="Keep the run's state in this .npz file.")
@click.option("--checkpoint-every", type=click.IntRange(min=1), default=10, show_default=True,
              metavar="N", help="Write it every N rounds.")  # fmt: skip
@click.option("--resume", metavar="FILE", help="Go on from a checkpoint of the same run.")
@seed_option
@out_option("History file to write, .json.")
@json_option
@quiet_option
def federate(
    system: str, data: str, model: str, clients: int, rounds: int | None, sessions: int | None,
    settings: tuple[str, ...], delay: float, evaluate_every: int, real_time: float | None,
    device: str, checkpoint: str | None, checkpoint_every: int, resume: str | None,
    seed: int | None, out: str, as_json: bool, quiet: bool, **flags: Any,
) -> None:  # fmt: skip
    """Run a learning system without a plan.

    SYSTEM is mafl, afl, fedavg, fedprox, fedasync or fedbuff. Ends after --rounds or --sessions;
    50 rounds without either.
    """
    path = require_output(out, (".json",))
    changes = dict(_setting(text) for text in settings)
    from mafl_opt.report.federated import describe_history, history_digest
    from mafl_opt.validation.delays import Delays
    from mafl_opt.validation.engine.real_time import RealTime
    from mafl_opt.validation.federate import FederationOptions
    from mafl_opt.validation.federate import federate as run
    from mafl_opt.validation.systems.registry import make_system

    options = FederationOptions(
        delays=Delays(mean_s=delay),
        evaluate_every=evaluate_every,
        device=device,
        **make_schemes(flags),
    )
    if rounds is None and sessions is None:
        rounds = 50
    with show_progress(system, silent=quiet or as_json) as progress:
        history = run(
            make_system(system, changes), data, model, clients=clients, rounds=rounds,
            sessions=sessions, seed=seed or 0, options=options, progress=progress,
            clock=None if real_time is None else RealTime(scale=real_time),
            checkpoint=checkpoint, checkpoint_every=checkpoint_every, resume=resume,
        )  # fmt: skip
    history.save(path)
    if as_json:
        echo_json({"history": str(path), **history_digest(history)})
    else:
        click.echo(describe_history(history))
        click.echo(f"wrote {path}")


def _setting(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE; a value is an integer, a number, or else a word."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise InputError("--set", "KEY=VALUE", text)
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


@click.command()
@scenario_argument
@click.argument("plan", metavar="PLAN")
@world_options
@click.option("--draws", type=click.IntRange(min=1), default=200, show_default=True, metavar="N",
              help="Worlds to draw.")  # fmt: skip
@seed_option
@json_option
@quiet_option
@click.pass_context
def stress(
    context: click.Context, /, scenario: str, plan: str, late: str, draws: int, seed: int | None,
    as_json: bool, quiet: bool, **numbers: float | None,
) -> None:  # fmt: skip
    """Show how often deadlines, budgets and uplinks of PLAN break in drawn worlds.

    Nothing is trained. A plan that fails the check is refused: exit code 1.
    """
    from mafl_opt.core.check import check as check_plan
    from mafl_opt.core.plan import Plan

    loaded, chosen = load_scenario(scenario), Plan.load(plan)
    report = check_plan(loaded, chosen)
    if not report.ok:
        click.echo(f"mafl-opt: {plan} fails the check: {report.violations[0]}", err=True)
        context.exit(FAILED)
    from mafl_opt.report.federated import describe_stress
    from mafl_opt.validation.stress import stress as stress_plan

    uncertainty = make_uncertainty(late, **numbers)
    if uncertainty is None:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in NUMBERS)
        raise InputError("stress", f"at least one of {options}", None)
    with show_progress("stress", silent=quiet or as_json) as progress:
        found = stress_plan(
            loaded, chosen, uncertainty, draws=draws, seed=seed or 0, progress=progress
        )
    if as_json:
        echo_json(found.to_dict())
    else:
        click.echo(describe_stress(found))
