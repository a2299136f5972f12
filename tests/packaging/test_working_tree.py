"""What the repository holds: the links at the root, and no file that only makes sense elsewhere."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked_files():
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in done.stdout.split("\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


@pytest.mark.parametrize("name", ["formulations", "solvers", "validation"])
def test_root_link_points_into_the_package(name):
    link = ROOT / name
    if not link.is_symlink():
        pytest.skip("a checkout without symbolic links")
    assert link.readlink() == Path("mafl_opt") / name
    assert link.resolve() == ROOT / "mafl_opt" / name


def test_no_file_names_a_package_index():
    """Where packages come from is the user's affair; a name in a file would override it."""
    hosts = re.compile(
        "|".join(("py" + r"pi\.org", "python" + "hosted", "download" + r"\.pytorch"))
    )
    flags = re.compile("--(extra-)?index" + "-url|--find" + "-links")
    for file in tracked_files():
        text = file.read_bytes().decode("utf-8", "replace")
        assert not hosts.search(text), file
        assert not flags.search(text), file


def test_no_file_names_a_path_of_one_machine():
    places = re.compile(r"(?<![\w.])/(home|Users|work|root|mnt|opt)" + r"/\w")
    for file in tracked_files():
        text = file.read_bytes().decode("utf-8", "replace")
        found = places.search(text)
        assert not found, (file, found)


def test_no_module_unpickles_or_reads_yaml():
    """Files of strangers must not run code; see docs/decisions."""
    risky = re.compile(r"^\s*(import|from)\s+(pickle|dill|joblib|shelve|marshal|yaml)\b", re.M)
    for file in (ROOT / "mafl_opt").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert not risky.search(text), file
        assert "torch.load(" not in text, file
        assert "allow_pickle=True" not in text, file


def test_architecture_page_names_every_module():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:report\.|cli\.)?(\w+)`", page))
    modules = {file.stem for file in (ROOT / "mafl_opt").rglob("*.py")} - {"__init__"}
    assert sorted(modules - named) == []


def test_pages_link_to_files_that_exist():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks/README.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page, target)
