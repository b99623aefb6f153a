"""Triptych as the sections use it: the public functions, and the coder of index maps beneath them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import triptych
from triptych.fit.kmeans import Effort, count_colors, fit_palette, map_pixels
from triptych.images import Shape
from triptych.modes.indexmaps import CODER_NAMES, Indexed, Plan, decode_maps, encode_maps, parse_head
from triptych.modes.kmeans import MODE
from triptych.modes.reduce import Picture, to_rgba
from triptych.options import make_options

from bench.measure import Pixels
from bench.pictures import Sheet


def quantize(pixels: Pixels, n_colors: int, effort: Effort) -> tuple[Pixels, Pixels]:
    """Fit a palette to an RGB picture and map every pixel: palette uint8 (k, 3) and labels (h, w)."""
    histogram, inverse = count_colors(to_rgba(pixels))
    palette = fit_palette(histogram, n_colors, effort=effort)
    labels = map_pixels(histogram.colors, inverse, palette.colors)
    return palette.colors[:, :3], labels.reshape(pixels.shape[:2])


def stream(pixels: Pixels, **options: Any) -> bytes:
    """Give a whole stream of one picture; raise AssertionError where `lossless` loses."""
    data = triptych.encode(pixels, mode="kmeans", threads=1, **options)
    if options.get("lossless") and not np.array_equal(triptych.decode(data), pixels):
        raise AssertionError("a lossless stream gives other pixels back")
    return data


def reduced(photo: Pixels, name: str, n_colors: int) -> Sheet:
    """Give a photograph as it looks after k-means of our own."""
    return Sheet(f"{name} k{n_colors}", np.asarray(triptych.decode(stream(photo, n_colors=n_colors))))


@dataclass(frozen=True)
class MapCoder:
    """The coder of one index map, as an effort chooses it, without the palette's choice and the stream."""

    plan: Plan
    indexed: Indexed
    shape: Shape
    body: bytes

    @classmethod
    def choose(cls, sheet: Sheet, effort: Effort) -> MapCoder:
        """Take the plan that the encoder itself takes for this sheet."""
        options = make_options({"lossless": True, "effort": effort})
        shape = Shape(*sheet.pixels.shape)
        body = MODE.encode_frame([sheet.pixels], options, None)
        plan, _, _ = parse_head(memoryview(body), 1)
        return cls(plan, Picture(sheet.pixels, options).exact(), shape, body)

    def __str__(self) -> str:
        """Name the coder, and how many candidates it asks after before it descends its tree."""
        return f"{CODER_NAMES[self.plan.coder]} {self.plan.n_flags}"

    def encode(self) -> bytes:
        """Code the map."""
        body = encode_maps(self.plan, [self.indexed], None)
        assert body is not None  # the encoder chose this plan because it has a body
        return body

    def decode(self) -> Indexed:
        """Decode the map."""
        return decode_maps(memoryview(self.body), [self.shape], None, 1)[0]
