"""Sections of the palette alone: how well it fits, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench import ours, peers
from bench.measure import Pixels, alternate, geomean, mean_squared_error, show_nearest
from bench.pictures import Sample, photographs
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

SIZES = (16, 64, 256)
DEFAULT, FAST = "triptych default", "triptych fast"
_SCOPES = {"all k": SIZES, **{f"k = {k}": (k,) for k in SIZES}}

Quantize = Callable[[Pixels, int], tuple[Pixels, Pixels]]
Figures = dict[tuple[str, int], list[float]]
"""One figure a picture, by name and number of colours."""
_OURS: dict[str, Quantize] = {
    DEFAULT: lambda pixels, k: ours.quantize(pixels, k, "default"),
    FAST: lambda pixels, k: ours.quantize(pixels, k, "fast"),
}


def mean_ratio(figures: Figures, a: str, b: str, sizes: tuple[int, ...]) -> float | None:
    """Give the geometric mean over pictures and sizes of a's figure divided by b's; None if b has none."""
    if any((name, k) not in figures for name in (a, b) for k in sizes):
        return None
    return geomean(x / y for k in sizes for x, y in zip(figures[a, k], figures[b, k], strict=True))


def _table(title: str, figures: Figures, n_colors: int, pictures: list[str], over: tuple[str, ...]) -> Table:
    """Lay the figures of one size out, with a row of ratios beneath for each of `over`."""
    names = [name for name, k in figures if k == n_colors]
    columns = (figures[name, n_colors] for name in names)
    rows: list[Row] = [(picture, *row) for picture, *row in zip(pictures, *columns, strict=True)]
    for ours_name in over:
        means = (mean_ratio(figures, name, ours_name, (n_colors,)) for name in names)
        rows.append((f"/ {ours_name}, geomean", *means))
    return Table(f"{title}, {n_colors} colours", ("picture", *names), rows)


def palette_mse(setup: Setup) -> Section:
    """Measure the error of palettes, each with the mapping of its maker."""
    section = Section("palette-mse")
    present, table = peers.select(peers.QUANTIZERS)
    section.tables.append(table)
    photos = photographs(setup.data, setup.some(10, 2))
    errors: Figures = {}
    for n_colors in SIZES:
        for photo in photos:
            setup.say(f"palette-mse: {photo.name}, {n_colors} colours")

            def add(name: str, shown: Pixels, photo: Sample = photo, n_colors: int = n_colors) -> None:
                errors.setdefault((name, n_colors), []).append(mean_squared_error(photo.pixels, shown))

            for name, run in _OURS.items():
                colors, labels = run(photo.pixels, n_colors)
                add(name, colors[labels])
            for peer in present:
                colors, labels = peer.run(photo.pixels, n_colors)
                nearest = show_nearest(photo.pixels, colors)
                add(peer.name, nearest if peer.labels_are_nearest else colors[labels])
                if peer is peers.LIBIMAGEQUANT:
                    add(f"{peer.name}, remapped", nearest)
        title = "MSE of the samples"
        section.tables.append(_table(title, errors, n_colors, [photo.name for photo in photos], (DEFAULT,)))
    for n_colors in SIZES:
        theirs = errors.get((peers.SKLEARN.name, n_colors))
        wins = None
        if theirs is not None:
            wins = sum(a <= b for a, b in zip(errors[DEFAULT, n_colors], theirs, strict=True)) / len(theirs)
        what = f"share of pictures at or below KMeans, k = {n_colors}"
        section.goals.append(Goal(what, wins, 0.9, at_least=True))
    for what, sizes in _SCOPES.items():
        mean = mean_ratio(errors, DEFAULT, peers.LIBIMAGEQUANT.name, sizes)
        section.goals.append(Goal(f"MSE / libimagequant's, {what}", mean, 0.95))
    return section


def palette_time(setup: Setup) -> Section:
    """Measure the time of a palette and of mapping every pixel, warm."""
    section = Section("palette-time")
    present, table = peers.select(peers.QUANTIZERS)
    section.tables.append(table)
    photos = photographs(setup.data, setup.some(5, 1))
    seconds: Figures = {}
    errors: Figures = {}
    for n_colors in SIZES:
        # All pixels at 256 colours take KMeans ten seconds, and no goal asks for it.
        timed = [peer for peer in present if peer is not peers.SKLEARN or n_colors == 64]
        runs: dict[str, Quantize] = _OURS | {peer.name: peer.run for peer in timed}
        for photo in photos:
            setup.say(f"palette-time: {photo.name}, {n_colors} colours")
            calls = {name: partial(run, photo.pixels, n_colors) for name, run in runs.items()}
            for name, median in alternate(calls, setup.some(3, 1)).items():
                seconds.setdefault((name, n_colors), []).append(median)
            for name in {FAST, peers.LIBIMAGEQUANT.name} & set(calls):
                colors, labels = calls[name]()
                error = mean_squared_error(photo.pixels, colors[labels])
                errors.setdefault((name, n_colors), []).append(error)
        names = [photo.name for photo in photos]
        section.tables.append(_table("CPU seconds", seconds, n_colors, names, (DEFAULT, FAST)))
    rate = mean_ratio(seconds, peers.SKLEARN.name, DEFAULT, (64,))
    section.goals.append(Goal("times as fast as KMeans, default, k = 64", rate, 30, at_least=True))
    for name, limit in ((DEFAULT, 1.0), (FAST, 6.0)):
        for what, sizes in _SCOPES.items():
            rate = mean_ratio(seconds, peers.LIBIMAGEQUANT.name, name, sizes)
            what = f"times as fast as libimagequant, {name}, {what}"
            section.goals.append(Goal(what, rate, limit, at_least=True))
    for what, sizes in _SCOPES.items():
        mean = mean_ratio(errors, FAST, peers.LIBIMAGEQUANT.name, sizes)
        section.goals.append(Goal(f"MSE of fast / libimagequant's, {what}", mean, 1.0))
    return section
