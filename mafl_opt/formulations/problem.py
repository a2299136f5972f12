"""Problem P: the scenario seen as an optimisation problem (model page, section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.inputs import require_scenario
from mafl_opt.core.notebook import html_table
from mafl_opt.core.plan import Sessions
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.tensors import scheduling_tensors
from mafl_opt.formulations.bound import task_bounds
from mafl_opt.formulations.candidates import Candidates, enumerate_candidates
from mafl_opt.formulations.pricing import DeviceProgram
from mafl_opt.formulations.radio import compute_energy, downlink_times, uplink_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from mafl_opt.formulations.classify import BlockVerdict, Evidence

__all__ = ["ConstraintBlock", "ConstraintClass", "Problem", "session_energy"]

# Columns that are listed in about a second.
_LISTED = 3_000_000


class ConstraintClass(StrEnum):
    """Convexity class of a constraint block in the natural form."""

    CEQ = "convex equality"
    CIE = "convex inequality"
    NEQ = "non-convex equality"
    NIE = "non-convex inequality"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintBlock:
    """One family of constraints of P.

    Attributes
    ----------
    id : str
        Name used by the checker and in error messages.
    kind : ConstraintClass
        Class in the natural form, where x, f, B and l are variables.
    shape : tuple of int
        How many constraints, by axis; `axes` names the axes.
    equation : str
        The constraint in the symbols of the model page.
    """

    id: str
    kind: ConstraintClass
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    equation: str

    @property
    def size(self) -> int:
        """Number of scalar constraints."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """P for one scenario: columns, constraint blocks, objective, and the maps to R, U, z.

    Attributes
    ----------
    scenario : Scenario
    """

    scenario: Scenario

    def __post_init__(self) -> None:
        require_scenario(self.scenario)

    def __repr__(self) -> str:
        return f"Problem({self._sizes()})"

    def _repr_html_(self) -> str:
        if "columns" not in self.__dict__:
            return html_table(f"Problem P: {self._sizes()}", (), ())
        rows = [(block.id, block.kind.value, block.size, block.equation) for block in self.blocks]
        heads = ("block", "class", "constraints", "equation")
        return html_table(f"Problem P: {self._sizes()}", heads, rows)

    def _sizes(self) -> str:
        s = self.scenario
        sizes = f"{s.num_devices} devices, {s.num_tasks} tasks, {s.num_slots} slots"
        # Listing them is work that a glance at the problem must not start.
        if "columns" in self.__dict__:
            sizes += f", {self.num_sessions} sessions in {len(self.columns)} columns"
        return sizes

    @cached_property
    def columns(self) -> Candidates:
        """Every session that can exist, with its iteration count."""
        return enumerate_candidates(self.scenario)

    @cached_property
    def program(self) -> DeviceProgram:
        """The dynamic program of every device over `columns`."""
        return DeviceProgram(self.scenario, self.columns)

    @cached_property
    def num_sessions(self) -> int:
        """Number of sessions (i, j, r, u) that can exist."""
        c = self.columns
        return len(
            set(
                zip(
                    c.device.tolist(),
                    c.task.tolist(),
                    c.receive.tolist(),
                    c.upload.tolist(),
                    strict=True,
                )
            )
        )

    @property
    def is_listable(self) -> bool:
        """Whether listing the columns takes no more than a second or two."""
        s = self.scenario
        arcs = s.num_slots * (1 + int(s.tasks.staleness_max.max()))
        return s.num_devices * arcs * int(s.tasks.iterations_max.sum()) <= _LISTED

    @cached_property
    def untrainable_task(self) -> str | None:
        """Name of the first task of positive weight without a session that can exist."""
        tasks = self.scenario.tasks
        for j in sorted(set(range(len(tasks.name))) - set(self.columns.task.tolist())):
            if tasks.weight[j] > 0:
                return tasks.name[j]
        return None

    @cached_property
    def blocks(self) -> tuple[ConstraintBlock, ...]:
        """The constraint blocks of P, in the order of the model page's table."""
        s, kind = self.scenario, ConstraintClass
        slots, devices, tasks, n = s.num_slots, s.num_devices, s.num_tasks, self.num_sessions
        rows = (
            ("flow", kind.CEQ, {"tensor": 3, "slot": slots, "device": devices, "task": tasks},
             "R[g,i,j] = sum x_s (r = g); U[g,i,j] = sum x_s (u = g); "
             "z[g,i,j] = sum x_s (r < g <= u)"),
            ("exclusive", kind.CIE, {"slot": slots, "device": devices}, "sum_j z[g,i,j] <= 1"),
            ("uplink", kind.CIE, {"slot": slots}, "sum_ij U[g,i,j] <= n_up[g]"),
            ("staleness", kind.CIE, {"session": n}, "tau_s = u - 1 - r <= K_j"),
            ("available", kind.CIE, {"session": n},
             "avail[g,i] = 1 for r < g <= u; t_D <= T_{r+1}; t_U <= T_u"),
            ("box", kind.CIE, {"variable": 3, "session": n},
             "f_min <= f <= f_max; 1 <= B <= min(B_max, D); 1 <= l <= l_max"),
            ("integral", kind.NEQ, {"variable": 3, "session": n}, "x - x^2 = 0; B, l integer"),
            ("ratio", kind.NEQ, {"task": tasks}, "Xi_j A_j = N_j"),
            ("deadline", kind.NIE, {"session": n}, "t_D + cyc l B / f + t_U <= t_u - t_r"),
            ("energy", kind.NIE, {"device": devices}, "sum x_s E_s <= E_i"),
            ("step_cap", kind.NIE, {"slot": slots, "task": tasks},
             "sum x_s c_s C1(l_s) over u = g <= theta_j"),
        )  # fmt: skip
        return tuple(
            ConstraintBlock(
                id=name, kind=k, axes=tuple(axes), shape=tuple(axes.values()), equation=eq
            )
            for name, k, axes, eq in rows
        )

    def classify(
        self, natural: Mapping[str, Evidence] | None = None,
        lifted: Mapping[str, Evidence] | None = None, *, seed: int = 0,
    ) -> tuple[BlockVerdict, ...]:  # fmt: skip
        """Class of every block with evidence; see `mafl_opt.formulations.classify`.

        Alone, this finds the witnesses of the non-convex blocks. `mafl_opt.classify` brings the
        evidence for the convex ones, which takes a modelling language.
        """
        from mafl_opt.formulations.classify import classify_blocks

        return classify_blocks(self, natural, lifted, seed=seed)

    def objective(self, sessions: Sessions) -> float:
        """O = sum_j gamma_j Xi_j + xi sum_s E_s; inf when a weighted task is never trained."""
        weight = self.scenario.tasks.weight
        ratios = task_bounds(self.scenario, sessions).bound
        spent = session_energy(self.scenario, sessions).sum()
        used = weight > 0
        return float(weight[used] @ ratios[used] + self.scenario.energy_weight * spent)

    # -- maps between sessions and tensors ----------------------------------------------------

    def tensors(self, sessions: Sessions) -> xr.Dataset:
        """Return the scheduling tensors of a plan as labelled arrays.

        Returns
        -------
        xarray.Dataset
            ``R`` over instants 0..G-1, ``U`` and ``z`` over slots 1..G, each by device and task,
            int8 (model page, section 2).
        """
        s = self.scenario
        return scheduling_tensors(
            sessions, slots=s.num_slots, devices=s.num_devices, tasks=s.tasks.name
        )

    def pair_sessions(self, tensors: xr.Dataset) -> list[tuple[int, int, int, int]]:
        """Inverse of `tensors`: the sessions (device, task, receive, upload) behind R and U.

        A device's sessions never overlap, so its k-th reception pairs with its k-th upload.

        Raises
        ------
        InputError
            When R and U do not pair up, or belong to crossing sessions.
        """
        received, used = tensors["R"].values, tensors["U"].values
        out = []
        for i in range(self.scenario.num_devices):
            starts = [(int(g), int(j)) for g, j in np.argwhere(received[:, i, :])]
            ends = [(int(g) + 1, int(j)) for g, j in np.argwhere(used[:, i, :])]
            if len(starts) != len(ends):
                raise InputError(
                    f"U[:,{i},:]", f"{len(starts)} uploads, one a reception", len(ends)
                )
            free = 0
            for (r, j), (u, j_up) in zip(starts, ends, strict=True):
                if j != j_up or u <= r or r < free:
                    raise InputError(
                        f"R[{r},{i},{j}]", "a later upload of the same task", (u, j_up)
                    )
                out.append((i, j, r, u))
                free = u
        return out


def session_energy(scenario: Scenario, sessions: Sessions) -> NDArray[Any]:
    """Energy E_C + E_U + E_D of every session (model page, section 3); (sessions,), J."""
    i, j = sessions.device, sessions.task
    d = scenario.devices
    cycles = scenario.pairs.cycles_per_sample[i, j] * sessions.iterations * sessions.batch_size
    up = uplink_times(scenario)[sessions.upload - 1, i, j]
    down = downlink_times(scenario)[sessions.receive, i, j]
    compute = compute_energy(d.capacitance[i], cycles, sessions.cpu_hz)
    return np.asarray(compute + d.tx_power_w[i] * up + d.rx_power_w[i] * down)
