"""A codec for pictures of any size: the KLT of 16 x 16 patches, and what convolutions add to it.

E is a projection of patches on principal components plus a convolutional path down to 1/16; G is the
transposed projection plus a path that sees latents and the picture they give. Both paths end in zeros, so
training begins at the rate and the distortion of the KLT. There is no normalisation and the receptive field
is bounded, so a large picture can be drawn in tiles with a halo: see `PatchConfig.halo`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.networks.codec import LatentCodec
from triptych.networks.context import ContextNet
from triptych.networks.discriminator import notch
from triptych.networks.layers import at_levels, rectify, residuals, zeroed

PATCH = 16


@dataclass(frozen=True)
class PatchConfig:
    """Sizes of a `PatchCodec`. Widths and depths are those at 1/4, 1/8 and 1/16."""

    channels: int = 160
    lambdas: tuple[float, ...] = (10.0, 22.0, 48.0, 106.0, 232.0)
    bounds: tuple[int, ...] = (0, 8, 32, 80, 160)
    context: int = 192
    radius: int = 1
    encoder_widths: tuple[int, int, int] = (32, 64, 160)
    encoder_depths: tuple[int, int, int] = (1, 2, 2)
    widths: tuple[int, int, int] = (32, 64, 160)
    depths: tuple[int, int, int] = (1, 1, 2)

    @property
    def halo(self) -> int:
        """How many rows and columns of latents E and G look at around a position.

        A convolution at 1/16 and two in each block; two in each block at 1/8, half as wide; and at 1/4, a
        quarter as wide, two more than two in each block.
        """
        return max(
            math.ceil(1 + 2 * coarse + middle + (2 * fine + 2) / 4)
            for fine, middle, coarse in (self.encoder_depths, self.depths)
        )

    def to_json(self) -> dict[str, object]:
        """Give what `PatchConfig(**...)` takes."""
        return asdict(self)


class Encoder(nn.Module):
    """What E adds to the projection."""

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        fine, middle, coarse = config.encoder_widths
        depths = config.encoder_depths
        self.enter = nn.Conv2d(48, fine, 3, padding=1)
        self.at_fine, self.at_middle, self.at_coarse = (
            residuals(width, depth) for width, depth in zip(config.encoder_widths, depths, strict=True)
        )
        self.down1 = nn.Conv2d(4 * fine, middle, 1)
        self.down2 = nn.Conv2d(4 * middle, coarse, 1)
        self.levels = nn.Parameter(torch.zeros(len(config.lambdas), coarse))
        self.leave = zeroed(nn.Conv2d(coarse, config.channels, 3, padding=1))

    def forward(self, images: Tensor, level: Tensor) -> Tensor:
        """Give what is added to unit-variance coordinates, from images less 1/2."""
        x = self.at_fine(rectify(self.enter(F.pixel_unshuffle(images, 4))))
        x = self.at_middle(self.down1(F.pixel_unshuffle(x, 2)))
        x = self.down2(F.pixel_unshuffle(x, 2)) + at_levels(self.levels, level)[..., None, None]
        out: Tensor = self.leave(rectify(self.at_coarse(x)))
        return out


class Generator(nn.Module):
    """What G adds to the transposed projection.

    A copy of it is trained as a GAN: `notched`, it shows no pixel checkerboard.
    """

    def __init__(self, config: PatchConfig, notched: bool = False) -> None:
        super().__init__()
        self.notched = notched
        fine, middle, coarse = config.widths
        self.enter = nn.Conv2d(config.channels, coarse, 3, padding=1)
        self.levels = nn.Parameter(torch.zeros(len(config.lambdas), coarse))
        self.at_fine, self.at_middle, self.at_coarse = (
            residuals(width, depth) for width, depth in zip(config.widths, config.depths, strict=True)
        )
        self.up2 = nn.Conv2d(coarse, 4 * middle, 1)
        self.up1 = nn.Conv2d(middle, 4 * fine, 1)
        self.see = nn.Conv2d(48, fine, 3, padding=1)
        self.leave = zeroed(nn.Conv2d(fine, 48, 3, padding=1))

    def forward(self, images: Tensor, coordinates: Tensor, level: Tensor) -> Tensor:
        """Give a correction of images less 1/2, from them and from unit-variance coordinates."""
        x = self.enter(coordinates) + at_levels(self.levels, level)[..., None, None]
        x = F.pixel_shuffle(self.up2(self.at_coarse(x)), 2)
        x = F.pixel_shuffle(self.up1(self.at_middle(x)), 2)
        x = self.at_fine(rectify(x + self.see(F.pixel_unshuffle(images, 4))))
        out: Tensor = F.pixel_shuffle(self.leave(rectify(x)), 4)
        return out


class PatchCodec(LatentCodec):
    """See the module.

    Parameters
    ----------
    config : PatchConfig
        Sizes.
    rows : float tensor (channels, 768)
        Unit vectors of patches (3, 16, 16).
    deviation : float tensor (channels)
        Standard deviations of the coordinates of patches less 1/2.
    """

    rows: Tensor

    def __init__(self, config: PatchConfig, rows: Tensor, deviation: Tensor) -> None:
        context = ContextNet(
            config.channels, config.context, list(config.bounds), config.radius, len(config.lambdas)
        )
        super().__init__(config.channels, context, list(config.lambdas))
        self.config = config
        self.register_buffer("rows", rows.view(-1, 3, PATCH, PATCH).clone(), persistent=False)
        self.deviation.copy_(deviation)
        self.encoder = Encoder(config)
        self.generator = Generator(config)

    def analyse(self, images: Tensor, level: Tensor) -> Tensor:
        """E: coordinates (n, channels, h / 16, w / 16) of images with sides that 16 divides."""
        images = images - 0.5
        with torch.no_grad():
            scores = F.conv2d(images, self.rows, stride=PATCH)
        coordinates: Tensor = scores + self.encoder(images, level) * self.deviation[:, None, None]
        return coordinates

    def synthesise(self, coordinates: Tensor, level: Tensor) -> Tensor:
        """G with the autoencoder's weights."""
        images: Tensor = self.generate_with(self.generator, coordinates, level)
        return images

    def generate_with(self, generator: Generator, coordinates: Tensor, level: Tensor) -> Tensor:
        """G with other weights."""
        images = F.conv_transpose2d(coordinates, self.rows, stride=PATCH)
        units = coordinates / self.deviation[:, None, None]
        correction: Tensor = generator(images, units, level)
        images = images + correction + 0.5
        return notch(images) if generator.notched else images

    def condition(self, coordinates: Tensor) -> Tensor:
        """What the projection alone shows."""
        return F.conv_transpose2d(coordinates, self.rows, stride=PATCH) + 0.5
