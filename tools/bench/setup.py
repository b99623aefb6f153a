"""What a run was asked for, as every section gets it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setup:
    """Where the pictures are, whether a few of them are enough, and what else the command line said."""

    data: Path
    quick: bool = False
    jobs: int = 1
    """Processes that measure curves."""
    peers: tuple[Path, ...] = ()
    """What `--json` wrote in earlier runs: points of peers are taken from there where they are."""
    plot: Path | None = None
    """Where the plot of rate against distortion goes."""
    photo: Path | None = None
    """A dictionary of photographs to be measured in the place of the shipped one."""
    ae_photo: Path | None = None
    ae_faces: Path | None = None
    """Dictionaries of networks to be measured in the place of shipped ones."""
    faces: Path | None = None
    """A dictionary of 768 components fitted to the faces before; None: the run fits it."""

    def some(self, n: int, n_quick: int) -> int:
        """Give the number of pictures or rounds that this run takes."""
        return n_quick if self.quick else n

    def say(self, what: str) -> None:
        """Tell whoever waits what is being measured."""
        print(f"   {what}", file=sys.stderr, flush=True)
