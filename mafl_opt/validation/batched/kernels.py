"""Local training of dense networks, compiled: one session after the other, no call in between.

Matrix products are written out in blocks that fit the registers. Sums may be taken in any order, as
in a library of linear algebra, but a number that is not finite stays what it is.
"""

import math

import numba as nb
import numpy as np

__all__ = ["DENSE", "NORMALISE", "RELU", "SIGMOID", "TANH", "train_dense"]

#: Kinds of layer, the first column of a program.
DENSE, RELU, TANH, SIGMOID, NORMALISE = range(5)

#: Adam's decays and the least size it divides by.
_SLOW, _SLOWER, _EPSILON = 0.9, 0.999, 1e-8
#: Entries of a row taken at once, so that those of a whole mini-batch stay in the fastest cache.
_TILE = 512

compiled = nb.njit(
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "arcp", "nsz"},
)


@compiled
def _dot(left, right):
    total = left[0] * right[0]
    for k in range(1, len(left)):
        total += left[k] * right[k]
    return total


@compiled
def _multiply(values, chosen, weights, out):
    """Add values[chosen] (samples, inputs) @ weights (outputs, inputs).T to out."""
    samples, outputs = out.shape
    whole, full = samples - samples % 4, outputs - outputs % 4
    for o in range(0, full, 4):
        w0, w1, w2, w3 = weights[o], weights[o + 1], weights[o + 2], weights[o + 3]
        for s in range(0, whole, 4):
            x0, x1 = values[chosen[s]], values[chosen[s + 1]]
            x2, x3 = values[chosen[s + 2]], values[chosen[s + 3]]
            a00, a01, a02, a03 = out[s, o], out[s, o + 1], out[s, o + 2], out[s, o + 3]
            a10, a11 = out[s + 1, o], out[s + 1, o + 1]
            a12, a13 = out[s + 1, o + 2], out[s + 1, o + 3]
            a20, a21 = out[s + 2, o], out[s + 2, o + 1]
            a22, a23 = out[s + 2, o + 2], out[s + 2, o + 3]
            a30, a31 = out[s + 3, o], out[s + 3, o + 1]
            a32, a33 = out[s + 3, o + 2], out[s + 3, o + 3]
            for k in range(len(w0)):
                p0, p1, p2, p3 = w0[k], w1[k], w2[k], w3[k]
                q0, q1, q2, q3 = x0[k], x1[k], x2[k], x3[k]
                a00 += q0 * p0
                a01 += q0 * p1
                a02 += q0 * p2
                a03 += q0 * p3
                a10 += q1 * p0
                a11 += q1 * p1
                a12 += q1 * p2
                a13 += q1 * p3
                a20 += q2 * p0
                a21 += q2 * p1
                a22 += q2 * p2
                a23 += q2 * p3
                a30 += q3 * p0
                a31 += q3 * p1
                a32 += q3 * p2
                a33 += q3 * p3
            out[s, o], out[s, o + 1], out[s, o + 2], out[s, o + 3] = a00, a01, a02, a03
            out[s + 1, o], out[s + 1, o + 1] = a10, a11
            out[s + 1, o + 2], out[s + 1, o + 3] = a12, a13
            out[s + 2, o], out[s + 2, o + 1] = a20, a21
            out[s + 2, o + 2], out[s + 2, o + 3] = a22, a23
            out[s + 3, o], out[s + 3, o + 1] = a30, a31
            out[s + 3, o + 2], out[s + 3, o + 3] = a32, a33
        for s in range(whole, samples):
            for j in range(o, o + 4):
                out[s, j] += _dot(weights[j], values[chosen[s]])
    for o in range(full, outputs):
        for s in range(samples):
            out[s, o] += _dot(weights[o], values[chosen[s]])


