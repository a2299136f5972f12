"""Claims on runs: alone, gone with their process."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from mafl_opt.core.errors import InputError
from mafl_opt.core.locks import claim

HOLD = """
import sys, time
from pathlib import Path
from mafl_opt.core.locks import claim
with claim(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Return a process that holds the claim on ``lock``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_claim_is_refused_while_another_process_holds_it(tmp_path, holder):
    with claim(tmp_path / "lock") as mine:
        assert not mine
    assert holder.poll() is None


def test_claim_of_a_killed_process_blocks_nobody(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "lock").exists()
    with claim(tmp_path / "lock") as mine:
        assert mine


def test_claim_leaves_no_file_behind(tmp_path):
    with claim(tmp_path / "lock") as mine:
        assert mine
        assert (tmp_path / "lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_claim_is_given_back_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), claim(tmp_path / "lock"):
        raise RuntimeError
    with claim(tmp_path / "lock") as mine:
        assert mine


def test_claim_that_waits_is_alone(tmp_path):
    """Files come and go under the waiting threads; the lock must be on the file that is there."""
    inside, most = [], []

    def work():
        for _ in range(50):
            with claim(tmp_path / "lock", wait=True) as mine:
                assert mine
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 200
    assert max(most) == 1


def test_claim_in_a_missing_folder_is_bad_input(tmp_path):
    with (
        pytest.raises(InputError, match="a file that can be made"),
        claim(tmp_path / "no" / "lock"),
    ):
        pass
