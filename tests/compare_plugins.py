"""Backends that end badly, each in its own way, as a package a test can put on the path."""

from __future__ import annotations

from pathlib import Path

SOURCE = """
import os, signal, time

class _Base:
    summary = "ends badly"
    proves_bound = False
    accepts = frozenset({"seed"})

    def missing(self):
        return ""

class Raises(_Base):
    name = "raises"

    def solve(self, run):
        raise ValueError("no luck today")

class Exits(_Base):
    name = "exits"

    def solve(self, run):
        os._exit(int(os.environ.get("EXITS_WITH", "7")))

class Dies(_Base):
    name = "dies"

    def solve(self, run):
        os.kill(os.getpid(), signal.SIGSEGV)

class Sleeps(_Base):
    name = "sleeps"

    def solve(self, run):
        memory = bytearray(80_000_000)
        memory[::4096] = b"x" * len(memory[::4096])
        time.sleep(3600)

class Refuses(_Base):
    name = "refuses"

    def solve(self, run):
        from mafl_opt.core.errors import InputError
        raise InputError("scenario", "a smaller one", 12)

class Lacks(_Base):
    name = "lacks"

    def missing(self):
        return "pip install something"

class Lies(_Base):
    name = "lies"

    def solve(self, run):
        from mafl_opt.solvers.greedy import Greedy
        plan = Greedy().solve(run)
        return plan.replace(backend="lies", objective=plan.objective / 2, bound=1e9)

class Odd(_Base):
    name = "odd"

    def solve(self, run):
        from mafl_opt.solvers.greedy import Greedy
        plan = Greedy().solve(run)
        trace = ({"iteration": 1}, {"seconds": "x", "objective": "y", "bound": [1], "event": {}},
                 {"seconds": None, "objective": True}, {"seconds": 0.5, "objective": 1e9})
        return plan.replace(backend="odd", trace=trace)

class Garbles(_Base):
    name = "garbles"

    def solve(self, run):
        from mafl_opt.solvers.greedy import Greedy
        return Greedy().solve(run).replace(backend=3)

class Claims(_Base):
    name = "claims"

    def solve(self, run):
        from mafl_opt.solvers.greedy import Greedy
        plan = Greedy().solve(run)
        return plan.replace(backend="claims", bound=plan.objective)
"""
NAMES = ("raises", "exits", "dies", "sleeps", "refuses", "lacks", "lies", "odd",
         "garbles", "claims")  # fmt: skip


def install_plugins(folder: Path) -> None:
    """Write the package and its entry points into a folder."""
    (folder / "ending_badly.py").write_text(SOURCE, encoding="utf-8")
    info = folder / "ending_badly-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ending-badly\nVersion: 1.0\n")
    points = "\n".join(f"{name} = ending_badly:{name.capitalize()}" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[mafl_opt.solvers]\n{points}\n")
