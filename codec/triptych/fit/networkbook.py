"""The content of a dictionary of kind "network": what the ae and gan panel decodes with; to bytes and back.

It is a safetensors file (FORMAT.md section 4.4). What decides symbols is integers and is checked here, every
bound that the kernels' overflow proofs name: `LatentModel`. What draws pixels is float weights, which only
have to be finite and are left to `triptych.networks`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from triptych_kernels.contextnet import (
    MAX_SUM_INPUTS,
    MAX_UNITS,
    N_FRACTIONS,
    N_SCALES,
    SHIFT,
    UNIT_STEP,
    Biases,
    Network,
)
from triptych_kernels.dotproduct import ROWS
from triptych_kernels.latentmix import Mixer, count_counters, count_weights, new_mixer
from triptych_kernels.tablerans import TOTAL, Tables, make_tables

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, ExtraMissing, InvalidFrame
from triptych.fit.counters import long_counters, short_counters
from triptych.keeping import keep

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

KIND = "network"
VERSION = "1"
ARCHITECTURES = ("whole", "patches")
MAX_LEVELS = 16
MAX_QUALITY = 100
BIAS_BITS = 16
"""Fraction bits of stored biases; the kernel's have SHIFT."""
MAX_MULTIPLIER = (1 << 31) - 1
N_TABLES = N_SCALES * N_FRACTIONS
COUNTERS, WEIGHTS = "mixer.counters", "mixer.weights"
WEIGHT_UNIT = 16
"""Stored weights are int16 in these units."""
_TYPES = {"f": "F", "i": "I", "u": "U"}
UNIT = ".unit"
"""A float weight `x` is int8 times what `x.unit` says of each of its rows."""


@dataclass(frozen=True)
class LatentModel:
    """The context network and the tables: all that decides symbols.

    Biases are int32 (levels, n) with BIAS_BITS fraction bits. state: counters and weights that mixed
    decisions begin with, if these were learned.
    """

    net: Network
    biases: tuple[Array, Array, Array]
    tables: Tables
    state: tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]] | None = None

    @property
    def n_channels(self) -> int:
        """Latents of a position."""
        return len(self.net.norm)

    def new_mixer(self) -> Mixer:
        """Give the model of mixed decisions as a frame begins with it."""
        return new_mixer(self.n_channels, *(self.state or ()))

    def at_quality(self, quality: int) -> Biases:
        """Interpolate biases between levels."""
        below, part = divmod(quality * (len(self.biases[0]) - 1), MAX_QUALITY)
        half = 1 << (SHIFT - 1)
        mixed = []
        for table in self.biases:
            rows = table.astype(np.int64)
            above = rows[min(below + 1, len(rows) - 1)]
            mean = (rows[below] * (MAX_QUALITY - part) + above * part) // MAX_QUALITY
            mixed.append((mean << (SHIFT - BIAS_BITS)) + half)
        return Biases(*mixed)


@dataclass(frozen=True)
class NetworkBook:
    """A parsed content: the kind of network, its sizes, and its tensors by name."""

    architecture: str
    config: dict[str, Any]
    tensors: Tensors

    @cached_property
    def latents(self) -> LatentModel:
        """What decides symbols, checked."""
        return _latent_model(self.tensors)

    @property
    def n_levels(self) -> int:
        """How many trade-offs of rate and distortion were trained."""
        return len(self.tensors["context.bias_a"])

    def weights(self, prefix: str) -> dict[str, npt.NDArray[np.float32]]:
        """Give float weights whose names begin so, without the prefix; empty if there are none."""
        return read_weights(self.tensors, prefix)


