"""What class each constraint block of P has, with evidence (model page, sections 6.1 and 7).

A block is shown to be non-convex by a witness: two points that satisfy it and whose midpoint does
not, on the numbers of the scenario. That a block is convex is shown elsewhere, by an expression
that compiles under the rules of disciplined convex programming (`mafl_opt.solvers.dcp`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mafl_opt.core.errors import MaflError
from mafl_opt.formulations.problem import ConstraintClass, Problem
from mafl_opt.formulations.surrogates import SURROGATES
from mafl_opt.formulations.witness import Witness, find_witness

__all__ = ["BlockVerdict", "ClassError", "Evidence", "classify_blocks"]

_CONVEX = (ConstraintClass.CEQ, ConstraintClass.CIE)
_EQUALITY = (ConstraintClass.CEQ, ConstraintClass.NEQ)

#: What successive convex approximation does without a surrogate.
_NO_SURROGATE = {
    "deadline": "none: f is eliminated, which leaves a limit on B for each l",
    "step_cap": "none: sessions are told apart by l, which makes C1(l) a number",
}
#: How the lifted form makes a non-convex block convex.
_LIFTED = {
    "integral": "not: x and l are relaxed or branched on, B follows in closed form",
    "ratio": "N is convex in (x, b); N / A by its envelope on boxes of A, branched",
    "deadline": "f eliminated, sessions by l, work b = x B: linear, b <= x f_max T' / (cyc l)",
    "energy": "f eliminated, sessions by l, work b = x B: power cone b^3 / x^2, and linear",
    "step_cap": "sessions by l: linear in x",
}


class ClassError(MaflError):
    """A block is not what `Problem.blocks` declares it to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An expression that was put before a modelling language's convexity rules.

    Attributes
    ----------
    expression : str
        The constraint as it was written there.
    compiled : bool
        Whether the rules accepted it and a conic solver's input came out.
    """

    expression: str
    compiled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockVerdict:
    """One block with its class and what speaks for it.

    Attributes
    ----------
    id, equation : str
    size : int
        Number of scalar constraints.
    declared : ConstraintClass
    computed : ConstraintClass or None
        What the evidence shows; ``None`` when there is none either way. On numbers that make a
        constraint slack everywhere, a block that is non-convex in general has no witness.
    natural : Evidence or None
        Of the block in the natural form.
    witness : Witness or None
    surrogate : str
        What successive convex approximation puts in its place; empty for convex blocks.
    lifted : str
        How the lifted form makes it convex; empty for convex blocks.
    lifted_evidence : Evidence or None
    """

    id: str
    equation: str
    size: int
    declared: ConstraintClass
    computed: ConstraintClass | None
    natural: Evidence | None
    witness: Witness | None
    surrogate: str
    lifted: str
    lifted_evidence: Evidence | None

    @property
    def convex(self) -> bool:
        """Whether the block is declared convex."""
        return self.declared in _CONVEX

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "id": self.id,
            "class": self.declared.name,
            "computed": None if self.computed is None else self.computed.name,
            "constraints": self.size,
            "equation": self.equation,
            "natural": _plain(self.natural),
            "witness": None if self.witness is None else self.witness.to_dict(),
            "surrogate": self.surrogate,
            "lifted": self.lifted,
            "lifted_evidence": _plain(self.lifted_evidence),
        }


def classify_blocks(
    problem: Problem,
    natural: Mapping[str, Evidence] | None = None,
    lifted: Mapping[str, Evidence] | None = None,
    *,
    seed: int = 0,
) -> tuple[BlockVerdict, ...]:
    """Classify every block of a problem.

    Parameters
    ----------
    problem : Problem
    natural, lifted : mapping, optional
        Evidence by block, of the natural and of the lifted form.
    seed : int
        Of the points among which witnesses are looked for.

    Returns
    -------
    verdicts : tuple of BlockVerdict
        In the order of `Problem.blocks`.

    Raises
    ------
    ClassError
        When a block declared convex has a witness or does not compile, or a witness meets an
        expression that compiled.
    """
    natural, lifted = natural or {}, lifted or {}
    rng = np.random.default_rng(seed)
    verdicts = []
    for block in problem.blocks:
        shown, witness = natural.get(block.id), find_witness(problem, block.id, rng)
        convex = block.kind in _CONVEX
        if not (convex or len(problem.columns)):
            # Without a session there is nothing to show: an empty expression always compiles.
            shown = None
        if witness is not None and (convex or (shown is not None and shown.compiled)):
            raise ClassError(
                f"block {block.id} is {'declared' if convex else 'shown to be'} convex, yet at "
                f"{witness.where} two of its points have a midpoint that breaks it by "
                f"{witness.amount:.3g} {witness.unit}"
            )
        if convex and shown is not None and not shown.compiled:
            raise ClassError(
                f"block {block.id} is declared convex, yet does not compile: {shown.expression}"
            )
        verdicts.append(
            BlockVerdict(
                id=block.id,
                equation=block.equation,
                size=block.size,
                declared=block.kind,
                computed=_computed(block.kind in _EQUALITY, shown, witness),
                natural=shown,
                witness=witness,
                surrogate="" if convex else _surrogate(block.id),
                lifted=_LIFTED.get(block.id, ""),
                lifted_evidence=lifted.get(block.id),
            )
        )
    return tuple(verdicts)


def _computed(
    equality: bool, shown: Evidence | None, witness: Witness | None
) -> ConstraintClass | None:
    if witness is not None:
        return ConstraintClass.NEQ if equality else ConstraintClass.NIE
    if shown is not None and shown.compiled:
        return ConstraintClass.CEQ if equality else ConstraintClass.CIE
    return None


def _surrogate(block: str) -> str:
    used = [surrogate.equation for surrogate in SURROGATES if block in surrogate.blocks]
    return "; ".join(used) or _NO_SURROGATE[block]


def _plain(evidence: Evidence | None) -> dict[str, Any] | None:
    if evidence is None:
        return None
    return {"expression": evidence.expression, "compiled": evidence.compiled}
