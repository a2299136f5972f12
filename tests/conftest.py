"""Makes the helper modules of this folder importable from every test, and adds an option."""

from __future__ import annotations

import pytest
from expected_backends import OPTION, complain


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        OPTION, default="", metavar="A,B,C",
        help="backends that must be there: fail at once when one of them would be skipped",
    )  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    expected = config.getoption(OPTION)
    # The processes of pytest-xdist need not find out again.
    if not expected or hasattr(config, "workerinput"):
        return
    from mafl_opt.solvers.registry import backends

    wrong = complain(expected, ((info.name, info.missing) for info in backends()))
    if wrong:
        raise pytest.UsageError(wrong)
