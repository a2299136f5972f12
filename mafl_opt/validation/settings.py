"""What replays and federated runs have in common around the learning."""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy as np
import torch

from mafl_opt.core.arguments import require_count
from mafl_opt.core.errors import InputError

__all__ = ["require_device", "require_seed", "versions"]


def require_seed(seed: int) -> None:
    """Refuse a seed that is no integer from 0 up."""
    require_count("seed", seed)


def require_device(device: str) -> None:
    """Refuse CUDA where torch sees none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("options.device", "cpu", "cuda", "torch sees no CUDA device here")


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {
        "mafl_opt": version("mafl-opt"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
