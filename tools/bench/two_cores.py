"""Two threads beside one, in the library and the command, and beside what two processes get of the machine.

All by the clock on the wall, unlike the rest of the bench: CPU time cannot show what threads gain. Two
processes share caches, memory and turbo clocks as two threads do, but no lock of the interpreter; the price
is a fork, which copies the pages that they write to. What arithmetic in registers gains, which shares
nothing but clocks, is the most that the machine has to give.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

import numba
import numpy as np
import triptych
from PIL import Image

from bench.image_sets import read_cells
from bench.measure import Pixels, alternate
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup
from bench.stores import Store

_TIMES = 1.8
_STEPS = 200_000_000
"""Of arithmetic, in half a second or so."""
StoreOf = Callable[[int], Store]
"""Gives a store of ours for a number of threads."""


def measure_two_cores(
    setup: Setup, section: Section, images: Pixels, ours: Mapping[str, tuple[StoreOf, int, int]]
) -> None:
    """Add a table and goals; `ours` are stores by name, images of each, and how often a run reads them.

    More than once where that is quick: a process that is forked first copies the pages that it writes to.
    """
    setup.say("store-speed: two threads")
    rows: list[Row] = []
    before = os.getloadavg()[0]
    arithmetic = _arithmetic_rates(setup.some(_STEPS, 1000), setup.some(9, 1))
    rows.append(_row("steps of arithmetic", _STEPS, arithmetic))
    for name, (store_of, n_images, n_reads) in ours.items():
        many = _different(setup, images, n_images)
        for what, rates in _rates(store_of, many, n_reads, setup.some(3, 1)).items():
            rows.append(_row(f"{name}, {what}", len(many), rates))
            goal = f"times as fast with two threads, {name}, {what}"
            section.goals.append(Goal(goal, rates[1] / rates[0], _TIMES, at_least=True))
    columns = (
        "what",
        "how many",
        "one thread",
        "two threads",
        "two processes",
        "threads, times as fast",
        "processes, times as fast",
    )
    load = f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
    section.tables.append(Table(f"images/s by the clock on the wall ({load})", columns, rows))


def _row(what: str, n: int, rates: tuple[float, float, float]) -> Row:
    one, two, processes = rates
    return (what, n, *rates, two / one, processes / one)


@numba.njit(nogil=True)
def _step(n: int) -> np.uint64:
    """Take steps of a xorshift generator, none of which can begin before the last has ended."""
    x = np.uint64(1)
    for _ in range(n):
        x ^= x << np.uint64(13)
        x ^= x >> np.uint64(7)
        x ^= x << np.uint64(17)
    return x


def _arithmetic_rates(n: int, rounds: int) -> tuple[float, float, float]:
    """Give steps/s as `_rates` gives images/s."""
    _step(1)  # compiled before any clock runs

    def in_threads() -> None:
        threads = [Thread(target=_step, args=(n // 2,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    runs: dict[str, Callable[[], object]] = {
        "1": lambda: _step(n),
        "2": in_threads,
        "processes": lambda: _at_once(_step, [(n // 2,)] * 2),
    }
    seconds = alternate(runs, rounds, time.perf_counter)
    return n / seconds["1"], n / seconds["2"], n / seconds["processes"]


def _different(setup: Setup, images: Pixels, n: int) -> Pixels:
    """Give so many faces, none twice: these, others of the same set, and then all of them mirrored."""
    packs = sorted((setup.data / "faces").glob("anime64_train_*.jpg"))[: -(-n // len(images))]
    faces = np.concatenate([images, *map(read_cells, packs)])
    return np.concatenate([faces, faces[:, :, ::-1]])[:n]


def measure_command(
    setup: Setup,
    section: Section,
    images: Pixels,
    ours: Mapping[str, tuple[triptych.Dictionary | None, list[str], int]],
) -> None:
    """Add a table of `triptych encode DIR -j N`; `ours` are dictionaries, options and images by name."""
    setup.say("store-speed: the command")
    rows: list[Row] = []
    for what, (book, options, n_images) in ours.items():
        many = _different(setup, images, n_images)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "in").mkdir()
            for number, image in enumerate(many):
                Image.fromarray(image).save(folder / "in" / f"{number:06}.png", compress_level=1)
            if book is not None:
                book.save(folder / "book.tyd")
                options = [*options, "-D", str(folder / "book.tyd")]
            runs = {f"-j {n}": _command(folder, n, options) for n in (1, 2)}
            seconds = alternate(runs, setup.some(3, 1), time.perf_counter)
            one, two = (len(many) / seconds[f"-j {n}"] for n in (1, 2))
            rows.append((what, len(many), one, two, two / one))
    columns = ("what", "images", "-j 1", "-j 2", "times as fast")
    what = "images/s of triptych encode, PNG files to a stream, start and end of the process included"
    section.tables.append(Table(what, columns, rows))


def _command(folder: Path, jobs: int, options: list[str]) -> Callable[[], None]:
    inputs = [str(folder / "in"), "-o", str(folder / "out.tych"), "-f", "-j", str(jobs)]
    command = [sys.executable, "-m", "triptych", "encode", *inputs, *options]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    return run


def _rates(
    store_of: StoreOf, images: Pixels, n_reads: int, rounds: int
) -> dict[str, tuple[float, float, float]]:
    """Give images/s with one thread, two threads and two processes, of encoding and of decoding."""
    one, two = store_of(1), store_of(2)
    shown = np.zeros_like(images)
    half = len(images) // 2
    with tempfile.TemporaryDirectory() as home:
        whole, *halves = (Path(tempfile.mkdtemp(dir=home)) for _ in range(3))
        parts = list(zip((images[:half], images[half:]), (shown[:half], shown[half:]), halves, strict=True))
        runs: dict[str, Callable[[], None]] = {
            "encode 1": lambda: one.write(images, whole),
            "encode 2": lambda: two.write(images, whole),
            "encode processes": lambda: _at_once(one.write, [(part, folder) for part, _, folder in parts]),
            "decode 1": lambda: _read(one, whole, shown, n_reads),
            "decode 2": lambda: _read(two, whole, shown, n_reads),
            "decode processes": lambda: _at_once(
                _read, [(one, folder, out, n_reads) for _, out, folder in parts]
            ),
        }
        seconds = alternate(runs, rounds, time.perf_counter)
    one_rate, two_rate, processes = (
        {what: n * len(images) / seconds[f"{what} {how}"] for what, n in (("encode", 1), ("decode", n_reads))}
        for how in ("1", "2", "processes")
    )
    return {what: (one_rate[what], two_rate[what], processes[what]) for what in ("encode", "decode")}


def _read(store: Store, folder: Path, shown: Pixels, times: int) -> None:
    for _ in range(times):
        store.read_all(folder, shown)


def _at_once(run: Callable[..., None], arguments: list[tuple[object, ...]]) -> None:
    """Run in a process for each tuple of arguments, forked, so that nothing is loaded anew."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"a process ended with {process.exitcode}")
