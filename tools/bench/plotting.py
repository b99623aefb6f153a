"""Plots, from measured points to a picture file: rate against distortion, and cost against size."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.curves import Point

MeanPoint = tuple[str, float, float, dict[str, float]]
"""Codec, quality, bits a pixel, figures by name."""


def mean_points(points: Sequence[Point]) -> list[MeanPoint]:
    """Average the points of each codec at each quality over the pictures, in the order of the points."""
    groups: dict[tuple[str, float], list[Point]] = {}
    for point in points:
        groups.setdefault((point.codec, point.quality), []).append(point)
    return [
        (
            codec,
            quality,
            statistics.mean(p.bpp for p in group),
            {name: statistics.mean(p.figures[name] for p in group) for name in group[0].figures},
        )
        for (codec, quality), group in groups.items()
    ]


def plot(target: Path, points: Sequence[Point], labels: Mapping[str, str], bold: Sequence[str]) -> None:
    """Draw one panel a figure: means over pictures, the rate on a logarithmic axis.

    Parameters
    ----------
    target : Path
        Its ending says the format.
    points : sequence of Point
    labels : mapping
        What stands at the axis of each figure.
    bold : sequence of str
        Codecs that are drawn to be seen.

    Raises
    ------
    ImportError
        No matplotlib.
    """
    figure_module: Any = import_module("matplotlib.figure")
    means = mean_points(points)
    names = [name for name in labels if means and name in means[0][3]]
    figure = figure_module.Figure(figsize=(5.2 * len(names), 4.6), layout="constrained")
    n_pictures = len({point.picture for point in points})
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for codec in dict.fromkeys(codec for codec, *_ in means):
            rates, values = zip(*((bpp, f[name]) for c, _, bpp, f in means if c == codec), strict=True)
            is_bold = codec in bold
            style = {"linewidth": 2.4, "zorder": 3} if is_bold else {"linewidth": 1.2, "linestyle": "--"}
            axes.plot(rates, values, marker="o", markersize=4 if is_bold else 3, label=codec, **style)
        axes.set_xscale("log")
        ticks = [0.1, 0.2, 0.5, 1, 2, 4]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("bits a pixel (mean)")
        axes.set_title(labels[name])
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(f"Rate and distortion, {n_pictures} Kodak pictures, means at each setting")
    figure.savefig(target, dpi=110)


def plot_costs(target: Path, panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> None:
    """Draw one panel a kind of cost, both axes logarithmic.

    Parameters
    ----------
    target : Path
        Its ending says the format.
    panels : mapping
        From the title of each to its lines: from a name to points (images, cost).

    Raises
    ------
    ImportError
        No matplotlib.
    """
    figure_module: Any = import_module("matplotlib.figure")
    figure = figure_module.Figure(figsize=(4.6 * len(panels), 4.2), layout="constrained")
    for axes, (title, lines) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set_xscale("log")
        axes.set_yscale("log")
        costs = [cost for points in lines.values() for _, cost in points]
        if max(costs) < 10 * min(costs):  # what hardly changes is to look so
            axes.set_ylim(min(costs) / 10, max(costs) * 10)
        axes.set_xlabel("images")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle("What a stream of small images costs")
    figure.savefig(target, dpi=110)
