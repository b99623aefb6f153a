"""Which scores images get: the encoder's side of PCA for collections.

One component after the other is taken off what is left of the images, rounded to nearest or towards zero,
by what the bits are worth; so each brings its image nearer or is zero. Where much of an image is black or
white, scores then use what clamping forgives. The format knows nothing of how scores were chosen.

`effort="fast"` rounds the scores of one projection in float32. Otherwise the projections are of integers in
float64, and exact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from triptych_kernels.project import project_and_quantize
from triptych_kernels.refinescores import refine_scores
from triptych_kernels.signednumber import MAX_NUMBER

from triptych.fit.basis import EVEN_LEVEL, POWERS, Basis, step_size
from triptych.fit.statistics import F64, half_width, row_weights, split_rows
from triptych.images import Pixels

I32 = npt.NDArray[np.int32]

MAX_SUM = 1 << 30
"""Of |score| * peak over an image's components: with it no sum of the decoder leaves 32 bits."""
EXCHANGE = 0.11
"""What a bit may cost: squared steps of error. At high rates 6 dB a bit makes it ln(4) / 12."""
TABLE = 63
"""Greater magnitudes cost what this one costs."""
PRIOR = 8.0
"""So many images stand behind the model of a component, beside those of the frame."""
DEAD = 0.1
"""How far a fast encoder moves scores towards zero."""
LEAST_CUT = {"default": 0.05, "max": 0.0}
"""Share of an image's samples at 0 or 255 from which its scores are refined: what it brings grows with that
share, what it takes does not."""
REFINEMENTS = 3
MAX_REFINED = {"default": 1 << 23, "max": 1 << 26}
"""Components times samples of an image up to which scores are refined; it takes some 2 ns for each."""

_TOGETHER = 64
"""Images that are projected at once; so many stay in the processor's caches."""


def factor_of(step: int, basis: Basis) -> int:
    """Give 65536 times the size of a frame's step, in the dictionary's steps."""
    apart = step - basis.step
    power = int(POWERS[apart & 15])
    return power << (apart >> 4) if apart >= 0 else power >> -(apart >> 4)


