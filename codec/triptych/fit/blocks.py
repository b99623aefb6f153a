"""Learn a block basis: classes of blocks, each with a linear predictor and the KLT of what it leaves.

The codec of FORMAT.md section 7 cuts planes into blocks and codes each as one of several classes. This is
the learning of those classes, by alternating two steps until they settle, like k-means with models for
centres: fit each class to the blocks that are its own, then give each block to the class that codes it best
(distance plus lambda times estimated bits). Class-adaptive KLTs by rate-distortion reassignment are due to
Effros, Chou and Gray ("Weighted universal image compression", 1999, section III); the prediction from the
causal template is ordinary least squares.

Everything here is float and happens once. `triptych.fit.blockbook` turns the result into a dictionary's
integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triptych.images import Pixels

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

LAMBDA = 0.13
"""Lagrangian weight of a bit, in squared steps."""
PIXEL_NOISE = 0.5
"""Variance added to every residual, so that no component is free."""
TEMPLATE_NOISE = 4.0
"""Variance added to the template, besides that of quantization: it keeps predictors small."""
SETTLED = 0.01
"""Share of blocks that change class below which the classes are done."""


@dataclass(frozen=True)
class BlockClass:
    """One class of blocks of n = side * side samples.

    predictor: (n, template). basis: (n, n), rows are components, the greatest variance first. sigma: (n)
    standard deviations of the components, in samples. share: of all blocks.
    """

    predictor: F32
    basis: F32
    sigma: F32
    share: float


def color_axes(images: Sequence[Pixels]) -> F64:
    """Give the principal axes of colour, rows, orthonormal; the first is the luma-like one.

    Images of shape (height, width, 3). Each image's own mean is taken out first.
    """
    scatter = np.zeros((3, 3))
    for image in images:
        pixels = image.reshape(-1, 3).astype(np.float64)
        pixels -= pixels.mean(0)
        scatter += pixels.T @ pixels / len(pixels)
    axes = np.linalg.eigh(scatter)[1].T[::-1]
    # A sign that does not depend on the solver: the greatest entry is positive.
    signs = np.sign(axes[np.arange(3), np.abs(axes).argmax(1)])
    return np.asarray(axes * signs[:, None], np.float64)


def template_offsets(side: int) -> npt.NDArray[np.int64]:
    """Give the (dy, dx) of the causal template: two rows above, two columns left."""
    rows = [(dy, dx) for dy in (-1, -2) for dx in range(-2, 2 * side)]
    columns = [(dy, dx) for dx in (-1, -2) for dy in range(side)]
    return np.array(rows + columns)


def sample_blocks(planes: Sequence[F32], side: int, n: int, *, chroma: bool, seed: int) -> F32:
    """Draw blocks with their templates: rows of (block, template[, luma of the block]), less local means.

    planes: (3, height, width) each. The mean of a row is that of the nearest row above and column left;
    luma has a mean of its own.
    """
    rng = np.random.default_rng(seed)
    offsets = template_offsets(side)
    border = ((offsets[:, 0] == -1) & (offsets[:, 1] >= 0) & (offsets[:, 1] < side)) | (
        (offsets[:, 1] == -1) & (offsets[:, 0] >= 0)
    )
    dy, dx = (axis.ravel() for axis in np.mgrid[0:side, 0:side])
    shares = np.array([plane.shape[1] * plane.shape[2] for plane in planes], np.float64)
    counts = rng.multinomial(n, shares / shares.sum())
    rows = np.empty((n, side * side + len(offsets) + (side * side if chroma else 0)), np.float32)
    at = 0
    for plane, count in zip(planes, counts, strict=True):
        y = rng.integers(2, plane.shape[1] - side + 1, count)[:, None]
        x = rng.integers(2, plane.shape[2] - 2 * side + 1, count)[:, None]
        which = rng.integers(1, 3, count)[:, None] if chroma else np.zeros((count, 1), int)
        template = plane[which, y + offsets[:, 0], x + offsets[:, 1]]
        mean = template[:, border].mean(1, keepdims=True)
        parts = [plane[which, y + dy, x + dx] - mean, template - mean]
        if chroma:
            around = plane[0][y + offsets[border, 0], x + offsets[border, 1]].mean(1, keepdims=True)
            parts.append(plane[0][y + dy, x + dx] - around)
        rows[at : at + count] = np.concatenate(parts, 1)
        at += count
    return rows


def fit_class(rows: F32, n: int, step: float, share: float = 1.0) -> BlockClass:
    """Fit predictor and basis to blocks of n samples whose templates were quantized with this step."""
    scatter = (rows.T @ rows).astype(np.float64) / max(1, len(rows))
    around = scatter[n:, n:] + np.eye(len(scatter) - n) * (step * step / 12 + TEMPLATE_NOISE)
    predictor = np.linalg.solve(around, scatter[n:, :n]).T
    residual = scatter[:n, :n] - predictor @ scatter[n:, :n]
    residual = (residual + residual.T) / 2
    # What quantization of the template adds to the residual.
    residual += step * step / 14 * predictor @ predictor.T + PIXEL_NOISE * np.eye(n)
    variance, axes = np.linalg.eigh(residual)
    basis = axes.T[::-1]
    signs = np.sign(basis[np.arange(n), np.abs(basis).argmax(1)])
    return BlockClass(
        predictor.astype(np.float32),
        (basis * signs[:, None]).astype(np.float32),
        np.sqrt(variance[::-1]).astype(np.float32),
        share,
    )


def _first_classes(rows: F32, side: int, n_classes: int) -> npt.NDArray[np.int64]:
    """Sort blocks by the strength and direction of their gradients: a start for the classes."""
    blocks = rows[:, : side * side].reshape(-1, side, side)
    gx, gy = np.diff(blocks, axis=2)[:, :-1], np.diff(blocks, axis=1)[:, :, :-1]
    xx, yy, xy = (gx * gx).mean((1, 2)), (gy * gy).mean((1, 2)), (gx * gy).mean((1, 2))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    coherent = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-3) > 0.6
    n_angles = 1 if n_classes < 8 else 8 if n_classes >= 24 else 4
    n_strengths = -(-n_classes // n_angles)
    turn = np.floor((angle / np.pi + 0.5) * (n_angles - 1)).astype(int) % max(1, n_angles - 1)
    direction = np.where(coherent, 1 + turn, 0) if n_angles > 1 else np.zeros(len(rows), int)
    strength = np.log(xx + yy + 1)
    edges = np.quantile(strength, np.arange(1, n_strengths) / n_strengths)
    classes = np.digitize(strength, edges) * n_angles + direction
    first: npt.NDArray[np.int64] = np.minimum(classes, n_classes - 1).astype(np.int64)
    return first


def fit_classes(
    rows: F32,
    n: int,
    n_classes: int,
    step: float,
    *,
    n_rounds: int,
    seed: int,
    chosen: npt.NDArray[np.int64] | None = None,
) -> Iterator[tuple[list[BlockClass], float, float]]:
    """Fit classes by rate-distortion; yield (classes, cost, share of blocks that changed) after each round.

    rows: from `sample_blocks`, or gathered by a coder, with the classes that it chose: then their templates
    are already what a decoder has. cost is squared steps a sample. Classes are in order of rising energy.
    """
    from triptych_kernels.blockcost import cost_table, row_costs

    rng = np.random.default_rng(seed)
    side = round(n**0.5)
    open_loop = chosen is None
    if chosen is None:
        rows = rows.copy()
        for at in range(0, len(rows), 1 << 14):
            part = rows[at : at + (1 << 14), n:]
            part += rng.normal(0, 0.26 * step, part.shape).astype(np.float32)
        chosen = _first_classes(rows, side, n_classes) if n_classes > 1 else np.zeros(len(rows), np.int64)
    table = cost_table(LAMBDA)
    costs = np.empty((n_classes, len(rows)), np.float32)
    least = 2 * rows.shape[1]
    for _ in range(n_rounds):
        counts = np.bincount(chosen, minlength=n_classes)
        for few in np.flatnonzero(counts < least):
            crowd = np.flatnonzero(chosen == counts.argmax())
            chosen[rng.choice(crowd, len(crowd) // 2, replace=False)] = few
            counts = np.bincount(chosen, minlength=n_classes)
        classes = [
            fit_class(rows[chosen == k], n, step if open_loop else 0.0, counts[k] / len(rows))
            for k in range(n_classes)
        ]
        order = np.argsort([float((one.sigma**2).sum()) for one in classes])
        classes = [classes[k] for k in order]
        chosen = np.argsort(order)[chosen]
        for k, one in enumerate(classes):
            analysis = np.concatenate([one.basis, -one.basis @ one.predictor], 1).T
            for at in range(0, len(rows), 1 << 14):
                part = rows[at : at + (1 << 14)] @ analysis
                row_costs(part, one.sigma, np.float32(step), table, costs[k, at : at + len(part)])
            costs[k] -= LAMBDA * np.log2(max(one.share, 1e-6))
        previous, chosen = chosen, costs.argmin(0)
        yield classes, float(costs.min(0).mean()) / n, float((previous != chosen).mean())
