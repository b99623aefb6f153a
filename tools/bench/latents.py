"""Sections of the rANS coders: numbers under many tables, and bytes under one, beside other projects' coders.

Both are measured as they are called from Python: arrays in, arrays out, and what has to be copied or made a
list for that is part of it. Only the tables of the numbers are built before, as a model builds them once.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from triptych_kernels import staticrans, tablerans

from bench import peers
from bench.measure import alternate
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

_N_TABLES, _SCALES = 64, (0.11, 256.0)
_TAIL = 6.1
"""Tables reach so many standard deviations, as CompressAI's do: a mass of 1e-9 is left outside."""
_PIECE = 4096
_X32, _AVX2 = 0x04, 2 << 0 | 2 << 8
"""htscodecs: 32 lanes; both ways with AVX2."""

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]
Indexes = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Latents:
    """Numbers, the table of each, and the tables: offsets and cumulative frequencies."""

    numbers: Numbers
    indexes: Indexes
    offsets: list[int]
    cumulative: list[list[int]]

    @property
    def nbytes(self) -> float:
        """The tables' cross-entropy in bytes."""
        total = 0.0
        for t, (offset, cumulative) in enumerate(zip(self.offsets, self.cumulative, strict=True)):
            entries = self.numbers[self.indexes == t].astype(np.int64) - offset
            total += float((16 - np.log2(np.diff(cumulative)[entries])).sum())
        return total / 8


def gaussian(scale: float) -> tuple[int, list[int]]:
    """Give a table of a rounded Gaussian: (offset, cumulative frequencies), the last entry the escape."""
    reach = math.ceil(_TAIL * scale)
    steps = [math.erf((k - 0.5) / scale / math.sqrt(2)) for k in range(-reach, reach + 2)]
    chances = np.append(np.diff(steps) / 2, 0.0)
    frequencies = 1 + np.floor(chances * (tablerans.TOTAL - chances.size)).astype(np.int64)
    frequencies[reach] += tablerans.TOTAL - frequencies.sum()
    return -reach, [0, *np.cumsum(frequencies).tolist()]


def draw_latents(n: int) -> Latents:
    """Draw numbers under 64 Gaussian tables, small scales more often than large ones."""
    rng = np.random.default_rng(1)
    scales = np.geomspace(*_SCALES, _N_TABLES)
    tables = [gaussian(scale) for scale in scales]
    indexes = (rng.beta(1, 2, n) * _N_TABLES).astype(np.uint16)
    offsets = np.array([offset for offset, _ in tables])
    drawn = np.rint(rng.normal(0, 1, n) * scales[indexes])
    # Within the tables: not every peer has an escape.
    numbers = np.clip(drawn, offsets[indexes], -offsets[indexes]).astype(np.int32)
    return Latents(numbers, indexes, offsets.tolist(), [cumulative for _, cumulative in tables])


class NumberCoder(ABC):
    """Codes latents from numpy to numpy."""

    @abstractmethod
    def encode(self) -> Any:
        """Give the message."""

    @abstractmethod
    def decode(self, message: Any) -> Numbers:
        """Give the numbers back."""

    def nbytes(self, message: Any) -> int:
        """Give the length of a message."""
        return len(message)


