"""Run a benchmark as a processor with 256-bit registers would: fastgen and its peers alike.

On a processor with AVX-512 the results go to ``bench/results/avx2/``, beside those of the whole
processor.

    python bench/peers/avx2.py SCRIPT [arguments]
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Every library reads its own variable, once, when it is loaded.
LIMITS = {
    "NUMBA_CPU_NAME": "haswell",
    "OPENBLAS_CORETYPE": "Haswell",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "FAISS_OPT_LEVEL": "avx2",
}


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    script = Path(sys.argv[1])
    if not script.is_file():
        script = Path(__file__).parent / script.name
    if not script.is_file():
        raise SystemExit(
            f"avx2.py: SCRIPT must be a file or a name in bench/peers, got {sys.argv[1]}"
        )
    environment = {**os.environ, **LIMITS}
    os.execve(sys.executable, [sys.executable, str(script), *sys.argv[2:]], environment)


if __name__ == "__main__":
    main()
