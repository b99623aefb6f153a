"""What stage two trains against: a conditional discriminator, and what keeps generators honest.

The discriminator sees an image beside what the linear transform alone would show of the same latents (the
condition), so it judges whether the detail fits the latents and not only whether it looks like some image.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from triptych.networks.layers import rectify


class Discriminator(nn.Module):
    """Patches of images and conditions to scores; spectrally normalised (Miyato et al. 2018)."""

    def __init__(self, channels: int, widths: tuple[int, ...] = (40, 80, 112)) -> None:
        super().__init__()
        sizes = [2 * channels, *widths]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(sizes)
        )
        # Strided windows are blind to some checkerboards: one branch looks at every pixel.
        self.fine = spectral_norm(nn.Conv2d(2 * channels, 24, 3, padding=1))
        self.fine_last = spectral_norm(nn.Conv2d(24, 1, 3, padding=1))
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Give scores of patches, scores of pixels, and the activations between."""
        x = torch.cat([images, condition], 1) - 0.5
        fine = rectify(self.fine(x))
        features = [fine]
        for layer in self.layers:
            x = rectify(layer(x))
            features.append(x)
        return self.last(x), self.fine_last(fine), features


def discriminator_loss(real: tuple[Tensor, ...], fake: tuple[Tensor, ...]) -> Tensor:
    """Hinge loss of scores (Lim and Ye 2017)."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).sum()


def notch(images: Tensor) -> Tensor:
    """Take out the pixel checkerboard and nothing else: x - [1 -2 1]^T [1 -2 1] / 16 * x."""
    # Made on the device: a copy from the CPU could not be captured in a graph.
    line = torch.ones(3, device=images.device, dtype=images.dtype)
    line[1].fill_(-2.0)
    kernel = (line[:, None] * line[None] / 16).expand(images.shape[1], 1, 3, 3)
    around = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return images - F.conv2d(around, kernel, groups=images.shape[1])
