"""Local training of dense networks, compiled: one session after the other, no call in between.

numba keeps what it compiled by the date of the file that a function is in, not of those it calls:
after a change in `products`, touch this file.
"""

import math

import numpy as np

from mafl_opt.validation.batched.products import accumulate, compiled, dot, multiply

__all__ = ["DENSE", "NORMALISE", "RELU", "SIGMOID", "TANH", "run_dense", "train_dense"]

#: Kinds of layer, the first column of a program.
DENSE, RELU, TANH, SIGMOID, NORMALISE = range(5)

#: Adam's decays and the least size it divides by.
_SLOW, _SLOWER, _EPSILON = 0.9, 0.999, 1e-8


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
            deviations[s] = math.sqrt(dot(y, y) / features + epsilon)
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
            along = dot(g, y) / (features * factor * factor)
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
def _forward(program, constants, value, inputs, own, in_order, values, deviations):
    """Write what every layer makes of inputs[own] to a row of values each, samples first."""
    size = len(own)
    before, chosen = inputs, own
    for layer in range(len(program)):
        kind, outputs, weight, bias = program[layer]
        after = values[layer, : size * outputs].reshape(size, outputs)
        if kind == DENSE:
            for s in range(size):
                for o in range(outputs):
                    after[s, o] = value[bias + o] if bias >= 0 else 0
            multiply(before, chosen, _matrix(value, weight, outputs, before.shape[1]), after)
        else:
            epsilon, factor = constants[layer]
            _apply(kind, before, chosen, epsilon, factor, deviations[layer], after)
        before, chosen = after, in_order


@compiled
def run_dense(program, constants, inputs, value, width):
    """Return logits (samples, classes) of inputs (samples, features), `width` of them at a time."""
    layers, widest, classes = len(program), program[:, 1].max(), program[-1, 1]
    values = np.empty((layers, width * widest), value.dtype)
    deviations = np.empty((layers, width), value.dtype)
    logits = np.empty((len(inputs), classes), value.dtype)
    in_order = np.arange(len(inputs))
    for first in range(0, len(inputs), width):
        own = in_order[first : first + width]
        _forward(program, constants, value, inputs, own, in_order, values, deviations)
        logits[first : first + width] = values[-1, : len(own) * classes].reshape(-1, classes)
    return logits


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
        _forward(program, constants, value, inputs, own, in_order, values, deviations)
        features = program[-1, 1]
        before = values[-1, : size * features].reshape(size, features)

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
                accumulate(gradient, matrix, in_order, below)
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
            accumulate(factors, before, chosen, _matrix(target, weight, outputs, features))
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
