"""The section of size: what a stream costs from a hundred to a million small images, and joined streams.

Each figure is measured in a process of its own, so that peaks of memory are those of the writer or the
reader. Images are drawn one at a time from a few thousand tiles, so that they take no memory of their own.
"""

from __future__ import annotations

import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import triptych
from triptych.framing import HEADER_LEN
from triptych.part import concatenate

from bench import plotting
from bench.image_sets import read_pack
from bench.measure import Pixels
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

P = ParamSpec("P")
T = TypeVar("T")

_NOTE = (
    "16x16 tiles of sprites, each with its number added to its samples, a key for each, one thread, default"
    " frames. Peaks are resident memory of a process of its own, with Python and all libraries; the reader's"
    " process has read images at random, one by its key, and then all in order"
)
_SIDE = 16
_N_RANDOM = 200
_BUDGET_SECONDS = 300.0
"""A size is left out where the one before says that writing it takes longer."""
_N_COMPONENTS = 16
_OPEN_LIMIT, _INDEX_LIMIT, _MEMORY_LIMIT = 1.0, 40.0, 1.25
_BASE = 10_000
"""Images of the stream whose memory the largest is compared with."""
_SIZES = (100, 1000, _BASE, 100_000, 1_000_000)
_COLUMNS = (
    "images",
    "write s",
    "bytes",
    "index bytes an image",
    "open s",
    "random read ms",
    "writer MB",
    "reader MB",
)
Panels = dict[str, dict[str, list[tuple[float, float]]]]
"""Lines of points by name, for each panel of the chart."""


@dataclass(frozen=True)
class Cost:
    """What a stream of so many images costs: seconds, bytes, and peaks of memory in MB."""

    n_images: int
    write_seconds: float
    nbytes: int
    index_nbytes_each: float
    open_seconds: float
    random_ms: float
    writer_mb: float
    reader_mb: float


@dataclass(frozen=True)
class Kind:
    """How a stream is written."""

    name: str
    settings: str
    options: dict[str, Any]

    def write(self, path: Path, tiles: Pixels, n_images: int) -> None:
        """Write so many images."""
        with triptych.Writer(path, threads=1, **self.options) as writer:
            for number, image in enumerate(draw(tiles, n_images)):
                writer.write(image, key=f"{number:07}")


KMEANS = Kind("k-means", "lossless, effort fast", {"mode": "kmeans", "lossless": True, "effort": "fast"})


def fit_kind(tiles: Pixels) -> Kind:
    """Give the kind that codes components, fitted to the tiles."""
    book = triptych.fit("pca", tiles, n_components=_N_COMPONENTS, threads=1)
    return Kind("PCA", f"{_N_COMPONENTS} components", {"mode": "pca", "dictionary": book})


def scale(setup: Setup) -> Section:
    """Measure streams of growing numbers of images."""
    section = Section("scale", notes=[_NOTE])
    tiles = read_tiles(setup.data)
    panels: Panels = {}
    with tempfile.TemporaryDirectory() as home:
        for kind in (fit_kind(tiles), KMEANS):
            _measure_kind(setup, section, kind, tiles, Path(home), panels)
        _measure_cat(setup, section, tiles, Path(home))
    if setup.plot:
        plotting.plot_costs(setup.plot.with_stem(f"{setup.plot.stem}-scale"), panels)
    return section


def _measure_kind(
    setup: Setup, section: Section, kind: Kind, tiles: Pixels, folder: Path, panels: Panels
) -> None:
    """Add the table and the goals of a kind, and its lines to the chart."""
    costs: list[Cost] = []
    for n_images in _SIZES[: setup.some(len(_SIZES), 3)]:
        expected = n_images / costs[-1].n_images * costs[-1].write_seconds if costs else 0.0
        if expected > _BUDGET_SECONDS:
            left_out = f"LEFT OUT: {kind.name}, {n_images:,} images, which take {expected:.0f} s to write"
            section.notes.append(left_out)
            break
        setup.say(f"scale: {kind.name}, {n_images:,} images")
        costs.append(measure_cost(kind, tiles, n_images, folder))
    section.tables.append(Table(f"{kind.name}: {kind.settings}", _COLUMNS, [astuple(cost) for cost in costs]))
    largest, base = costs[-1], next((cost for cost in costs if cost.n_images == _BASE), None)
    what = f"{kind.name}, {largest.n_images:,} images"
    section.goals += [
        Goal(f"seconds to open {what}", largest.open_seconds, _OPEN_LIMIT),
        Goal(f"bytes of index an image, {what}", largest.index_nbytes_each, _INDEX_LIMIT),
    ]
    is_grown = base is not None and base is not largest
    for who in ("writer", "reader"):
        ratio = getattr(largest, f"{who}_mb") / getattr(base, f"{who}_mb") if is_grown else None
        section.goals.append(Goal(f"peak memory of the {who}, {what} / {_BASE:,}", ratio, _MEMORY_LIMIT))
    lines: dict[str, dict[str, Callable[[Cost], float]]] = {
        "seconds": {
            "write": lambda c: c.write_seconds,
            "open": lambda c: c.open_seconds,
            "random read": lambda c: c.random_ms / 1000,
        },
        "bytes": {"stream": lambda c: c.nbytes, "index": lambda c: c.index_nbytes_each * c.n_images},
        "peak memory, MB": {"writer": lambda c: c.writer_mb, "reader": lambda c: c.reader_mb},
    }
    for title, figures in lines.items():
        for name, figure in figures.items():
            points = [(float(cost.n_images), figure(cost)) for cost in costs]
            panels.setdefault(title, {})[f"{kind.name}, {name}"] = points