def read_weights(tensors: Tensors, prefix: str) -> dict[str, npt.NDArray[np.float32]]:
    """Give float weights whose names begin with a prefix, without it."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    for name, values in tensors.items():
        if not name.startswith(prefix) or name.endswith(UNIT):
            continue
        weights = values.astype(np.float32)
        if values.dtype == np.int8:
            unit = tensors.get(name + UNIT)
            if unit is None or unit.shape != values.shape[:1]:
                raise InvalidFrame(f"tensor {name} has no units for its rows")
            weights *= unit.astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
        found[name[len(prefix) :]] = weights
    return found


def pack_weights(weights: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Give tensors of float weights: matrices as int8 with a unit for each row, the rest as float32."""
    packed: dict[str, Array] = {}
    for name, values in weights.items():
        values = values.astype(np.float32)
        if values.ndim < 2:
            packed[prefix + name] = values
            continue
        unit = np.abs(values.reshape(len(values), -1)).max(axis=1) / 127
        unit = np.maximum(unit, 1e-12).astype(np.float32)
        rows = values / unit.reshape(-1, *[1] * (values.ndim - 1))
        packed[prefix + name] = np.rint(rows).astype(np.int8)
        packed[prefix + name + UNIT] = unit
    return packed


def build_network(architecture: str, config: Mapping[str, Any], tensors: Tensors) -> bytes:
    """Build the content of a dictionary."""
    text = {"architecture": architecture, "config": json.dumps(config, sort_keys=True), "version": VERSION}
    return build_tensors(tensors, text)


def build_tensors(tensors: Tensors, text: Mapping[str, str]) -> bytes:
    """Build a safetensors file: always the same one, which the package's own writer does not."""
    # Larger items first, so that each tensor begins at a multiple of its items' size.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(text.items()))}
    parts: list[bytes] = []
    at = 0
    for name in names:
        values = np.ascontiguousarray(tensors[name])
        data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        kind = f"{_TYPES[values.dtype.kind]}{8 * values.itemsize}"
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    described = json.dumps(header, separators=(",", ":")).encode()
    described += b" " * (-len(described) % 8)
    return b"".join([len(described).to_bytes(8, "little"), described, *parts])


