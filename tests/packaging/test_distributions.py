"""What the built sdist and wheel hold; `make test` builds them into dist/ before it tests."""

import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mafl_opt"


@pytest.fixture(scope="module")
def members():
    """Names in the wheel and, without the leading folder, in the sdist."""
    # Elsewhere dist/ may be of yesterday.
    if Path(sys.prefix).name != ".venv-wheel":
        pytest.skip("not the environment of the wheel")
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    return {"wheel": in_wheel, "sdist": in_sdist}


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_distribution_holds_every_file_of_the_package(members, kind):
    files = [
        file.relative_to(ROOT).as_posix()
        for file in PACKAGE.rglob("*")
        if file.is_file() and file.parent.name != "__pycache__"
    ]
    assert {"mafl_opt/py.typed", "mafl_opt/core/default.toml"} <= set(files)
    assert not set(files) - members[kind]


def test_wheel_holds_the_package_alone(members):
    tops = {name.partition("/")[0] for name in members["wheel"]}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mafl_opt"}


def test_distributions_hold_the_licence(members):
    assert "LICENSE" in members["sdist"]
    assert any(name.endswith("licenses/LICENSE") for name in members["wheel"])


def test_distributions_carry_the_installed_version(members):
    # The names escape what a version may not hold in a file name, and nothing of ours needs that.
    assert (ROOT / "dist" / f"mafl_opt-{version('mafl-opt')}.tar.gz").is_file()
    assert (ROOT / "dist" / f"mafl_opt-{version('mafl-opt')}-py3-none-any.whl").is_file()
    assert version("mafl-opt") != "0+unknown"
