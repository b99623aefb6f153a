"""The section of speed: collections written, read in order and read at random, beside their peers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import triptych

from bench import shards, stores
from bench.image_sets import read_cells, read_pack
from bench.measure import Pixels, alternate, psnr
from bench.peers import select
from bench.pictures import sprite_cells
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup
from bench.stores import Store, folder_nbytes, triptych_store
from bench.two_cores import measure_command, measure_two_cores

_NOTE = (
    "images a second of CPU time, all threads of a process counted, files in the system's cache; medians;"
    " at random: one by one, each once. Ours: a key for each image, default frames, one thread; a basis is"
    " fitted to the same images before, and is in the stream"
)
_COLLECTION = "triptych PCA collection"
_N_COMPONENTS = {_COLLECTION: 64, f"{_COLLECTION}, finer": 256}
_KMEANS = "triptych k-means"
_FAST = "triptych k-means fast"
_SEQUENCE_TIMES, _RANDOM_TIMES, _FAST_RATE = 5.0, 1.0, 1000.0


def fit_books(images: Pixels) -> dict[str, triptych.Dictionary]:
    """Fit the bases of our collections of components."""
    return {name: triptych.fit("pca", images, n_components=n, threads=1) for name, n in _N_COMPONENTS.items()}


def our_stores(books: dict[str, triptych.Dictionary], threads: int = 1) -> list[Store]:
    """Give our panels."""
    return [
        *(
            triptych_store(
                name,
                f"fit('pca', images, n_components={_N_COMPONENTS[name]}); mode pca",
                book,
                threads=threads,
                mode="pca",
            )
            for name, book in books.items()
        ),
        triptych_store(
            "triptych PCA blocks", "mode pca, the shipped dictionary", threads=threads, mode="pca"
        ),
        triptych_store(_KMEANS, "mode kmeans, effort default", threads=threads, mode="kmeans"),
        triptych_store(_FAST, "mode kmeans, effort fast", threads=threads, mode="kmeans", effort="fast"),
    ]


def store_speed(setup: Setup) -> Section:
    """Measure images a second."""
    section = Section("store-speed", notes=[_NOTE])
    faces = read_cells(setup.data / "faces" / "anime64_devtest.png")
    setup.say(f"store-speed: fitting to {len(faces)} faces")
    books = fit_books(faces)
    images = faces[: setup.some(512, 16)]
    present, table = select([*our_stores(books), *shards.PEERS])
    section.tables.append(table)
    with tempfile.TemporaryDirectory() as name:
        rates = _measure(setup, section, present, images, Path(name))
    webp = rates[stores.WEBP.name]
    section.goals += [
        Goal(
            f"times {stores.WEBP.name}' rate, {_COLLECTION}, in order",
            rates[_COLLECTION]["in order"] / webp["in order"],
            _SEQUENCE_TIMES,
            at_least=True,
        ),
        Goal(
            f"times {stores.WEBP.name}' rate, {_COLLECTION}, at random",
            rates[_COLLECTION]["at random"] / webp["at random"],
            _RANDOM_TIMES,
            at_least=True,
        ),
        Goal(f"images/s, {_FAST}, in order", rates[_FAST]["in order"], _FAST_RATE, at_least=True),
    ]
    _measure_palettes(setup, section)
    # 24 whole frames of components, 32 of palettes: threads take frames, and of few that do not take the same
    # time the last leaves a thread idle. Eight frames gain 1.6 if one thread takes five.
    threaded = {
        _COLLECTION: (setup.some(32760, 32), 5),
        _KMEANS: (setup.some(2048, 16), 1),
        _FAST: (setup.some(2048, 16), 5),
    }
    measure_two_cores(
        setup,
        section,
        images,
        {name: (partial(_our_store, books, name), *numbers) for name, numbers in threaded.items()},
    )
    measure_command(
        setup,
        section,
        images,
        {
            _COLLECTION: (books[_COLLECTION], ["--mode", "pca"], setup.some(16380, 8)),
            _FAST: (None, ["--mode", "kmeans", "--effort", "fast"], setup.some(2048, 8)),
        },
    )
    return section


def _our_store(books: dict[str, triptych.Dictionary], name: str, threads: int) -> Store:
    return next(store for store in our_stores(books, threads) if store.name == name)


def _measure(
    setup: Setup, section: Section, present: list[Store], images: Pixels, folder: Path
) -> dict[str, dict[str, float]]:
    """Add the table of rates, and give them by store and by what is done."""
    shown = np.zeros_like(images)
    order = np.random.default_rng(0).permutation(len(images)).tolist()
    homes: dict[str, Path] = {}
    figures: dict[str, tuple[float, float]] = {}

    def write(store: Store) -> None:
        home = homes[store.name] = Path(tempfile.mkdtemp(dir=folder))
        store.write(images, home)

    setup.say("store-speed: writing")
    encode = alternate({s.name: partial(write, s) for s in present}, setup.some(2, 1))
    for store in present:
        home = homes[store.name]
        figures[store.name] = (folder_nbytes(home) / len(images), psnr(images, store.check(images, home)))
    setup.say("store-speed: reading in order")
    rounds = setup.some(5, 1)
    in_order = alternate({s.name: partial(s.read_all, homes[s.name], shown) for s in present}, rounds)
    setup.say("store-speed: reading at random")
    at_random = alternate(
        {
            s.name: partial(s.read_each, homes[s.name], order, shown)
            for s in present
            if _has_random_access(s, homes[s.name])
        },
        rounds,
    )
    rates = {
        name: {
            what: len(images) / seconds[name]
            for what, seconds in (("encode", encode), ("in order", in_order), ("at random", at_random))
            if name in seconds
        }
        for name in encode
    }
    rows: list[Row] = [
        (name, *figures[name], rate["encode"], rate["in order"], rate.get("at random"))
        for name, rate in rates.items()
    ]
    height, width = images.shape[1:3]
    columns = ("what", "bytes an image", "PSNR", "encode", "in order", "at random")
    section.tables.append(Table(f"images/s, {len(images)} faces of {width}x{height}", columns, rows))
    return rates


def _measure_palettes(setup: Setup, section: Section) -> None:
    """Add a table of the collections that palettes are for."""
    rows: list[Row] = []
    most = setup.some(512, 16)
    sprites = np.stack([cell.pixels for cell in sprite_cells(setup.data)[:most]])
    for images, what, options in (
        (sprites, "sprites, lossless", {"lossless": True}),
        (read_pack(setup.data, "twemoji64", most).pixels, "emoji, 64 colours", {"n_colors": 64}),
    ):
        setup.say(f"store-speed: {len(images)} of {what}")
        ours = triptych_store(_FAST, "", mode="kmeans", effort="fast", **options)
        runs: dict[str, Callable[[], None]] = {}
        sizes: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as name:
            for store in (ours, stores.WEBP_LOSSLESS):
                home = Path(name) / store.name
                home.mkdir()
                store.write(images, home)
                sizes[store.name] = folder_nbytes(home) / len(images)
                runs[store.name] = partial(store.read_all, home, np.zeros_like(images))
            in_order = alternate(runs, setup.some(5, 1))
        rates = {name: len(images) / seconds for name, seconds in in_order.items()}
        rows += [(f"{name}, {what}", sizes[name], rate) for name, rate in rates.items()]
        goal = f"images/s, {_FAST}, {what}, in order"
        section.goals.append(Goal(goal, rates[_FAST], _FAST_RATE, at_least=True))
    columns = ("what", "bytes an image", "images/s")
    section.tables.append(Table("images/s of palettes, in order", columns, rows))


def _has_random_access(store: Store, folder: Path) -> bool:
    with store.open(folder) as opened:
        return opened.read_one is not None
