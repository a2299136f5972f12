"""Errors a user can meet: each carries where it happened, what was found and what was expected."""

from __future__ import annotations

from reprlib import Repr

__all__ = ["InputError", "MaflError"]


# Cuts while it goes: the repr of a huge list is long, of a deep one a RecursionError.
_REPR = Repr()
_REPR.maxlevel = 4
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = 8
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = 200


class MaflError(Exception):
    """Base of every error mafl-opt raises on purpose."""


class InputError(MaflError, ValueError):
    """Bad input; the command line turns it into exit code 2.

    Parameters
    ----------
    path : str
        Where in the input, e.g. ``devices.tx_power_w[4]`` or ``sessions[3].batch_size``.
    expected : str
        What would have been accepted, e.g. ``a number > 0``.
    found : object
        What was there; shown with ``repr`` and cut to 80 characters. A string is shown quoted.
    hint : str, optional
        What to try next.
    """

    def __init__(self, path: str, expected: str, found: object, hint: str = "") -> None:
        self.path: str = path
        self.expected: str = expected
        self.hint: str = hint
        shown = _REPR.repr(found)
        self.found: str = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(
            f"{path}: expected {expected}, found {self.found}" + (f" ({hint})" if hint else "")
        )
