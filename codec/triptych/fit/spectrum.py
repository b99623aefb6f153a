"""The principal components of same-size images, from the images themselves or from their statistics.

In: images, or `Statistics` of them. Out: variances, unit vectors, and whether the collection is
mirror-symmetric, that is as well described by a basis learned from half of it *and that half's mirror
images*. `triptych.fit.components` decides how many components are kept, and rounds them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from triptych.fit.basis import MAX_COMPONENTS, MAX_ENTRIES
from triptych.fit.statistics import F64, Statistics, row_weights, split_rows
from triptych.images import Pixels, Shape

Parities = npt.NDArray[np.uint8]

LEAST_MIRROR_IMAGES = 64
_JUDGED_SHARE = 0.98
"""Components that hold so much of the variance tell whether a collection is mirror-symmetric."""
WHOLE = 1536
"""Matrices up to this side are decomposed whole; of larger ones, the leading part."""


def is_mirror_symmetric(images: Pixels) -> bool:
    """Say whether a basis of half of the images, and their mirror images, suits the rest as well."""
    n_rows = len(images) // 2
    if len(images) < LEAST_MIRROR_IMAGES or images.shape[2] == 1:
        return False
    seen = images[: 2 * n_rows : 2]
    unseen = images[1 : 2 * n_rows : 2].reshape(n_rows, -1).astype(np.float64)
    left_over: list[float] = []
    n = min(64, n_rows // 4)
    for rows in (seen, np.concatenate([seen, seen[:, :, ::-1]])):
        flat = rows.reshape(len(rows), -1).astype(np.float64)
        mean = flat.mean(axis=0)
        flat -= mean
        values, vectors = np.linalg.eigh(flat @ flat.T)
        if not left_over:
            # So few that something is left over: of all components nothing is, and rounding would decide.
            n = min(n, 1 + int(np.searchsorted(values[::-1].cumsum(), _JUDGED_SHARE * values.sum())))
        basis, _ = np.linalg.qr(flat.T @ vectors[:, : -1 - n : -1])
        scores = (unseen - mean) @ basis
        left_over.append(float(((unseen - mean) ** 2).sum() - (scores**2).sum()))
    return left_over[1] <= left_over[0]


class Spectrum:
    """Principal components of a collection: variances and unit vectors on request, by falling variance.

    `matrices` are symmetric: covariances of the parts (all samples, or even and odd halves), or Gram
    matrices of their rows, where there are fewer images than samples.
    """

    def __init__(
        self,
        shape: Shape,
        mirrored: bool,
        n_images: int,
        mean: F64,
        matrices: list[F64],
        rows: list[F64] | None,
    ) -> None:
        self.shape, self.mirrored, self.n_images, self.mean = shape, mirrored, n_images, mean
        self._matrices, self._rows = matrices, rows
        self.total = sum(float(np.trace(matrix)) for matrix in matrices)
        self.most = min(sum(map(len, matrices)), MAX_COMPONENTS, shape.nbytes, MAX_ENTRIES // mean.size - 1)

    @classmethod
    def of_statistics(cls, statistics: Statistics) -> Spectrum:
        """Make it of covariances."""
        mean = statistics.sums[0] / statistics.n
        return cls(statistics.shape, statistics.mirrored, statistics.n, mean, statistics.covariances(), None)

    @classmethod
    def of_images(cls, images: Pixels, shape: Shape, mirrored: bool) -> Spectrum:
        """Make it of the images themselves."""
        weights = row_weights(shape, mirrored)
        parts = [rows.astype(np.float64) for rows in split_rows(images, mirrored)]
        mean = parts[0].sum(axis=0) / len(images)  # of integers, so in any order
        parts[0] -= mean
        rows = [part * weights for part in parts]
        return cls(shape, mirrored, len(images), mean, [row @ row.T / len(images) for row in rows], rows)

    def leading(self, n: int) -> tuple[F64, F64, Parities]:
        """Give variances, unit vectors of the stored coordinates (as rows) and parities of n components."""
        variances, vectors, odd = [], [], []
        for part, matrix in enumerate(self._matrices):
            values, columns = _leading(matrix, min(n, len(matrix)))
            if self._rows is not None:
                columns = self._rows[part].T @ columns / np.sqrt(np.maximum(values, 1e-9) * self.n_images)
            variances.append(np.maximum(values, 0))
            vectors.append(columns.T)
            odd.append(np.full(len(values), part, np.uint8))
        every = np.concatenate(variances)
        order = np.argsort(-every, kind="stable")[:n]
        rows = np.concatenate(vectors)[order]
        # A vector and its negative are the same component: the greatest entry is positive.
        greatest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
        return every[order], rows * np.where(greatest < 0, -1.0, 1.0)[:, None], np.concatenate(odd)[order]


def _leading(matrix: F64, n: int) -> tuple[F64, F64]:
    """Give the n greatest eigenvalues of a symmetric matrix, falling, and their vectors as columns."""
    side = len(matrix)
    if side <= WHOLE or 3 * n > side:
        values, vectors = np.linalg.eigh(matrix)
        return values[::-1][:n], vectors[:, ::-1][:, :n]
    # Subspace iteration (Halko, Martinsson and Tropp 2011), with as many vectors to spare.
    block = np.random.default_rng(0).standard_normal((side, n + 64))
    for _ in range(8):
        block, _ = np.linalg.qr(matrix @ block)
    values, small = np.linalg.eigh(block.T @ matrix @ block)
    return values[::-1][:n], block @ small[:, ::-1][:, :n]
