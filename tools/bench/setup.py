"""What a run was asked for, as every section gets it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setup:
    """Where the pictures are, and whether a few of them are enough."""

    data: Path
    quick: bool = False

    def some(self, n: int, n_quick: int) -> int:
        """Give the number of pictures or rounds that this run takes."""
        return n_quick if self.quick else n

    def say(self, what: str) -> None:
        """Tell whoever waits what is being measured."""
        print(f"   {what}", file=sys.stderr, flush=True)
