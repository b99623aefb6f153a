"""The k-means panel: choose colours, choose a coder, meet a target.

Pixels become a palette and an index map in `triptych.modes.reduce` and bytes in `triptych.modes.indexmaps`;
here is what lies between: how many images share a frame, which coder they go to, the searches over quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from triptych_kernels.mapmodel import SHARED, Maps
from triptych_kernels.paint import paint

from triptych.dictionary import Dictionary
from triptych.errors import InvalidOption, TooManyColors
from triptych.fit.kmeans import MAX_COLORS
from triptych.images import Pixels, Shape
from triptych.modes.base import unreachable
from triptych.modes.indexmaps import (
    BATCH,
    CODER_NAMES,
    DENSE,
    FAST,
    RANKS,
    Colors,
    Indexed,
    IndexMap,
    Plan,
    encode_maps,
    open_maps,
    parse_head,
)
from triptych.modes.reduce import Picture, dictionary_colors
from triptych.options import Options
from triptych.psnr import psnr_of

__all__ = ["MODE"]

TINY_PIXELS = 1 << 11
"""Images smaller than this go to the batch coder also when time counts: they are quick to read anyway, and
lose most without what it learns from image to image."""
BATCH_PIXELS = 1 << 14
"""Images up to this size share a frame."""
BATCH_IMAGES = 64
SHARED_FRAME_PIXELS = 1 << 18
"""Pixels of a frame whose images have a dictionary's palette."""
SMALL_PIXELS = 1 << 16
"""Up to this size, default effort also tries candidates: it costs no time to speak of."""
PSNR_ROOM = 1.0
"""Decibels above the target that the palette of a search starts from; the rest goes to rate-aware mapping."""
SIZE_ROOM = 1.6
"""Likewise in bytes: a palette whose plain map is this much too large."""
FEW_COLORS = 8
"""From here down a search for a size tries every halving of the palette: they are quick, and none is sure."""
BUSY = 0.2
"""Share of pixels unlike both W and N above which candidates do not pay: drawings have 0.03 to 0.3 (the most
with smoothed edges), photographs in 64 colours or more 0.4 to 0.8."""
BATCH_BUSY = 0.1
"""Likewise for the batch coder: sprites have 0.08 to 0.09, and cost it 0 to 5 % fewer bytes than the dense
one; emoji have 0.06 to 0.13 in 8 to 32 colours, and cost it 7 to 16 % more."""
RANKS_WORTH = 1.1
"""Ranks are read at about three times the speed of the fast coder, for which effort fast pays so much in
bytes: patterns as of dithering, which repeat, cost them several times as many."""
RANKS_SAMPLE = 8
"""Images of a frame that decide it."""


def strength_of(quality: int | None) -> float:
    """Give the strength of rate-aware mapping: 0 at quality 100, 8 at quality 0, 1 at 50."""
    return 0.0 if quality is None else 8 * (1 - quality / 100) ** 3


class _Trial(NamedTuple):
    """A coded picture and what it costs; without its body, where only the PSNR is searched for."""

    body: bytes
    psnr: float


class OpenFrame:
    """The index maps of a frame; see `triptych.modes.base.OpenFrame`."""

    def __init__(self, maps: Maps) -> None:
        self._maps = maps
        self.images = range(len(maps.places))
        self.nbytes = sum(array.nbytes for array in maps)

    def show(self, images: Sequence[int], out: Sequence[Pixels] | Pixels) -> None:
        """Write the pixels of images into arrays, (height, width, channels) each."""
        if isinstance(out, np.ndarray):
            assert len(out) == len(images)
            paint(self._maps, np.array(images, np.int64), 3 if out.shape[3] == 2 else 1, out)
            return
        for image, target in zip(images, out, strict=True):
            self.show([image], target[None])


