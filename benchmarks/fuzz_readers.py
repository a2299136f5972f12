"""Coverage-guided fuzzing of one reader, until it fails or is stopped.

    python benchmarks/fuzz_readers.py svhn -max_total_time=600

Readers are those of `tests/fuzz/readers.py`; what follows the name goes to libFuzzer. Needs
atheris, which is no dependency (pip install atheris). Only the readers' own layers are
instrumented: numba does not compile what is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS / "fuzz"), str(TESTS)]

with atheris.instrument_imports(include=["mafl_opt.core", "mafl_opt.validation"]):
    from readers import READERS, accepted


def main() -> None:
    """Fuzz the reader that is named first."""
    if len(sys.argv) < 2 or sys.argv[1] not in READERS:
        sys.exit(f"usage: {sys.argv[0]} READER [libFuzzer flags]; readers: {', '.join(READERS)}")
    name = sys.argv.pop(1)
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        seeds, path = Path(folder) / "seeds", Path(folder) / reader.file
        seeds.mkdir()
        (seeds / "whole").write_bytes(reader.whole())

        def read(content: bytes) -> None:
            path.write_bytes(content)
            accepted(reader, path)

        atheris.Setup([*sys.argv, str(seeds)], read)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
