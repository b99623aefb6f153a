"""Points of rate and distortion, measured now (in worker processes where asked for) or in an earlier run.

A `Point` is one picture in one file at one quality. A section hands over pictures, codecs and what to measure
of a picture shown again, and gets all points back; they go into its JSON as the table `TITLE`, where
`--peers` finds them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.lossy import LossyFile
from bench.measure import Pixels
from bench.peers import select
from bench.pictures import Sample
from bench.quality import Curve
from bench.results import Row, Section, Table
from bench.setup import Setup

TITLE = "every point"
_REUSED = "REUSED"
_FIXED = ("picture", "codec", "quality", "bytes", "bpp")

Figures = Mapping[str, float]
Judge = Callable[[Pixels, Pixels], Figures]
"""(original, shown) to figures by name; it travels to worker processes."""


@dataclass(frozen=True)
class Point:
    """A picture in a file of some quality."""

    picture: str
    codec: str
    quality: float
    nbytes: int
    bpp: float
    figures: Figures


def measure(codec: LossyFile, picture: Sample, judge: Judge) -> list[Point]:
    """Write and show a picture at every quality of a codec."""
    points = []
    for quality in codec.qualities:
        data = codec.encode(picture.pixels, quality)
        figures = judge(picture.pixels, codec.decode(data))
        bpp = 8 * len(data) / picture.n_pixels
        points.append(Point(picture.name, codec.name, quality, len(data), bpp, figures))
    return points


def collect(
    setup: Setup, section: Section, tasks: Sequence[tuple[LossyFile, Sample]], judge: Judge
) -> list[Point]:
    """Give the points of all tasks whose codec is here; add the tables of codecs and of points.

    `setup.peers` may name earlier runs: a peer whose settings and qualities are what they were there is not
    measured again on the pictures that are there, and its row says so.
    """
    earlier = [Earlier.read(path, section.name) for path in setup.peers]
    codecs = list({codec.name: codec for codec, _ in tasks}.values())
    present, table = select(codecs)
    names_present = {codec.name for codec in present}  # a codec may have other qualities for some pictures
    reused: dict[tuple[str, str], list[Point]] = {}
    for run in earlier:
        found = {(c.name, p.name): run.points_of(c, p) for c, p in tasks if (c.name, p.name) not in reused}
        found = {key: points for key, points in found.items() if points}
        if found:
            section.notes.append(f"points of peers are {_REUSED} from {run.name}: see the table of peers")
            table = _with_reuse(table, run, [codec for codec, _ in found])
        reused |= found
    section.tables.append(table)
    left = [
        (codec, picture)
        for codec, picture in tasks
        if codec.name in names_present and (codec.name, picture.name) not in reused
    ]
    points = [point for found in reused.values() for point in found]
    points += _measure_all(setup, section.name, left, judge)
    order = [codec.name for codec in codecs]
    points.sort(key=lambda point: order.index(point.codec))
    names = tuple(points[0].figures) if points else ()
    rows: list[Row] = [(p.picture, p.codec, p.quality, p.nbytes, p.bpp, *p.figures.values()) for p in points]
    section.tables.append(Table(TITLE, (*_FIXED, *names), rows, is_printed=False))
    return points


def _with_reuse(table: Table, run: Earlier, reused: Sequence[str]) -> Table:
    """Say in the table of peers whose points come from an earlier run, and of which version."""
    rows: list[Row] = []
    for name, found, settings in table.rows:
        if n_reused := reused.count(str(name)):
            then = run.versions[str(name)]
            now = "" if found == then else f"; now {found}"
            found = f"{_REUSED} on {n_reused} pictures: {then}{now}"
        rows.append((name, found, settings))
    return Table(table.title, table.columns, rows)


def _measure_all(
    setup: Setup, what: str, tasks: Sequence[tuple[LossyFile, Sample]], judge: Judge
) -> list[Point]:
    points: list[Point] = []
    run = partial(_run, judge)
    # New processes: a fork would copy locks that threads of libraries hold.
    pool = ProcessPoolExecutor(setup.jobs, get_context("spawn")) if setup.jobs > 1 else None
    try:
        results = pool.map(run, tasks) if pool else map(run, tasks)
        for (codec, picture), found in zip(tasks, results, strict=True):
            setup.say(f"{what}: {picture.name}, {codec.name}")
            points += found
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return points


def _run(judge: Judge, task: tuple[LossyFile, Sample]) -> list[Point]:
    codec, picture = task
    return measure(codec, picture, judge)


def curve(points: Sequence[Point], codec: str, picture: str, figure: str) -> Curve:
    """Give the points (bytes, figure) of a codec on a picture."""
    return [(p.nbytes, p.figures[figure]) for p in points if p.codec == codec and p.picture == picture]


@dataclass(frozen=True)
class Earlier:
    """What a section found in an earlier run."""

    name: str
    versions: Mapping[str, str]
    settings: Mapping[str, str]
    points: Mapping[tuple[str, str], list[Point]]
    """By codec and picture."""

    @classmethod
    def read(cls, path: Path, section: str) -> Earlier:
        """Read what a section measured of peers in a run that `--json` wrote down.

        What that run had itself reused is left out: whoever measured it is the one to name.
        """
        run = json.loads(path.read_text())
        peers: dict[str, dict[str, str]] = {}
        points: dict[tuple[str, str], list[Point]] = {}
        for found in run["sections"]:
            tables = {table["title"]: table["rows"] for table in found["tables"]}
            if found["name"] != section or TITLE not in tables:
                continue
            peers |= {row["peer"]: row for row in tables["peers"] if not row["version"].startswith(_REUSED)}
            for row in tables[TITLE]:
                if row["codec"] in peers:
                    points.setdefault((row["codec"], row["picture"]), []).append(_parse(row))
        settings, versions = (
            {name: row[key] for name, row in peers.items()} for key in ("settings", "version")
        )
        return cls(f"{path}, {run['machine']['date']}", versions, settings, points)

    def points_of(self, codec: LossyFile, picture: Sample) -> list[Point]:
        """Give a peer's points on a picture if they are what it would measure now, else none."""
        found = self.points.get((codec.name, picture.name), [])
        is_same = (
            not codec.is_ours
            and self.settings.get(codec.name) == codec.settings
            and tuple(point.quality for point in found) == codec.qualities
            and all(point.bpp == 8 * point.nbytes / picture.n_pixels for point in found)
        )
        return found if is_same else []


def _parse(row: Mapping[str, Any]) -> Point:
    picture, codec, quality, nbytes, bpp = (row[name] for name in _FIXED)
    figures = {name: float(value) for name, value in row.items() if name not in _FIXED}
    return Point(picture, codec, quality, nbytes, bpp, figures)
