"""Kill a program that appends to a stream, again and again, and see that nothing flushed is lost.

    python tools/crash.py --kills 200 [--mode kmeans] [--seed 0]

A child process appends images with keys to one stream, flushes at times, and tells its parent over a pipe
which images are flushed. The parent kills it at a random moment (SIGKILL: nothing in the child can react).
Then every image that was told of must be read back with its pixels, by number and by key, none may come
twice, and what is read is the beginning of what was written. The next child goes on with what is there.

What a kill cannot show is a loss of power: that flushed bytes are on the disk is the word of fsync.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import triptych as tp

N_COLORS = 7


class CrashError(Exception):
    """A flushed image is gone, wrong, or there twice."""


def image_of(number: int) -> npt.NDArray[np.uint8]:
    """Give image `number`: a few colours, so that k-means keeps it exactly."""
    rng = np.random.default_rng(number)
    palette = rng.integers(0, 256, (N_COLORS, 3), np.uint8)
    height, width = rng.integers(4, 40, 2)
    return palette[rng.integers(0, N_COLORS, (height, width))]


def key_of(number: int) -> str:
    """Give the key of image `number`."""
    return f"image/{number:06d}"


def append_for_ever(path: Path, seed: int, options: dict[str, object]) -> None:
    """Be the child: append, flush and close at random, and say on stdout what is flushed."""
    rng = random.Random(seed)
    warnings.simplefilter("ignore", RuntimeWarning)  # of the torn end that the last kill left
    with tp.Writer(io.BytesIO(), **options) as writer:  # compiles what it needs
        for number in range(3):
            writer.write(image_of(number))
        writer.flush()
        writer.write(image_of(3))
    print("ready", flush=True)
    while True:
        with tp.Writer(path, append=True, **options) as writer:
            number = count_images(path)
            for _ in range(rng.randint(1, 12)):
                for _ in range(rng.randint(1, 9)):
                    writer.write(image_of(number), key=key_of(number))
                    number += 1
                if rng.random() < 0.7:
                    writer.flush()
                    print(number, flush=True)
        print(number, flush=True)


def count_images(path: Path) -> int:
    """Give the images of a stream that may not be there yet; they are numbered in order."""
    if not path.exists() or not path.stat().st_size:
        return 0
    with tp.Reader(path, damage="skip") as reader:
        return sum(1 for _ in reader.items()) if reader.damage else len(reader)


def run_and_kill(command: list[str], delay: float) -> int:
    """Start a child, kill it `delay` seconds after it is ready; give how many images it said are flushed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        if first.strip() != b"ready":
            raise CrashError(f"the child could not go on: it said {first!r}")
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
    if child.returncode != -signal.SIGKILL:
        raise CrashError(f"the child ended by itself, with code {child.returncode}")
    # The kill may have cut the last line; a number that is not whole does not count.
    told = [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
    return max(told, default=0)


def check(path: Path, n_flushed: int) -> int:
    """Check a stream after a kill; give how many images it holds."""
    if not path.exists():
        if n_flushed:
            raise CrashError(f"{n_flushed} images were flushed, and there is no file")
        return 0
    with tp.Reader(path, damage="skip") as reader:
        found = list(reader.items())
        if len(found) < n_flushed:
            raise CrashError(f"{n_flushed} images were flushed, and {len(found)} are there: {reader.damage}")
        for number, (info, pixels) in enumerate(found):
            if info["key"] != key_of(number):
                raise CrashError(f"image {number} has the key {info['key']!r}")
            if not np.array_equal(pixels, image_of(number)):
                raise CrashError(f"image {number} came back with other pixels")
    with tp.Reader(path, damage="skip") as reader:
        for number in {0, n_flushed // 2, n_flushed - 1} if n_flushed else ():
            if not np.array_equal(reader[key_of(number)], image_of(number)):
                raise CrashError(f"image {number} is not found by its key")
    return len(found)


def crash(
    folder: Path,
    kills: int,
    *,
    seed: int = 0,
    longest: float = 0.4,
    images_per_stream: int = 3000,
    options: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> int:
    """Kill so many children; give how many images were flushed in all.

    Raises
    ------
    CrashError
        Something that was flushed is not as it was.
    """
    rng = random.Random(seed)
    path, flushed, total = folder / "crash-0.tych", 0, 0
    for kill in range(kills):
        arguments = [f"--child={path}", f"--seed={rng.randrange(1 << 30)}"]
        arguments += [f"--{name}={value}" for name, value in (options or {}).items()]
        # Most moments are to be early ones: opening, the first frames, the first flush.
        told = run_and_kill([sys.executable, __file__, *arguments], longest * rng.random() ** 2)
        flushed = max(flushed, told)
        present = check(path, flushed)
        say(f"kill {kill + 1}: {told} told, {flushed} flushed, {present} there")
        # What is there after a kill is read from the disk: the next child goes on after it, so it stays.
        flushed = present
        if present >= images_per_stream:
            total += present
            path, flushed = folder / f"crash-{kill + 1}.tych", 0
    warnings.simplefilter("ignore", RuntimeWarning)
    with tp.Writer(path, append=True, **(options or {})) as writer:
        writer.write(image_of(flushed), key=key_of(flushed))
    if check(path, flushed + 1) != flushed + 1 or tp.verify(path).images != flushed + 1:
        raise CrashError("the stream cannot be continued after the last kill")
    return total + flushed + 1


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mode", default="kmeans")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    options: dict[str, object] = {"mode": given.mode, "threads": given.threads}
    if given.child is not None:
        append_for_ever(given.child, given.seed, options | {"effort": "fast", "lossless": True})
    with tempfile.TemporaryDirectory() as folder:
        n_images = crash(Path(folder), given.kills, seed=given.seed, options=options, say=print)
    print(f"{given.kills} kills, {n_images} images flushed or found, none lost, none twice, all pixels right")


if __name__ == "__main__":
    main()
