"""Progress where a person waits: a bar on a terminal, a few lines elsewhere, always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

__all__ = ["Progress", "show_progress"]

#: A message and the fraction done, if known.
Progress = Callable[[str, float | None], None]

#: Seconds between two lines when stderr is no terminal.
_PAUSE_S = 5.0


@contextmanager
def show_progress(title: str, *, silent: bool = False) -> Iterator[Progress | None]:
    """Yield a function that long work reports to, or ``None`` when nobody wants to see it.

    Parameters
    ----------
    title : str
        Stands before every message.
    silent : bool
        Show nothing.
    """
    if silent:
        yield None
    elif sys.stderr.isatty():
        yield from _bar(title)
    else:
        yield _lines(title)


def _bar(title: str) -> Iterator[Progress]:
    from tqdm import tqdm

    with tqdm(
        total=1.0, desc=title, file=sys.stderr, leave=False, dynamic_ncols=True,
        bar_format="{desc}: {percentage:3.0f}% |{bar}| {elapsed}{postfix}",
    ) as bar:  # fmt: skip

        def report(message: str, fraction: float | None) -> None:
            bar.set_postfix_str(message, refresh=False)
            if fraction is not None:
                bar.n = min(max(fraction, 0.0), 1.0)
            bar.refresh()

        yield report


def _lines(title: str) -> Progress:
    last = -float("inf")

    def report(message: str, fraction: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _PAUSE_S:
            return
        last = now
        share = "" if fraction is None else f" {100.0 * fraction:.0f}%"
        click.echo(f"{title}:{share} {message}", err=True)

    return report
