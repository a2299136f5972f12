"""Why a plan is as it is: what its bounds are made of, what binds, who idles, what to fear."""