def expand(halves: F64, basis: Basis, odd: npt.NDArray[np.uint8]) -> F64:
    """Give whole images (m, h * w * c) of the stored entries (m, d) of a basis; odd (m): their parity."""
    height, width, channels = basis.shape
    if not basis.mirrored:
        return halves
    left = halves.reshape(len(halves), height, half_width(width), channels)
    signs = np.where(odd == 1, -1.0, 1.0)[:, None, None, None]
    right = signs * left[:, :, : width // 2][:, :, ::-1]
    return np.concatenate([left, right], axis=2).reshape(len(halves), -1)


class Projection:
    """Images of a frame projected on the first n components of a basis, to be quantised.

    With rows b_j of the basis as whole images (in 1/2^shift of a sample a step) and x an image less the
    mean, `inner` is b_j . x and `gram` is b_j . b_k: integers, or halves, below 2^53 (sums of 2^14 products
    of 2^20 * 2^15).
    """

    def __init__(self, images: Pixels, basis: Basis, n_components: int, effort: str) -> None:
        self.images, self.basis, self.effort = images, basis, effort
        self._rows = basis.rows[:n_components].astype(np.float64)
        self._odd = basis.odd[:n_components]
        if effort != "fast":
            self._project()

    def _project(self) -> None:
        basis, images = self.basis, self.images
        weights = row_weights(basis.shape, basis.mirrored)
        # A stored entry meets two samples, whose sum `split_rows` gives; in the middle column twice the same.
        meets = np.where(weights == 0.5, 0.5, 1.0)
        self.inner = np.zeros((len(self._rows), len(images)))
        self.gram = np.zeros((len(self._rows), len(self._rows)))
        parts = [np.flatnonzero(self._odd == part) for part in range(1 + basis.mirrored)]
        weighed = [self._rows[here] * meets for here in parts]
        center = (1 + basis.mirrored) * (basis.center - (128 << basis.shift))
        for at in range(0, len(images), _TOGETHER):
            piece = slice(at, at + _TOGETHER)
            for part, values in enumerate(split_rows(images[piece], basis.mirrored)):
                x = values.astype(np.float64) * 2**basis.shift
                if part == 0:
                    x -= center
                self.inner[parts[part], piece] = weighed[part] @ x.T
        for here, rows in zip(parts, weighed, strict=True):
            self.gram[np.ix_(here, here)] = (1 + basis.mirrored) * (rows @ self._rows[here].T)

    def scores(self, step: int) -> I32:
        """Give scores i32 (components, images) in steps of this size."""
        factor = factor_of(step, self.basis) / 65536
        if self.effort == "fast":
            found = self._at_once(factor)
        else:
            found, bits = self._in_order(factor, step)
            if 0 < len(found) * self.images[0].size <= MAX_REFINED[self.effort]:
                self._refine(found, bits, factor, step)
        reach = np.cumsum(np.abs(found).astype(np.int64) * self.basis.peaks[: len(found), None], axis=0)
        found[reach > MAX_SUM] = 0  # far from what unit vectors and samples of 8 bits can reach
        return found

    def _at_once(self, factor: float) -> I32:
        """Round the scores of one projection, as if the basis were orthogonal."""
        basis, n = self.basis, len(self.images)
        whole = expand(self._rows, basis, self._odd) * (factor / 2**basis.shift)
        energies = np.maximum((whole**2).sum(axis=1), 1e-12)
        mean = expand(basis.center[None].astype(np.float64), basis, np.zeros(1, np.uint8))[0] / 2**basis.shift
        directions = np.ascontiguousarray((whole / energies[:, None]).T.astype(np.float32))
        flat = self.images.reshape(n, -1)
        found = project_and_quantize(flat, mean.astype(np.float32), directions, DEAD)
        return np.ascontiguousarray(found.T.astype(np.int32))

    def _in_order(self, factor: float, step: int) -> tuple[I32, F64]:
        """Quantise each component for what those before have left; give the scores and what they cost."""
        basis, inner = self.basis, self.inner.copy()
        found = np.zeros(inner.shape, np.int32)
        bits = np.zeros((len(inner), TABLE + 1))
        for j in range(len(inner)):
            energy = self.gram[j, j]
            y = inner[j] / (factor * energy) if energy else np.zeros(len(self.images))
            deviation = 2.0 ** ((int(basis.levels[j]) + basis.step - step - EVEN_LEVEL) / 16)
            q, bits[j] = _quantize(np.clip(y, -MAX_NUMBER, MAX_NUMBER), deviation)
            found[j] = q
            used = np.flatnonzero(q)
            if len(used):
                inner[j + 1 :, used] -= np.outer(self.gram[j + 1 :, j], q[used] * factor)
        return found, bits

    def _refine(self, found: I32, bits: F64, factor: float, step: int) -> None:
        """Let scores use what clamping forgives."""
        basis = self.basis
        images = self.images.reshape(len(self.images), -1)
        chosen = np.flatnonzero(((images == 0) | (images == 255)).mean(axis=1) >= LEAST_CUT[self.effort])
        if not len(chosen):
            return
        rows = np.rint(expand(self._rows * factor, basis, self._odd)).astype(np.int32)
        center = basis.center[None].astype(np.float64)
        mean = expand(center, basis, np.zeros(1, np.uint8))[0].astype(np.int32)
        sums = np.zeros(mean.size, np.int32)
        exchange = EXCHANGE * 256 * step_size(step) ** 2
        for _ in range(REFINEMENTS):
            if not refine_scores(found, images, chosen, rows, mean, bits, exchange, basis.shift, sums):
                break
            for j, row in enumerate(found):
                bits[j] = _bits(np.abs(row), PRIOR * 2.0 ** -bits[j])


def _bits(magnitudes: npt.NDArray[np.int32] | F64, prior: F64) -> F64:
    """Give what each signed number of magnitude 0 to TABLE costs, by their counts and those of the prior."""
    cut = np.minimum(magnitudes, TABLE).astype(np.int64)
    counts = np.bincount(cut, minlength=TABLE + 1).astype(np.float64)
    counts[1:] *= 0.5
    return np.asarray(-np.log2(np.maximum(counts + prior, 1e-3) / (len(cut) + PRIOR)))


def _quantize(y: F64, deviation: float) -> tuple[F64, F64]:
    """Round to nearest, or towards zero where that is worth the bits; give them and what numbers cost.

    The costs come from the numbers themselves, in three rounds, and from a Laplace distribution.
    """
    prior = np.exp(-np.arange(TABLE + 1) / max(0.05, 0.7 * deviation))
    prior[1:] *= 0.5
    prior *= PRIOR / (prior[0] + 2 * prior[1:].sum())
    nearest = np.rint(y)
    lower = nearest - np.sign(nearest)
    q = nearest
    for _ in range(3):
        bits = _bits(np.abs(q), prior)
        cost_nearest, cost_lower = (
            (number - y) ** 2 + EXCHANGE * bits[np.minimum(np.abs(number), TABLE).astype(np.int64)]
            for number in (nearest, lower)
        )
        q = np.where(cost_lower < cost_nearest, lower, nearest)
    return q, bits
