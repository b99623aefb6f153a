"""Sections of photographs at a quality: rate and distortion beside other lossy files, and speed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec

from bench import lossy, ours_pca
from bench.curves import Point, collect, curve
from bench.lossy import LossyFile
from bench.measure import Pixels, alternate, psnr
from bench.peers import select
from bench.pictures import photographs as kodak
from bench.plotting import mean_points, plot
from bench.quality import bd_rate, ms_ssim_db, ssimulacra2, ssimulacra2_version
from bench.results import Cell, Goal, Row, Section, Table
from bench.setup import Setup

FIGURES = {"psnr": "PSNR-RGB", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2"}
_LABELS = {"psnr": "PSNR-RGB, dB", "ms_ssim": "MS-SSIM of luma, dB", "ssimulacra2": "SSIMULACRA2"}
_NOTE = (
    "PSNR-RGB over all samples; MS-SSIM: of luma, five scales, as -10 log10(1 - x); SSIMULACRA2: {}."
    " BD-rate: pchip of log bytes over the figure where both curves are, mean over pictures; below 0 we need"
    " fewer bytes. Bytes are those of whole files"
)

Limits = dict[str, float]
"""The BD-rate, in %, to stay below, by name of the peer."""
_MIDDLE = 42
"""The quality at which speed is measured."""


def _goals_of_tunes() -> list[tuple[LossyFile, str, Limits]]:
    against_jpeg = {lossy.JPEG.name: -50.0, lossy.MOZJPEG.name: -45.0}
    against_others = {lossy.WEBP.name: -25.0, lossy.JXL.name: -30.0, lossy.AVIF_PSNR.name: 0.0}
    structure = {lossy.JPEG.name: -30.0, lossy.WEBP.name: -12.0, lossy.JXL.name: -12.0}
    return [
        (ours_pca.PSNR, "psnr", against_jpeg | against_others),
        (ours_pca.VISUAL, "ms_ssim", structure),
        (ours_pca.VISUAL, "ssimulacra2", {lossy.JPEG.name: -40.0, lossy.WEBP.name: -20.0}),
    ]


def judge(original: Pixels, shown: Pixels) -> dict[str, float]:
    """Give every figure of a photograph that can be had here."""
    figures = {"psnr": psnr(original, shown), "ms_ssim": ms_ssim_db(original, shown)}
    if find_spec("ssimulacra2"):
        figures["ssimulacra2"] = ssimulacra2(original, shown)
    return figures


def photographs(setup: Setup) -> Section:
    """Measure the curves of rate and distortion of photographs."""
    section = Section("photographs", notes=[_NOTE.format(ssimulacra2_version())])
    ours = [ours_pca.with_photo_book(codec, setup.photo) for codec in (ours_pca.PSNR, ours_pca.VISUAL)]
    pictures = kodak(setup.data, setup.some(24, 3))
    codecs = (*ours, *lossy.FILES)
    points = collect(setup, section, [(codec, picture) for codec in codecs for picture in pictures], judge)
    rows: list[Row] = [(codec, q, bpp, *f.values()) for codec, q, bpp, f in mean_points(points)]
    names = [FIGURES[name] for name in points[0].figures] if points else []
    title = f"means of {len(pictures)} pictures"
    section.tables.append(Table(title, ("codec", "quality", "bpp", *names), rows))
    rates = _Rates(points, [picture.name for picture in pictures])
    for codec in ours:
        anchors = [other for other in codecs if other is not codec]
        rows = [(other.name, *rates.means(other, codec), rates.n_shared(other, codec)) for other in anchors]
        columns = ("against", *FIGURES.values(), "pictures")
        title = f"BD-rate of {codec.name}, %, mean over pictures"
        section.tables.append(Table(title, columns, rows))
    for codec, figure, limits in _goals_of_tunes():
        section.tables.append(rates.by_picture(codec, figure))
        for anchor, limit in limits.items():
            what = f"BD-rate, {FIGURES[figure]}, {codec.name} against {anchor}, %"
            section.goals.append(Goal(what, rates.mean(anchor, codec.name, figure), limit))
    if setup.plot and points:
        plot(setup.plot, points, _LABELS, [codec.name for codec in ours])
        section.notes.append(f"plot: {setup.plot}")
    return section


def photo_speed(setup: Setup) -> Section:
    """Measure the speed of coding photographs."""
    note = (
        f"Mpixel/s of CPU time, warm, colour; ours at quality {_MIDDLE}, peers at the middle of their curves"
    )
    section = Section("photo-speed", notes=[note])
    ours = [ours_pca.with_photo_book(codec, setup.photo) for codec in (ours_pca.VISUAL, ours_pca.FAST)]
    present, table = select([*ours, lossy.WEBP, lossy.JXL, lossy.AVIF_PSNR])
    section.tables.append(table)
    pictures = kodak(setup.data, setup.some(5, 1))
    medians: dict[tuple[str, str], float] = {}
    found: dict[str, list[tuple[float, float, float]]] = {codec.name: [] for codec in present}
    rows: list[Row] = []
    for picture in pictures if ours[0] in present else ():
        setup.say(f"photo-speed: {picture.name}")
        files = {codec: codec.encode(picture.pixels, _middle(codec)) for codec in present}
        runs: dict[str, Callable[[], object]] = {}
        for codec, data in files.items():
            runs[f"{codec.name} encode"] = partial(codec.encode, picture.pixels, _middle(codec))
            runs[f"{codec.name} decode"] = partial(codec.decode, data)
        seconds = alternate(runs, setup.some(3, 1))
        for codec, data in files.items():
            speeds = [picture.n_pixels / 1e6 / seconds[f"{codec.name} {way}"] for way in ("encode", "decode")]
            found[codec.name].append((8 * len(data) / picture.n_pixels, speeds[0], speeds[1]))
            rows.append((f"{picture.name}, {codec.name}", *found[codec.name][-1]))
    for name, figures in found.items() if rows else ():
        bpp, encode, decode = map(statistics.median, zip(*figures, strict=True))
        medians |= {(name, "encode"): encode, (name, "decode"): decode}
        rows.append((f"median, {name}", bpp, encode, decode))
    section.tables.append(Table("speed, one thread", ("what", "bpp", "encode", "decode"), rows))
    for codec, way, limit in (
        (ours_pca.VISUAL, "decode", 3.0),
        (ours_pca.VISUAL, "encode", 0.5),
        (ours_pca.FAST, "encode", 2.0),
    ):
        what = f"median Mpixel/s, {codec.name}, {way}"
        section.goals.append(Goal(what, medians.get((codec.name, way)), limit, at_least=True))
    return section


def _middle(codec: LossyFile) -> float:
    return _MIDDLE if codec.is_ours else codec.qualities[len(codec.qualities) // 2]


class _Rates:
    """BD-rates between codecs on some pictures."""

    def __init__(self, points: Sequence[Point], pictures: Sequence[str]) -> None:
        self._points, self._pictures = points, pictures
        self._codecs = dict.fromkeys(point.codec for point in points)

    def _of_picture(self, anchor: str, test: str, picture: str, figure: str) -> float | None:
        curves = (curve(self._points, codec, picture, figure) for codec in (anchor, test))
        return bd_rate(*curves)

    def _each(self, anchor: str, test: str, figure: str) -> list[float]:
        """Give the BD-rate of each picture that has one."""
        if not self._points or figure not in self._points[0].figures:
            return []
        found = (self._of_picture(anchor, test, picture, figure) for picture in self._pictures)
        return [rate for rate in found if rate is not None]

    def mean(self, anchor: str, test: str, figure: str) -> float | None:
        rates = self._each(anchor, test, figure)
        return statistics.mean(rates) if rates else None

    def means(self, anchor: LossyFile, test: LossyFile) -> list[float | None]:
        return [self.mean(anchor.name, test.name, figure) for figure in FIGURES]

    def n_shared(self, anchor: LossyFile, test: LossyFile) -> int:
        """Count the pictures on which the curves share qualities, in every figure."""
        return min(len(self._each(anchor.name, test.name, f)) for f in FIGURES)

    def by_picture(self, test: LossyFile, figure: str) -> Table:
        """Lay out the BD-rate of one codec against each other on each picture."""
        anchors = [codec for codec in self._codecs if codec != test.name]
        rows: list[Row] = []
        for picture in self._pictures if test.name in self._codecs else ():
            cells: list[Cell] = [self._of_picture(anchor, test.name, picture, figure) for anchor in anchors]
            rows.append((picture, *cells))
        return Table(f"BD-rate of {test.name}, {FIGURES[figure]}, %", ("picture", *anchors), rows)
