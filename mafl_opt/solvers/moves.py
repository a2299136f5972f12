"""Simulated annealing over single sessions, compiled: the moves and the loop around them.

Plain sequential arithmetic on the totals of a schedule. Every random number is drawn by the caller,
so the same draws make the same moves on any machine.
"""

from __future__ import annotations

import numpy as np

from mafl_opt.core.compiling import compiled
from mafl_opt.solvers.state import LOG

__all__ = ["DRAWS", "anneal"]

_compiled = compiled(nogil=True, error_model="numpy")

#: Random numbers in [0, 1) that a move uses.
DRAWS = 5
# Shares of the moves, cumulated: another session, another iteration count, another batch size,
# batch sizes of two sessions of a device; the rest takes a session out.
_INSERT, _ITERATIONS, _BATCH, _PAIR = 0.55, 0.7, 0.85, 0.97


@_compiled
def _energy(c, batch):
    speed = max(c.f_min, c.pace * batch)
    return c.fixed + c.unit * batch * speed * speed


@_compiled
def _within(c, energy):
    """Largest batch size within an energy; 0 where not even 1 is."""
    left = energy - c.fixed
    if left < 0.0:
        return 0
    most = float(c.batch_hi)
    if c.unit > 0.0:
        share = left / c.unit
        most = min(most, min(share / c.f_min**2, np.cbrt(share / c.pace**2)) * (1.0 + 1e-12))
    batch = int(most)
    if batch > 0 and _energy(c, batch) > energy:
        batch -= 1
    return batch


@_compiled
def _best(c, error_price, energy_price):
    """Best batch size (fact 2), to the nearest: its neighbours are a move away."""
    gain, work = error_price * c.noise, energy_price * c.unit
    if not gain > 0.0:
        return 1
    if not work > 0.0:
        return c.batch_hi
    square = np.sqrt(gain / work)
    fast = np.sqrt(square * c.pace / np.sqrt(3.0))
    best = min(square / c.f_min, max(c.f_min, fast) / c.pace)
    return int(min(max(best + 0.5, 1.0), float(c.batch_hi)))


@_compiled
def _energy_price(s, c, batch):
    """Return what a joule more would gain in a session's batch size."""
    t = s.tasks[c.task]
    slope = c.unit * max(c.f_min**2, 3.0 * (c.pace * batch) ** 2)
    return t.weight / t.progress * c.noise / batch**2 / slope


@_compiled
def _book(s, n, k, batch, sign):
    """Put a session in or take it out, as entry `n` of the log; returns the next."""
    c = s.columns[k]
    t = s.tasks[c.task]
    t.numerator += sign * (c.error + c.noise / batch)
    t.progress += sign * c.progress
    t.sessions += sign
    energy = sign * _energy(c, batch)
    s.devices[c.device].energy += energy
    s.spent[0] += energy
    s.slots[c.upload - 1].uploads += sign
    s.step[c.upload - 1, c.task] += sign * c.step
    put = sign > 0
    for g in range(c.receive, c.upload):
        s.held[c.device, g] = k if put else -1
    s.batch[c.device, c.receive] = batch if put else 0
    s.log[n, 0], s.log[n, 1], s.log[n, 2] = k, batch, sign
    return n + 1


@_compiled
def _drop(s, n, k):
    return _book(s, n, k, s.batch[s.columns[k].device, s.columns[k].receive], np.int64(-1))


@_compiled
def _replay(s, n, sign):
    """Make the first `n` changes of the log again, or with sign -1 undo them."""
    for m in range(n):
        p = m if sign > 0 else n - 1 - m
        made = s.log[p, 2]
        _book(s, p, s.log[p, 0], s.log[p, 1], sign * made)
        s.log[p, 2] = made


@_compiled
def _value(s, price):
    """Weighted tasks never trained, and O without their terms."""
    missing, total = 0, 0.0
    for j in range(s.tasks.size):
        t = s.tasks[j]
        if t.weight > 0.0:
            if t.sessions > 0:
                total += t.weight * t.numerator / t.progress
            else:
                missing += 1
    return missing, total + price * s.spent[0]


@_compiled
def _ending(s, u, task, turn):
    """Return a session that ends in slot `u`, of one task unless negative; -1 for none."""
    devices = s.devices.size
    for n in range(devices):
        k = s.held[(n + turn) % devices, u]
        if k >= 0 and s.columns[k].upload == u + 1 and (task < 0 or s.columns[k].task == task):
            return k
    return -1


@_compiled
def _clear(s, k, draw):
    """Make room for a column, whatever is in its way; returns the length of the log.

    That is negative, less 1, where there is no way.
    """
    n, c = np.int64(0), s.columns[k]
    u, turn = c.upload - 1, int(draw * s.devices.size)
    for g in range(c.receive, c.upload):
        if s.held[c.device, g] >= 0:
            n = _drop(s, n, s.held[c.device, g])
    cap = s.tasks[c.task].cap - c.step
    crowded = s.slots[u].uploads >= s.slots[u].capacity
    while crowded or s.step[u, c.task] > cap:
        other = _ending(s, u, np.int64(-1) if crowded else c.task, turn)
        if other < 0 or n > LOG - 6:
            return -n - 1
        n = _drop(s, n, other)
        # Fewer iterations may be enough, and they cost less energy at the same batch size.
        less = other - 1
        while not crowded and less >= s.columns[other].first:
            if s.step[u, c.task] + s.columns[less].step <= cap:
                n = _book(s, n, less, s.log[n - 1, 1], np.int64(1))
                break
            less -= 1
        crowded = False
    return n


