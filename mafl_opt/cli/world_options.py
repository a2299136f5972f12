"""Options that say how far the world strays from a plan, for ``replay`` and ``stress``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mafl_opt.cli.arguments import finite

if TYPE_CHECKING:
    from mafl_opt.validation.uncertainty import Uncertainty

__all__ = ["NUMBERS", "make_uncertainty", "world_options"]

#: Names of the options that are numbers.
NUMBERS = ("gain_db", "downlink_db", "speed", "outage", "headroom")

_OPTIONS = (
    click.option("--gain-db", type=float, callback=finite, metavar="DB",
                 help="Draw uplink gains: standard deviation in dB."),
    click.option("--downlink-db", type=float, callback=finite, metavar="DB",
                 help="Draw downlink rates: standard deviation in dB."),
    click.option("--speed", type=float, callback=finite, metavar="X",
                 help="Draw CPU speeds: standard deviation of the logarithm."),
    click.option("--outage", type=click.FloatRange(0, 1), metavar="P",
                 help="Probability that a device cannot be reached in a slot."),
    click.option("--headroom", type=float, callback=finite, metavar="X",
                 help="Run processors so much faster than planned: 0.1 is 10 %."),
    click.option("--late", type=click.Choice(["wait", "drop"]), default="wait", show_default=True,
                 help="What happens to results that miss their deadline."),
)  # fmt: skip


def world_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_uncertainty(late: str, **numbers: float | None) -> Uncertainty | None:
    """Return what the options say; ``None`` if none of the numbers is given."""
    from mafl_opt.validation.uncertainty import Uncertainty

    given = {name: value for name, value in numbers.items() if value is not None}
    return Uncertainty(late=late, **given) if given else None
