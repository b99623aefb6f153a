"""What both codecs share: gains, the quantizer, the context network, and the objective.

An encoder gives coordinates z, a level's gain g makes latents y = g z, which are rounded with an eye on rate
(w = q(E(x))); a generator gives x' = G(w). One set of weights serves all rates: gains, their inverses, the
centroids' shift and the biases of the context network are interpolated between trained levels (Cui et al.
2021, asymmetric gained variational autoencoder).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from triptych.networks.context import ContextNet
from triptych.networks.layers import at_levels, logistic_bits


class Objective(NamedTuple):
    """Of each image (n): bits, squared error summed over samples / 255, and lambda."""

    bits: Tensor
    error: Tensor
    weight: Tensor

    def cost(self) -> Tensor:
        """Bits + lambda * error."""
        return self.bits + self.weight * self.error


class LatentCodec(nn.Module, ABC):
    """E, q, the context network and G.

    Parameters
    ----------
    channels : int
        Of latents.
    context : ContextNet
        For them.
    lambdas : sequence of float
        Bits that a unit of squared error is worth, one for each level, rising.
    """

    log_lambda: Tensor
    prior: Tensor
    deviation: Tensor

    def __init__(self, channels: int, context: ContextNet, lambdas: list[float]) -> None:
        super().__init__()
        self.channels, self.n_levels = channels, len(lambdas)
        self.context = context
        self.register_buffer("log_lambda", torch.tensor(lambdas).log())
        # A uniform quantizer of step s errs by s^2 / 12: here rate and distortion are about balanced.
        gains = -0.5 * math.log(11) + 0.5 * self.log_lambda[:, None].repeat(1, channels)
        self.log_gain = nn.Parameter(gains.clone())
        self.log_ungain = nn.Parameter(-gains.clone())
        self.shift = nn.Parameter(torch.full((self.n_levels, channels), 0.08))
        # Log-scales that the quantizer reckons with: fixed, as decisions would drift with trained ones.
        self.register_buffer("prior", torch.zeros(self.n_levels, channels))
        self.register_buffer("deviation", torch.ones(channels))

    @abstractmethod
    def analyse(self, images: Tensor, level: Tensor) -> Tensor:
        """E without gains: coordinates (n, channels, h, w)."""

    @abstractmethod
    def synthesise(self, coordinates: Tensor, level: Tensor) -> Tensor:
        """G: images from coordinates; samples / 255, not clipped."""

    def weights(self, level: Tensor) -> Tensor:
        """Give lambda of each level (n)."""
        return at_levels(self.log_lambda, level).exp()

    def latents(self, images: Tensor, level: Tensor) -> Tensor:
        """Give latents before rounding."""
        gain: Tensor = at_levels(self.log_gain, level).exp()[..., None, None]
        return self.analyse(images, level) * gain

    def quantize(self, latents: Tensor, level: Tensor) -> Tensor:
        """Round, or go one step further towards zero where the bits saved are worth it."""
        near = latents.round()
        less = near - near.sign()
        prior = at_levels(self.prior, level)[..., None, None]
        gain = at_levels(self.log_gain, level)[..., None, None]
        price = self.weights(level)[:, None, None, None] * torch.exp(-2 * gain)
        zero = torch.zeros((), device=latents.device)
        cost_near = logistic_bits(near, zero, prior) + price * (near - latents).square()
        cost_less = logistic_bits(less, zero, prior) + price * (less - latents).square()
        return torch.where(cost_less < cost_near, less, near)

    def coordinates(self, symbols: Tensor, level: Tensor) -> Tensor:
        """Undo gains: what integers stand for, with the centroids of their cells."""
        shift = at_levels(self.shift, level)[..., None, None]
        ungain: Tensor = at_levels(self.log_ungain, level).exp()[..., None, None]
        return (symbols - shift * symbols.sign()) * ungain

    def generate(self, symbols: Tensor, level: Tensor) -> Tensor:
        """X' = G(w)."""
        return self.synthesise(self.coordinates(symbols, level), level)

    def forward(self, images: Tensor, level: Tensor) -> Objective:
        """Give the objective for training: gradients pass through rounding.

        The tables learn from true integers; the encoder learns the price of its latents from the same tables
        at latents with uniform noise.
        """
        latents = self.latents(images, level)
        with torch.no_grad():
            symbols = self.quantize(latents, level)
        mean, log_scale = self.context(symbols, level)
        bits = logistic_bits(symbols, mean, log_scale).flatten(1).sum(1)
        noisy = latents + torch.rand_like(latents) - 0.5
        price = logistic_bits(noisy, mean.detach(), log_scale.detach()).flatten(1).sum(1)
        shown = self.generate(latents + (symbols - latents).detach(), level)
        error = (shown - images).square().flatten(1).sum(1)
        return Objective(bits + price - price.detach(), error, self.weights(level))

    @torch.no_grad()
    def measure(self, images: Tensor, level: Tensor, symbols: Tensor | None = None) -> Objective:
        """Give the objective as a decoder would see it, samples rounded and clipped.

        Of q(E(x)), or of other symbols.
        """
        if symbols is None:
            symbols = self.quantize(self.latents(images, level), level)
        bits = logistic_bits(symbols, *self.context(symbols, level)).flatten(1).sum(1)
        shown = (self.generate(symbols, level).clamp(0, 1) * 255).round() / 255
        return Objective(bits, (shown - images).square().flatten(1).sum(1), self.weights(level))

    @torch.no_grad()
    def start(self, images: Tensor) -> None:
        """Fit priors, centroids and the context network's norms to the linear transform of some images."""
        grid = torch.linspace(-3.2, 3.4, 27)
        none = torch.zeros(())
        for number in range(self.n_levels):
            level = torch.full((len(images),), float(number))
            latents = self.latents(images, level)
            symbols = latents.round()
            for _ in range(2):
                rows = symbols.transpose(0, 1).flatten(1)
                costs = torch.stack([logistic_bits(rows, none, log_scale).mean(1) for log_scale in grid])
                self.prior[number] = grid[costs.argmin(0)]
                symbols = self.quantize(latents, level)
            self.context.bias_c[number, self.channels :] = self.prior[number]
            coded = (symbols != 0).float()
            gap = ((symbols.abs() - latents.abs()) * coded).transpose(0, 1).flatten(1).sum(1)
            count = coded.transpose(0, 1).flatten(1).sum(1)
            self.shift[number] = (gap + 0.08 * 20) / (count + 20)
            if number == self.n_levels // 2:
                self.context.set_norm(symbols.transpose(0, 1).flatten(1).std(1))
