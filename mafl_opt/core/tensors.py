"""Sessions as labelled tensors over instants or slots, devices and tasks (model page, 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Sessions

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["check_size", "scheduling_tensors", "session_tensors"]

#: Entries of a tensor: above, its sessions are better looked at as a table.
MAX_CELLS = 1 << 28


def scheduling_tensors(
    sessions: Sessions, *, slots: int, devices: int, tasks: Sequence[str]
) -> xr.Dataset:
    """Return R, U and z of sessions.

    Parameters
    ----------
    sessions : Sessions
    slots, devices : int
    tasks : sequence of str
        Their names.

    Returns
    -------
    xarray.Dataset
        ``R`` over instants 0..G-1, ``U`` and ``z`` over slots 1..G, each by device and task, int8
        (model page, eqs. 1 and 2).

    Raises
    ------
    InputError
        If a session lies outside, or the tensors would be too large.
    """
    import xarray as xr

    _check_ends(sessions, slots, devices, len(tasks))
    shape = (slots, devices, len(tasks))
    where = (sessions.device, sessions.task)
    received, used = np.zeros(shape, dtype=np.int8), np.zeros(shape, dtype=np.int8)
    np.add.at(received, (sessions.receive, *where), 1)
    np.add.at(used, (sessions.upload - 1, *where), 1)
    # Busy from reception on, free again from the slot after the upload.
    busy = np.cumsum(received, axis=0, dtype=np.int8)
    busy[1:] -= np.cumsum(used, axis=0, dtype=np.int8)[:-1]
    one = {"units": "1"}
    return xr.Dataset(
        {
            "R": (
                ("instant", "device", "task"), received,
                {**one, "long_name": "device receives the task's model at the instant"},
            ),
            "U": (
                ("slot", "device", "task"), used,
                {**one, "long_name": "device's model enters the aggregation that ends the slot"},
            ),
            "z": (
                ("slot", "device", "task"), busy,
                {**one, "long_name": "device works on the task in the slot"},
            ),
        },
        coords={
            "instant": np.arange(slots), "slot": np.arange(1, slots + 1),
            "device": np.arange(devices), "task": list(tasks),
        },
    )  # fmt: skip


def session_tensors(
    sessions: Sessions, *, slots: int, devices: int, tasks: Sequence[str]
) -> xr.Dataset:
    """Return R, U and z with how the sessions are run, which stands at the slot of the upload.

    Parameters, errors : as `scheduling_tensors`, whose variables these join:

    ``cpu_hz`` (NaN without a session), ``batch_size``, ``iterations`` and ``staleness`` (-1 without
    one), all over slot, device and task.
    """
    out = scheduling_tensors(sessions, slots=slots, devices=devices, tasks=tasks)
    place = (sessions.upload - 1, sessions.device, sessions.task)
    shape = (slots, devices, len(tasks))
    for name, empty, unit, words in (
        ("cpu_hz", np.nan, "Hz", "CPU frequency"),
        ("batch_size", 0, "samples", "mini-batch"),
        ("iterations", 0, "1", "SGD iterations"),
        ("staleness", -1, "aggregations", "aggregations between reception and use"),
    ):
        values: NDArray[Any] = getattr(sessions, name)
        array = np.full(shape, empty, dtype=values.dtype)
        array[place] = values
        attrs = {"units": unit, "long_name": f"{words} of the session that ends with the slot"}
        out[name] = (("slot", "device", "task"), array, attrs)
    return out


def check_size(slots: int, devices: int, tasks: int) -> None:
    """Refuse tensors that would take too much memory.

    Raises
    ------
    InputError
    """
    if slots * devices * tasks > MAX_CELLS:
        found = f"{slots} x {devices} x {tasks}"
        raise InputError(
            "sessions", f"tensors of at most {MAX_CELLS} entries", found, "to_pandas gives a table"
        )


def _check_ends(sessions: Sessions, slots: int, devices: int, tasks: int) -> None:
    check_size(slots, devices, tasks)
    last = {"device": devices - 1, "task": tasks - 1, "receive": slots - 1, "upload": slots}
    for name, high in last.items():
        column, low = getattr(sessions, name), 1 if name == "upload" else 0
        for k in np.flatnonzero((column < low) | (column > high))[:1]:
            where = f"sessions[{k}].{name}"
            raise InputError(where, f"an integer from {low} to {high}", int(column[k]))
    for k in np.flatnonzero(sessions.receive >= sessions.upload)[:1]:
        raise InputError(f"sessions[{k}].upload", "after receive", int(sessions.upload[k]))
