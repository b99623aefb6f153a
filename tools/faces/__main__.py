"""`python tools/faces INPUT... --cascade FILE.xml -o OUT.tych|OUT.png`, from a checkout."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(root / name) for name in ("tools", "codec", "kernels")]

    from faces.command import main

    main(prog_name="faces")
