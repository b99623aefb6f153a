"""`python codec ...`: the command line from a checkout, without installing anything."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

from triptych.__main__ import main

if __name__ == "__main__":
    main()