@compiled
def _accumulate(factors, rows, chosen, out):
    """Add factors (many, few) @ rows[chosen] (few, entries) to out (many, entries)."""
    many, few = factors.shape
    entries = out.shape[1]
    whole, full = many - many % 4, few - few % 4
    for begin in range(0, entries, _TILE):
        tile = slice(begin, min(begin + _TILE, entries))
        for r in range(0, whole, 4):
            y0, y1, y2, y3 = out[r, tile], out[r + 1, tile], out[r + 2, tile], out[r + 3, tile]
            for m in range(0, full, 4):
                x0, x1 = rows[chosen[m], tile], rows[chosen[m + 1], tile]
                x2, x3 = rows[chosen[m + 2], tile], rows[chosen[m + 3], tile]
                a0, a1 = factors[r, m], factors[r, m + 1]
                a2, a3 = factors[r, m + 2], factors[r, m + 3]
                b0, b1 = factors[r + 1, m], factors[r + 1, m + 1]
                b2, b3 = factors[r + 1, m + 2], factors[r + 1, m + 3]
                c0, c1 = factors[r + 2, m], factors[r + 2, m + 1]
                c2, c3 = factors[r + 2, m + 2], factors[r + 2, m + 3]
                d0, d1 = factors[r + 3, m], factors[r + 3, m + 1]
                d2, d3 = factors[r + 3, m + 2], factors[r + 3, m + 3]
                for k in range(len(y0)):
                    q0, q1, q2, q3 = x0[k], x1[k], x2[k], x3[k]
                    y0[k] += a0 * q0 + a1 * q1 + a2 * q2 + a3 * q3
                    y1[k] += b0 * q0 + b1 * q1 + b2 * q2 + b3 * q3
                    y2[k] += c0 * q0 + c1 * q1 + c2 * q2 + c3 * q3
                    y3[k] += d0 * q0 + d1 * q1 + d2 * q2 + d3 * q3
            for m in range(full, few):
                x0 = rows[chosen[m], tile]
                a0, b0, c0, d0 = (
                    factors[r, m], factors[r + 1, m], factors[r + 2, m], factors[r + 3, m],
                )  # fmt: skip
                for k in range(len(y0)):
                    y0[k] += a0 * x0[k]
                    y1[k] += b0 * x0[k]
                    y2[k] += c0 * x0[k]
                    y3[k] += d0 * x0[k]
        for r in range(whole, many):
            y0 = out[r, tile]
            for m in range(few):
                x0 = rows[chosen[m], tile]
                a0 = factors[r, m]
                for k in range(len(y0)):
                    y0[k] += a0 * x0[k]


@compiled
def _apply(kind, before, chosen, epsilon, factor, deviations, after):
    """Write a function of before[chosen] (samples, features) to after."""
    samples, features = after.shape
    for s in range(samples):
        x, y = before[chosen[s]], after[s]
        if kind == RELU:
            for k in range(features):
                y[k] = 0 if x[k] < 0 else x[k]
        elif kind == TANH:
            for k in range(features):
                y[k] = math.tanh(x[k])
        elif kind == SIGMOID:
            for k in range(features):
                y[k] = 1 / (1 + math.exp(-x[k]))
        else:
            mean = x.sum() / features
            for k in range(features):
                y[k] = x[k] - mean
            deviations[s] = math.sqrt(_dot(y, y) / features + epsilon)
            for k in range(features):
                y[k] *= factor / deviations[s]


@compiled
def _apply_back(kind, after, factor, deviations, gradient):
    """Multiply gradient (samples, features) by a function's derivative, in place."""
    samples, features = after.shape
    for s in range(samples):
        y, g = after[s], gradient[s]
        if kind == RELU:
            for k in range(features):
                if y[k] <= 0:
                    g[k] = 0
        elif kind == TANH:
            for k in range(features):
                g[k] *= 1 - y[k] * y[k]
        elif kind == SIGMOID:
            for k in range(features):
                g[k] *= y[k] * (1 - y[k])
        else:
            mean = g.sum() / features
            along = _dot(g, y) / (features * factor * factor)
            for k in range(features):
                g[k] = (g[k] - mean - along * y[k]) * (factor / deviations[s])


@compiled
def _start_back(logits, labels, chosen, scale, gradient):
    """Write `scale` times the gradient of the summed cross-entropies (samples, classes)."""
    for s in range(len(chosen)):
        x, g = logits[s], gradient[s]
        largest = x.max()
        total = x[0] * 0
        for k in range(len(x)):
            g[k] = math.exp(x[k] - largest)
            total += g[k]
        for k in range(len(x)):
            g[k] *= scale / total
        g[labels[chosen[s]]] -= scale


@compiled
def _pull(value, start, strength):
    """Move value towards start by a share of the way."""
    for k in range(len(value)):
        value[k] += strength * (start[k] - value[k])


@compiled
def _step_adam(value, start, gradient, first, second, rate, proximal, step):
    """Do step 1, 2, ... of Adam with the proximal gradient, in place."""
    slow, slower = 1 - _SLOW**step, 1 - _SLOWER**step
    for k in range(len(value)):
        g = gradient[k] + proximal * (value[k] - start[k])
        first[k] += (1 - _SLOW) * (g - first[k])
        second[k] = _SLOWER * second[k] + (1 - _SLOWER) * g * g
        value[k] -= rate / slow * first[k] / (math.sqrt(second[k] / slower) + _EPSILON)


