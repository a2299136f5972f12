"""Two runs at once do not mix: the second one is refused before it has written anything."""

from __future__ import annotations

import pytest
from federated_runs import small_run, small_system
from replay_inputs import plan_of, point_clouds, replay_scenario
from small_scenarios import plain_scenario

from mafl_opt.core.errors import InputError
from mafl_opt.core.locks import sole_use
from mafl_opt.core.scenario import Scenario
from mafl_opt.report.comparison import compare
from mafl_opt.solvers.registry import solve
from mafl_opt.validation.replay import replay

DRAWN = {"tasks": 1, "slots": 3, "seed": 0}


def search(path, devices, **options):
    solve(Scenario.draw(devices=devices, **DRAWN), "prices", **options)


RUNS = {
    "small fleet": lambda path: search(path, 2, checkpoint=str(path)),
    "large fleet": lambda path: search(path, 41, checkpoint=str(path)),
    "replay": lambda path: replay(
        replay_scenario(), plan_of((0, 0, 0, 1, 12, 3)), data={"points": point_clouds()},
        checkpoint=path,
    ),
    "federate": lambda path: small_run(small_system("fedavg"), checkpoint=path),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_checkpoint_in_use_is_refused(name, tmp_path):
    path = tmp_path / ("a.json" if name == "small fleet" else "a.npz")
    with sole_use(path):
        with pytest.raises(InputError, match="nobody else is writing to it"):
            RUNS[name](path)
        assert not path.exists()


def test_folder_in_use_is_refused(tmp_path):
    with sole_use(tmp_path):
        with pytest.raises(InputError, match="nobody else is writing to it"):
            compare(plain_scenario(), ["greedy"], out=tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".mafl-opt.lock"]
