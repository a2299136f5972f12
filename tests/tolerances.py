"""Every tolerance the tests use, each with its reason."""

#: Two float64 evaluations of one closed formula; sums of some hundred terms lose a few ulps each.
SAME_FORMULA = 1e-12
#: An inequality between exactly propagated moments and a bound: round-off of long matrix products.
EXACT_MOMENTS = 1e-9
#: Standard errors a sampled mean may be off; one comparison in 1.7 million fails by chance.
SAMPLING_SIGMAS = 5.0
#: A sum rounded downwards by 1e-10 of its terms, which cancel by up to a factor of a thousand,
#: on limits widened by 1e-9.
ROUNDED_DOWN = 1e-6
#: What the guards against rounding cost a certified bound, relative to it.
PROVED_BOUND = 1e-6
#: The same float64 training steps in numpy and in torch: sums in another order, steps amplify it.
SAME_TRAINING = 1e-10
#: The same steps in float32 and in float64, some dozen of them: a few thousand roundings of 6e-8.
SINGLE_TRAINING = 1e-4
#: The enumeration admits what the checker admits, limits widened by 1e-9; with that much more
#: room in a budget or cap the optimum can move by about as much, relative to it.
ENUMERATED = 1e-7
#: What a search promises on instances small enough to enumerate, beside the optimum.
NEAR_OPTIMAL = 0.02
#: Sums of some hundred terms of both signs: what is left after they cancel.
CANCELLED = 1e-9
#: Relative accuracy of an interior-point solution of a relaxation, which only has to be near.
SOLVED = 1e-5
#: Optima by SCIP of rows scaled to about 1, each of which it lets be missed by 1e-6.
SCIP_ROWS = 2e-6
#: What calibration promises on losses whose constants are known.
CALIBRATED = 0.05
#: Numbers written with four and with six significant digits.
FOUR_DIGITS = 5e-4
SIX_DIGITS = 5e-6
#: Percentages written with two decimals, as fractions.
TWO_DECIMALS = 1e-4
#: Places on a page, percent, written with two decimals; sums of two of them.
PLACES = 0.02
#: Single precision, summed over some sessions.
FLOAT32 = 1e-6
