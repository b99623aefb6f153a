"""Sections of speed: pixels of index maps a second, and the bytes of the fast coder."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import triptych
from triptych.fit.kmeans import Effort

from bench import ours, peers
from bench.measure import alternate, geomean
from bench.pictures import Sheet, busy_share, palette_art, photographs
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

FLAT = 0.05
"""A sheet is flat where at most this share of its pixels is unlike the one before and the one above."""
_COLUMNS = ("picture", "k", "coder", "bytes", "map enc", "map dec", "stream enc", "stream dec")
_NOTE = (
    "Mpixel/s of CPU time. map: triptych.modes.indexmaps.encode_maps and decode_maps, with the plan that the"
    " effort chose; stream: triptych.encode(lossless=True) and decode, with the choice of the plan"
)


@dataclass(frozen=True)
class _Speeds:
    """Megapixels a second of one sheet."""

    sheet: Sheet
    coder: str
    nbytes: int
    map_encode: float
    map_decode: float
    stream_encode: float
    stream_decode: float

    @property
    def row(self) -> Row:
        return (
            self.sheet.name,
            len(self.sheet.colors),
            self.coder,
            self.nbytes,
            self.map_encode,
            self.map_decode,
            self.stream_encode,
            self.stream_decode,
        )


def _measure(sheet: Sheet, effort: Effort, rounds: int) -> _Speeds:
    coder = ours.MapCoder.choose(sheet, effort)
    if not np.array_equal(coder.decode().indices, coder.indexed.indices):
        raise AssertionError(f"the index map of {sheet.name} does not come back")
    stream = ours.stream(sheet.pixels, lossless=True, effort=effort)
    runs = {
        "map_encode": coder.encode,
        "map_decode": coder.decode,
        "stream_encode": lambda: triptych.encode(
            sheet.pixels, mode="kmeans", threads=1, lossless=True, effort=effort
        ),
        "stream_decode": lambda: triptych.decode(stream),
    }
    speeds = {name: sheet.n_pixels / 1e6 / t for name, t in alternate(runs, rounds).items()}
    return _Speeds(sheet, str(coder), len(stream), **speeds)


def _table(title: str, found: Sequence[_Speeds]) -> Table:
    rows = [speeds.row for speeds in found]
    medians = (statistics.median(float(row[i] or 0) for row in rows) for i in range(4, len(_COLUMNS)))
    return Table(title, _COLUMNS, [*rows, ("median", None, None, None, *medians)])


def _goals(what: str, found: Sequence[_Speeds], limit: float) -> list[Goal]:
    """State the goal for both directions of the map coder."""
    if not found:
        return [Goal(f"median Mpixel/s, {what}", None, limit, at_least=True)]
    encode = statistics.median(speeds.map_encode for speeds in found)
    decode = statistics.median(speeds.map_decode for speeds in found)
    return [
        Goal(f"median Mpixel/s, {what}, encode", encode, limit, at_least=True),
        Goal(f"median Mpixel/s, {what}, decode", decode, limit, at_least=True),
    ]


def _measure_all(setup: Setup, section: Section, effort: Effort, limits: dict[int, float]) -> list[_Speeds]:
    """Measure palette art and photographs, with goals for the photographs; return the art."""
    section.notes.append(_NOTE)
    setup.say(f"{section.name}: palette art")
    rounds = setup.some(5, 1)
    art = [_measure(sheet, effort, rounds) for sheet in palette_art(setup.data)[: setup.some(1000, 3)]]
    section.tables.append(_table(f"palette art, effort {effort}", art))
    photos = photographs(setup.data, setup.some(5, 1))
    for n_colors, limit in limits.items():
        setup.say(f"{section.name}: photographs, {n_colors} colours")
        found = [
            _measure(ours.reduced(photo.pixels, photo.name, n_colors), effort, setup.some(3, 1))
            for photo in photos
        ]
        section.tables.append(_table(f"photographs of {n_colors} colours, effort {effort}", found))
        section.goals += _goals(f"photographs, k = {n_colors}", found, limit)
    return art


def speed_dense(setup: Setup) -> Section:
    """Measure the dense coder."""
    section = Section("speed-dense")
    art = _measure_all(setup, section, "default", {256: 0.35, 16: 1.0})
    section.goals += _goals("palette art", art, 1.0)
    return section


def speed_fast(setup: Setup) -> Section:
    """Measure the fast coder, and its bytes against WebP's."""
    section = Section("speed-fast")
    art = _measure_all(setup, section, "fast", {256: 2.0, 16: 4.0})
    section.goals += _goals("palette art", art, 4.0)
    flat = [speeds for speeds in art if busy_share(speeds.sheet.indices) <= FLAT]
    section.notes.append(f"flat sheets: {', '.join(speeds.sheet.name for speeds in flat) or 'none'}")
    section.goals += _goals("flat sheets", flat, 10.0)
    present, table = peers.select([peers.WEBP])
    section.tables.append(table)
    for webp in present:
        rows: list[Row] = []
        ratios: list[float] = []
        for speeds in art:
            theirs = webp.nbytes(speeds.sheet)
            ratios.append(speeds.nbytes / theirs)
            rows.append((speeds.sheet.name, speeds.nbytes, theirs, ratios[-1]))
        rows.append(("geomean", None, None, geomean(ratios)))
        columns = ("picture", "fast", webp.name, "fast/WebP")
        section.tables.append(Table("bytes of palette art, whole streams and files", columns, rows))
        section.goals.append(Goal("bytes of fast / WebP's, geomean", geomean(ratios), 0.75))
    if not present:
        section.goals.append(Goal("bytes of fast / WebP's, geomean", None, 0.75))
    return section
