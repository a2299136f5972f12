"""How much is tried: little in continuous integration, much with HYPOTHESIS_PROFILE=nightly."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["CASES", "NIGHTLY"]

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
CASES = settings(
    max_examples=10_000 if NIGHTLY else 200, derandomize=True, deadline=None, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
