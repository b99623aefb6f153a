"""The third panel: autoencoder and GAN, two decoders of the same bytes.

A dictionary of kind "network" holds the networks. Modes "ae" and "gan" write the same bodies; the mode's code
only says how realistic a decoder shows them where its caller does not say. E and G run in torch, on a GPU if
there is one; symbols are coded by `triptych.modes.latents`, in integers, so they are the same everywhere, and
pixels differ by what float arithmetic differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from triptych_kernels.contextnet import MAX_SYMBOL

from triptych.dictionary import Dictionary
from triptych.errors import (
    DeviceExhausted,
    DictionaryMismatch,
    ExtraMissing,
    InvalidFrame,
    InvalidImage,
    InvalidOption,
    TargetUnreachable,
)
from triptych.fit.networkbook import MAX_QUALITY, NetworkBook, load_network, parse_tensors
from triptych.images import MODES, Pixels, Shape
from triptych.modes.alpha import decode_alpha, encode_alpha, has_alpha
from triptych.modes.latents import MAX_POSITIONS, Grid, build_body, cut_sets, parse_body, parse_head
from triptych.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from triptych.fit.trained import Loaded
    from triptych.networks.device import Replayed

__all__ = ["AE", "GAN", "Panel"]

I32 = npt.NDArray[np.int32]

DEFAULT_QUALITY = 50
REALISM = 0.75
"""What mode "gan" shows by default: where a network that had no part in training likes it best."""
PATCH = 16
FRAME_IMAGES, FRAME_PIXELS = 512, 1 << 22
"""A frame has at most so many images by default, and about so many pixels."""
CHUNK_PIXELS = 1 << 18
"""Pixels that networks work on at a time."""
PASSES = {
    "whole": {"fast": 0, "default": 4, "max": 12},
    "patches": {"fast": 0, "default": 0, "max": 6},
}
"""How often latents are improved after rounding; most is gained in the first two."""
TILE = 64
"""Rows and columns of positions in a tile of a large picture."""


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
        if options.lossless:
            raise InvalidOption("lossless belongs to mode 'kmeans': networks are lossy")
        if options.n_components is not None or options.variance is not None:
            raise InvalidOption("n_components and variance belong to mode 'pca'")
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
            raise InvalidOption("n_components: latents of a network have no first few that could stand alone")
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
        """Say how many images like this one share a frame by default."""
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


@lru_cache(maxsize=4)
def _load(dictionary: Dictionary) -> Loaded:
    """Build the networks of a dictionary, on the GPU if there is one."""
    try:
        from triptych.fit.trained import load_codec
        from triptych.networks.device import choose_device, settle
    except ImportError as error:
        raise ExtraMissing(
            "modes 'ae' and 'gan' need torch and safetensors: pip install 'triptych[neural]'"
        ) from error
    encoder = parse_tensors(dictionary.encoder)[0] if dictionary.encoder else None
    loaded = load_codec(load_network(dictionary), encoder)
    for module in (loaded.codec, loaded.realism):
        if module is not None:
            settle(module, choose_device())
    return loaded


class Panel:
    """A dictionary at work: pixels to latents and back."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.book = load_network(dictionary)
        self.loaded = _load(dictionary)
        self.device = self.loaded.codec.log_gain.device
        self._replayed: Replayed | None = None

    def check_realism(self, realism: float) -> None:
        """Refuse a mode that shows more realism by default than its dictionary has."""
        if realism and self.loaded.realism is None:
            raise DictionaryMismatch(
                "mode 'gan' needs a dictionary with a generator that was trained as a GAN (this one is for "
                "mode 'ae', or for realism 0)"
            )

    def latents(self, sets: Sequence[Sequence[Pixels]], quality: int, effort: str) -> list[I32]:
        """E and q: latents of each set of images."""
        fit = np.asarray if self.book.architecture == "whole" else _whole_patches
        return [
            np.concatenate(
                list(
                    self._each(
                        np.stack([fit(image) for image in images]),
                        lambda part: self._quantize(part, quality, effort),
                    )
                )
            )
            for images in sets
        ]

    def draw(self, symbols: I32, quality: int, realism: float) -> list[Pixels]:
        """G: images of latents; sides are those of whole grids."""
        from triptych.networks.device import put

        def generate(part: I32) -> Tensor:
            values = put(part.astype(np.float32), self.device)
            return self._generate(values, self._level(len(part), quality), realism, self._draw_tile)

        self._check_generator(realism)
        return [pixels for part in self._each(symbols, generate) for pixels in part]

    def draw_on_device(self, latents: Tensor, quality: Tensor, realism: float) -> Tensor:
        """G, for who goes on with images where they were drawn.

        Parameters
        ----------
        latents : integer tensor (images, channels, rows, columns)
            On any device.
        quality : integer tensor (images)
            The quality of each image.
        realism : float
            0 to 1.

        Returns
        -------
        uint8 tensor (images, height, width, channels)
            On the networks' device; sides are those of whole grids. On a GPU it is drawn by graphs that are
            captured at the first batch of about this size.
        """
        import torch

        from triptych.networks.device import Replayed

        self._check_generator(realism)
        if self._replayed is None:
            self._replayed = Replayed(self._draw_tile)
        level = quality.to(self.device).double() * (self.book.n_levels - 1) / MAX_QUALITY
        values = latents.to(self.device, non_blocking=True)
        pixels = self._pixels(*values.shape[2:])
        n = self._chunk(pixels)
        with torch.no_grad(), _memory_errors(n, pixels):
            parts = [
                self._generate(part.float(), at.float(), realism, self._replayed)
                for part, at in zip(torch.split(values, n), torch.split(level, n), strict=True)
            ]
            return torch.cat(parts)

    def _check_generator(self, realism: float) -> None:
        if realism > 0 and self.loaded.realism is None:
            raise InvalidOption("realism: this dictionary has no generator that was trained as a GAN")

    def _pixels(self, rows: int, columns: int) -> int:
        """Pixels of an image of a grid."""
        if self.book.architecture == "whole":
            height, width = self.book.config["shape"][:2]
            return int(height * width)
        return rows * columns * PATCH * PATCH

    def _chunk(self, pixels: int) -> int:
        """Images of so many pixels that networks work on at a time."""
        return max(1, CHUNK_PIXELS // pixels)

    def _each(self, images: npt.NDArray[Any], work: Callable[[Any], Tensor]) -> Iterator[npt.NDArray[Any]]:
        """Work on as many images at a time as fit; the next are begun before the last have come back."""
        import torch

        from triptych.networks.device import Flight

        is_pixels = images.dtype == np.uint8
        pixels = math.prod(images.shape[1:3]) if is_pixels else self._pixels(*images.shape[2:])
        n = self._chunk(pixels)
        with torch.no_grad(), _memory_errors(n, pixels):
            last: Flight | None = None
            for first in range(0, len(images), n):
                begun = Flight(work(images[first : first + n]))
                if last is not None:
                    yield last.land()
                last = begun
            if last is not None:
                yield last.land()

    def _level(self, n: int, quality: int) -> Tensor:
        import torch

        return torch.full((n,), quality * (self.book.n_levels - 1) / MAX_QUALITY, device=self.device)

    def _quantize(self, images: Pixels, quality: int, effort: str) -> Tensor:
        import torch

        from triptych.networks.device import put
        from triptych.networks.refine import refine

        codec, passes = self.loaded.codec, PASSES[self.book.architecture][effort]
        values = put(images.transpose(0, 3, 1, 2), self.device)
        level = self._level(len(images), quality)
        if self.book.architecture == "whole":
            latents = codec.latents(values.float() / 255, level)
        else:
            latents = self._tiled(lambda part: codec.latents(part.float() / 255, level), values, PATCH, 1)
        symbols = codec.quantize(latents, level)
        if passes:
            sides = [values.shape[axis] // symbols.shape[axis] for axis in (2, 3)]
            for top in range(0, symbols.shape[2], TILE):
                for left in range(0, symbols.shape[3], TILE):
                    # What lies around a tile is not looked at: it changes which steps are taken, no more.
                    rows, columns = slice(top, top + TILE), slice(left, left + TILE)
                    part = values[:, :, _scaled(rows, sides[0]), _scaled(columns, sides[1])].float() / 255
                    tile = symbols[:, :, rows, columns]
                    tile.copy_(refine(codec, part, tile, level, passes))
        # What no decoder would take (an encoder can ask for anything) does not get into a stream.
        return symbols.nan_to_num(0).clamp(-MAX_SYMBOL, MAX_SYMBOL).to(torch.int32)

    def _generate(
        self, values: Tensor, level: Tensor, realism: float, draw: Callable[[Tensor, Tensor, float], Tensor]
    ) -> Tensor:
        """Draw latents f32 (n, channels, rows, columns) at levels f32 (n), `draw` doing each tile."""
        if self.book.architecture == "whole":
            images = draw(values, level, realism)
        else:
            images = self._tiled(lambda part: draw(part, level, realism), values, 1, PATCH)
        return images.permute(0, 2, 3, 1).contiguous()

    def _draw_tile(self, values: Tensor, level: Tensor, realism: float) -> Tensor:
        """Draw latents of one tile: u8 (n, channels, height, width). It may be captured as a graph."""
        import torch

        codec = self.loaded.codec
        coordinates = codec.coordinates(values, level)
        plain = codec.generator if realism < 1 else None
        images = [
            # Both generators are of the codec's own kind: `load_codec` built them for it.
            codec.generate_with(generator, coordinates, level) * share  # type: ignore[arg-type]
            for generator, share in ((plain, 1 - realism), (self.loaded.realism, realism))
            if generator is not None and share
        ]
        return (torch.stack(images).sum(0) * 255).round().clamp(0, 255).to(torch.uint8)

    def _tiled(self, work: Callable[[Tensor], Tensor], values: Tensor, into: int, out: int) -> Tensor:
        """Do a large picture in tiles with halos, which change nothing: memory is that of a tile.

        A position has `into` samples along each side of `values`, and `out` of what `work` gives.
        """
        import torch

        config: Any = self.loaded.codec.config  # of patches: whole images are one position
        halo = config.halo
        rows, columns = values.shape[2] // into, values.shape[3] // into
        if rows <= TILE + 2 * halo and columns <= TILE + 2 * halo:
            return work(values)
        lines = []
        for top in range(0, rows, TILE):
            line = []
            for left in range(0, columns, TILE):
                above, before = max(0, top - halo), max(0, left - halo)
                tile = values[
                    :,
                    :,
                    above * into : (top + TILE + halo) * into,
                    before * into : (left + TILE + halo) * into,
                ]
                done = work(tile)[:, :, (top - above) * out :, (left - before) * out :]
                line.append(done[:, :, : TILE * out, : TILE * out])
            lines.append(torch.cat(line, 3))
        return torch.cat(lines, 2)


@contextmanager
def _memory_errors(n: int, pixels: int) -> Iterator[None]:
    """Say so where a device has no memory for n images at a time."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceExhausted(
            f"the device has no room for {n} images of {pixels:,} pixels: {error}"
        ) from error


def _scaled(positions: slice, side: int) -> slice:
    """Give the samples of positions."""
    return slice(positions.start * side, positions.stop * side)


def _whole_patches(image: Pixels) -> Pixels:
    """Give an image three channels, and repeat its last row and column until patches divide its sides."""
    down, right = (-side % PATCH for side in image.shape[:2])
    padded = np.pad(image, ((0, down), (0, right), (0, 0)), "edge")
    return np.broadcast_to(padded, (*padded.shape[:2], 3))


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
        what = f"{size:,} bytes" if size is not None else f"{psnr:g} dB"
        raise TargetUnreachable(f"no quality of these networks meets {what}")
    return found


def _psnr(panel: Panel, sets: Sequence[Sequence[Pixels]], latents: Sequence[I32], quality: int) -> float:
    error, n = 0.0, 0
    for images, symbols in zip(sets, latents, strict=True):
        for image, drawn in zip(images, panel.draw(symbols, quality, 0.0), strict=True):
            shown = _fit_channels(drawn, Shape(*image.shape))
            error += float(((shown.astype(np.float64) - image) ** 2).sum())
            n += image.size
    return 10 * math.log10(255**2 * n / error) if error else math.inf


AE = Neural("ae", 3, 0.0)
GAN = Neural("gan", 4, REALISM)
