"""A certificate read and checked: its claim, its leaves, its tables of prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.proof.entries import listed, number, table, whole
from mafl_opt.core.proof.leaves import Leaf, read_boxes, read_tree
from mafl_opt.core.proof.pattern_prices import PatternPrices
from mafl_opt.core.proof.price_table import PriceTable
from mafl_opt.core.scenario import Scenario

__all__ = ["Contents", "read_certificate"]

#: Version of the format that each kind is of.
_VERSIONS = {"lagrangian": 1, "tree": 1, "milp": 1, "patterns": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is derived from; of kind ``milp`` the certificate inside.

    Attributes
    ----------
    kind : str
        lagrangian, tree or patterns.
    claim : float
    leaves : sequence of Leaf
    tables : sequence of PriceTable, or of PatternPrices for kind patterns
    """

    kind: str
    claim: float
    leaves: Sequence[Leaf]
    tables: Sequence[PriceTable] | Sequence[PatternPrices]


def read_certificate(scenario: Scenario, certificate: Any) -> Contents:
    """Read a certificate of any kind.

    Raises
    ------
    InputError
        On a malformed certificate, with its path, e.g. ``certificate.leaves[2].prices.uplink``.
    """
    data = _header(certificate)
    if data["kind"] == "milp":
        inner = table("certificate", data, ("claimed_by", "proved"))["proved"]
        if isinstance(inner, Mapping) and inner.get("kind") == "milp":
            raise InputError("certificate.proved.kind", "lagrangian, tree or patterns", "milp")
        data = _header(inner)
    leaves: Sequence[Leaf]
    tables: Sequence[PriceTable] | Sequence[PatternPrices]
    if data["kind"] == "lagrangian":
        leaves, tables = read_boxes(scenario, table("certificate", data, ("leaves",))["leaves"])
    else:
        table("certificate", data, ("prices", "tree"))
        entries = listed("certificate.prices", data["prices"], "price tables")
        paths = [(f"certificate.prices[{k}]", entry) for k, entry in enumerate(entries)]
        if data["kind"] == "tree":
            tables = [PriceTable.read(scenario, *entry, energy=False) for entry in paths]
        else:
            tables = [PatternPrices.read(scenario, *entry) for entry in paths]
        counts = data["kind"] == "patterns"
        leaves = read_tree(scenario, data["tree"], len(tables), counts=counts)
    return Contents(
        kind=data["kind"], claim=number("certificate.bound", data["bound"]), leaves=leaves,
        tables=tables,
    )  # fmt: skip


def _header(certificate: Any) -> Mapping[str, Any]:
    """Check kind, version and bound of a certificate."""
    data = table("certificate", certificate, ("kind",))
    version = _VERSIONS.get(data["kind"]) if isinstance(data["kind"], str) else None
    if version is None:
        raise InputError("certificate.kind", "lagrangian, tree, patterns or milp", data["kind"])
    whole("certificate.version", data.get("version", 1), version, version)
    table("certificate", data, ("bound",))
    number("certificate.bound", data["bound"])
    return data
