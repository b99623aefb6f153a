"""`python tools/bench --data FOLDER [--only SECTION]... [--quick] [--json FILE]`, from a checkout."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    # Here for this process; in the environment for those that it starts.
    sys.path[:0] = [str(root / name) for name in ("tools", "codec", "kernels")]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:3])
    # Libraries look at these when they are loaded.
    for library in ("OMP", "OPENBLAS", "MKL", "RAYON", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = "1"

    from bench.command import main

    sys.exit(main())
