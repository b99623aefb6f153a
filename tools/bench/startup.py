"""The section of starting: CPU seconds of new processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench import ours
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

_DECODE = "import sys, triptych; triptych.decode(open(sys.argv[1], 'rb').read())"
_ENCODE = (
    "import sys, numpy, triptych; "
    "data = triptych.encode(numpy.load(sys.argv[1]), mode='kmeans', n_colors=16, threads=1); "
    "open(sys.argv[2], 'wb').write(data)"
)
_HELP = "import sys; sys.argv[0] = 'triptych'; from triptych.cli import main; main(['--help'])"


def cpu_seconds(arguments: list[str], environment: dict[str, str] | None = None) -> float:
    """Run Python in a new process to its end; give the CPU seconds, user and system, of it and its children.

    Raises
    ------
    subprocess.CalledProcessError
        It failed.
    """
    before = os.times()
    subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, env=os.environ | (environment or {})
    )
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def startup(setup: Setup) -> Section:
    """Measure a decoder with a warm cache, the help, and first runs with an empty cache."""
    section = Section("startup")
    rounds = setup.some(5, 2)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        picture, stream, made = folder / "picture.npy", folder / "stream.tych", folder / "made.tych"
        pixels = np.random.default_rng(0).integers(0, 4, (32, 32, 3), np.uint8) * np.uint8(60)
        np.save(picture, pixels)
        stream.write_bytes(ours.stream(pixels, n_colors=16))
        decode, encode = ["-c", _DECODE, str(stream)], ["-c", _ENCODE, str(picture), str(made)]

        def measure(what: str, arguments: list[str], limit: float, cold: bool = False) -> None:
            setup.say(f"startup: {what}")
            try:
                if not cold:
                    cpu_seconds(arguments)  # fills the cache
                    seconds: float | None = statistics.median(cpu_seconds(arguments) for _ in range(rounds))
                else:
                    with tempfile.TemporaryDirectory() as empty:
                        seconds = cpu_seconds(arguments, {"NUMBA_CACHE_DIR": empty})
            except subprocess.CalledProcessError as error:
                seconds = None
                section.notes.append(f"{what} failed: {error.stderr.decode().splitlines()[-1:]}")
            rows.append((what, seconds))
            section.goals.append(Goal(what, seconds, limit))

        measure("decode a picture of 32x32, warm", decode, 1.0)
        measure("triptych --help", ["-c", _HELP], 0.3)
        measure("decode a picture of 32x32, empty cache", decode, 20.0, cold=True)
        measure("encode a picture of 32x32, empty cache", encode, 20.0, cold=True)
        rows.append(("python -c pass", statistics.median(cpu_seconds(["-c", "pass"]) for _ in range(rounds))))
        numpy_alone = statistics.median(cpu_seconds(["-c", "import numpy"]) for _ in range(rounds))
        rows.append(("python -c 'import numpy'", numpy_alone))
    section.tables.append(Table("CPU seconds of a new process", ("what", "seconds"), rows))
    return section