def read_tiles(data: Path) -> Pixels:
    """Cut the sprites into their distinct tiles, uint8 (n, side, side, 3)."""
    sprites = read_pack(data, "tuxemon64", 10000).pixels
    n = 64 // _SIDE
    cut = sprites.reshape(-1, n, _SIDE, n, _SIDE, 3).swapaxes(2, 3)
    distinct: Pixels = np.unique(cut.reshape(-1, _SIDE, _SIDE, 3), axis=0)
    return distinct


def draw(tiles: Pixels, n_images: int) -> Iterator[Pixels]:
    """Give so many images; no two of some hundred thousand are equal, and all have the colours of a tile."""
    for number in range(n_images):
        again, place = divmod(number, len(tiles))
        yield tiles[place] + np.uint8(again % 256)


# In a process of their own.


def peak_mb() -> float:
    """Give the peak of this process's resident memory; not that which it had before it became Python."""
    # `getrusage` would also count what the process had while it was a fork of another.
    [kb] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kb) / 1000


def write_stream(kind: Kind, path: Path, tiles: Pixels, n_images: int) -> tuple[float, float]:
    """Write a stream; give the seconds it takes once kernels are compiled, and the peak of memory."""
    kind.write(path, tiles, min(n_images, 100))
    start = time.perf_counter()
    kind.write(path, tiles, n_images)
    return time.perf_counter() - start, peak_mb()


def open_stream(path: Path) -> tuple[float, int, int]:
    """Open a stream as a new process does; give seconds, the number of images, and bytes of the index."""
    start = time.perf_counter()
    with triptych.Reader(path) as reader:
        n_images = len(reader)
        seconds = time.perf_counter() - start
        return seconds, n_images, sum(HEADER_LEN + len(p.index.build(p.offset)) for p in reader.table.parts)


def read_stream(path: Path, numbers: list[int]) -> tuple[float, float]:
    """Read images at random and by key, and then all in order; give milliseconds of one, and peak memory."""
    with triptych.Reader(path) as reader:
        images = {number: reader[number] for number in numbers[:2]}  # kernels compile, the index is read
        start = time.perf_counter()
        for number in numbers:
            images[number] = reader[number]
        milliseconds = (time.perf_counter() - start) / len(numbers) * 1000
        if not np.array_equal(reader[f"{numbers[0]:07}"], images[numbers[0]]):
            raise AssertionError("an image by key is not that by number")
        n_images = sum(1 for _ in reader)
        if n_images != len(reader):
            raise AssertionError(f"{n_images} images in order, {len(reader)} in the index")
    return milliseconds, peak_mb()


def measure_cost(kind: Kind, tiles: Pixels, n_images: int, folder: Path) -> Cost:
    """Measure one size."""
    path = folder / f"{n_images}.tych"
    numbers = np.random.default_rng(0).integers(0, n_images, _N_RANDOM).tolist()
    write_seconds, writer_mb = _alone(write_stream, kind, path, tiles, n_images)
    open_seconds, _, index_nbytes = _alone(open_stream, path)
    random_ms, reader_mb = _alone(read_stream, path, numbers)
    return Cost(
        n_images,
        write_seconds,
        path.stat().st_size,
        index_nbytes / n_images,
        open_seconds,
        random_ms,
        writer_mb,
        reader_mb,
    )


def _alone(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args, **kwargs).result()


def _measure_cat(setup: Setup, section: Section, tiles: Pixels, folder: Path) -> None:
    """Join copies of a stream, as plain files and with one index, and open what comes out."""
    n_streams, n_images = setup.some(1000, 20), setup.some(1000, 100)
    setup.say(f"scale: joining {n_streams} streams")
    one, plain, joined = (folder / f"{name}.tych" for name in ("one", "plain", "joined"))
    KMEANS.write(one, tiles, n_images)
    start = time.perf_counter()
    with open(plain, "wb") as target:
        for _ in range(n_streams):
            target.write(one.read_bytes())
    plain_seconds = time.perf_counter() - start
    start = time.perf_counter()
    concatenate([str(one)] * n_streams, str(joined))
    rows: list[Row] = []
    for what, path, seconds in (
        ("cat", plain, plain_seconds),
        ("triptych cat", joined, time.perf_counter() - start),
    ):
        opened, n_found, index_nbytes = _alone(open_stream, path)
        if n_found != n_streams * n_images:
            raise AssertionError(f"{what} gives {n_found} images")
        rows.append((what, n_streams, n_found, seconds, path.stat().st_size, index_nbytes / n_found, opened))
        section.goals.append(Goal(f"seconds to open {n_streams} streams of {what}", opened, _OPEN_LIMIT))
    columns = ("joined by", "streams", "images", "seconds", "bytes", "index bytes an image", "open s")
    section.tables.append(Table("joined streams", columns, rows))
