"""What a coefficient costs, estimated: the encoder's and the trainer's view of rate and distortion.

A coefficient of level l is taken for Laplacian with standard deviation sigma = 2^((l - 13) / 4) steps, the
quantizer's zero bin is +-0.6 steps. Costs are in squared steps: the distortion, plus lambda times bits.
Nothing a decoder does depends on this.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import kernel
from triptych_kernels.arrays import I16, I64

N_LEVELS = 40
LEVEL_ONE = 13
"""The level of sigma = one step; four levels an octave. Below level 0 nothing is coded."""
N_SIZES = 256
SIZES_PER_STEP = 8
MAX_MAGNITUDE = 40
N_FEATURES = 8
"""The lowest frequencies of a block of 8: what the sieve sees of it, and the energy of the rest."""
FEATURE_SHIFT = 16
"""Features are DCT coefficients divided by 4, so that they fit 16 bits."""
SIEVE_COLUMNS = 64
"""The template of a block of 8 (52), padding, features."""
_SIEVE_NOISE = 48.0
"""Added to standard deviations, in eighths of a sample: about what a step of the middle quality hides."""
_SIEVE_SIGMA = 32 + 16 * 12
"""Greater logarithms of standard deviations are no picture's; without them covariances keep an inverse."""

F32 = npt.NDArray[np.float32]


class Sieve(NamedTuple):
    """Which classes may suit a block of 8, by Gaussian likelihood of its features under a template.

    features: i16 (N_FEATURES * 64). whiteners: i16 (classes * N_FEATURES * SIEVE_COLUMNS): of features less
    what a class predicts of them, to squares that sum to bits. spreads: i64 (classes, 2): bits of the
    determinants in 1/256, and what 1/256 bits energy of the rest costs, times 2^24.
    """

    features: I16
    whiteners: I16
    spreads: I64


NO_SIEVE = Sieve(np.zeros(0, np.int16), np.zeros(0, np.int16), np.zeros((0, 2), np.int64))
"""What a search without shortcuts has."""


def new_sieve(predictor: I16, transform: I16, log_sigma: I64) -> Sieve:
    """Return the sieve of classes of blocks of 8; see `blockcoder.Basis`."""
    n_classes, kept = log_sigma.shape
    wave = np.cos(np.pi / 16 * np.outer(np.arange(8), 2 * np.arange(8) + 1)) / 2
    wave[0] /= np.sqrt(2)
    low = sorted(np.ndindex(8, 8), key=lambda at: at[0] ** 2 + at[1] ** 2)[:N_FEATURES]
    features = np.stack([np.outer(wave[u], wave[v]).reshape(-1) for u, v in low])
    predictors = features @ (predictor.reshape(n_classes, 64, -1)[:, :, :SIEVE_COLUMNS] / 4096.0)
    bases = transform.reshape(n_classes, kept, 64) / 16384.0
    variances = 64 * 4.0 ** ((np.minimum(log_sigma, _SIEVE_SIGMA) - 32) / 16)
    seen = bases @ features.T
    noise = _SIEVE_NOISE**2
    covariance = np.einsum("kji,kj,kjl->kil", seen, variances, seen) + noise * np.eye(N_FEATURES)
    factor = np.linalg.inv(np.linalg.cholesky(covariance))
    whiteners = -(factor @ predictors)
    whiteners[:, :, -N_FEATURES:] = 4 * factor
    n_rest = 64 - N_FEATURES
    unseen = np.maximum(0, 1 - (seen**2).sum(2))
    rest = (variances * unseen).sum(1) / n_rest + noise
    half_bit = 0.5 / np.log(2)
    constant = half_bit * (np.linalg.slogdet(covariance)[1] + n_rest * np.log(rest))
    spreads = np.stack([256 * constant, 256 * half_bit * 2**24 / rest], 1)
    whiteners = np.clip(np.rint(whiteners * np.sqrt(half_bit) * 2**18), -32767, 32767)
    return Sieve(
        np.rint(features * 16384).astype(np.int16).reshape(-1),
        whiteners.astype(np.int16).reshape(-1),
        np.rint(spreads).astype(np.int64),
    )


def magnitude_bits() -> F32:
    """Return the bits, sign included, of a quantized magnitude: (N_LEVELS, MAX_MAGNITUDE)."""
    scale = 2.0 ** ((np.arange(N_LEVELS) - LEVEL_ONE) / 4)[:, None] / np.sqrt(2)
    q = np.arange(1, MAX_MAGNITUDE)
    tail = np.exp(-(q - 0.4) / scale) - np.exp(-(q + 0.6) / scale)
    p = np.concatenate([1 - np.exp(-0.6 / scale), tail], 1)
    bits = -np.log2(np.maximum(p, 1e-7))
    bits[:, 1:] += 1
    return bits.astype(np.float32)


def mean_magnitudes() -> F32:
    """Return the mean quantized magnitude of each level: (N_LEVELS)."""
    scale = 2.0 ** ((np.arange(N_LEVELS) - LEVEL_ONE) / 4) / np.sqrt(2)
    return np.exp(-(np.arange(1, 2000)[:, None] - 0.4) / scale).sum(0).astype(np.float32)


def cost_table(weight: float) -> F32:
    """Return (N_LEVELS, N_SIZES): the least cost of a coefficient of i / 8 steps, or more at the last."""
    bits = magnitude_bits()
    size = (np.arange(N_SIZES) + 0.5)[:, None] / SIZES_PER_STEP
    size[0] = 0
    distance = (size - np.arange(MAX_MAGNITUDE)) ** 2
    return np.asarray((distance[None] + weight * bits[:, None, :]).min(2), np.float32)


@kernel
def row_costs(coefficients: F32, sigma: F32, step: np.float32, table: F32, costs: F32) -> None:
    """Set costs (n) to what rows of coefficients (n, m) cost under standard deviations sigma (m)."""
    n_rows, n_columns = coefficients.shape
    levels = np.empty(n_columns, np.int64)
    for j in range(n_columns):
        levels[j] = min(N_LEVELS - 1, int(np.floor(4 * np.log2(sigma[j] / step) + LEVEL_ONE + 0.5)))
    scale = np.float32(SIZES_PER_STEP) / step
    for i in range(n_rows):
        total = np.float32(0)
        for j in range(n_columns):
            size = abs(coefficients[i, j]) * scale
            if levels[j] < 0:
                total += size * size * np.float32(1 / SIZES_PER_STEP**2)
            else:
                total += table[levels[j], min(N_SIZES - 1, int(size))]
        costs[i] = total