class KMeans:
    """The mode of FORMAT.md section 6; see `triptych.modes.base.Mode`."""

    name = "kmeans"
    code = 1
    default_dictionary = None

    def encode_frame(
        self, images: Sequence[Pixels], options: Options, dictionary: Dictionary | None
    ) -> bytes:
        """Give the body of a frame; see `triptych.modes.base.Mode.encode_frame`."""
        options.refuse_components()
        palette = None if dictionary is None else dictionary_colors(dictionary)
        if palette is not None and options.keep:
            raise InvalidOption(
                "keep belongs to fit: the colours of a dictionary stay as they are", options=("keep",)
            )
        pictures = [Picture(image, options) for image in images]
        if options.target_size is None and (options.target_psnr is None or options.lossless):
            maps = [_reduce(picture, palette, strength_of(options.quality)) for picture in pictures]
            return _encode(maps, palette, options)
        # A target is one image's: each is searched alone, and the frame holds what was found.
        found = [_search(picture, palette, options) for picture in pictures]
        if len(found) == 1 and found[0][0].body:
            return found[0][0].body
        return _encode([reduced for _, reduced in found], palette, options)

    def decode_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        start: int,
        stop: int,
        n_components: int | None = None,
        realism: float | None = None,
    ) -> list[Pixels]:
        """Give images `start` to `stop - 1`; see `triptych.modes.base.Mode.decode_frame`."""
        opened = self.open_frame(body, shapes, dictionary, stop, n_components, realism)
        pixels = [np.empty(shape, np.uint8) for shape in shapes[start:stop]]
        opened.show(range(start, stop), pixels)
        return pixels

    def open_frame(
        self,
        body: memoryview,
        shapes: Sequence[Shape],
        dictionary: Dictionary | None,
        stop: int,
        n_components: int | None = None,
        realism: float | None = None,
    ) -> OpenFrame:
        """Read the first `stop` index maps of a frame; see `triptych.modes.base.OpensFrames`."""
        if realism is not None:
            raise InvalidOption("realism: a k-means image was made without a GAN", options=("realism",))
        if n_components is not None:
            raise InvalidOption("n_components: a k-means image has no components", options=("n_components",))
        palette = None if dictionary is None else dictionary_colors(dictionary)
        return OpenFrame(open_maps(body, shapes, palette, stop))

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one share a frame by default."""
        if dictionary is not None:
            return max(1, min(BATCH_IMAGES, SHARED_FRAME_PIXELS // shape.pixels))
        return BATCH_IMAGES if shape.pixels <= BATCH_PIXELS else 1

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say of each image: the coder, the squared error (WCSS) and the PSNR."""
        plan, errors, _ = parse_head(body, len(shapes))
        facts: list[dict[str, object]] = []
        for shape, error in zip(shapes, errors, strict=True):
            fact: dict[str, object] = {"coder": CODER_NAMES[plan.coder], "wcss": error}
            fact["psnr"] = psnr_of(error, shape.pixels * shape.channels) if error else None
            if dictionary is not None:
                fact["n_colors"] = len(dictionary_colors(dictionary))
            facts.append(fact)
        return facts


def _reduce(picture: Picture, palette: Colors | None, strength: float) -> Indexed:
    """Map a picture to the dictionary's palette, exactly, or to a palette of its own."""
    options = picture.options
    if palette is not None:
        reduced = picture.mapped(palette, strength, fixed=True)
        if options.lossless and not picture.equals(reduced):
            raise TooManyColors(
                "lossless: the picture has colours that the dictionary has not; without lossless they become "
                "the nearest that it has",
                options=("lossless",),
            )
        return reduced
    n_colors = MAX_COLORS if options.n_colors == "auto" else options.n_colors
    if options.lossless:
        return picture.exact(n_colors)
    if strength == 0 and not options.keep and picture.n_distinct <= n_colors:
        return picture.exact()
    return picture.mapped(picture.fitted(n_colors), strength)


def _encode(maps: Sequence[Indexed], palette: Colors | None, options: Options) -> bytes:
    """Code a frame under the best of the plans that the effort allows."""
    bodies = [encode_maps(plan, maps, palette) for plan in _plans(maps, palette, options.effort)]
    if bodies == [None]:
        bodies = [encode_maps(Plan(DENSE, 0, SHARED), maps, palette)]
    return min((body for body in bodies if body is not None), key=len)


def _busyness(indices: IndexMap) -> float:
    """Give the share of pixels that equal neither the pixel before nor the one above."""
    if min(indices.shape) < 2:
        return 0.0
    inner = indices[1:, 1:]
    return float(((inner != indices[1:, :-1]) & (inner != indices[:-1, 1:])).mean())


