"""Options that say how data is spread over devices and how it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

__all__ = [
    "add_options",
    "device_option",
    "folder_option",
    "make_schemes",
    "model_option",
    "spread_options",
]

folder_option = click.option(
    "--data", metavar="DIR", help="Folder of image files, MNIST say; without it, embedded data."
)
model_option = click.option(
    "--model", default="auto", show_default=True, metavar="NAME",
    help="auto, logistic, mlp, cnn, lenet5 or resnet.",
)  # fmt: skip
device_option = click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True,
    help="Where models are trained.",
)  # fmt: skip

_SPREAD_OPTIONS = (
    click.option("--partition", type=click.Choice(["dirichlet", "shards", "iid"]),
                 default="dirichlet", show_default=True, help="How classes are spread."),
    click.option("--dirichlet", type=float, default=0.5, show_default=True, metavar="X",
                 help="Concentration of the Dirichlet partition; inf: no label skew."),
    click.option("--shards", type=click.IntRange(min=1), default=2, show_default=True,
                 metavar="N", help="Runs of one class a device gets, for --partition shards."),
    click.option("--drift", type=click.Choice(["none", "class", "label"]), default="none",
                 show_default=True, help="How devices' data change over the slots."),
    click.option("--drift-period", type=click.IntRange(min=1), default=4, show_default=True,
                 metavar="N", help="Slots between two changes on a device."),
)  # fmt: skip


def add_options(options: Sequence[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Return a decorator that adds options to a command, in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add


spread_options = add_options(_SPREAD_OPTIONS)


def make_schemes(flags: dict[str, Any]) -> dict[str, Any]:
    """Return partition and drift as the flags say; take them out of the flags."""
    from mafl_opt.validation.holdings import DriftScheme
    from mafl_opt.validation.partition import PartitionScheme

    return {
        "partition": PartitionScheme(
            kind=flags.pop("partition"),
            concentration=flags.pop("dirichlet"),
            shards=flags.pop("shards"),
        ),
        "drift": DriftScheme(kind=flags.pop("drift"), period=flags.pop("drift_period")),
    }
