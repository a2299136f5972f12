"""What the installed package shows of itself."""

import sys
from importlib.metadata import entry_points, metadata, requires, version
from pathlib import Path

import pytest

import mafl_opt


@pytest.mark.parametrize("name", mafl_opt.__all__)
def test_public_name_resolves(name):
    thing = getattr(mafl_opt, name)
    assert name == "__version__" or thing.__name__ == name


def test_public_names_are_listed_by_dir():
    assert set(mafl_opt.__all__) == set(dir(mafl_opt))
    assert set(mafl_opt.__all__) - {"__version__"} == set(mafl_opt._HOME)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'optimise'"):
        mafl_opt.optimise  # noqa: B018


def test_version_equals_metadata():
    assert mafl_opt.__version__ == version("mafl-opt")


def test_metadata_names_licence_and_least_python():
    described = metadata("mafl-opt")
    assert described["License-Expression"] == "Apache-2.0"
    assert described["Requires-Python"] == ">=3.11"


def test_metadata_has_the_extras():
    extras = set(metadata("mafl-opt").get_all("Provides-Extra"))
    assert extras == {"exact", "ray", "report", "flower", "docs", "test", "dev"}


def test_plain_install_brings_the_solvers_and_torch():
    plain = " ".join(line for line in requires("mafl-opt") if "extra ==" not in line)
    for name in ("numpy", "scipy", "cvxpy", "pyomo", "ecos", "highspy", "torch"):
        assert name in plain


def test_command_is_registered():
    (command,) = entry_points(group="console_scripts", name="mafl-opt")
    assert command.value == "mafl_opt.cli.main:main"
    assert callable(command.load())


def test_wheel_environment_imports_the_wheel():
    """`make test` runs the tests a second time against the built wheel; see the Makefile."""
    if Path(sys.prefix).name != ".venv-wheel":
        pytest.skip("not the environment of the wheel")
    assert Path(mafl_opt.__file__).is_relative_to(sys.prefix)