@_compiled
def _move(s, price, proposal, draw):
    """Make a random move and return the length of the log: negative, less 1, if it is none."""
    kind, n, batch = draw[0], np.int64(0), np.int64(0)
    if kind < _INSERT:
        k = proposal
        if s.held[s.columns[k].device, s.columns[k].receive] == k:
            return np.int64(-1)
        n = _clear(s, k, draw[2])
        if n < 0:
            return n
    else:
        cell = int(draw[1] * s.held.size)
        k = s.held[cell // s.slots.size, cell % s.slots.size]
        if k < 0:
            return np.int64(-1)
        c = s.columns[k]
        n = _drop(s, n, k)
        old = s.log[0, 1]
        if kind >= _PAIR:
            return n
        if kind < _ITERATIONS:
            k = c.first + int(draw[2] * (c.last - c.first))
            if s.step[c.upload - 1, c.task] + s.columns[k].step > s.tasks[c.task].cap:
                return -n - 1
        else:
            reach = 1 + int(0.3 * old * draw[2] * draw[2])
            batch = old + (reach if draw[4] < 0.5 else -reach)
            if batch < 1 or batch > c.batch_hi:
                return -n - 1
            if kind >= _BATCH:
                other = s.held[c.device, int(draw[3] * s.slots.size)]
                if other < 0:
                    return -n - 1
                n = _drop(s, n, other)
                d = s.devices[c.device]
                rest = _within(s.columns[other], d.budget - d.energy - _energy(c, batch))
                if batch > old:
                    rest = min(rest, s.log[n - 1, 1])
                if rest < 1:
                    return -n - 1
                n = _book(s, n, other, rest, np.int64(1))
    c = s.columns[k]
    left = s.devices[c.device].budget - s.devices[c.device].energy
    if batch == 0:
        t = s.tasks[c.task]
        error_price = t.weight / (t.progress + c.progress)
        batch = _best(c, error_price, price)
        other = s.held[c.device, int(draw[3] * s.slots.size)]
        if other >= 0 and _energy(c, batch) > left:
            o = s.columns[other]
            given = s.batch[o.device, o.receive]
            scarce = _energy_price(s, o, given)
            batch = min(batch, _best(c, error_price, scarce))
            if _energy(c, batch) > left:
                rest = _within(o, left + _energy(o, given) - _energy(c, batch))
                if rest >= 1 and rest < given:
                    n = _drop(s, n, other)
                    n = _book(s, n, other, rest, np.int64(1))
                    left = s.devices[c.device].budget - s.devices[c.device].energy
        batch = min(batch, _within(c, left))
        if batch < 1:
            return -n - 1
    elif _energy(c, batch) > left:
        return -n - 1
    return _book(s, n, k, batch, np.int64(1))


@_compiled
def _copy(source, target):
    for i in range(source.shape[0]):
        for g in range(source.shape[1]):
            target[i, g] = source[i, g]


@_compiled
def anneal(s, best_held, best_batch, price, proposals, draws, heat, penalty):
    """Make a move a row of `draws` at one temperature.

    Parameters
    ----------
    s : State
        Changed in place to where the walk ends.
    best_held, best_batch : (devices, slots)
        Overwritten by the best schedule met, that of the beginning included.
    price : float
        Of a joule.
    proposals : (moves,)
        The column that a move inserts, if it is one that inserts.
    draws : (moves, DRAWS)
        Uniform in [0, 1).
    heat : float
        Temperature, in objectives.
    penalty : float
        Of a weighted task that is never trained, on the way to something better.

    Returns
    -------
    missing, total
        Of the best schedule, as `Schedule.value` counts.
    """
    missing, total = _value(s, price)
    best_missing, best_total = missing, total
    _copy(s.held, best_held)
    _copy(s.batch, best_batch)
    written = True
    for m in range(draws.shape[0]):
        n = _move(s, price, proposals[m], draws[m])
        if n < 0:
            _replay(s, -n - 1, np.int64(-1))
            continue
        lacking, now = _value(s, price)
        more = now - total + penalty * (lacking - missing)
        # Written so that a total that is no number is refused.
        accepted = (
            lacking < missing or more <= 0.0 or (heat > 0.0 and draws[m, 3] < np.exp(-more / heat))
        )
        if not accepted:
            _replay(s, n, np.int64(-1))
            continue
        missing, total = lacking, now
        if missing < best_missing or (missing == best_missing and total < best_total):
            best_missing, best_total, written = missing, total, False
        elif not written:
            # The best schedule is written down when it is left: most are left for a better one.
            _replay(s, n, np.int64(-1))
            _copy(s.held, best_held)
            _copy(s.batch, best_batch)
            _replay(s, n, np.int64(1))
            written = True
    if not written:
        _copy(s.held, best_held)
        _copy(s.batch, best_batch)
    return best_missing, best_total
