"""The context network: what latents that are known say of those that are not.

Latents of one position come in *groups* of channels. Each group is foretold by the groups before it at its
position, and by all channels of the positions before it in raster order, up to `radius` rows and columns
away; with radius 0 positions know nothing of each other. It is one masked network (Germain et al. 2015,
MADE; van den Oord et al. 2016, PixelCNN): hidden units have *degrees*, and one of degree d sees groups before
d. So it trains in one pass, and decodes group by group.

It is trained in floats and coded in integers: `faked` rounds weights and activations as the integers will be,
and lets gradients pass as if nothing had happened.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.networks.layers import at_levels, rectify

INPUT_BITS, HIDDEN_BITS = 4, 8
"""Fraction bits of inputs and of hidden units."""
MAX_INPUT, MAX_HIDDEN = 2047, 8191
UNIT_STEP = 16
"""Hidden units of one degree are a multiple of so many: see `triptych_kernels.contextnet`."""
MEAN_STEPS, SCALE_STEPS = 32, 8
"""Steps in a unit of the mean, and in a unit of the scale's natural logarithm."""


def _pass_through(exact: Tensor, rounded: Tensor) -> Tensor:
    return exact + (rounded - exact).detach()


def fake_weight(weight: Tensor) -> Tensor:
    """Round each output's weights to 8 bits."""
    unit = weight.detach().abs().flatten(1).amax(1).clamp_min(1e-12) / 127
    unit = unit.view(-1, *[1] * (weight.dim() - 1))
    return _pass_through(weight, torch.round(weight / unit) * unit)


def fake_hidden(x: Tensor) -> Tensor:
    """Round hidden units to what 16 bits hold."""
    one = float(1 << HIDDEN_BITS)
    return _pass_through(x, (torch.floor(x * one + 0.5).clamp(-MAX_HIDDEN, MAX_HIDDEN)) / one)


class ContextNet(nn.Module):
    """Means and log-scales of all latents.

    Parameters
    ----------
    channels, hidden, n_levels : int
        Of latents; of each of the two hidden layers; of trade-offs.
    bounds : sequence of int
        Where groups of channels begin, and `channels`.
    radius : int
        0, or how far the network looks up, left and right.
    """

    mask_a: Tensor
    mask_b: Tensor
    mask_c: Tensor
    norm: Tensor

    def __init__(self, channels: int, hidden: int, bounds: list[int], radius: int, n_levels: int) -> None:
        super().__init__()
        self.channels, self.hidden, self.bounds, self.radius = channels, hidden, list(bounds), radius
        # Rows up to this one, columns to both sides.
        window = (radius + 1, 2 * radius + 1)
        self.a = nn.Conv2d(2 * channels, hidden, window, bias=False)
        self.b = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.c = nn.Conv2d(hidden, 2 * channels, 1, bias=False)
        with torch.no_grad():
            self.c.weight.zero_()
        self.bias_a = nn.Parameter(torch.zeros(n_levels, hidden))
        self.bias_b = nn.Parameter(torch.zeros(n_levels, hidden))
        self.bias_c = nn.Parameter(torch.zeros(n_levels, 2 * channels))
        groups, degrees = self.groups(), self.degrees()
        twice = torch.cat([groups, groups])
        first = torch.zeros(hidden, 2 * channels, *window)
        first[:, :, :radius] = 1
        first[:, :, radius, :radius] = 1
        first[:, :, radius, radius] = (twice[None] < degrees[:, None]).float()
        self.register_buffer("mask_a", first, persistent=False)
        second = (degrees[None] <= degrees[:, None]).float()[..., None, None]
        third = (degrees[None] <= twice[:, None]).float()[..., None, None]
        self.register_buffer("mask_b", second, persistent=False)
        self.register_buffer("mask_c", third, persistent=False)
        self.register_buffer("norm", torch.full((channels,), 16.0))
        self.faked = False

    def taps(self) -> list[tuple[int, int]]:
        """Give rows down and columns right from what is seen to what it foretells, in weights' order."""
        radius = self.radius
        window = [(radius - i, radius - j) for i in range(radius + 1) for j in range(2 * radius + 1)]
        return [tap for tap in window if tap >= (0, 0)]

    def groups(self) -> Tensor:
        """Give the group of each channel."""
        sizes = torch.tensor(self.bounds).diff()
        return torch.repeat_interleave(torch.arange(len(sizes)), sizes)

    def degrees(self) -> Tensor:
        """Give the degree of each hidden unit, rising; where positions do not count, from 1.

        Units of one degree come in whole vectors of the kernel.
        """
        n_groups = len(self.bounds) - 1
        least = 0 if self.radius or n_groups == 1 else 1
        n_vectors = max(1, self.hidden // UNIT_STEP)
        vectors = torch.arange(self.hidden) // UNIT_STEP
        return (least + vectors * (n_groups - least) // n_vectors).clamp(max=n_groups - 1)

    def set_norm(self, deviation: Tensor) -> None:
        """Choose what latents (channels) are multiplied by: whole sixteenths, so that it is exact."""
        self.norm.copy_(torch.round(16 / (deviation + 0.25)).clamp(1, 64))

    def inputs(self, latents: Tensor) -> Tensor:
        """Give what the network sees of integers (n, channels, h, w): scaled, and their magnitudes."""
        scaled = (latents * self.norm[:, None, None]).clamp(-MAX_INPUT, MAX_INPUT) / (1 << INPUT_BITS)
        return torch.cat([scaled, scaled.abs()], 1)

    def forward(self, latents: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """Give means and log-scales (n, channels, h, w) of integers, from those before them."""
        weights = [self.a.weight * self.mask_a, self.b.weight * self.mask_b, self.c.weight * self.mask_c]
        if self.faked:
            weights = [fake_weight(weight) for weight in weights]
        biases = [at_levels(b, level)[..., None, None] for b in (self.bias_a, self.bias_b, self.bias_c)]
        around = (self.radius, self.radius, self.radius, 0)
        hidden = F.conv2d(F.pad(self.inputs(latents), around), weights[0]) + biases[0]
        hidden = rectify(fake_hidden(hidden) if self.faked else hidden)
        hidden = F.conv2d(hidden, weights[1]) + biases[1]
        hidden = rectify(fake_hidden(hidden) if self.faked else hidden)
        out = F.conv2d(hidden, weights[2]) + biases[2]
        mean, log_scale = out.chunk(2, 1)
        if self.faked:
            mean = _pass_through(mean, torch.round(mean * MEAN_STEPS) / MEAN_STEPS)
            log_scale = _pass_through(log_scale, torch.round(log_scale * SCALE_STEPS) / SCALE_STEPS)
        return mean, log_scale
