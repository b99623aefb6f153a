"""Trained codecs as the tensors of a dictionary, and back.

What decides symbols leaves here as integers: weights of 8 bits with a multiplier for each unit, biases, and
tables of a logistic distribution. What draws pixels leaves as 8-bit matrices with a unit for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy  # noqa: F401  (if it is missing, that shows here, before anything is trained)
import torch
from torch import Tensor, nn
from triptych_kernels.contextnet import N_FRACTIONS, N_SCALES, SHIFT

from triptych.errors import InvalidFrame
from triptych.fit.basis import EVEN_LEVEL, Basis, parse_content, step_size
from triptych.fit.networkbook import (
    BIAS_BITS,
    MAX_MULTIPLIER,
    NetworkBook,
    Tensors,
    build_network,
    build_tensors,
    pack_weights,
    read_weights,
)
from triptych.networks.codec import LatentCodec
from triptych.networks.context import HIDDEN_BITS, INPUT_BITS, MEAN_STEPS, SCALE_STEPS, ContextNet
from triptych.networks.layers import LEAST_LOG_SCALE, LatentMLP
from triptych.networks.patches import PATCH, PatchCodec, PatchConfig
from triptych.networks.patches import Encoder as PatchEncoder
from triptych.networks.patches import Generator as PatchGenerator
from triptych.networks.whole import Generator as WholeGenerator
from triptych.networks.whole import WholeCodec, WholeConfig

Array = npt.NDArray[Any]

_LEAST_STEP = round(LEAST_LOG_SCALE * SCALE_STEPS)
_WIDEST = 160
"""Tables reach at most so far from the mean; what is beyond is escaped."""
MAX_DEPTH = 64
"""Residual blocks at one scale."""
FREE_WEIGHTS = 1 << 22
"""An encoder that is not there may have been so large, whatever the rest is."""
_GENERATOR, _REALISM = "generator.", "realism."
_DECODING = ("log_ungain", "shift", "deviation")
_ENCODING = ("log_gain", "prior", "log_lambda")


class Loaded(NamedTuple):
    """A codec for use, the generator trained as a GAN if there is one, and whether there is an encoder."""

    codec: WholeCodec | PatchCodec
    realism: nn.Module | None
    encodes: bool


def export_codec(
    codec: WholeCodec | PatchCodec, realism: nn.Module | None = None, basis: bytes | None = None
) -> tuple[bytes, bytes]:
    """Give the content of a dictionary of kind "network", and of its encoder.

    Parameters
    ----------
    codec : WholeCodec or PatchCodec
        What was trained.
    realism : nn.Module or None
        A generator trained as a GAN.
    basis : bytes or None
        For a `WholeCodec`: the content of the dictionary of components that its rows are.
    """
    state = codec.state_dict()
    tensors: dict[str, Array] = export_context(codec.context) | logistic_tables()
    tensors |= pack_weights({name: _array(state[name]).reshape(-1) for name in _DECODING}, "coding.")
    tensors |= pack_weights(_arrays(codec.generator), _GENERATOR)
    if isinstance(codec, WholeCodec):
        if basis is None:
            raise ValueError("a codec of whole images goes with the basis it was trained on")
        architecture = "whole"
        tensors["basis"] = np.frombuffer(basis, np.uint8)
    else:
        architecture = "patches"
        tensors |= pack_weights({"rows": _array(codec.rows)}, "")
    if realism is not None:
        tensors |= pack_weights(_arrays(realism), _REALISM)
    content = build_network(architecture, codec.config.to_json(), tensors)
    encoder = pack_weights({name: _array(state[name]).reshape(-1) for name in _ENCODING}, "coding.")
    encoder |= pack_weights(_arrays(codec.encoder), "encoder.")
    return content, build_tensors(encoder, {})


def replace_generator(book: NetworkBook, generator: nn.Module, *, realism: bool) -> bytes:
    """Give a book's content with another generator, its own or the one trained as a GAN.

    All else stays, to the last bit.
    """
    prefix = _REALISM if realism else _GENERATOR
    kept = {name: values for name, values in book.tensors.items() if not name.startswith(prefix)}
    return build_network(book.architecture, book.config, kept | pack_weights(_arrays(generator), prefix))


def load_codec(book: NetworkBook, encoder: Tensors | None) -> Loaded:
    """Build the networks of a dictionary, with its encoder or without.

    Raises
    ------
    InvalidFrame
        Tensors are missing, or have other shapes than the networks of this configuration.
    """
    try:
        codec = _untrained(book)
        _load_coding(codec, read_weights(book.tensors, "coding."))
        load_context(codec.context, book)
        _load_weights(codec.generator, book.weights(_GENERATOR))
        if encoder is not None:
            _load_coding(codec, read_weights(encoder, "coding."))
            _load_weights(codec.encoder, read_weights(encoder, "encoder."))
        realism = None
        weights = book.weights(_REALISM)
        if weights:
            realism = notched_generator(codec)
            _load_weights(realism, weights)
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise InvalidFrame(f"the networks of a dictionary do not fit its description: {error}") from error
    codec.requires_grad_(False).eval()
    if realism is not None:
        realism.requires_grad_(False).eval()
    return Loaded(codec, realism, encoder is not None)


def basis_tensors(basis: Basis) -> tuple[Tensor, Tensor, Tensor]:
    """Give unit vectors (components, samples), the mean (samples) and deviations (components).

    Samples are channels first, in units of 255.
    """
    height, _, channels = basis.shape
    one = 2.0**basis.shift
    rows = _whole(basis.rows.reshape(basis.n_components, height, -1, channels), basis)
    rows = rows / (one * step_size(basis.step))
    mean = _whole(basis.center.reshape(1, height, -1, channels), basis, even=True) / (one * 255)
    deviation = step_size(basis.step) / 255 * 2.0 ** ((basis.levels - EVEN_LEVEL) / 16)
    first = np.ascontiguousarray(rows.transpose(0, 3, 1, 2), np.float32).reshape(len(rows), -1)
    middle = np.ascontiguousarray(mean.transpose(0, 3, 1, 2), np.float32).reshape(-1)
    return torch.from_numpy(first), torch.from_numpy(middle), torch.from_numpy(deviation.astype(np.float32))


def _whole(halves: Array, basis: Basis, even: bool = False) -> Array:
    """Give whole images (n, h, w, c) of what is stored of them."""
    values = halves.astype(np.float64)
    if not basis.mirrored:
        return values
    sign = np.ones(len(values)) if even else np.where(basis.odd != 0, -1.0, 1.0)
    right = values[:, :, ::-1] * sign[:, None, None, None]
    return np.concatenate([values, right[:, :, basis.shape.width % 2 :]], axis=2)


def export_context(context: ContextNet) -> dict[str, Array]:
    """Give a context network in integers."""
    a = (context.a.weight * context.mask_a).detach()
    seen = [(context.radius - down, context.radius - right) for down, right in context.taps()]
    first = np.stack([_array(a[:, :, i, j]) for i, j in seen])
    degrees = context.degrees().numpy()
    units = np.searchsorted(degrees, np.arange(len(context.bounds) - 1), side="right")
    taps = np.array(context.taps(), np.int8)
    tensors: dict[str, Array] = {
        "context.bounds": np.array(context.bounds, np.int32),
        "context.units": np.array([0, *units], np.int32),
        "context.norm": _array(context.norm).astype(np.uint8),
        "context.taps": taps,
    }
    layers = {
        "a": (np.moveaxis(first, 0, 1), 2.0 ** (HIDDEN_BITS - INPUT_BITS)),
        "b": (_array((context.b.weight * context.mask_b)[:, :, 0, 0]), 1.0),
        "c": (_array((context.c.weight * context.mask_c)[:, :, 0, 0]), 2.0**-HIDDEN_BITS),
    }
    out_steps = np.repeat([float(MEAN_STEPS), float(SCALE_STEPS)], context.channels)
    for name, (weights, factor) in layers.items():
        unit = np.abs(weights.reshape(len(weights), -1)).max(axis=1) / 127
        rows = weights / np.maximum(unit, 1e-12).reshape(-1, *[1] * (weights.ndim - 1))
        whole = np.rint(rows).astype(np.int8)
        tensors["context." + name] = np.ascontiguousarray(np.moveaxis(whole, 1, 0)) if name == "a" else whole
        steps = out_steps if name == "c" else np.ones(len(unit))
        multiplier = np.rint(unit * factor * steps * 2.0**SHIFT)
        tensors["context.scale_" + name] = np.clip(multiplier, 0, MAX_MULTIPLIER).astype(np.int32)
        bias = _array(getattr(context, "bias_" + name)).astype(np.float64)
        if name == "c":
            bias[:, context.channels :] -= LEAST_LOG_SCALE
            bias = bias * out_steps
        else:
            bias = bias * 2.0**HIDDEN_BITS
        tensors["context.bias_" + name] = np.rint(bias * 2.0**BIAS_BITS).astype(np.int32)
    return tensors


def load_context(context: ContextNet, book: NetworkBook) -> None:
    """Give a context network the weights that integers stand for."""
    tensors = book.tensors
    channels = context.channels
    out_steps = np.repeat([float(MEAN_STEPS), float(SCALE_STEPS)], channels)
    layers = (("a", 2.0 ** (INPUT_BITS - HIDDEN_BITS)), ("b", 1.0), ("c", 2.0**HIDDEN_BITS))
    with torch.no_grad():
        for name, factor in layers:
            unit = tensors["context.scale_" + name] * factor / 2.0**SHIFT
            if name == "c":
                unit = unit / out_steps
            whole = tensors["context." + name].astype(np.float64)
            if name == "a":
                weights = torch.zeros_like(context.a.weight, device="cpu")
                for tap, (down, right) in enumerate(context.taps()):
                    rows = torch.from_numpy(whole[tap] * unit[:, None])
                    weights[:, :, context.radius - down, context.radius - right] = rows.float()
            else:
                weights = torch.from_numpy(whole * unit[:, None]).float()[..., None, None]
            getattr(context, name).weight.copy_(weights)
            bias = tensors["context.bias_" + name] / 2.0**BIAS_BITS
            bias = bias / (out_steps if name == "c" else 2.0**HIDDEN_BITS)
            if name == "c":
                bias[:, channels:] += LEAST_LOG_SCALE
            getattr(context, "bias_" + name).copy_(torch.from_numpy(bias).float())
        context.norm.copy_(torch.from_numpy(tensors["context.norm"].astype(np.float32)))


def logistic_tables() -> dict[str, Array]:
    """Give tables of logistic distributions: of each scale and each place of the mean between integers."""
    offsets, sizes, frequencies = [], [], []
    for j in range(N_SCALES):
        scale = float(np.exp((_LEAST_STEP + j) / SCALE_STEPS))
        width = min(_WIDEST, int(np.ceil(10.5 * scale)) + 1)
        edges = np.arange(-width, width + 2) - 0.5
        for f in range(N_FRACTIONS):
            mean = (f - N_FRACTIONS // 2) / N_FRACTIONS
            below = 1 / (1 + np.exp(-np.clip((edges - mean) / scale, -60, 60)))
            mass = np.append(np.diff(below), below[0] + 1 - below[-1])
            whole = np.maximum(1, np.floor(mass * 65536)).astype(np.int64)
            whole[whole.argmax()] += 65536 - whole.sum()
            offsets.append(-width)
            sizes.append(len(whole))
            frequencies.append(whole)
    return {
        "tables.offsets": np.array(offsets, np.int16),
        "tables.sizes": np.array(sizes, np.uint16),
        "tables.frequencies": np.concatenate(frequencies).astype(np.uint16),
    }


def _array(values: Tensor) -> Array:
    array: Array = values.detach().cpu().numpy()
    return array


def _arrays(module: nn.Module) -> dict[str, Array]:
    return {name: _array(values) for name, values in module.state_dict().items()}


def _untrained(book: NetworkBook) -> WholeCodec | PatchCodec:
    """Build a codec of a book's configuration around its basis; what is built is no larger than the book."""
    config: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in book.config.items()}
    if book.architecture == "whole":
        whole = WholeConfig(**config)
        basis = parse_content(book.tensors["basis"].tobytes())
        _check_context(book, basis.n_components, tuple(whole.bounds), whole.context, 0, len(whole.lambdas))
        if whole.shape != basis.shape or whole.n_components != basis.n_components:
            raise ValueError("the basis is of other images or components")
        _check_networks(book, lambda: (WholeGenerator(whole), LatentMLP(whole.n_components, whole.hidden, 1)))
        return WholeCodec(whole, *basis_tensors(basis))
    patches = PatchConfig(**config)
    rows = book.weights("rows")[""]
    _check_context(
        book, patches.channels, tuple(patches.bounds), patches.context, patches.radius, len(patches.lambdas)
    )
    if len(rows) != patches.channels or rows.size != patches.channels * 3 * PATCH * PATCH:
        raise ValueError("the rows of the projection are of other patches")
    if any(depth not in range(MAX_DEPTH + 1) for depth in (*patches.depths, *patches.encoder_depths)):
        raise ValueError("more blocks than there are")
    _check_networks(book, lambda: (PatchGenerator(patches), PatchEncoder(patches)))
    return PatchCodec(patches, torch.from_numpy(rows), torch.zeros(patches.channels))