def build_state(counters: npt.NDArray[np.uint32], weights: npt.NDArray[np.int32]) -> dict[str, Array]:
    """Give the tensors of what mixed decisions begin with, a little rounded."""
    rounded = (weights.astype(np.int64) + WEIGHT_UNIT // 2) // WEIGHT_UNIT
    limits = np.iinfo(np.int16)
    return {
        COUNTERS: short_counters(counters),
        WEIGHTS: rounded.clip(limits.min, limits.max).astype(np.int16),
    }


def parse_tensors(content: bytes) -> tuple[dict[str, Array], dict[str, str]]:
    """Give the tensors and the text of a safetensors file.

    Raises
    ------
    InvalidFrame
        It is none, or a float in it is no finite number.
    ExtraMissing
        The package that reads such files is not installed.
    """
    safetensors = _safetensors()
    try:
        tensors: dict[str, Array] = safetensors.numpy.load(content)
        length = int.from_bytes(content[:8], "little")
        text = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InvalidFrame(f"the tensors of a network cannot be read: {error}") from error
    for name, values in tensors.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InvalidFrame(f"tensor {name} of a network has values that are not finite")
    return tensors, text


def parse_network(content: bytes) -> NetworkBook:
    """Give what a dictionary's content says; the parts that decide symbols are checked on first use.

    Raises
    ------
    InvalidFrame
        It is not what `build_network` makes.
    """
    tensors, text = parse_tensors(content)
    try:
        architecture, config = text["architecture"], json.loads(text["config"])
    except (KeyError, ValueError) as error:
        raise InvalidFrame(f"a network without its description: {error}") from error
    if text.get("version") != VERSION:
        raise InvalidFrame("version of a network's description", expected=VERSION, got=text.get("version"))
    if architecture not in ARCHITECTURES or not isinstance(config, dict):
        raise InvalidFrame("architecture of a network", expected=ARCHITECTURES, got=architecture)
    return NetworkBook(architecture, config, tensors)


@keep
def load_network(dictionary: Dictionary) -> NetworkBook:
    """Give the network of a dictionary; the last few are kept.

    Raises
    ------
    DictionaryMismatch
        The dictionary is of another kind.
    InvalidFrame
        Its content is damaged.
    """
    if dictionary.kind != KIND:
        raise DictionaryMismatch("kind of dictionary", expected=KIND, got=dictionary.kind)
    book = parse_network(dictionary.content)
    book.latents  # noqa: B018  (so that a network that cannot decode is refused here)
    return book


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ExtraMissing(
            "modes 'ae' and 'gan' need torch and safetensors: pip install 'triptych[neural]'"
        ) from error
    return safetensors


def _latent_model(tensors: Tensors) -> LatentModel:
    """Check all that decides symbols, and lay it out for the kernels."""
    bounds = _tensor(tensors, "context.bounds", np.int32, 1).astype(np.int64)
    units = _tensor(tensors, "context.units", np.int32, 1).astype(np.int64)
    if len(bounds) < 2 or len(units) != len(bounds) or bounds[0] != 0 or units[0] != 0:
        raise InvalidFrame("groups of a context network", expected="two rising lists from 0", got=len(bounds))
    sizes, widths = np.diff(bounds), np.diff(units)
    if (sizes <= 0).any() or (sizes % (ROWS // 2)).any() or (widths < 0).any() or (widths % UNIT_STEP).any():
        raise InvalidFrame("groups of a context network are empty or do not fill whole lanes")
    n_channels, n_units = int(bounds[-1]), int(units[-1])
    if n_units > MAX_UNITS or not n_units:
        raise InvalidFrame("hidden units of a context network", expected=f"1 to {MAX_UNITS}", got=n_units)
    norm = _tensor(tensors, "context.norm", np.uint8, 1, (n_channels,)).astype(np.int64)
    taps = _tensor(tensors, "context.taps", np.int8, 2).astype(np.int64)
    _check_taps(taps, n_channels)
    first = _tensor(tensors, "context.a", np.int8, 3, (len(taps), n_units, 2 * n_channels))
    second = _tensor(tensors, "context.b", np.int8, 2, (n_units, n_units))
    third = _tensor(tensors, "context.c", np.int8, 2, (2 * n_channels, n_units))
    scales = [
        _tensor(tensors, f"context.scale_{name}", np.int32, 1, (n,)).astype(np.int64)
        for name, n in (("a", n_units), ("b", n_units), ("c", 2 * n_channels))
    ]
    if any((scale < 0).any() for scale in scales):
        raise InvalidFrame("a multiplier of a context network is below 0")
    biases = [_tensor(tensors, f"context.bias_{name}", np.int32, 2) for name in ("a", "b", "c")]
    n_levels = len(biases[0])
    shapes = [bias.shape for bias in biases]
    if not 1 <= n_levels <= MAX_LEVELS or shapes != [(n_levels, len(scale)) for scale in scales]:
        raise InvalidFrame("biases of a context network", expected="one row a level", got=shapes)
    order = _order(bounds)
    # What a group must not see does not enter, whatever its weights are.
    degrees = np.repeat(np.arange(len(widths)), widths)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    columns = _columns(first)
    columns[-1][:, groups[:, None] >= degrees[None, :]] = 0
    rows_b, rows_c, at_b, at_c = [], [], [0], [0]
    for g in range(len(sizes)):
        end = int(units[g + 1])
        rows_b.append(second[units[g] : end, :end].reshape(-1))
        rows_c.append(third[order[2 * bounds[g] : 2 * bounds[g + 1]], :end].reshape(-1))
        at_b.append(at_b[-1] + rows_b[-1].size)
        at_c.append(at_c[-1] + rows_c[-1].size)
    net = Network(
        bounds,
        units,
        norm,
        taps,
        columns.reshape(-1),
        np.concatenate(rows_b).astype(np.int16),
        np.array(at_b[:-1]),
        np.concatenate(rows_c).astype(np.int16),
        np.array(at_c[:-1]),
        scales[0],
        scales[1],
        scales[2][order],
    )
    ordered = np.ascontiguousarray(biases[2][:, order])
    return LatentModel(
        net, (biases[0], biases[1], ordered), _tables(tensors), _mixer_state(tensors, n_channels)
    )


def _order(bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give rows of the last layer in the kernel's order: of each group its means, then its scales."""
    parts = []
    for low, high in pairwise(bounds):
        parts += [np.arange(low, high), np.arange(low, high) + bounds[-1]]
    return np.concatenate(parts)


def _columns(first: Array) -> npt.NDArray[np.int16]:
    """Give what a latent of each tap, sign and channel adds: (taps, 2, channels, units)."""
    plain, size = np.split(first.astype(np.int16).transpose(0, 2, 1), 2, axis=1)
    return np.ascontiguousarray(np.stack([size + plain, size - plain], axis=1))


def _check_taps(taps: npt.NDArray[np.int64], n_channels: int) -> None:
    if taps.shape[1:] != (2,) or not len(taps) or taps[-1].any():
        raise InvalidFrame("taps of a context network", expected="pairs, (0, 0) last", got=taps.shape)
    later = (taps[:-1, 0] > 0) | ((taps[:-1, 0] == 0) & (taps[:-1, 1] > 0))
    if not later.all() or len({tuple(tap) for tap in taps.tolist()}) != len(taps) or taps[:, 0].max() > 8:
        raise InvalidFrame("a tap of a context network foretells what is known, or is there twice")
    if len(taps) * n_channels > MAX_SUM_INPUTS:
        raise InvalidFrame(
            "inputs of a context network", expected=f"at most {MAX_SUM_INPUTS}", got=len(taps) * n_channels
        )


def _tables(tensors: Tensors) -> Tables:
    offsets = _tensor(tensors, "tables.offsets", np.int16, 1, (N_TABLES,)).astype(np.int32)
    sizes = _tensor(tensors, "tables.sizes", np.uint16, 1, (N_TABLES,)).astype(np.int64)
    frequencies = _tensor(tensors, "tables.frequencies", np.uint16, 1).astype(np.int64)
    if int(sizes.sum()) != len(frequencies):
        raise InvalidFrame("frequencies of tables", expected=int(sizes.sum()), got=len(frequencies))
    # Running sums of each table, from 0: the sums of all before, less what they were where the table begins.
    begins = np.cumsum(sizes) - sizes
    total = np.append(0, np.cumsum(frequencies))
    entries = np.arange(len(frequencies) + len(sizes)) - np.repeat(np.arange(len(sizes)), sizes + 1)
    cumulative = total[entries] - np.repeat(total[begins], sizes + 1)
    if (cumulative < 0).any() or (cumulative > TOTAL).any():
        raise InvalidFrame(f"a table of a network does not sum to {TOTAL}")
    try:
        return make_tables(offsets, sizes, cumulative.astype(np.uint32))
    except ValueError as error:
        raise InvalidFrame(f"tables of a network: {error}") from error


def _mixer_state(
    tensors: Tensors, n_channels: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]] | None:
    """Give the counters and weights that mixed decisions begin with, if there are any."""
    if COUNTERS not in tensors and WEIGHTS not in tensors:
        return None
    counters = _tensor(tensors, COUNTERS, np.uint16, 1, (count_counters(n_channels),))
    weights = _tensor(tensors, WEIGHTS, np.int16, 1, (count_weights(n_channels),))
    return long_counters(counters), weights.astype(np.int32) * WEIGHT_UNIT


def _tensor(
    tensors: Tensors, name: str, dtype: type[np.generic], n_axes: int, shape: tuple[int, ...] | None = None
) -> Array:
    """Give a tensor of this type and shape."""
    values = tensors.get(name)
    if values is None:
        raise InvalidFrame(f"a network without its tensor {name}")
    if values.dtype != dtype or values.ndim != n_axes or (shape is not None and values.shape != shape):
        raise InvalidFrame(
            f"tensor {name} of a network",
            expected=(np.dtype(dtype).name, shape or f"{n_axes} axes"),
            got=(values.dtype.name, values.shape),
        )
    return values