class Ours(NumberCoder):
    """Our coder, which may get its tables piece by piece."""

    def __init__(self, latents: Latents, lanes: int, piece: int | None = None) -> None:
        """Take the numbers, and how many are decoded at a time."""
        self.latents, self.lanes, self.piece = latents, lanes, piece or latents.numbers.size
        self.tables = tablerans.make_tables(
            np.array(latents.offsets, np.int32),
            np.array([len(cumulative) - 1 for cumulative in latents.cumulative], np.int64),
            np.concatenate(latents.cumulative).astype(np.uint32),
        )

    def encode(self) -> Bytes:
        """Give the message as an array of its own."""
        numbers = self.latents.numbers
        sink = np.empty(tablerans.message_bound(numbers.size, self.lanes), np.uint8)
        n = tablerans.encode(numbers, self.latents.indexes, self.tables, self.lanes, sink)
        return sink[sink.size - n :].copy()

    def decode(self, message: Bytes) -> Numbers:
        """Give the numbers back, or raise AssertionError."""
        out = np.empty(self.latents.numbers.size, np.int32)
        state = np.zeros(tablerans.STATE_SIZE, np.uint64)
        status = tablerans.start_decoding(message, self.lanes, state)
        for at in range(0, out.size, self.piece):
            part = slice(at, at + self.piece)
            status |= tablerans.decode(
                message, self.latents.indexes[part], self.tables, self.lanes, state, out[part]
            )
        if status | tablerans.finish_decoding(message, state):
            raise AssertionError("our decoder refuses our message")
        return out