def _check_context(
    book: NetworkBook, channels: int, bounds: tuple[int, ...], hidden: int, radius: int, n_levels: int
) -> None:
    tensors = book.tensors
    kept = tuple(tensors["context.bounds"].tolist())
    window = 2 * radius * (radius + 1) + 1
    if channels != kept[-1] or bounds not in ((), kept) or n_levels != book.n_levels:
        raise ValueError("other channels, groups or levels than the context network's")
    if hidden != int(tensors["context.units"][-1]) or radius < 0 or window != len(tensors["context.taps"]):
        raise ValueError("other units or taps than the context network's")


def _check_networks(book: NetworkBook, build: Callable[[], tuple[nn.Module, nn.Module]]) -> None:
    """Refuse sizes that are not those of the tensors, before anything is allocated.

    An encoder's may not be there: it may be a few times as large as all that is.
    """
    with torch.device("meta"):
        generator, encoder = build()
    for name, values in generator.state_dict().items():
        if values.shape != book.tensors[_GENERATOR + name].shape:
            raise ValueError(f"tensor generator.{name} has another shape")
    most = FREE_WEIGHTS + 8 * sum(values.size for values in book.tensors.values())
    if sum(values.numel() for values in encoder.state_dict().values()) > most:
        raise ValueError("the encoder is too large")


def _load_coding(codec: LatentCodec, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    state = codec.state_dict()
    with torch.no_grad():
        for name, values in weights.items():
            target = state[name]
            target.copy_(torch.from_numpy(values).view(target.shape))


def _load_weights(module: nn.Module, weights: dict[str, npt.NDArray[np.float32]]) -> None:
    module.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})


def notched_generator(codec: WholeCodec | PatchCodec) -> WholeGenerator | PatchGenerator:
    """Build the generator that is trained as a GAN, with random weights."""
    if isinstance(codec, WholeCodec):
        return WholeGenerator(codec.config, notched=True)
    return PatchGenerator(codec.config, notched=True)
