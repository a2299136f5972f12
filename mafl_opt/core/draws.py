"""Values of a scenario file made into arrays: numbers, lists along an axis, and draws.

A value is a number (the same for every entry), a list along one axis whose entries are values
again, or a table that says how to draw, e.g. ``{ log_uniform = [1e8, 2e9], per = "device" }``.
Every field, and every entry of a list of draws, has its own stream of random numbers, so changing
one never changes the numbers of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mafl_opt.core.errors import InputError
from mafl_opt.core.fields import Field, array_from
from mafl_opt.core.samplers import SAMPLERS, draw_gain, generator, split_total

__all__ = ["AXES", "array_from_spec", "axis_of"]

#: What a file calls an axis, and the letter of `Field.dims`.
AXES = {"slot": "G", "device": "I", "task": "J"}

Array = NDArray[Any]
Table = dict[str, Any]
Sizes = Mapping[str, int]


def array_from_spec(field: Field, spec: Any, sizes: Sizes, seed: int) -> Array:
    """Make the array of a field from what the file says.

    Parameters
    ----------
    field : Field
        Entry of `FIELDS` of kind float, int or bool.
    spec : number, list or dict
        A number for every entry; a list along one axis, whose entries are such values again; or
        a table that draws.
    sizes : mapping
        Length of the axes G, I and J.
    seed : int
        Seed of the file; each field draws from the stream of (seed, path of the field).

    Returns
    -------
    array : shape given by ``field.dims``

    Raises
    ------
    InputError
        With the path of the entry, e.g. ``pairs.samples[2].total``.
    """
    if isinstance(spec, dict):
        return _from_table(field, spec, sizes, seed)
    if isinstance(spec, list):
        return _from_list(field, spec, sizes, seed)
    number = array_from(_part(field, field.path, ""), spec, {})
    return np.broadcast_to(number, _shape(field.dims, sizes))


def _part(field: Field, path: str, dims: str) -> Field:
    """Return the field of one entry, so that errors carry the entry's path."""
    return replace(field, group="", name=path, dims=dims)


def _shape(dims: str, sizes: Sizes) -> tuple[int, ...]:
    return tuple(sizes[axis] for axis in dims)


# -- lists ---------------------------------------------------------------------------------


def _from_list(field: Field, entries: list[Any], sizes: Sizes, seed: int) -> Array:
    if not field.dims:
        raise InputError(field.path, field.expected, entries)
    return _stack(field, entries, axis_of(field, entries, sizes), sizes, seed)


def axis_of(field: Field, entries: list[Any], sizes: Sizes) -> str:
    """Tell from its entries and its length along which axis a list runs."""
    if len(field.dims) == 1 or any(isinstance(entry, list) for entry in entries):
        return field.dims[0]
    fitting = [axis for axis in field.dims if sizes[axis] == len(entries)]
    nouns = {letter: noun for noun, letter in AXES.items()}
    if not fitting:
        words = " or ".join(f"{sizes[axis]} (one a {nouns[axis]})" for axis in field.dims)
        raise InputError(field.path, f"a list of {words} entries", f"{len(entries)} entries")
    if len(fitting) > 1 and len(entries) > 1:
        hint = " or ".join(f'{{ per = "{nouns[axis]}", values = [...] }}' for axis in fitting)
        raise InputError(field.path, "a list that fits one axis", "one that fits two", hint)
    return fitting[0]


def _stack(field: Field, entries: list[Any], axis: str, sizes: Sizes, seed: int) -> Array:
    if len(entries) != sizes[axis]:
        noun = next(noun for noun, letter in AXES.items() if letter == axis)
        expected = f"{sizes[axis]} entries (one for each {noun})"
        raise InputError(field.path, expected, f"{len(entries)} entries")
    if not any(isinstance(entry, (dict, list)) for entry in entries):
        numbers = array_from(replace(field, dims=axis), entries, dict(sizes))
        ones = tuple(sizes[letter] if letter == axis else 1 for letter in field.dims)
        return np.broadcast_to(numbers.reshape(ones), _shape(field.dims, sizes))
    rest = field.dims.replace(axis, "")
    parts = [
        array_from_spec(_part(field, f"{field.path}[{index}]", rest), entry, sizes, seed)
        for index, entry in enumerate(entries)
    ]
    return np.stack(parts, axis=field.dims.index(axis))


# -- tables --------------------------------------------------------------------------------


def _from_table(field: Field, table: Table, sizes: Sizes, seed: int) -> Array:
    admitted = _admitted(field)
    found = [key for key in table if key in admitted]
    if len(found) != 1:
        words = f"{field.expected}, a list, or a table with one of {', '.join(admitted)}"
        raise InputError(field.path, words, table)
    kind = found[0]
    keys = (kind, *_EXTRA.get(kind, ("per",)))
    for key in table:
        if key not in keys:
            raise InputError(f"{field.path}.{key}", "one of " + ", ".join(keys), key, "unknown key")
    if kind == "values":
        return _from_values(field, table, sizes, seed)
    if kind == "total":
        if field.dims == "IJ":
            return _stack(field, [table] * sizes["J"], "J", sizes, seed)
        return split_total(field, table, sizes, seed)
    if kind == "path_loss_db":
        return draw_gain(field, table[kind], sizes, seed)
    per = _per(field, table)
    drawn = SAMPLERS[kind](generator(seed, field.path), _shape(per, sizes), table, field)
    ones = tuple(sizes[axis] if axis in per else 1 for axis in field.dims)
    return np.broadcast_to(drawn.reshape(ones), _shape(field.dims, sizes))


def _admitted(field: Field) -> tuple[str, ...]:
    root = field.path.partition("[")[0]
    kinds = {
        "float": ("uniform", "log_uniform", "normal", "choice", "integers"),
        "int": ("choice", "integers"),
        "bool": ("probability",),
    }[field.kind]
    special = {"pairs.samples": ("total",), "network.gain": ("path_loss_db",)}.get(root, ())
    return (*kinds, *special, *(("values",) if field.dims else ()))


_EXTRA = {"normal": ("min", "max", "per"), "total": ("dirichlet", "min"), "path_loss_db": ()}


def _per(field: Field, table: Table) -> str:
    """Return the axes along which draws differ: all of them, or the one named by ``per``."""
    if "per" not in table:
        return field.dims
    nouns = [noun for noun, letter in AXES.items() if letter in field.dims]
    name = table["per"]
    if not isinstance(name, str) or name not in nouns:
        expected = " or ".join(nouns) if nouns else "no key per (the field is one number)"
        raise InputError(f"{field.path}.per", expected, name)
    return AXES[name]


def _from_values(field: Field, table: Table, sizes: Sizes, seed: int) -> Array:
    values = table["values"]
    if not isinstance(values, list):
        raise InputError(f"{field.path}.values", "a list", values)
    axes = _per(field, table)
    axis = axes if len(axes) == 1 else axis_of(field, values, sizes)
    return _stack(field, values, axis, sizes, seed)