@compiled
def _matrix(vector, first, rows, columns):
    return vector[first : first + rows * columns].reshape(rows, columns)


@compiled
def _train(program, constants, inputs, labels, rows, sizes, rate, proximal, adam, start, value):
    """Do the steps of one session on value (parameters,), in place; see `train_dense`."""
    layers, width, widest = len(program), sizes.max(), program[:, 1].max()
    values = np.empty((layers, width * widest), value.dtype)
    slopes = np.empty((2, width * widest), value.dtype)
    turned = np.empty(width * widest, value.dtype)
    deviations = np.empty((layers, width), value.dtype)
    moments = np.zeros((3 if adam else 0, len(value)), value.dtype)
    in_order = np.arange(max(width, widest))
    taken = 0
    for step in range(len(sizes)):
        size = sizes[step]
        own = rows[taken : taken + size]
        taken += size
        before, chosen = inputs, own
        for layer in range(layers):
            kind, outputs, weight, bias = program[layer]
            after = values[layer, : size * outputs].reshape(size, outputs)
            if kind == DENSE:
                for s in range(size):
                    for o in range(outputs):
                        after[s, o] = value[bias + o] if bias >= 0 else 0
                matrix = _matrix(value, weight, outputs, before.shape[1])
                _multiply(before, chosen, matrix, after)
            else:
                epsilon, factor = constants[layer]
                _apply(kind, before, chosen, epsilon, factor, deviations[layer], after)
            before, chosen = after, in_order

        # SGD's gradients come times -rate and are added to the parameters; Adam's are kept apart.
        target = moments[2] if adam else value
        if adam:
            target[:] = 0
        gradient, spare = slopes[0, : before.size].reshape(before.shape), 1
        _start_back(before, labels, own, (1 if adam else -rate) / size, gradient)
        for layer in range(layers - 1, -1, -1):
            kind, outputs, weight, bias = program[layer]
            if kind != DENSE:
                after = values[layer, : size * outputs].reshape(size, outputs)
                _apply_back(kind, after, constants[layer, 1], deviations[layer], gradient)
                continue
            before, chosen, features = inputs, own, inputs.shape[1]
            below = gradient
            if layer:
                features = program[layer - 1, 1]
                before = values[layer - 1, : size * features].reshape(size, features)
                chosen = in_order
                below, spare = slopes[spare, : before.size].reshape(before.shape), 1 - spare
                below[:] = 0
                matrix = _matrix(value, weight, outputs, features)
                _accumulate(gradient, matrix, in_order, below)
            if proximal != 0 and not adam:
                last = weight + outputs * features
                _pull(value[weight:last], start[weight:last], rate * proximal)
                if bias >= 0:
                    last = bias + outputs
                    _pull(value[bias:last], start[bias:last], rate * proximal)
            factors = turned[: outputs * size].reshape(outputs, size)
            for o in range(outputs):
                total = gradient[0, o] * 0
                for s in range(size):
                    factors[o, s] = gradient[s, o]
                    total += gradient[s, o]
                if bias >= 0:
                    target[bias + o] += total
            _accumulate(factors, before, chosen, _matrix(target, weight, outputs, features))
            gradient = below
        if adam:
            _step_adam(value, start, target, moments[0], moments[1], rate, proximal, step + 1)


@compiled
def train_dense(
    program, constants, inputs, labels, rows, sizes, ends, rates, proximal, adam, starts, which,
    values,
):  # fmt: skip
    """Train sessions, each on its own.

    Parameters
    ----------
    program : (layers, 4), int64
        Kind, features behind it, and where weights and biases lie among the parameters; a bias at
        -1 is none.
    constants : (layers, 2)
        What is added to the variance, and the factor, of a normalisation.
    inputs, labels : (samples, features), (samples,)
    rows : (entries,), int64
        Rows of all mini-batches, one after the other.
    sizes : (steps,), int64
        Samples of every mini-batch of every session, at least 1.
    ends : (sessions, 2), int64
        Steps and rows up to the end of each session.
    rates, proximal, adam : (sessions,)
    starts : (models, parameters)
        Received models.
    which : (sessions,), int64
        The one that each session received.
    values : (sessions, at least parameters)
        Becomes the local models.
    """
    step = row = 0
    for k in range(len(ends)):
        steps, entries = ends[k]
        start = starts[which[k]]
        value = values[k, : len(start)]
        value[:] = start
        if steps > step:
            _train(
                program, constants, inputs, labels, rows[row:entries], sizes[step:steps],
                rates[k], proximal[k], adam[k], start, value,
            )  # fmt: skip
        step, row = steps, entries