def _plans(maps: Sequence[Indexed], palette: Colors | None, effort: str) -> list[Plan]:
    """List the plans to try, for this effort."""
    n_pixels = sum(m.indices.size for m in maps)
    batch = palette is None and all(m.indices.size <= BATCH_PIXELS for m in maps)
    busyness = sum(_busyness(m.indices) * m.indices.size for m in maps) / n_pixels
    busy = busyness > BUSY
    if effort == "fast":
        plan = Plan(FAST, 0, pairs=1) if busy else Plan(FAST, 3)
        if batch and len(maps) > 1:
            plan = Plan(FAST, 3, SHARED) if n_pixels >= TINY_PIXELS * len(maps) else Plan(BATCH)
        return [Plan(RANKS) if batch and busy and _ranks_pay(maps, plan) else plan]
    if batch and len(maps) > 1:
        tries_batch = effort == "max" or busyness <= BATCH_BUSY
        return [Plan(DENSE, 0, SHARED), *([Plan(BATCH)] if tries_batch else [])]
    # Alone as well, a small image teaches more to the depths of its tree than to the nodes.
    plans = [Plan(DENSE, 0, SHARED * batch)]
    if effort == "max" or n_pixels <= SMALL_PIXELS:
        plans.append(Plan(DENSE, 3))
    if batch and (effort == "max" or not busy):
        plans.append(Plan(BATCH))
    return plans


def _ranks_pay(maps: Sequence[Indexed], plan: Plan) -> bool:
    """Say, by some of the maps, whether ranks take hardly more bytes than another plan."""
    some = maps[:: -(-len(maps) // RANKS_SAMPLE)]
    ranked, other = encode_maps(Plan(RANKS), some, None), encode_maps(plan, some, None)
    return other is None or (ranked is not None and len(ranked) <= RANKS_WORTH * len(other))


def _search(picture: Picture, palette: Colors | None, options: Options) -> tuple[_Trial, Indexed]:
    """Meet a target: the best picture that fits a size, or the fewest bytes that reach a PSNR.

    Searches the quality, under the palette of the dictionary, of `n_colors`, or (auto) of a number of colours
    that was measured to serve the target well.
    """
    size, psnr = options.target_size, options.target_psnr
    fixed = palette is not None

    def attempt(colors: Colors, quality: int) -> tuple[_Trial, Indexed]:
        strength = strength_of(quality)
        if strength == 0 and not fixed and picture.n_distinct <= len(colors):
            reduced = picture.exact()
        else:
            reduced = picture.mapped(colors, strength, fixed)
        body = b"" if size is None else _encode([reduced], palette, options)
        return _Trial(body, psnr_of(reduced.error, picture.pixels.size)), reduced

    def best_quality(colors: Colors) -> tuple[_Trial, Indexed] | None:
        """Bisect: bytes and PSNR both grow with quality."""
        low, high, found = 0, 100, None
        while low <= high:
            middle = (low + high) // 2
            trial, reduced = attempt(colors, middle)
            good = len(trial.body) <= size if size is not None else trial.psnr >= (psnr or 0)
            if good:
                found = trial, reduced
            if good == (size is not None):
                low = middle + 1
            else:
                high = middle - 1
        return found

    if palette is not None:
        found = best_quality(palette)
    elif options.n_colors != "auto":
        found = best_quality(picture.fitted(options.n_colors))
    elif psnr is not None:
        found = best_quality(picture.fitted_for(psnr + PSNR_ROOM)) or best_quality(picture.fitted(MAX_COLORS))
    else:
        assert size is not None
        found, n_colors, better = None, MAX_COLORS, True
        while n_colors >= 1 and (better or n_colors < FEW_COLORS):
            colors = picture.fitted(n_colors)
            if n_colors <= FEW_COLORS or len(attempt(colors, 100)[0].body) <= SIZE_ROOM * size:
                result = best_quality(colors)
                better = found is None or (result is not None and result[0].psnr > found[0].psnr)
                found = result if better else found
            n_colors //= 2
    if found is None:
        raise unreachable("no quality of k-means", options)
    return found


MODE = KMeans()
