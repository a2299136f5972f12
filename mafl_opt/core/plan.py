"""The plan: a table of sessions and a header that says where it came from and what it claims."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as _replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.arguments import did_you_mean, require_instance, require_known, require_path
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text, write_text
from mafl_opt.core.status import PointStatus, Termination

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from mafl_opt.core.scenario import Scenario

__all__ = ["COLUMNS", "Plan", "Sessions"]

#: Columns of a plan file, in file order (model page, section 8).
COLUMNS = ("device", "task", "receive", "upload", "cpu_hz", "batch_size", "iterations")
_INDEX = ("device", "task", "receive", "upload")
_HEADER = (
    "backend", "termination", "point", "objective", "bound", "gap", "seconds", "scenario_sha256",
    "versions",
)  # fmt: skip
_EXTRA = ("trace", "certificate")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sessions:
    """Sessions as columns, all of shape (sessions,), read-only.

    device, task : index from 0
    receive, upload : aggregation instants r < u; the session occupies slots r+1..u
    cpu_hz : Hz
    batch_size, iterations : counts. int64; float64 only if a file held a fraction, which `check`
        then reports as a violation of ``integral``.
    """

    device: NDArray[np.int64]
    task: NDArray[np.int64]
    receive: NDArray[np.int64]
    upload: NDArray[np.int64]
    cpu_hz: NDArray[np.float64]
    batch_size: NDArray[Any]
    iterations: NDArray[Any]

    def __post_init__(self) -> None:
        for name in COLUMNS:
            array = np.array(getattr(self, name), dtype=None)
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iuf"):
                raise InputError(f"sessions.{name}", "a column of numbers", array.dtype.name)
            if array.size != np.size(self.device):
                raise InputError(f"sessions.{name}", f"{np.size(self.device)} entries", array.size)
            fractional = False
            if array.dtype.kind == "f":
                bad = np.flatnonzero(~np.isfinite(array))
                if bad.size:
                    raise InputError(
                        f"sessions[{bad[0]}].{name}", "a finite number", array[bad[0]].item()
                    )
                split = np.flatnonzero(array != np.floor(array))
                fractional = split.size > 0
                if name in _INDEX and fractional:
                    where = f"sessions[{split[0]}].{name}"
                    raise InputError(where, "an integer", array[split[0]].item())
            if name == "cpu_hz" or fractional:
                array = array.astype(np.float64, copy=False)
            else:
                ends = (array.min().item(), array.max().item()) if array.size else (0, 0)
                if max(-ends[0], ends[1]) >= 2**62:
                    found = ends[1] if ends[1] >= 2**62 else ends[0]
                    raise InputError(f"sessions.{name}", "integers below 2^62", found)
                array = array.astype(np.int64, copy=False)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return int(self.device.size)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sessions) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in COLUMNS
        )

    # Python sets it to None beside an __eq__; this tells type checkers.
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sessions({len(self)} sessions of {np.unique(self.device).size} devices)"

    def _repr_html_(self) -> str:
        from mafl_opt.core.plan_views import sessions_html

        return sessions_html(self)

    @property
    def staleness(self) -> NDArray[np.int64]:
        """Aggregations tau = u - 1 - r between reception and use; shape (sessions,)."""
        return self.upload - 1 - self.receive

    @property
    def sha256(self) -> str:
        """Digest of the sessions, whatever their order; replays name their plan by it."""
        text = json.dumps(self.sorted().rows(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def empty(cls) -> Sessions:
        """No sessions."""
        return cls.from_rows([])

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], path: str = "sessions") -> Sessions:
        """Build the table from one mapping a session.

        Raises
        ------
        InputError
            On a missing or unknown key, or an entry that is not a number, with its path.
        """
        columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        if not isinstance(rows, Iterable):
            raise InputError(path, "a list of sessions", rows)
        for index, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise InputError(f"{path}[{index}]", "a table with " + ", ".join(COLUMNS), row)
            for key in row:
                if key not in columns:
                    require_known(f"{path}[{index}].{key}", key, COLUMNS)
            for name, column in columns.items():
                value = row.get(name)
                if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
                    raise InputError(f"{path}[{index}].{name}", "a number", value)
                column.append(value)
        return cls(**{name: np.array(column) for name, column in columns.items()})

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict a session, plain numbers."""
        columns = [getattr(self, name).tolist() for name in COLUMNS]
        return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]

    def sorted(self) -> Sessions:
        """Return the same sessions ordered by device, then reception."""
        order = np.lexsort((self.task, self.upload, self.receive, self.device))
        return Sessions(**{name: getattr(self, name)[order] for name in COLUMNS})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """Sessions with a header; what every backend returns and every face reads.

    Attributes
    ----------
    sessions : Sessions
    backend : str
    termination : Termination
        Why the backend stopped.
    point : PointStatus
        What the sessions are.
    objective : float or None
        O of the plan; ``None`` when there is no feasible plan.
    bound : float or None
        No feasible plan of the scenario has a lower objective; ``None`` when nothing is proved.
    gap : float or None
        (objective - bound) / objective.
    seconds : float
        Wall-clock time of the solve.
    scenario_sha256 : str
        Digest of the resolved scenario the plan was made for.
    versions : dict
        Versions of mafl-opt and of the libraries that solved it.
    trace : tuple of dict
        Incumbent and bound over time: ``seconds``, ``objective``, ``bound``, ``event``.
    certificate : dict or None
        Prices and boxes from which the bound can be derived again.
    """

    sessions: Sessions
    backend: str
    termination: Termination
    point: PointStatus
    objective: float | None = None
    bound: float | None = None
    seconds: float = 0.0
    scenario_sha256: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    trace: tuple[Mapping[str, Any], ...] = ()
    certificate: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_instance(
            "sessions", self.sessions, Sessions, "mo.Sessions.from_rows(...) makes one"
        )

    @property
    def gap(self) -> float | None:
        """Distance from the bound, relative to the objective.

        ``None`` when either is missing, or the objective is too small to divide by.
        """
        if self.objective is None or self.bound is None:
            return None
        distance = self.objective - self.bound
        if distance == 0:
            return 0.0
        return (
            distance / abs(self.objective) if abs(self.objective) > 1e-300 * abs(distance) else None
        )

    def replace(self, **changes: Any) -> Plan:
        """Return a copy with attributes replaced."""
        for name in changes:
            require_known(name, name, self.__slots__)
        return _replace(self, **changes)

    def __repr__(self) -> str:
        from mafl_opt.core.plan_views import plan_line

        return f"Plan({plan_line(self)})"

    def _repr_html_(self) -> str:
        from mafl_opt.core.plan_views import plan_html

        return plan_html(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row a session, with units and header in ``attrs``."""
        from mafl_opt.core.plan_views import plan_frame

        return plan_frame(self)

    def to_xarray(self, scenario: Scenario | None = None) -> xr.Dataset:
        """Return R, U and z with frequencies, mini-batches, iterations and staleness.

        Parameters
        ----------
        scenario : Scenario, optional
            Gives the sizes and the names of the tasks; without it, sizes are the least that hold
            the sessions, and tasks are numbered.

        Returns
        -------
        xarray.Dataset
            See `mafl_opt.core.tensors.session_tensors`.

        Raises
        ------
        InputError
            If a session is none of the scenario's, or the tensors would be too large.
        """
        from mafl_opt.core.plan_views import plan_tensors

        return plan_tensors(self, scenario)

    def header(self) -> dict[str, Any]:
        """Return the header as plain values, without the sessions."""
        out: dict[str, Any] = {name: getattr(self, name) for name in _HEADER}
        out["termination"], out["point"] = str(self.termination), str(self.point)
        out["versions"] = dict(self.versions)
        out["trace"] = [dict(entry) for entry in self.trace]
        out["certificate"] = self.certificate
        return out

    def to_json(self) -> str:
        """Return header and sessions as one JSON object."""
        head = json.dumps(self.header(), indent=1, allow_nan=False)[:-2]
        rows = ",\n  ".join(json.dumps(row, allow_nan=False) for row in self.sessions.rows())
        return f'{head},\n "sessions": [{rows and f"{chr(10)}  {rows}{chr(10)} "}]\n}}\n'

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the plan to ``.json`` or ``.parquet``, whole or not at all."""
        require_path("plan", path)
        target = Path(path)
        if target.suffix == ".json":
            write_text(target, self.to_json())
        elif target.suffix == ".parquet":
            from mafl_opt.core.plan_table import write_table

            write_table(target, self.sessions, json.dumps(self.header(), allow_nan=False))
        else:
            raise InputError(str(target), "a name ending in .json or .parquet", target.suffix)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Plan:
        """Read a plan file.

        Raises
        ------
        InputError
            With the path of the field, what was found and what was expected.
        """
        require_path("plan", path)
        source = Path(path)
        if source.suffix == ".parquet":
            from mafl_opt.core.plan_table import read_table

            sessions, header = read_table(source)
            return cls(sessions=sessions, **_header_values(parse_json(header, str(source))))
        return cls.from_dict(parse_json(read_text(source), str(source)))

    @classmethod
    def from_dict(cls, data: Any) -> Plan:
        """Build a plan from the object a ``.json`` file holds; only ``sessions`` is required."""
        if not isinstance(data, dict):
            raise InputError("plan", "a table with the key sessions", data)
        header = {key: value for key, value in data.items() if key != "sessions"}
        rows = data.get("sessions")
        if not isinstance(rows, list):
            raise InputError("plan.sessions", "a list of sessions", rows)
        return cls(sessions=Sessions.from_rows(rows), **_header_values(header))


def _header_values(data: Any) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InputError("plan", "a table", data)
    for key in data:
        if key not in (*_HEADER, *_EXTRA):
            expected = "one of " + ", ".join((*_HEADER, *_EXTRA, "sessions"))
            near = did_you_mean(key, (*_HEADER, *_EXTRA, "sessions"))
            hint = f"unknown key; {near}" if near else "unknown key"
            raise InputError(f"plan.{key}", expected, key, hint)
    out: dict[str, Any] = {"backend": _string(data, "backend", "unknown")}
    for name, kind, missing in (
        ("termination", Termination, Termination.COMPLETED),
        ("point", PointStatus, PointStatus.FEASIBLE),
    ):
        text = _string(data, name, str(missing))
        if text not in kind.__members__:
            raise InputError(f"plan.{name}", "one of " + ", ".join(kind.__members__), text)
        out[name] = kind(text)
    for name in ("objective", "bound", "gap", "seconds"):
        value = data.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(f"plan.{name}", "a number or null", value)
        if value is not None and not abs(value) <= 1e300:
            raise InputError(f"plan.{name}", "a finite number or null", value)
        if name != "gap" and value is not None:
            out[name] = float(value)
    out["scenario_sha256"] = _string(data, "scenario_sha256", "")
    for name, type_ in (("versions", dict), ("trace", list), ("certificate", dict)):
        value = data.get(name)
        if value is not None and not isinstance(value, type_):
            raise InputError(f"plan.{name}", f"a {type_.__name__} or null", value)
    for index, entry in enumerate(data.get("trace") or ()):
        if not isinstance(entry, dict):
            raise InputError(f"plan.trace[{index}]", "a table", entry)
    for key, entry in (data.get("versions") or {}).items():
        if not isinstance(entry, str):
            raise InputError(f"plan.versions.{key}", "a string", entry)
    out["versions"] = data.get("versions") or {}
    out["trace"] = tuple(data.get("trace") or ())
    out["certificate"] = data.get("certificate")
    return out


def _string(data: dict[str, Any], name: str, missing: str) -> str:
    value = data.get(name, missing)
    if not isinstance(value, str):
        raise InputError(f"plan.{name}", "a string", value)
    return value
