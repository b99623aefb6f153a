"""The third panel: autoencoder and GAN, two decoders of the same bytes.

A dictionary of kind "network" holds the networks. Modes "ae" and "gan" write the same bodies; the mode's code
only says how realistic a decoder shows them where its caller does not say. E and G run in torch, on a GPU if
there is one; symbols are coded by `triptych.modes.latents`, in integers, so they are the same everywhere, and
pixels differ by what float arithmetic differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from triptych.dictionary import Dictionary
from triptych.errors import (
    DictionaryMismatch,
    InvalidFrame,
    InvalidImage,
    InvalidOption,
)
from triptych.fit.networkbook import MAX_QUALITY, NetworkBook, load_network
from triptych.images import MODES, Pixels, Shape
from triptych.modes.alpha import decode_alpha, encode_alpha, has_alpha
from triptych.modes.base import unreachable
from triptych.modes.latents import MAX_POSITIONS, Grid, build_body, cut_sets, parse_body, parse_head
from triptych.modes.panel import PATCH, Panel
from triptych.options import Options
from triptych.psnr import psnr_of, squared_error

__all__ = ["AE", "GAN"]

I32 = npt.NDArray[np.int32]

DEFAULT_QUALITY = 50
REALISM = 0.75
"""What mode "gan" shows by default: a network that had no part in training likes it best on photographs, and
as well as any on faces."""
FRAME_IMAGES, FRAME_PIXELS = 512, 1 << 22
"""A frame has at most so many images by default, and about so many pixels."""


class Neural:
    """The modes of FORMAT.md section 13; see `triptych.modes.base.Mode`."""

    default_dictionary: str | None = "ae-photo"

    def __init__(self, name: str, code: int, realism: float) -> None:
        self.name, self.code, self.realism = name, code, realism

    def encode_frame(
        self, images: Sequence[Pixels], options: Options, dictionary: Dictionary | None
    ) -> bytes:
        """Give the body of a frame; see `triptych.modes.base.Mode.encode_frame`.

        A target is that of the frame: all its bytes, or the PSNR of all its samples (of the autoencoder).
        """
        options.refuse_palettes()
        options.refuse_components()
        panel = Panel(_known(dictionary))
        if not panel.loaded.encodes:
            raise DictionaryMismatch(
                "this dictionary came without its encoder, so it can decode but not encode"
            )
        panel.check_realism(self.realism)
        grids = [find_grid(panel.book, Shape(*image.shape)) for image in images]
        alpha = b""
        if panel.book.architecture == "patches":
            alpha = encode_alpha(images, options)
            images = [image[:, :, :-1] if has_alpha(Shape(*image.shape)) else image for image in images]
        sets = [images[part] for part in cut_sets(grids, panel.book.latents)]
        if options.target_size is not None:
            options = replace(options, target_size=max(1, options.target_size - len(alpha)))
        if options.target_size is not None or options.target_psnr is not None:
            return alpha + _search(panel, sets, options)
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        latents = panel.latents(sets, quality, options.effort)
        return alpha + build_body(latents, quality, panel.book.latents, options.effort)

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
        if n_components is not None:
            raise InvalidOption(
                "n_components: latents of a network have no first few that could stand alone",
                options=("n_components",),
            )
        panel = Panel(_known(dictionary))
        if realism is None:
            panel.check_realism(self.realism)
        alphas, body = _take_alpha(body, shapes, stop, panel.book)
        quality, sets, symbols = _parse_sets(body, shapes, panel.book)
        shown: list[Pixels] = []
        for part, latents in zip(sets, symbols, strict=True):
            first, last = max(part.start, start), min(part.stop, stop)
            if first < last:
                wanted = latents[first - part.start : last - part.start]
                drawn = panel.draw(wanted, quality, self.realism if realism is None else realism)
                shown += [
                    _fit_channels(pixels, shape, alpha)
                    for pixels, shape, alpha in zip(
                        drawn, shapes[first:last], alphas[first:last], strict=True
                    )
                ]
        return shown

    def decode_latents(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> tuple[int, list[I32]]:
        """Give the quality of a frame, and latents i32 (channels, rows, columns) of each of its images.

        This is the part of decoding that is done in integers: no network that draws is loaded, nor torch.
        `Panel.draw_on_device` does the rest.
        """
        book = load_network(_known(dictionary))
        if book.architecture == "patches" and any(map(has_alpha, shapes)):
            raise InvalidOption("latents alone show no alpha: read these images as pixels")
        quality, _, symbols = _parse_sets(body, shapes, book)
        return quality, [latents for part in symbols for latents in part]

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one share a frame; refuse one that these networks are not for."""
        find_grid(load_network(_known(dictionary)), shape)
        return max(1, min(FRAME_IMAGES, FRAME_PIXELS // shape.pixels))

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say of each image how it was coded; nothing, where only the dictionary tells what the body has."""
        if any(map(has_alpha, shapes)):
            if dictionary is None:
                return [{} for _ in shapes]
            body = _take_alpha(body, shapes, 0, load_network(dictionary))[1]
        head = parse_head(body)
        return [{"coder": "tables" if head.lanes else "mixed", "quality": head.quality} for _ in shapes]


def _known(dictionary: Dictionary | None) -> Dictionary:
    if dictionary is None:
        raise InvalidFrame("a frame of latents has to name a dictionary")
    if dictionary.kind != "network":
        raise DictionaryMismatch(
            f"ae and gan need a dictionary of networks, not one of kind {dictionary.kind}"
        )
    return dictionary


def _take_alpha(
    body: memoryview, shapes: Sequence[Shape], stop: int, book: NetworkBook
) -> tuple[list[Pixels | None], memoryview]:
    """Give the alpha of the first images, and the body behind it; networks of whole images draw their own."""
    if book.architecture == "whole":
        return [None] * stop, body
    alphas, at = decode_alpha(body, 0, shapes, stop)
    return alphas, body[at:]


def _parse_sets(
    body: memoryview, shapes: Sequence[Shape], book: NetworkBook
) -> tuple[int, list[slice], list[I32]]:
    """Give the quality, the sets of images, and the latents of each set."""
    grids = [find_grid(book, shape, InvalidFrame) for shape in shapes]
    quality, symbols = parse_body(body, grids, book.latents)
    return quality, cut_sets(grids, book.latents), symbols


def find_grid(
    book: NetworkBook, shape: Shape, error: type[InvalidFrame | InvalidImage] = InvalidImage
) -> Grid:
    """Give the grid of an image's latents, or refuse the image with an error."""
    if book.architecture == "whole":
        expected = tuple(book.config["shape"])
        if tuple(shape) != expected:
            raise DictionaryMismatch(
                "shape (height, width, channels) of an image, for networks of whole images",
                expected=expected,
                got=tuple(shape),
            )
        return Grid(1, 1)
    if shape.channels > len(MODES):
        raise error("channels of an image for networks of photographs", expected="1 to 4", got=shape.channels)
    grid = Grid(-(-shape.height // PATCH), -(-shape.width // PATCH))
    if grid.rows * grid.columns > MAX_POSITIONS:
        raise error(
            "patches of an image for networks of photographs (mode 'pca' codes any)",
            expected=f"at most {MAX_POSITIONS:,}",
            got=grid.rows * grid.columns,
        )
    return grid


def _fit_channels(pixels: Pixels, shape: Shape, alpha: Pixels | None = None) -> Pixels:
    """Crop an image, make grey what was grey, and add its alpha."""
    pixels = pixels[: shape.height, : shape.width]
    if shape.channels < 3 and pixels.shape[2] == 3:
        # Rounded means of three samples, in integers.
        pixels = ((pixels.sum(axis=2, dtype=np.uint16, keepdims=True) * 2 + 3) // 6).astype(np.uint8)
    return np.ascontiguousarray(pixels if alpha is None else np.concatenate([pixels, alpha], axis=2))


def _search(panel: Panel, sets: Sequence[Sequence[Pixels]], options: Options) -> bytes:
    """Meet a target: the finest quality whose body fits a size, or the coarsest that reaches a PSNR."""
    size, psnr = options.target_size, options.target_psnr
    low, high, found = 0, MAX_QUALITY, None
    while low <= high:
        middle = (low + high) // 2
        latents = panel.latents(sets, middle, options.effort)
        body = build_body(latents, middle, panel.book.latents, options.effort)
        good = len(body) <= size if size is not None else _psnr(panel, sets, latents, middle) >= (psnr or 0)
        if good:
            found = body
        if good == (size is not None):
            low = middle + 1
        else:
            high = middle - 1
    if found is None:
        raise unreachable("no quality of these networks", options)
    return found


def _psnr(panel: Panel, sets: Sequence[Sequence[Pixels]], latents: Sequence[I32], quality: int) -> float:
    error, n_samples = 0.0, 0
    for images, symbols in zip(sets, latents, strict=True):
        drawn = panel.draw(symbols, quality, 0.0)
        error += squared_error(
            images,
            (_fit_channels(each, Shape(*image.shape)) for image, each in zip(images, drawn, strict=True)),
        )
        n_samples += sum(image.size for image in images)
    return psnr_of(error, n_samples)


AE = Neural("ae", 3, 0.0)
GAN = Neural("gan", 4, REALISM)
