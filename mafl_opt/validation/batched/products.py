"""Products of small matrices, compiled, written out in blocks that fit the registers.

Sums may be taken in any order, as in a library of linear algebra, but a number that is not finite
stays what it is.
"""

from mafl_opt.core import compiling

__all__ = ["accumulate", "compiled", "dot", "multiply"]

#: Entries of a row taken at once, so that those of a whole mini-batch stay in the fastest cache.
_TILE = 512

compiled = compiling.compiled(
    nogil=True,
    error_model="numpy",
    fastmath={"reassoc", "contract", "arcp", "nsz"},
)


@compiled
def dot(left, right):
    """Return the sum of products of entries, at least one."""
    total = left[0] * right[0]
    for k in range(1, len(left)):
        total += left[k] * right[k]
    return total


@compiled
def multiply(values, chosen, weights, out):
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
                out[s, j] += dot(weights[j], values[chosen[s]])
    for o in range(full, outputs):
        for s in range(samples):
            out[s, o] += dot(weights[o], values[chosen[s]])


@compiled
def accumulate(factors, rows, chosen, out):
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