@cache
def _compressai() -> Any:
    """Load CompressAI's coder alone: the package itself wants torch, which this module does not use."""
    found = importlib.util.find_spec("compressai")
    folders = found.submodule_search_locations if found else None
    files = [path for folder in folders or [] for path in Path(folder).glob("ans.*")]
    if not files:
        raise ImportError("no compressai with an extension `ans`")
    spec = importlib.util.spec_from_file_location("ans", files[0])
    if spec is None or spec.loader is None:
        raise ImportError(f"{files[0]} is no module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CompressAi(NumberCoder):
    """CompressAI's C++ coder as its entropy models call it: arrays become lists, and lists arrays."""

    def __init__(self, latents: Latents) -> None:
        """Take the numbers."""
        self.latents = latents
        self.tables = (latents.cumulative, [len(table) for table in latents.cumulative], latents.offsets)

    def encode(self) -> bytes:
        """Give the message."""
        lists = (self.latents.numbers.tolist(), self.latents.indexes.tolist())
        return bytes(_compressai().RansEncoder().encode_with_indexes(*lists, *self.tables))

    def decode(self, message: bytes) -> Numbers:
        """Give the numbers back."""
        decoder = _compressai().RansDecoder()
        return np.array(
            decoder.decode_with_indexes(message, self.latents.indexes.tolist(), *self.tables), np.int32
        )


class Constriction(NumberCoder):
    """constriction's ANS coder with a model for each table, so numbers are sorted by table first."""

    def __init__(self, latents: Latents) -> None:
        """Take the numbers."""
        self.latents = latents
        stream = import_module("constriction").stream
        self.coder: Callable[..., Any] = stream.stack.AnsCoder
        self.models = [
            stream.model.Categorical(np.diff(table) / tablerans.TOTAL, perfect=False)
            for table in latents.cumulative
        ]

    def _parts(self) -> list[npt.NDArray[np.int64]]:
        """Give the places of each table's numbers."""
        order = np.argsort(self.latents.indexes, kind="stable")
        counts = np.bincount(self.latents.indexes, minlength=_N_TABLES)
        return np.split(order, np.cumsum(counts)[:-1])

    def encode(self) -> Any:
        """Give the message, u32."""
        coder = self.coder()
        for part, model, offset in zip(self._parts(), self.models, self.latents.offsets, strict=True):
            coder.encode_reverse(self.latents.numbers[part] - np.int32(offset), model)
        return coder.get_compressed()

    def decode(self, message: Any) -> Numbers:
        """Give the numbers back."""
        coder, out = self.coder(message), np.empty(self.latents.numbers.size, np.int32)
        for part, model, offset in [*zip(self._parts(), self.models, self.latents.offsets, strict=True)][
            ::-1
        ]:
            out[part] = coder.decode(model, part.size) + np.int32(offset)
        return out

    def nbytes(self, message: Any) -> int:
        """Give the length of a message."""
        return int(message.nbytes)


def _compressai_version() -> str:
    _compressai()
    return version("compressai")


def _constriction_version() -> str:
    import_module("constriction")
    return version("constriction")


COMPRESSAI = peers.Peer("CompressAI", "ans: encode_with_indexes, decode_with_indexes", _compressai_version)
CONSTRICTION = peers.Peer(
    "constriction", "AnsCoder; a Categorical for each table, perfect=False", _constriction_version
)


def latents(setup: Setup) -> Section:
    """Measure numbers under 64 tables of 16 bits."""
    section = Section("latents")
    section.notes.append(
        "million numbers a second of thread CPU time, numpy to numpy; beyond: bytes beyond the cross-entropy"
    )
    present, table = peers.select([COMPRESSAI, CONSTRICTION])
    section.tables.append(table)
    drawn = draw_latents(setup.some(4_000_000, 200_000))
    coders: dict[str, NumberCoder] = {
        "4 lanes": Ours(drawn, 4),
        "2 lanes": Ours(drawn, 2),
        "1 lane": Ours(drawn, 1),
        f"4 lanes, {_PIECE} at a time": Ours(drawn, 4, _PIECE),
    }
    makers: dict[str, Callable[[Latents], NumberCoder]] = {
        COMPRESSAI.name: CompressAi,
        CONSTRICTION.name: Constriction,
    }
    coders |= {peer.name: makers[peer.name](drawn) for peer in present}
    messages = {name: coder.encode() for name, coder in coders.items()}
    for name, coder in coders.items():
        if not np.array_equal(coder.decode(messages[name]), drawn.numbers):
            raise AssertionError(f"{name} gives other numbers back")
    setup.say("latents: timing")
    rounds = setup.some(7, 3)
    encode = alternate({name: coder.encode for name, coder in coders.items()}, rounds, time.thread_time)
    decode = alternate(
        {name: _decoder(coder, messages[name]) for name, coder in coders.items()}, rounds, time.thread_time
    )
    millions, least = drawn.numbers.size / 1e6, drawn.nbytes
    sizes = {name: coder.nbytes(messages[name]) for name, coder in coders.items()}
    rows: list[Row] = [
        (name, sizes[name], 100 * (sizes[name] / least - 1), millions / encode[name], millions / decode[name])
        for name in coders
    ]
    rows.append(("cross-entropy", least, None, None, None))
    title = (
        f"{drawn.numbers.size} numbers, {8 * least / drawn.numbers.size:.3f} bits each, {_N_TABLES} tables"
    )
    section.tables.append(Table(title, ("coder", "bytes", "beyond, %", "enc", "dec"), rows))
    # Whoever of the two is here, CompressAI first.
    peer = present[0].name if present else COMPRESSAI.name
    for what, seconds, limit in (("decode", decode, 15.0), ("encode", encode, 12.0)):
        ratio = seconds[peer] / seconds["4 lanes"] if present else None
        section.goals.append(Goal(f"{what}, 4 lanes, times {peer}", ratio, limit, at_least=True))
    section.goals.append(
        Goal("bytes beyond the cross-entropy, 4 lanes, %", 100 * (sizes["4 lanes"] / least - 1), 0.01)
    )
    return section


def _decoder(coder: NumberCoder, message: Any) -> Callable[[], object]:
    return lambda: coder.decode(message)


# Bytes under one table.


def _laplace(n: int) -> Bytes:
    drawn = np.rint(np.random.default_rng(2).laplace(0, 6, n))
    return (np.clip(drawn, -128, 127) + 128).astype(np.uint8)


def _sixteen(n: int) -> Bytes:
    rng = np.random.default_rng(3)
    return rng.choice(16, n, p=rng.dirichlet(np.full(16, 0.5))).astype(np.uint8)


SOURCES: dict[str, Callable[[int], Bytes]] = {"Laplace, b = 6": _laplace, "16 symbols": _sixteen}


class ByteCoder(ABC):
    """Codes bytes as independent symbols, from array to array; the frequencies are counted each time."""

    @abstractmethod
    def encode(self, symbols: Bytes) -> Any:
        """Give what the decoder needs."""

    @abstractmethod
    def decode(self, message: Any, n: int) -> Bytes:
        """Give n symbols back."""

    @abstractmethod
    def nbytes(self, message: Any) -> int:
        """Give the length of a message."""


class OurBytes(ByteCoder):
    """Our coder: counts, normalises, codes."""

    def __init__(self, lanes: int) -> None:
        """Take the number of lanes."""
        self.lanes = lanes

    def encode(self, symbols: Bytes) -> Any:
        """Give (frequencies, message)."""
        counts = np.zeros((4, 256), np.int64)
        staticrans.count_symbols(symbols, counts)
        frequencies = staticrans.normalise(counts.sum(axis=0))
        sink = np.empty(staticrans.message_bound(symbols.size, self.lanes), np.uint8)
        n = staticrans.encode(symbols, frequencies, self.lanes, sink)
        return frequencies, sink[sink.size - n :].copy()

    def decode(self, message: Any, n: int) -> Bytes:
        """Give n symbols back, or raise AssertionError."""
        out = np.empty(n, np.uint8)
        if staticrans.decode(message[1], message[0], self.lanes, out):
            raise AssertionError("our decoder refuses our message")
        return out

    def nbytes(self, message: Any) -> int:
        """Give the length of a message; frequencies at 12 bits a symbol that has one, and a bit for each."""
        return int(message[1].size + (12 * np.count_nonzero(message[0]) + 256) // 8)


@cache
def _htscodecs() -> Any:
    library = ctypes.CDLL(ctypes.util.find_library("htscodecs") or "libhtscodecs.so.2")
    library.htscodecs_version.restype = ctypes.c_char_p
    for name in ("rans_compress_to_4x16", "rans_uncompress_to_4x16"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rans_set_cpu(_AVX2)
    return library


class HtsBytes(ByteCoder):
    """htscodecs' rANS 32x16, order 0, in AVX2."""

    def encode(self, symbols: Bytes) -> Bytes:
        """Give the message as an array of its own."""
        library = _htscodecs()
        n = ctypes.c_uint(library.rans_compress_bound_4x16(symbols.size, _X32))
        sink = np.empty(n.value, np.uint8)
        self._run(library.rans_compress_to_4x16, symbols, sink, n, _X32)
        return sink[: n.value].copy()

    def decode(self, message: Bytes, n: int) -> Bytes:
        """Give n symbols back."""
        out = np.empty(n, np.uint8)
        self._run(_htscodecs().rans_uncompress_to_4x16, message, out, ctypes.c_uint(n))
        return out

    def _run(self, function: Any, source: Bytes, target: Bytes, n: ctypes.c_uint, *order: int) -> None:
        start, room = (ctypes.c_void_p(array.ctypes.data) for array in (source, target))
        if not function(start, ctypes.c_uint(source.size), room, ctypes.byref(n), *order):
            raise AssertionError("htscodecs failed")

    def nbytes(self, message: Bytes) -> int:
        """Give the length of a message."""
        return message.size


class ConstrictionBytes(ByteCoder):
    """constriction's ANS coder with one model."""

    def encode(self, symbols: Bytes) -> Any:
        """Give (model, message)."""
        stream = import_module("constriction").stream
        model = stream.model.Categorical(np.bincount(symbols, minlength=256) / symbols.size, perfect=False)
        coder = stream.stack.AnsCoder()
        coder.encode_reverse(symbols.astype(np.int32), model)
        return model, coder.get_compressed()

    def decode(self, message: Any, n: int) -> Bytes:
        """Give n symbols back."""
        coder = import_module("constriction").stream.stack.AnsCoder(message[1])
        return np.asarray(coder.decode(message[0], n)).astype(np.uint8)

    def nbytes(self, message: Any) -> int:
        """Give the length of a message, without its model."""
        return int(message[1].nbytes)


HTSCODECS = peers.Peer(
    "htscodecs", "rANS 32x16, order 0, AVX2 both ways", lambda: _htscodecs().htscodecs_version().decode()
)
CONSTRICTION_BYTES = peers.Peer(
    "constriction", "AnsCoder; one Categorical, perfect=False", _constriction_version
)


def static_rans(setup: Setup) -> Section:
    """Measure bytes under one table of 12 bits."""
    section = Section("static-rans")
    section.notes.append(
        "megabytes a second of thread CPU time, array to array; encoders count symbols; frequencies of ours"
        " are taken as 12 bits each, constriction's model is not counted"
    )
    present, table = peers.select([HTSCODECS, CONSTRICTION_BYTES])
    section.tables.append(table)
    coders: dict[str, ByteCoder] = {"32 lanes": OurBytes(32), "4 lanes": OurBytes(4)}
    makers: dict[str, Callable[[], ByteCoder]] = {
        HTSCODECS.name: HtsBytes,
        CONSTRICTION_BYTES.name: ConstrictionBytes,
    }
    coders |= {peer.name: makers[peer.name]() for peer in present}
    for source, draw in SOURCES.items():
        setup.say(f"static-rans: {source}")
        symbols = draw(setup.some(8_000_000, 500_000))
        seconds = _time_bytes(coders, symbols, setup.some(9, 3))
        rows: list[Row] = [
            (name, nbytes, symbols.size / 1e6 / encode, symbols.size / 1e6 / decode)
            for name, (nbytes, encode, decode) in seconds.items()
        ]
        counts = np.bincount(symbols)
        chances = counts[counts > 0] / symbols.size
        rows.append(("entropy", float(-(np.log2(chances) * chances).sum() * symbols.size / 8), None, None))
        section.tables.append(
            Table(f"{source}: {symbols.size} symbols", ("coder", "bytes", "enc", "dec"), rows)
        )
        section.goals += _byte_goals(source, seconds)
    return section


def _time_bytes(
    coders: dict[str, ByteCoder], symbols: Bytes, rounds: int
) -> dict[str, tuple[int, float, float]]:
    """Give (bytes, seconds to encode, seconds to decode) of each coder."""
    messages = {name: coder.encode(symbols) for name, coder in coders.items()}
    for name, coder in coders.items():
        if not np.array_equal(coder.decode(messages[name], symbols.size), symbols):
            raise AssertionError(f"{name} gives other bytes back")

    def encoder(coder: ByteCoder) -> Callable[[], object]:
        return lambda: coder.encode(symbols)

    def decoder(coder: ByteCoder, message: Any) -> Callable[[], object]:
        return lambda: coder.decode(message, symbols.size)

    encode = alternate({name: encoder(c) for name, c in coders.items()}, rounds, time.thread_time)
    decode = alternate(
        {name: decoder(c, messages[name]) for name, c in coders.items()}, rounds, time.thread_time
    )
    return {name: (c.nbytes(messages[name]), encode[name], decode[name]) for name, c in coders.items()}


def _byte_goals(source: str, seconds: dict[str, tuple[int, float, float]]) -> list[Goal]:
    """State the goals beside htscodecs, or beside constriction where that alone is here."""
    _, encode, decode = seconds["32 lanes"]
    if HTSCODECS.name not in seconds and CONSTRICTION_BYTES.name in seconds:
        ratio = seconds[CONSTRICTION_BYTES.name][2] / decode
        return [Goal(f"{source}: decode, 32 lanes, times constriction", ratio, 20.0, at_least=True)]
    theirs = seconds.get(HTSCODECS.name)
    return [
        Goal(
            f"{source}: {what}, 32 lanes, times htscodecs",
            theirs[number] / ours if theirs else None,
            limit,
            at_least=True,
        )
        for number, what, ours, limit in ((2, "decode", decode, 0.9), (1, "encode", encode, 0.8))
    ]
