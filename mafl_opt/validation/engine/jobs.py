"""What passes between a server and its clients: jobs go out, deliveries come back.

A server is a pure state machine. It keeps nothing between calls: every method takes a state and
returns the next one together with the jobs it hands out. The clocks (`virtual_time`, `real_time`)
own time and order and nothing else, so both run the same server code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from mafl_opt.core.errors import InputError

__all__ = ["Delivery", "Failure", "Job", "Server", "Train", "Turn", "Work"]

OPTIMIZERS = ("sgd", "adam")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Local training of one session.

    Attributes
    ----------
    batch_size : int
        Cut to what the client holds.
    steps : int or None
        Steps I, each on a mini-batch drawn afresh without replacement.
    epochs : int or None
        Passes over the client's data in a new order each; exactly one of the two is given.
    learning_rate : float
    proximal : float
        rho of rho/2 |y - w|^2, w the received model.
    optimizer : {"sgd", "adam"}
    """

    batch_size: int
    learning_rate: float
    steps: int | None = None
    epochs: int | None = None
    proximal: float = 0.0
    optimizer: str = "sgd"

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise InputError("work.steps", "either steps or epochs", (self.steps, self.epochs))
        for name in ("batch_size", "steps", "epochs"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or value != int(value) or value < 1):
                raise InputError(f"work.{name}", "an integer >= 1", value)
        if not 0 < self.learning_rate < math.inf:
            raise InputError("work.learning_rate", "a finite number > 0", self.learning_rate)
        if not 0 <= self.proximal < math.inf:
            raise InputError("work.proximal", "a finite number >= 0", self.proximal)
        if self.optimizer not in OPTIMIZERS:
            raise InputError("work.optimizer", " or ".join(OPTIMIZERS), self.optimizer)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One session in a client's hands.

    Attributes
    ----------
    number : int
        Order of hand-out; no two jobs of a run share it.
    client, task : int
    version : int
        Aggregations that the received model has behind it.
    start : (parameters,)
        The received model; never changed.
    work : Work
    stream : tuple of int
        Key of the random stream of the mini-batches.
    due_s : float
        Virtual time at which the result is with the server; infinity: it never comes.
    limit_s : float
        Virtual time at which the server gives the session up; infinity: it does not.
    """

    number: int
    client: int
    task: int
    version: int
    start: Tensor
    work: Work
    stream: tuple[int, ...]
    due_s: float
    limit_s: float = math.inf

    @property
    def end_s(self) -> float:
        """When the session is over for the server, one way or the other; virtual s."""
        return min(self.due_s, self.limit_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a session is lost.

    ``raised``: the client's training raised or returned no vector of the model's size; ``late``: it
    came after its limit, or never; ``not finite``: NaN or infinity in the result.
    """

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delivery:
    """The end of a session: its result, or why there is none.

    time_s : virtual s; result : (parameters,) or a `Failure`
    """

    job: Job
    time_s: float
    result: Tensor | Failure


State = TypeVar("State")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turn(Generic[State]):
    """What a server makes of an event: its next state and the jobs it hands out."""

    state: State
    jobs: tuple[Job, ...] = ()


class Server(Protocol[State]):
    """The rules of a run, without time.

    `instants_s` are the virtual times at which `tick` is called, rising.
    """

    @property
    def instants_s(self) -> Sequence[float]:
        """Virtual times of the ticks, s."""

    def begin(self) -> Turn[State]:
        """State and jobs at time 0."""

    def receive(self, state: State, delivery: Delivery) -> Turn[State]:
        """Take the end of a session."""

    def tick(self, state: State, index: int) -> Turn[State]:
        """Do what is due at ``instants_s[index]``."""

    def finished(self, state: State) -> bool:
        """Whether the run is over, whatever is still in flight."""


#: Trains jobs, all that are given at once; one result or failure each, in order. It never raises
#: for what a client does.
Train = Callable[[Sequence[Job]], "list[Tensor | Failure]"]
