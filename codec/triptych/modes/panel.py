"""Networks at work: pixels to latents and back, in torch, on a GPU if there is one.

A `Panel` is a dictionary of kind "network" with its networks loaded. Large pictures are done in tiles with
halos and many images a part at a time, so memory is bounded. What becomes of latents is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from triptych_kernels.contextnet import MAX_SYMBOL

from triptych.dictionary import Dictionary
from triptych.errors import DeviceExhausted, DictionaryMismatch, ExtraMissing, InvalidOption
from triptych.fit.networkbook import MAX_QUALITY, load_network, parse_tensors
from triptych.images import Pixels
from triptych.keeping import keep

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device

    from triptych.fit.trained import Loaded
    from triptych.networks.device import Replayed

__all__ = ["PATCH", "Panel"]

I32 = npt.NDArray[np.int32]

PATCH = 16
CHUNK_PIXELS = 1 << 18
"""Pixels that networks work on at a time."""
PASSES = {
    "whole": {"fast": 0, "default": 6, "max": 12},
    "patches": {"fast": 0, "default": 0, "max": 6},
}
"""How often latents are improved after rounding; most is gained in the first two."""
TILE = 64
"""Rows and columns of positions in a tile of a large picture."""


def load_networks(dictionary: Dictionary) -> Loaded:
    """Build the networks of a dictionary, on the GPU if there is one."""
    try:
        import_module("triptych.fit.trained")
        from triptych.networks.device import choose_device
    except ImportError as error:
        raise ExtraMissing(
            "modes 'ae' and 'gan' need torch and safetensors: pip install 'triptych[neural]'"
        ) from error
    return _load_on(choose_device(), dictionary)


@keep
def _load_on(device: Device, dictionary: Dictionary) -> Loaded:
    from triptych.fit.trained import load_codec
    from triptych.networks.device import settle

    encoder = parse_tensors(dictionary.encoder)[0] if dictionary.encoder else None
    loaded = load_codec(load_network(dictionary), encoder)
    for module in (loaded.codec, loaded.realism):
        if module is not None:
            settle(module, device)
    return loaded


class Panel:
    """A dictionary at work: pixels to latents and back."""

    def __init__(self, dictionary: Dictionary) -> None:
        self.book = load_network(dictionary)
        self.loaded = load_networks(dictionary)
        self.device = self.loaded.codec.log_gain.device
        self._replayed: Replayed | None = None

    def check_realism(self, realism: float) -> None:
        """Refuse a mode that shows more realism by default than its dictionary has."""
        if realism and self.loaded.realism is None:
            raise DictionaryMismatch(
                "mode 'gan' needs a dictionary with a generator that was trained as a GAN (this one is for "
                "mode 'ae', or for realism 0)",
                options=("mode", "realism"),
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
            raise InvalidOption(
                "realism: this dictionary has no generator that was trained as a GAN", options=("realism",)
            )

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
            # `load_codec` built both generators for this codec: they are of its own kind.
            codec.generate_with(generator, coordinates, level) * share  # type: ignore[arg-type]  # see above
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
