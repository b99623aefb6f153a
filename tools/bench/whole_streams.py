"""Sections of whole streams: a collection of small images in one batch, and photographs at equal PSNR."""

from __future__ import annotations

import io
import math
import statistics
from typing import Any

import numpy as np
import triptych

from bench import ours, peers
from bench.measure import Pixels, geomean, psnr
from bench.pictures import photographs, sprite_cells
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup


def sprites(setup: Setup) -> Section:
    """Measure sprites in one batch frame against a file for each."""
    section = Section("sprites")
    cells = sprite_cells(setup.data)[: setup.some(10000, 40)]
    present, table = peers.select([peers.WEBP, peers.PNG])
    section.tables.append(table)
    setup.say(f"sprites: {len(cells)} cells")
    target = io.BytesIO()
    with triptych.Writer(target, mode="kmeans", lossless=True, frame_images=len(cells), threads=1) as writer:
        for cell in cells:
            writer.write(cell.pixels)
    with triptych.Reader(target.getvalue()) as reader:
        for cell, shown in zip(cells, reader, strict=True):
            if not np.array_equal(shown, cell.pixels):
                raise AssertionError(f"{cell.name} does not come back from the batch")
    size = len(target.getvalue()) / len(cells)
    rows: list[Row] = [("triptych, one frame", len(cells), size, 1.0)]
    for peer in present:
        theirs = statistics.mean(peer.nbytes(cell) for cell in cells)
        rows.append((f"{peer.name} each", len(cells), theirs, size / theirs))
    section.tables.append(
        Table("whole stream and files", ("what", "images", "bytes an image", "ours / this"), rows)
    )
    section.goals.append(Goal("bytes an image", size, 265.0))
    webp = next((float(row[3] or 0) for row in rows if row[0] == f"{peers.WEBP.name} each"), None)
    section.goals.append(Goal("bytes / WebP's", webp, 0.52))
    return section


def rate_aware(setup: Setup) -> Section:
    """Measure the bytes of photographs that are at least as good, in PSNR, as a palette PNG."""
    section = Section("rate-aware")
    section.notes.append(
        "ours: triptych.encode(target_psnr = the PSNR of their file), decoded and checked to reach it;"
        " 'best k': the smallest over n_colors = 16 to 256, which is no single call"
    )
    present, table = peers.select([peers.PNGQUANT])
    section.tables.append(table)
    rows: list[Row] = []
    for photo in photographs(setup.data, setup.some(5, 1)) if present else ():
        for n_colors in (16, 64, 256):
            setup.say(f"rate-aware: {photo.name}, {n_colors} colours")
            theirs = peers.PNGQUANT.encode(photo.pixels, n_colors)
            wanted = psnr(peers.PNGQUANT.show(theirs), photo.pixels)
            size = _reach(photo.pixels, wanted)
            least, best = min((_reach(photo.pixels, wanted, n_colors=k), k) for k in (16, 32, 64, 128, 256))
            ratios = (size / len(theirs), least / len(theirs))
            rows.append((f"{photo.name} k{n_colors}", wanted, len(theirs), size, least, best, *ratios))
    mean = None
    if rows:
        mean, mean_of_best = (geomean(float(row[i] or 0) for row in rows) for i in (6, 7))
        rows.append(("geomean", *[None] * 5, mean, mean_of_best))
    columns = ("picture", "PSNR", "theirs", "ours", "best k", "k", "ours / theirs", "best k / theirs")
    section.tables.append(Table("bytes at equal PSNR, whole streams and files", columns, rows))
    section.goals.append(Goal("bytes / pngquant + oxipng's, geomean", mean, 0.55))
    return section


def _reach(pixels: Pixels, wanted: float, **options: Any) -> float:
    """Give the bytes of our stream that reaches this PSNR, or infinity where none does."""
    try:
        data = ours.stream(pixels, target_psnr=wanted, **options)
    except triptych.TargetUnreachable:
        return math.inf
    reached = psnr(np.asarray(triptych.decode(data)), pixels)
    if reached < wanted - 1e-6:
        raise AssertionError(f"target_psnr {wanted} gave {reached}")
    return len(data)
