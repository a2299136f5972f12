"""Which sessions are trained together: much the same mini-batches, and little enough memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Group", "Limits", "form_groups"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be trained together.

    Attributes
    ----------
    session_floats, sample_floats : int
        Numbers held for a session and for each sample of its mini-batch.
    floats : int
        Numbers that a group may hold; one session is always let in.
    step_samples : float
        Samples that take as long as a step costs by itself, however small it is.
    """

    session_floats: int
    sample_floats: int
    floats: int
    step_samples: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Sessions that are trained together, the longest first.

    Attributes
    ----------
    members : tuple of int
        Positions among all sessions.
    steps : tuple of int
        Local steps of each, not increasing.
    rows : (steps, sessions, samples)
        Rows of the training part. Short mini-batches are filled up with samples of their own, so
        that a number that is not finite stays in its session.
    weights : (steps, sessions, samples)
        1 / (size of the mini-batch); 0 for what fills up.
    """

    members: tuple[int, ...]
    steps: tuple[int, ...]
    rows: Tensor
    weights: Tensor

    @property
    def width(self) -> int:
        """Samples of the longest mini-batch."""
        return self.rows.shape[2]


def form_groups(
    batches: Sequence[Tensor | Sequence[Tensor]], limits: Limits, dtype: torch.dtype
) -> Iterator[Group]:
    """Put sessions of at least one step into groups.

    Sorted by mini-batch and steps, a session joins the one before it unless filling up its
    mini-batches takes longer than steps of its own.

    Parameters
    ----------
    batches : one (steps, samples), or sequence of (samples,), a session
        Row numbers of every step of every session.
    """
    sizes = [_sizes(steps) for steps in batches]
    width = list(map(max, sizes))
    members: list[int] = []
    longest = total = 0
    for k in sorted(range(len(batches)), key=lambda k: (width[k], len(batches[k]))):
        steps = len(batches[k])
        room = limits.session_floats + width[k] * limits.sample_floats
        if members:
            widened = (width[k] - width[members[-1]]) * total
            spared = min(longest, steps) * limits.step_samples
            if widened > spared or (len(members) + 1) * room > limits.floats:
                yield _lay_out(members, batches, sizes, dtype)
                members, longest, total = [], 0, 0
        members.append(k)
        longest, total = max(longest, steps), total + steps
    if members:
        yield _lay_out(members, batches, sizes, dtype)


def _sizes(batches: Tensor | Sequence[Tensor]) -> list[int]:
    if isinstance(batches, Tensor):
        return [batches.shape[1]] * batches.shape[0]
    return [batch.numel() for batch in batches]


def _lay_out(
    members: Sequence[int],
    batches: Sequence[Tensor | Sequence[Tensor]],
    sizes: Sequence[Sequence[int]],
    dtype: torch.dtype,
) -> Group:
    members = sorted(members, key=lambda k: -len(sizes[k]))
    steps = [len(sizes[k]) for k in members]
    parts: list[Tensor] = []
    for k in members:
        whole = batches[k]
        parts += (whole.flatten(),) if isinstance(whole, Tensor) else whole
    entries = torch.cat(parts)
    size = torch.tensor([size for k in members for size in sizes[k]])
    place = torch.arange(int(size.max()))
    # Sample p of a mini-batch of n is its sample p mod n: itself, or what fills up.
    source = (size.cumsum(0) - size)[:, None] + place % size[:, None]
    weights = (place < size[:, None]).to(dtype) / size[:, None]
    # Steps that a shorter session does not do point anywhere; they are never looked at.
    first = torch.tensor(steps).cumsum(0) - torch.tensor(steps)
    index = (first + torch.arange(steps[0])[:, None]).clamp_(max=len(size) - 1)
    return Group(
        members=tuple(members),
        steps=tuple(steps),
        rows=entries[source[index].to(entries.device)],
        weights=weights[index].to(entries.device),
    )
