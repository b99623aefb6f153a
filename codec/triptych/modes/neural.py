"""The third panel: autoencoder and GAN, two decoders of the same bytes.

A dictionary of kind "network" holds the networks. Modes "ae" and "gan" write the same bodies; the mode's code
only says how realistic a decoder shows them where its caller does not say. E and G run in torch, on a GPU if
there is one; symbols are coded by `triptych.modes.latents`, in integers, so they are the same everywhere, and
pixels differ by what float arithmetic differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
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
from triptych.fit.networkbook import MAX_QUALITY, load_network, parse_tensors
from triptych.images import Pixels, Shape
from triptych.modes.latents import Grid, build_body, cut_sets, parse_body, parse_head
from triptych.options import Options

if TYPE_CHECKING:
    from torch import Tensor

    from triptych.fit.trained import Loaded

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
        grids = [panel.grid(Shape(*image.shape)) for image in images]
        sets = [images[part] for part in cut_sets(grids)]
        if options.target_size is not None or options.target_psnr is not None:
            return _search(panel, sets, options)
        quality = DEFAULT_QUALITY if options.quality is None else options.quality
        latents = panel.latents(sets, quality, options.effort)
        return build_body(latents, quality, panel.book.latents, options.effort)

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
        grids = [panel.grid(shape, InvalidFrame) for shape in shapes]
        quality, symbols = parse_body(body, grids, panel.book.latents)
        shown: list[Pixels] = []
        for part, latents in zip(cut_sets(grids), symbols, strict=True):
            first, last = max(part.start, start), min(part.stop, stop)
            if first < last:
                wanted = latents[first - part.start : last - part.start]
                drawn = panel.draw(wanted, quality, self.realism if realism is None else realism)
                shown += [
                    _fit_channels(pixels, shape)
                    for pixels, shape in zip(drawn, shapes[first:last], strict=True)
                ]
        return shown

    def images_per_frame(self, shape: Shape, options: Options, dictionary: Dictionary | None) -> int:
        """Say how many images like this one share a frame by default."""
        return max(1, min(FRAME_IMAGES, FRAME_PIXELS // shape.pixels))

    def describe_frame(
        self, body: memoryview, shapes: Sequence[Shape], dictionary: Dictionary | None
    ) -> list[dict[str, object]]:
        """Say of each image how it was coded."""
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

    def check_realism(self, realism: float) -> None:
        """Refuse a mode that shows more realism by default than its dictionary has."""
        if realism and self.loaded.realism is None:
            raise DictionaryMismatch(
                "mode 'gan' needs a dictionary with a generator that was trained as a GAN (this one is for "
                "mode 'ae', or for realism 0)"
            )

    def grid(self, shape: Shape, error: type[InvalidFrame | InvalidImage] = InvalidImage) -> Grid:
        """Give the grid of an image's latents, or refuse the image with an error."""
        if self.book.architecture == "whole":
            expected = tuple(self.book.config["shape"])
            if tuple(shape) != expected:
                raise DictionaryMismatch(
                    "shape (height, width, channels) of an image, for networks of whole images",
                    expected=expected,
                    got=tuple(shape),
                )
            return Grid(1, 1)
        if shape.channels not in (1, 3):
            raise error(
                "channels of an image for networks of photographs (mode 'pca' codes any)",
                expected="1 or 3",
                got=shape.channels,
            )
        return Grid(-(-shape.height // PATCH), -(-shape.width // PATCH))

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
        parts = self._each(symbols, lambda part: self._generate(part, quality, realism))
        return [pixels for part in parts for pixels in part]

    def _each(self, images: npt.NDArray[Any], work: Callable[[Any], Tensor]) -> Iterator[npt.NDArray[Any]]:
        """Work on as many images at a time as fit; the next are begun before the last have come back."""
        import torch

        from triptych.networks.device import Flight

        if self.book.architecture == "whole":
            pixels = math.prod(self.book.config["shape"][:2])
        else:
            pixels = math.prod(images.shape[1:3] if images.dtype == np.uint8 else images.shape[2:])
            pixels *= 1 if images.dtype == np.uint8 else PATCH * PATCH
        n = max(1, CHUNK_PIXELS // pixels)
        try:
            with torch.no_grad():
                last: Flight | None = None
                for first in range(0, len(images), n):
                    begun = Flight(work(images[first : first + n]))
                    if last is not None:
                        yield last.land()
                    last = begun
                if last is not None:
                    yield last.land()
        except torch.OutOfMemoryError as error:
            raise DeviceExhausted(
                f"the device has no room for {n} images of {pixels:,} pixels: {error}"
            ) from error

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

    def _generate(self, symbols: I32, quality: int, realism: float) -> Tensor:
        import torch

        from triptych.networks.device import put

        codec, level = self.loaded.codec, self._level(len(symbols), quality)
        values = put(symbols.astype(np.float32), self.device)
        if realism > 0 and self.loaded.realism is None:
            raise InvalidOption("realism: this dictionary has no generator that was trained as a GAN")

        def drawn(part: Tensor) -> Tensor:
            coordinates = codec.coordinates(part, level)
            plain = codec.generator if realism < 1 else None
            images = [
                # Both generators are of the codec's own kind: `load_codec` built them for it.
                codec.generate_with(generator, coordinates, level) * share  # type: ignore[arg-type]
                for generator, share in ((plain, 1 - realism), (self.loaded.realism, realism))
                if generator is not None and share
            ]
            return (torch.stack(images).sum(0) * 255).round().clamp(0, 255).to(torch.uint8)

        whole = self.book.architecture == "whole"
        images = drawn(values) if whole else self._tiled(drawn, values, 1, PATCH)
        return images.permute(0, 2, 3, 1).contiguous()

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


def _scaled(positions: slice, side: int) -> slice:
    """Give the samples of positions."""
    return slice(positions.start * side, positions.stop * side)


def _whole_patches(image: Pixels) -> Pixels:
    """Give an image three channels, and repeat its last row and column until patches divide its sides."""
    down, right = (-side % PATCH for side in image.shape[:2])
    padded = np.pad(image, ((0, down), (0, right), (0, 0)), "edge")
    return np.broadcast_to(padded, (*padded.shape[:2], 3))


def _fit_channels(pixels: Pixels, shape: Shape) -> Pixels:
    """Crop an image, and make grey what was grey."""
    pixels = pixels[: shape.height, : shape.width]
    if pixels.shape[2] != shape.channels:
        # Rounded means of three samples, in integers.
        pixels = ((pixels.sum(axis=2, dtype=np.uint16, keepdims=True) * 2 + 3) // 6).astype(np.uint8)
    return np.ascontiguousarray(pixels)


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
