"""Dictionaries of kind "network" that are small: for tests, vectors and fuzzing.

They know nothing of images (weights are random), but every part is used: context networks whose means and
scales depend on all that they see, three levels, and both generators. What decides symbols can also be had
alone, as tensors, without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from triptych import Dictionary
from triptych.fit.basis import EVEN_LEVEL, Basis, build_content, step_size
from triptych.fit.networkbook import N_TABLES, parse_network, parse_tensors
from triptych.images import Shape

if TYPE_CHECKING:
    from triptych.networks.patches import PatchCodec
    from triptych.networks.whole import WholeCodec

Array = npt.NDArray[Any]

SHAPE = Shape(16, 16, 3)
"""Of images that `small_network("whole")` is for."""
LAMBDAS = (8.0, 40.0, 200.0)
TAPS = ((1, 1), (1, 0), (1, -1), (0, 1), (0, 0))
"""Those of networks of radius 1."""


def _cosines(n: int, height: int, width: int, channels: int) -> npt.NDArray[np.float64]:
    """Return unit vectors that are orthogonal, f64 (n, height, width, channels)."""
    y, x = np.mgrid[:height, :width]
    tints = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]])[:, :channels]
    rows = [
        np.cos(np.pi * (2 * y + 1) * v / (2 * height))[..., None]
        * np.cos(np.pi * (2 * x + 1) * u / (2 * width))[..., None]
        * tint
        for u, v in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2))
        for tint in tints
    ]
    return np.stack([row / np.linalg.norm(row) for row in rows[:n]])


def small_basis(n: int = 12) -> bytes:
    """Return the content of a dictionary of components."""
    step, gain, shift = 64, 180, 10
    levels = EVEN_LEVEL + np.arange(n)[::-1] * 6
    units = _cosines(n, *SHAPE) * (step_size(step) * 2**shift)
    entries = np.rint(units / 2.0 ** ((gain - levels[:, None, None, None]) / 16)).astype(np.int32)
    mean = np.full(tuple(SHAPE), 6, np.int32)
    return build_content(
        Basis(SHAPE, False, step, gain, shift, 1, levels, np.zeros(n, np.uint8), mean, entries)
    )


def _shake(module: Any, random: np.random.Generator, size: float) -> None:
    """Give all parameters random values; each output is of about this size where its inputs are of 1."""
    import torch

    with torch.no_grad():
        for values in module.parameters():
            fan = max(1, values[0].numel()) if values.dim() > 1 else 1
            drawn = random.normal(0, size / fan**0.5, values.shape).astype(np.float32)
            values.copy_(torch.from_numpy(drawn))


def small_codec(architecture: str, seed: int = 0) -> WholeCodec | PatchCodec:
    """Return a codec with random weights: 12 components of images of 16 x 16, or 8 channels of patches."""
    import torch
    from triptych.fit.basis import parse_content
    from triptych.fit.trained import basis_tensors
    from triptych.networks.patches import PatchCodec, PatchConfig
    from triptych.networks.whole import WholeCodec, WholeConfig

    random = np.random.default_rng(seed)
    codec: WholeCodec | PatchCodec
    # Layers begin with random weights, which take no part in what comes out.
    with torch.random.fork_rng(devices=[]):
        if architecture == "whole":
            whole = WholeConfig(
                (SHAPE.height, SHAPE.width, SHAPE.channels), 12, LAMBDAS, (0, 4, 8, 12), 8, 32, (4, 4, 8)
            )
            codec = WholeCodec(whole, *basis_tensors(parse_content(small_basis())))
        else:
            small, shallow = (4, 4, 8), (1, 1, 1)
            patches = PatchConfig(8, LAMBDAS, (0, 4, 8), 32, 1, small, shallow, small, shallow)
            rows = _cosines(8, 16, 16, 3).transpose(0, 3, 1, 2).reshape(8, -1)
            codec = PatchCodec(patches, torch.from_numpy(rows.astype(np.float32)), torch.linspace(4, 0.5, 8))
    _shake(codec.encoder, random, 0.1)
    _shake(codec.generator, random, 0.02)
    _shake(codec.context, random, 1.0)
    with torch.no_grad():
        # Means of some units, scales around 1.
        codec.context.c.weight.mul_(0.5)
        codec.prior.copy_(torch.linspace(1, -1, codec.channels).repeat(codec.n_levels, 1))
        codec.context.set_norm(torch.linspace(6, 0.3, codec.channels))
    return codec


def short_tables(n_entries: int = 4) -> dict[str, Array]:
    """Return tables of few entries around 0, so that much is escaped."""
    scales = np.repeat(np.arange(N_TABLES // 32), 32)
    most = 65536 - 65536 * (3 + scales) // (3 * scales.max())
    frequencies = np.full((N_TABLES, n_entries), 1, np.int64)
    frequencies += ((65536 - most.clip(3000, 60000) - n_entries) // (n_entries - 1))[:, None]
    frequencies[:, (n_entries - 1) // 2] += 65536 - frequencies.sum(axis=1)
    return {
        "tables.offsets": np.full(N_TABLES, -((n_entries - 1) // 2), np.int16),
        "tables.sizes": np.full(N_TABLES, n_entries, np.uint16),
        "tables.frequencies": frequencies.astype(np.uint16).ravel(),
    }


@cache
def small_network(architecture: str, realism: bool = True, seed: int = 0, short: bool = False) -> Dictionary:
    """Return a dictionary with its encoder; the same on every call. With `short`, its tables are short."""
    import torch
    from triptych.fit.networkbook import build_network
    from triptych.fit.trained import export_codec, notched_generator

    codec = small_codec(architecture, seed)
    with torch.random.fork_rng(devices=[]):
        other = notched_generator(codec) if realism else None
    if other is not None:
        _shake(other, np.random.default_rng(seed + 1), 0.05)
    content, encoder = export_codec(codec, other, small_basis() if architecture == "whole" else None)
    if short:
        book = parse_network(content)
        content = build_network(architecture, book.config, dict(book.tensors) | short_tables())
    return Dictionary.build("network", {}, content, None, encoder)


def edited(dictionary: Dictionary, **changes: Array | None) -> Dictionary:
    """Return a dictionary with other tensors (`__` stands for a dot), or without those that are None."""
    from triptych.fit.networkbook import build_tensors

    tensors, text = parse_tensors(dictionary.content)
    for name, values in changes.items():
        name = name.replace("__", ".")
        if values is None:
            del tensors[name]
        else:
            tensors[name] = values
    return Dictionary.build("network", {}, build_tensors(tensors, text), None, dictionary.encoder)


def random_tensors(
    random: np.random.Generator,
    bounds: Sequence[int],
    units: Sequence[int],
    taps: Sequence[tuple[int, int]] = TAPS,
    n_levels: int = 2,
    extreme: bool = False,
    n_entries: int = 8,
) -> dict[str, Array]:
    """Return all that decides symbols, as FORMAT.md 4.4 names it.

    Weights are what they can be at most with `extreme`, and else such that units, means and scales vary.
    """
    m, h, t = bounds[-1], units[-1], len(taps)

    def weights(*shape: int) -> Array:
        drawn: Array = random.integers(-128, 128, shape, np.int8)
        if extreme:
            drawn[:] = np.where(drawn < 0, -128, 127)
        return drawn

    def multipliers(n: int, fan_in: int, size: float) -> Array:
        """Of sums of so many inputs: outputs of about this size."""
        if extreme:
            return random.choice([0, 1, 2**31 - 1], n).astype(np.int32)
        usual = size * 2.0**24 / (74 * fan_in**0.5)
        some: Array = np.rint(usual * random.uniform(0.5, 1.5, n)).astype(np.int32)
        return some

    def biases(n: int, low: int, high: int) -> Array:
        if extreme:
            return random.choice([-(2**31), 0, 2**31 - 1], (n_levels, n)).astype(np.int32)
        return random.integers(low << 16, high << 16, (n_levels, n)).astype(np.int32)

    tensors: dict[str, Array] = {
        "context.bounds": np.array(bounds, np.int32),
        "context.units": np.array(units, np.int32),
        "context.norm": random.choice([0, 1, 16, 255], m).astype(np.uint8),
        "context.taps": np.array(taps, np.int8),
        "context.a": weights(t, h, 2 * m),
        "context.b": weights(h, h),
        "context.c": weights(2 * m, h),
        "context.scale_a": multipliers(h, 2 * m * t * 500, 200),
        "context.scale_b": multipliers(h, h * 60_000, 300),
        "context.scale_c": multipliers(2 * m, h * 60_000, 40),
        "context.bias_a": biases(h, -200, 200),
        "context.bias_b": biases(h, -200, 200),
        "context.bias_c": np.concatenate([biases(m, -80, 80), biases(m, 0, 56)], axis=1),
    }
    return tensors | short_tables(n_entries)


def random_latents(
    random: np.random.Generator, bounds: Sequence[int], n: int, rows: int, columns: int, extreme: bool = False
) -> npt.NDArray[np.int32]:
    """Return latents of n images, i32 (n, channels, rows, columns), many of them 0."""
    shape = (n, bounds[-1], rows, columns)
    if extreme:
        some: npt.NDArray[np.int32] = random.choice(np.array([-32767, -1, 0, 32767], np.int32), shape)
        return some
    sizes = np.repeat(
        [6.0 / (1 + 2 * g) for g in range(len(bounds) - 1)], [b - a for a, b in pairwise(bounds)]
    )
    drawn: npt.NDArray[np.int32] = np.rint(random.laplace(0, 1, shape) * sizes[:, None, None]).astype(
        np.int32
    )
    return drawn
