"""Compiled functions: a change in what one calls into reaches it."""

from __future__ import annotations

import os
import subprocess
import sys

INNER = """
from mafl_opt.core.compiling import compiled

@compiled()
def part(x):
    return x + {step}
"""
OUTER = """
from inner import part
from mafl_opt.core.compiling import compiled, is_compiled

@compiled()
def whole(x):
    return 10 * part(x)

print(is_compiled(whole), whole(1))
"""


def test_change_in_a_file_reaches_the_functions_that_call_into_it(tmp_path):
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    (tmp_path / "outer.py").write_text(OUTER)

    def result():
        done = subprocess.run(
            [sys.executable, "-c", "import outer"], env={**os.environ, "PYTHONPATH": path},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout.strip()

    (tmp_path / "inner.py").write_text(INNER.format(step=1))
    assert [result(), result()] == ["False 20", "True 20"]
    (tmp_path / "inner.py").write_text(INNER.format(step=2))
    assert [result(), result()] == ["False 30", "True 30"]
