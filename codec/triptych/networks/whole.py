"""A codec for images of one size: PCA, and what networks add to it.

E is a projection on principal components of whole images plus an MLP; G is the components' sum plus an MLP
before it and a U-net after it. Everything added begins as zero, so training begins at the rate and the
distortion of PCA and can only improve on them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.networks.codec import LatentCodec
from triptych.networks.context import ContextNet
from triptych.networks.discriminator import notch
from triptych.networks.layers import LatentMLP, at_levels, rectify, residuals, zeroed

BLOCK = 16
"""The U-net works on so many pixels squared at its coarsest."""


@dataclass(frozen=True)
class WholeConfig:
    """Sizes of a `WholeCodec`. `shape` is (height, width, channels); `bounds` are groups of components."""

    shape: tuple[int, int, int]
    n_components: int
    lambdas: tuple[float, ...] = (5.0, 9.5, 18.0, 34.0, 64.0)
    bounds: tuple[int, ...] = ()
    hidden: int = 512
    context: int = 640
    widths: tuple[int, int, int] = (32, 64, 128)

    def to_json(self) -> dict[str, object]:
        """Give what `WholeConfig(**...)` takes."""
        return asdict(self)


def group_bounds(n_components: int) -> list[int]:
    """Divide components: few at first, as they carry most."""
    shares = (0, 12, 32, 64, 112, 184, 288, 448, 768, 1024)
    bounds = [share for share in shares if share < n_components]
    return [*bounds, n_components]


class UNet(nn.Module):
    """A correction of images: pixels by fours and coordinates go in, nothing comes out at first."""

    def __init__(self, config: WholeConfig) -> None:
        super().__init__()
        height, width, channels = config.shape
        fine, middle, coarse = config.widths
        self.grid = (-(-height // BLOCK), -(-width // BLOCK))
        self.pad = (0, self.grid[1] * BLOCK - width, 0, self.grid[0] * BLOCK - height)
        self.size = (height, width)
        self.enter = nn.Conv2d(16 * channels, fine, 3, padding=1)
        self.down1 = nn.Conv2d(4 * fine, middle, 1)
        self.down2 = nn.Conv2d(4 * middle, coarse, 1)
        self.spread = nn.Linear(config.n_components, coarse * self.grid[0] * self.grid[1])
        self.levels = nn.Parameter(torch.zeros(len(config.lambdas), coarse))
        self.at_coarse, self.at_middle, self.at_fine = (residuals(w, 1) for w in (coarse, middle, fine))
        self.up2 = nn.Conv2d(coarse, 4 * middle, 1)
        self.up1 = nn.Conv2d(middle, 4 * fine, 1)
        self.leave = zeroed(nn.Conv2d(fine, 16 * channels, 3, padding=1))
        with torch.no_grad():
            self.spread.weight.mul_(0.5)

    def forward(self, images: Tensor, coordinates: Tensor, level: Tensor) -> Tensor:
        """Give a correction of images, from them and from unit-variance coordinates (n, components)."""
        if any(self.pad):
            images = F.pad(images, self.pad, mode="replicate")
        fine = rectify(self.enter(F.pixel_unshuffle(images - 0.5, 4)))
        middle = rectify(self.down1(F.pixel_unshuffle(fine, 2)))
        coarse = self.down2(F.pixel_unshuffle(middle, 2))
        coarse = coarse + self.spread(coordinates).view(len(images), -1, *self.grid)
        coarse = self.at_coarse(coarse + at_levels(self.levels, level)[..., None, None])
        middle = self.at_middle(middle + F.pixel_shuffle(self.up2(coarse), 2))
        fine = self.at_fine(fine + F.pixel_shuffle(self.up1(middle), 2))
        out: Tensor = F.pixel_shuffle(self.leave(fine), 4)
        return out[:, :, : self.size[0], : self.size[1]]


class Generator(nn.Module):
    """What G adds to the components' sum.

    A copy of it is trained as a GAN: `notched`, it shows no pixel checkerboard.
    """

    def __init__(self, config: WholeConfig, notched: bool = False) -> None:
        super().__init__()
        self.notched = notched
        self.mlp = LatentMLP(config.n_components, config.hidden, len(config.lambdas))
        self.unet = UNet(config)


class WholeCodec(LatentCodec):
    """See the module.

    Parameters
    ----------
    config : WholeConfig
        Sizes.
    rows : float tensor (components, samples)
        Unit vectors, of images (channels, height, width) in that order.
    mean : float tensor (samples)
        The mean image, samples / 255.
    deviation : float tensor (components)
        Standard deviations of the components' coordinates.
    """

    rows: Tensor
    mean: Tensor

    def __init__(self, config: WholeConfig, rows: Tensor, mean: Tensor, deviation: Tensor) -> None:
        bounds = list(config.bounds) or group_bounds(config.n_components)
        context = ContextNet(config.n_components, config.context, bounds, 0, len(config.lambdas))
        super().__init__(config.n_components, context, list(config.lambdas))
        self.config = config
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("mean", mean, persistent=False)
        self.deviation.copy_(deviation)
        self.encoder = LatentMLP(config.n_components, config.hidden, len(config.lambdas))
        self.generator = Generator(config)

    def analyse(self, images: Tensor, level: Tensor) -> Tensor:
        """E: coordinates (n, components, 1, 1)."""
        with torch.no_grad():
            scores = (images.flatten(1) - self.mean) @ self.rows.T
        coordinates: Tensor = scores + self.encoder(scores / self.deviation, level)
        return coordinates[..., None, None]

    def synthesise(self, coordinates: Tensor, level: Tensor) -> Tensor:
        """G with the autoencoder's weights."""
        images: Tensor = self.generate_with(self.generator, coordinates, level)
        return images

    def generate_with(self, generator: Generator, coordinates: Tensor, level: Tensor) -> Tensor:
        """G with other weights."""
        flat = coordinates.flatten(1)
        units = flat / self.deviation
        images = self.linear(flat + generator.mlp(units, level))
        correction: Tensor = generator.unet(images, units, level)
        images = images + correction
        return notch(images) if generator.notched else images

    def condition(self, coordinates: Tensor) -> Tensor:
        """What the components alone show."""
        return self.linear(coordinates.flatten(1))

    def linear(self, flat: Tensor) -> Tensor:
        """Sum components: images of coordinates (n, components)."""
        height, width, channels = self.config.shape
        images: Tensor = flat @ self.rows + self.mean
        return images.view(-1, channels, height, width)
