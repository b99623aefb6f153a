"""Latents better than rounded ones: greedy steps down the true cost, at encoding time.

Rounding decides each latent alone. Here one backward pass through G tells what a step of each latent would
do to the squared error, and the context network's tables tell what it would do to the bits. The steps that
promise most are taken together and kept if the true cost fell; if not, half as many are tried next. A decoder
notices nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.networks.codec import LatentCodec
from triptych.networks.layers import at_levels, logistic_bits

FIRST_SHARE, LEAST_MOVES = 0.1, 8
"""How many latents move at first: a share of those that are not zero, and at least so many."""


def refine(codec: LatentCodec, images: Tensor, symbols: Tensor, level: Tensor, passes: int) -> Tensor:
    """Improve integers (n, channels, rows, columns) of images (n, c, h, w) in so many passes."""
    n = len(symbols)
    weight = codec.weights(level)
    price = weight.view(-1, 1, 1, 1)
    # What a step adds to the squared error of the linear transform, whose rows are orthonormal.
    curve: Tensor = at_levels(codec.log_ungain, level).mul(2).exp()[..., None, None]
    moves = (symbols != 0).flatten(1).sum(1).mul(FIRST_SHARE).clamp(min=LEAST_MOVES)
    best = symbols.clone()
    cost, gain, step = _look(codec, images, best, level, weight, price, curve)
    for _ in range(passes):
        order = gain.argsort(1).argsort(1)
        chosen = (order < moves[:, None]) & (gain < 0)
        if not bool(chosen.any()):
            break
        tried = best + torch.where(chosen, step, torch.zeros_like(step)).view_as(best)
        new_cost, new_gain, new_step = _look(codec, images, tried, level, weight, price, curve)
        better = new_cost < cost
        moves = torch.where(better, moves, moves / 2)
        cost = torch.where(better, new_cost, cost)
        best = torch.where(better.view(n, 1, 1, 1), tried, best)
        gain = torch.where(better[:, None], new_gain, gain)
        step = torch.where(better[:, None], new_step, step)
    return best


def _look(
    codec: LatentCodec,
    images: Tensor,
    symbols: Tensor,
    level: Tensor,
    weight: Tensor,
    price: Tensor,
    curve: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the cost (n) of symbols, and of each latent the better step and what it promises (n, latents)."""
    with torch.enable_grad():
        moved = symbols.detach().clone().requires_grad_(True)
        mean, log_scale = codec.context(moved, level)
        bits = logistic_bits(symbols, mean, log_scale).flatten(1).sum(1)
        error = (codec.generate(moved, level) - images).square().flatten(1).sum(1)
        (slope,) = torch.autograd.grad((bits + weight * error).sum(), moved)
    mean, log_scale = mean.detach(), log_scale.detach()
    now = logistic_bits(symbols, mean, log_scale)
    up = slope + price * curve + logistic_bits(symbols + 1, mean, log_scale) - now
    down = -slope + price * curve + logistic_bits(symbols - 1, mean, log_scale) - now
    gain = torch.minimum(up, down).flatten(1)
    step = torch.where(up < down, 1.0, -1.0).flatten(1)
    return (bits + weight * error).detach(), gain, step
