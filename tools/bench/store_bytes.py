"""The section of bytes: collections on disk, with index and keys, beside files in folders."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from bench import peers, stores
from bench.image_sets import judge, read_pack
from bench.measure import Pixels
from bench.peers import PaletteFile, select
from bench.pictures import sprite_cells
from bench.quality import rate_at
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup
from bench.stores import Store, folder_nbytes, triptych_store

N_COLORS = 64
_PEER_COLORS = (32, 64, 96, 128)
"""From below our PSNR to above it."""
_PNG_LIMIT, _WEBP_LIMIT, _EMOJI_LIMIT = 0.27, 0.6, 0.5

SPRITES = triptych_store("triptych", "mode kmeans, lossless", mode="kmeans", lossless=True)
EMOJI = triptych_store("triptych", f"mode kmeans, n_colors {N_COLORS}", mode="kmeans", n_colors=N_COLORS)
EMOJI_NO_KEYS = triptych_store(
    "triptych, no keys",
    "the same, as the peer's file names are not counted either",
    mode="kmeans",
    n_colors=N_COLORS,
    has_keys=False,
)


def _quantized_png(pixels: Pixels, n_colors: int) -> bytes:
    colors, labels = peers.LIBIMAGEQUANT.run(pixels, n_colors)
    image = Image.frombytes("P", labels.shape[::-1], labels.tobytes())
    image.putpalette(colors.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return peers.oxipng(file.getvalue())


PNGQUANT = PaletteFile(
    "pngquant + oxipng",
    "libimagequant, which pngquant is made of: speed 1, no dither; then oxipng level 6, strip all, no zopfli",
    lambda: f"libimagequant {peers.LIBIMAGEQUANT.version()}; {peers.OXIPNG.version()}",
    _quantized_png,
)


def store_bytes(setup: Setup) -> Section:
    """Measure the bytes of sprites without loss, and of emoji in few colours."""
    section = Section(
        "store-bytes",
        notes=["sizes of whole files, ours with default frames, index, and a key for each image"],
    )
    _measure_sprites(setup, section)
    _measure_emoji(setup, section)
    return section


def _measure_sprites(setup: Setup, section: Section) -> None:
    cells = sprite_cells(setup.data)[: setup.some(10000, 40)]
    images = np.stack([cell.pixels for cell in cells])
    setup.say(f"store-bytes: {len(images)} sprites")
    present, table = select([SPRITES, stores.OXIPNG, stores.PNG, stores.WEBP_LOSSLESS])
    section.tables.append(table)
    sizes = {store.name: _bytes_each(store, images)[0] for store in present}
    ours = sizes[SPRITES.name]
    rows: list[Row] = [(name, len(images), size, ours / size) for name, size in sizes.items()]
    columns = ("what", "images", "bytes an image", "ours / this")
    section.tables.append(Table("sprites, lossless", columns, rows))
    limits = ((stores.OXIPNG, _PNG_LIMIT), (stores.PNG, _PNG_LIMIT), (stores.WEBP_LOSSLESS, _WEBP_LIMIT))
    for peer, limit in limits:
        ratio = ours / sizes[peer.name] if peer.name in sizes else None
        section.goals.append(Goal(f"bytes / those of {peer.name}, sprites", ratio, limit))


def _bytes_each(store: Store, images: Pixels) -> tuple[float, float]:
    """Give the bytes of an image on disk, and the PSNR of all."""
    with tempfile.TemporaryDirectory() as name:
        store.write(images, Path(name))
        shown = store.check(images, Path(name))
        return folder_nbytes(Path(name)) / len(images), judge(images, shown)["psnr"]


def _measure_emoji(setup: Setup, section: Section) -> None:
    images = read_pack(setup.data, "twemoji64", setup.some(10000, 24)).pixels
    setup.say(f"store-bytes: {len(images)} emoji")
    present, table = select([EMOJI, EMOJI_NO_KEYS, PNGQUANT])
    section.tables.append(table)
    rows: list[Row] = []
    curve: list[tuple[float, float]] = []
    for n_colors in _PEER_COLORS if PNGQUANT in present else ():
        setup.say(f"store-bytes: {PNGQUANT.name}, {n_colors} colours")
        files = [PNGQUANT.encode(image, n_colors) for image in images]
        shown = np.stack([PNGQUANT.show(file) for file in files])
        curve.append((sum(map(len, files)) / len(files), judge(images, shown)["psnr"]))
        rows.append((PNGQUANT.name, n_colors, *curve[-1], None, None))
    ratios: list[float | None] = []
    for store in (EMOJI, EMOJI_NO_KEYS):
        size, reached = _bytes_each(store, images)
        theirs = rate_at(curve, reached) if curve else None
        ratios.append(None if theirs is None else size / theirs)
        rows.append((store.name, N_COLORS, size, reached, theirs, ratios[-1]))
    columns = ("what", "colours", "bytes an image", "PSNR", "theirs at this PSNR", "ours / theirs")
    section.tables.append(Table("emoji", columns, rows))
    what = f"bytes / those of {PNGQUANT.name} at equal PSNR, emoji"
    section.goals.append(Goal(what, ratios[0], _EMOJI_LIMIT))
