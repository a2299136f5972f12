"""One process at a time at a checkpoint or in a folder; nothing a dead one leaves is in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import remove_leftovers
from mafl_opt.core.locks import sole_use

HOLD = """
import sys, time
from mafl_opt.core.locks import sole_use
with sole_use(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["file", "folder"])
def place(request, tmp_path):
    return tmp_path / "a.npz" if request.param == "file" else tmp_path


def test_second_user_is_refused_by_name_until_the_first_is_done(place):
    with sole_use(place):
        with pytest.raises(InputError, match="nobody else is writing") as error, sole_use(place):
            pass
        assert f"process {os.getpid()} on" in str(error.value)
    with sole_use(place):
        pass
    assert os.listdir(place if place.is_dir() else place.parent) == []


def test_lock_of_a_killed_process_does_not_block(place):
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE) as held:
        assert held.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"process {held.pid} on"), sole_use(place):
            pass
        os.kill(held.pid, signal.SIGKILL)
    with sole_use(place):
        pass
    assert os.listdir(place if place.is_dir() else place.parent) == []


def test_other_files_of_a_folder_are_free(tmp_path):
    with sole_use(tmp_path / "a.npz"), sole_use(tmp_path / "b.npz"), sole_use(None):
        pass


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="existing folder"), sole_use(tmp_path / "no" / "a.npz"):
        pass


def test_what_a_killed_write_left_is_removed_and_nothing_else(tmp_path):
    names = {".a.npz.x8_1abcd.npz", ".a.npz.short.npz", ".b.npz.x8_1abcd.npz", "a.npz", ".a.npz"}
    for name in names:
        (tmp_path / name).write_text("x")
    with sole_use(tmp_path / "a.npz"):
        assert set(os.listdir(tmp_path)) == names - {".a.npz.x8_1abcd.npz"} | {".a.npz.lock"}
    remove_leftovers(tmp_path / "no" / "a.npz")
