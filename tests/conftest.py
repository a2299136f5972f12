"""Makes the helper modules of this folder importable from every test, and adds options."""

from __future__ import annotations

import pytest
from chromium import find_chromium
from expected_backends import OPTION, complain

BROWSER_OPTION = "--expect-browser"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, default="", metavar="A,B,C",
        help="backends that must be there: fail at once when one of them would be skipped",
    )  # fmt: skip
    parser.addoption(
        BROWSER_OPTION, action="store_true",
        help="fail at once when there is no Chromium, without which tests of pages are skipped",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption(BROWSER_OPTION) and find_chromium() is None:
        raise pytest.UsageError(f"{BROWSER_OPTION}: no Chromium in the PATH")
    expected = config.getoption(OPTION)
    # The processes of pytest-xdist need not find out again.
    if not expected or hasattr(config, "workerinput"):
        return
    from mafl_opt.solvers.registry import backends

    wrong = complain(expected, ((info.name, info.missing) for info in backends()))
    if wrong:
        raise pytest.UsageError(wrong)
