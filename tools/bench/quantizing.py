"""Sections of the palette alone: how well it fits, and how long it takes."""

from __future__ import annotations

from collections.abc import Callable

from bench import ours, peers
from bench.measure import Pixels, alternate, geomean, mean_squared_error, show_nearest
from bench.pictures import photographs
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

SIZES = (16, 64, 256)
DEFAULT, FAST = "triptych default", "triptych fast"
_NEAREST = "libimagequant, remapped"

Quantize = Callable[[Pixels, int], tuple[Pixels, Pixels]]
_OURS: dict[str, Quantize] = {
    DEFAULT: lambda pixels, k: ours.quantize(pixels, k, "default"),
    FAST: lambda pixels, k: ours.quantize(pixels, k, "fast"),
}


def palette_mse(setup: Setup) -> Section:
    """Measure the error of palettes, each with the mapping of its maker."""
    section = Section("palette-mse")
    present, table = peers.select(peers.QUANTIZERS)
    section.tables.append(table)
    photos = photographs(setup.data, setup.some(10, 2))
    ratios: dict[str, list[float]] = {}
    for n_colors in SIZES:
        rows: list[Row] = []
        for photo in photos:
            setup.say(f"palette-mse: {photo.name}, {n_colors} colours")
            errors: dict[str, float] = {}
            for name, run in _OURS.items():
                colors, labels = run(photo.pixels, n_colors)
                errors[name] = mean_squared_error(photo.pixels, colors[labels])
            for peer in present:
                colors, labels = peer.run(photo.pixels, n_colors)
                shown = show_nearest(photo.pixels, colors) if peer.labels_are_nearest else colors[labels]
                errors[peer.name] = mean_squared_error(photo.pixels, shown)
                if peer is peers.LIBIMAGEQUANT:
                    errors[_NEAREST] = mean_squared_error(photo.pixels, show_nearest(photo.pixels, colors))
            for name, error in errors.items():
                ratios.setdefault(f"{name} {n_colors}", []).append(errors[DEFAULT] / error)
            rows.append((photo.name, *errors.values()))
        names = tuple(errors)
        means = (geomean(ratios[f"{name} {n_colors}"]) for name in names)
        rows.append(("default / this one", *means))
        section.tables.append(Table(f"MSE of the samples, {n_colors} colours", ("picture", *names), rows))
    for n_colors in SIZES:
        against = ratios.get(f"{peers.SKLEARN.name} {n_colors}")
        wins = None if against is None else sum(ratio <= 1 for ratio in against) / len(against)
        section.goals.append(
            Goal(f"share of pictures at or below KMeans, k = {n_colors}", wins, 0.9, at_least=True)
        )
    for n_colors in SIZES:
        against = ratios.get(f"{peers.LIBIMAGEQUANT.name} {n_colors}")
        mean = None if against is None else geomean(against)
        section.goals.append(Goal(f"MSE / libimagequant's, k = {n_colors}", mean, 0.95))
    return section


def palette_time(setup: Setup) -> Section:
    """Measure the time of a palette and of mapping every pixel, warm."""
    section = Section("palette-time")
    present, table = peers.select(peers.QUANTIZERS)
    section.tables.append(table)
    photos = photographs(setup.data, setup.some(5, 1))
    speedups: dict[tuple[str, str, int], list[float]] = {}
    errors: dict[tuple[str, int], list[float]] = {}
    for n_colors in SIZES:
        # All pixels at 256 colours take KMeans ten seconds, and no goal asks for it.
        timed = [peer for peer in present if peer is not peers.SKLEARN or n_colors == 64]
        rows: list[Row] = []
        for photo in photos:
            setup.say(f"palette-time: {photo.name}, {n_colors} colours")
            runs: dict[str, Quantize] = _OURS | {peer.name: peer.run for peer in timed}
            calls = {name: _bound(run, photo.pixels, n_colors) for name, run in runs.items()}
            seconds = alternate(calls, setup.some(3, 1))
            for name in _OURS:
                for peer in timed:
                    speedups.setdefault((name, peer.name, n_colors), []).append(
                        seconds[peer.name] / seconds[name]
                    )
            for name in (FAST, peers.LIBIMAGEQUANT.name):
                if name in calls:
                    colors, labels = calls[name]()
                    error = mean_squared_error(photo.pixels, colors[labels])
                    errors.setdefault((name, n_colors), []).append(error)
            rows.append((photo.name, *(1000 * seconds[name] for name in runs)))
        for ours_name in _OURS:
            times = (
                geomean(speedups[ours_name, name, n_colors])
                if (ours_name, name, n_colors) in speedups
                else None
                for name in runs
            )
            rows.append((f"this one / {ours_name}", *times))
        section.tables.append(Table(f"CPU milliseconds, {n_colors} colours", ("picture", *runs), rows))

    def speedup(name: str, peer: peers.Quantizer, n_colors: int) -> float | None:
        found = speedups.get((name, peer.name, n_colors))
        return None if found is None else geomean(found)

    section.goals.append(
        Goal(
            "times as fast as KMeans, default, k = 64", speedup(DEFAULT, peers.SKLEARN, 64), 30, at_least=True
        )
    )
    for name, limit in ((DEFAULT, 1.0), (FAST, 6.0)):
        for n_colors in SIZES:
            measured = speedup(name, peers.LIBIMAGEQUANT, n_colors)
            what = f"times as fast as libimagequant, {name}, k = {n_colors}"
            section.goals.append(Goal(what, measured, limit, at_least=True))
    for n_colors in SIZES:
        theirs = errors.get((peers.LIBIMAGEQUANT.name, n_colors))
        mean = (
            None
            if theirs is None
            else geomean(a / b for a, b in zip(errors[FAST, n_colors], theirs, strict=True))
        )
        section.goals.append(Goal(f"MSE of fast / libimagequant's, k = {n_colors}", mean, 1.0))
    return section


def _bound(run: Quantize, pixels: Pixels, n_colors: int) -> Callable[[], tuple[Pixels, Pixels]]:
    return lambda: run(pixels, n_colors)
