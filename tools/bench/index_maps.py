"""Sections of index maps: bytes against lossless peers, and the bytes of palettes alone."""

from __future__ import annotations

import numpy as np
from triptych.fit.colors import sort_palette
from triptych.modes.indexmaps import Indexed, pack
from triptych_kernels import paletteset
from triptych_kernels.rangecoder import finish_encoding, new_coder

from bench import ours, peers
from bench.measure import geomean
from bench.pictures import Sheet, palette_art, photographs
from bench.results import Cell, Goal, Row, Section, Table
from bench.setup import Setup

_PHOTO_LIMITS = {16: 0.85, 64: 0.75, 256: 0.68}


def _lossless_table(
    section: Section, sheets: list[Sheet], wanted: tuple[peers.Lossless, ...], title: str
) -> list[tuple[float, float]]:
    """Measure our streams and their files; return the ratios of both efforts to the best of them."""
    present, table = peers.select(wanted)
    if table not in section.tables:
        section.tables.append(table)
    rows: list[Row] = []
    ratios: list[tuple[float, float]] = []
    for sheet in sheets:
        default = len(ours.stream(sheet.pixels, lossless=True))
        most = len(ours.stream(sheet.pixels, lossless=True, effort="max"))
        sizes = {peer: peer.nbytes(sheet) for peer in present}
        cells: list[Cell] = [sheet.name, len(sheet.colors), default, most, *sizes.values()]
        if sizes:
            best = min(sizes, key=sizes.__getitem__)
            ratios.append((default / sizes[best], most / sizes[best]))
            cells += [best.name, *ratios[-1]]
        rows.append(tuple(cells))
    columns = ("picture", "k", "default", "max", *(peer.name for peer in present))
    if present:
        columns += ("best", "default/best", "max/best")
        rows.append(("geomean",) + (None,) * (len(columns) - 3) + _means(ratios))
    section.tables.append(Table(title, columns, rows))
    return ratios


def _means(ratios: list[tuple[float, float]]) -> tuple[float, float]:
    default, most = zip(*ratios, strict=True)
    return geomean(default), geomean(most)


def dense_art(setup: Setup) -> Section:
    """Measure whole streams of palette art against the best lossless peer of each picture."""
    section = Section("dense-art")
    setup.say("dense-art: palette pictures")
    sheets = palette_art(setup.data)[: setup.some(1000, 3)]
    wanted = (peers.WEBP, *peers.JXLS, peers.XZ, peers.OXIPNG)
    ratios = _lossless_table(section, sheets, wanted, "bytes of palette art, whole streams and files")
    means = _means(ratios) if ratios else (None, None)
    worst = [max(column) for column in zip(*ratios, strict=True)] or [None, None]
    for effort, mean, most in zip(("default", "max"), means, worst, strict=True):
        section.goals.append(Goal(f"bytes / best peer's, {effort}, geomean", mean, 0.68))
        section.goals.append(Goal(f"bytes / best peer's, {effort}, worst picture", most, 1.0))
    return section


def dense_photo(setup: Setup) -> Section:
    """Measure streams of photographs that are reduced already against JPEG XL."""
    section = Section("dense-photo")
    photos = photographs(setup.data, setup.some(5, 1))
    for n_colors, limit in _PHOTO_LIMITS.items():
        setup.say(f"dense-photo: {n_colors} colours")
        sheets = [ours.reduced(photo.pixels, photo.name, n_colors) for photo in photos]
        title = f"bytes of photographs of {n_colors} colours, whole streams and files"
        ratios = _lossless_table(section, sheets, peers.JXLS, title)
        mean = _means(ratios)[0] if ratios else None
        section.goals.append(Goal(f"bytes / best JPEG XL's, default, k = {n_colors}, geomean", mean, limit))
    return section


def palette_nbytes(colors: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> int:
    """Give the bytes of one palette alone: its size, its layout, its colours."""
    rgba = np.full((len(colors), 4), 255, np.uint8)
    rgba[:, : colors.shape[1]] = colors
    rgba, _ = sort_palette(rgba)
    maps = pack([Indexed(rgba, np.zeros((1, len(rgba)), np.uint8))])
    coder, sink = new_coder(), np.empty(4096, np.uint8)
    paletteset.code_palettes(maps, 0, 1, paletteset.new_model(), coder, sink, None)
    return int(finish_encoding(coder, sink))


def palettes(setup: Setup) -> Section:
    """Measure the bytes of palettes alone against three or four bytes a colour."""
    section = Section("palettes")
    setup.say("palettes")
    art = palette_art(setup.data)[: setup.some(1000, 5)]
    photos = photographs(setup.data, setup.some(10, 2))
    reduced = [ours.reduced(photo.pixels, photo.name, 256) for photo in photos]
    for what, sheets, limit in (("palette art", list(art), 0.5), ("photographs, k = 256", reduced, 0.65)):
        rows: list[Row] = []
        for sheet in sheets:
            coded = palette_nbytes(sheet.colors)
            rows.append(
                (sheet.name, len(sheet.colors), sheet.palette_nbytes, coded, coded / sheet.palette_nbytes)
            )
        raw_sum, coded_sum = (sum(int(row[i] or 0) for row in rows) for i in (2, 3))
        ratios = [float(row[4] or 0) for row in rows]
        rows.append(("sum", None, raw_sum, coded_sum, coded_sum / raw_sum))
        rows.append(("geomean", None, None, None, geomean(ratios)))
        section.tables.append(
            Table(f"bytes of palettes, {what}", ("picture", "k", "raw", "coded", "ratio"), rows)
        )
        section.goals.append(Goal(f"coded / raw, {what}, sums", coded_sum / raw_sum, limit))
    return section
