"""What a coefficient costs, estimated: the encoder's and the trainer's view of rate and distortion.

A coefficient of level l is taken for Laplacian with standard deviation sigma = 2^((l - 13) / 4) steps, the
quantizer's zero bin is +-0.6 steps. Costs are in squared steps: the distortion, plus lambda times bits.
Nothing a decoder does depends on this.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych_kernels._jit import kernel

N_LEVELS = 40
LEVEL_ONE = 13
"""The level of sigma = one step; four levels an octave. Below level 0 nothing is coded."""
N_SIZES = 256
SIZES_PER_STEP = 8
MAX_MAGNITUDE = 40

F32 = npt.NDArray[np.float32]


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
