"""Layers and functions that the networks share: no normalisation, so no image depends on its batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.125
"""Of leaky rectifiers: an exact shift in integers."""
LEAST_LOG_SCALE, MOST_LOG_SCALE = -3.25, 3.625
"""Natural logarithms of the scales that there are tables for: 0.039 to 37.5."""


def rectify(x: Tensor) -> Tensor:
    """Leaky rectifier."""
    return F.leaky_relu(x, SLOPE)


def at_levels(table: Tensor, level: Tensor) -> Tensor:
    """Interpolate rows of a table (levels, ...) at levels (n): (n, ...)."""
    last = len(table) - 1
    below = level.floor().clamp(0, max(last - 1, 0)).long()
    part = (level - below).view(-1, *[1] * (table.dim() - 1))
    above = (below + 1).clamp(max=last)
    return table[below] + (table[above] - table[below]) * part


def logistic_bits(symbols: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Bits of integers under a logistic distribution with its mass gathered around each integer."""
    narrow = torch.exp(-log_scale.clamp(LEAST_LOG_SCALE, MOST_LOG_SCALE))
    apart = (symbols - mean).abs()
    mass = torch.sigmoid((0.5 - apart) * narrow) - torch.sigmoid((-0.5 - apart) * narrow)
    return -torch.log2(mass.clamp_min(2.0**-20))


def zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Make a layer begin as nothing, so that what it is added to begins unchanged."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


class Residual(nn.Module):
    """x + conv3x3(rectify(conv3x3(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1)
        self.b = nn.Conv2d(width, width, 3, padding=1)
        assert self.b.bias is not None
        with torch.no_grad():
            self.b.bias.zero_()
            self.b.weight.mul_(0.3)

    def forward(self, x: Tensor) -> Tensor:
        """Give as many channels as there were."""
        out: Tensor = x + self.b(rectify(self.a(x)))
        return out


def residuals(width: int, depth: int) -> nn.Sequential:
    """Give so many residual blocks."""
    return nn.Sequential(*[Residual(width) for _ in range(depth)])


class LatentMLP(nn.Module):
    """Two hidden layers on a vector of latents, and an output that begins as zero."""

    def __init__(self, size: int, hidden: int, n_levels: int) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(size, hidden), nn.Linear(hidden, hidden)
        self.c = zeroed(nn.Linear(hidden, size))
        self.levels = nn.Parameter(torch.zeros(n_levels, hidden))

    def forward(self, z: Tensor, level: Tensor) -> Tensor:
        """Give vectors of the size of z."""
        hidden = rectify(self.a(z) + at_levels(self.levels, level))
        out: Tensor = self.c(rectify(self.b(hidden)))
        return out
