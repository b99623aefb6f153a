"""Quantized latents as the body of a frame, and back (FORMAT.md section 13): integers in, integers out.

Images with grids of the same size that follow each other are coded together, as *sets*: position by position,
group by group, image by image. There are two coders of the same symbols: rANS with the tables that the
network chooses, and, smaller and slower, mixed decisions. Nothing here knows of networks that draw pixels, or
of torch.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from triptych_kernels import contextnet, latentmix, rangecoder, tablerans
from triptych_kernels.latentmix import Mixer
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, TAIL_MISMATCH

from triptych.errors import InvalidFrame
from triptych.fit.networkbook import MAX_QUALITY, LatentModel
from triptych.varint import build_varint, parse_varint

__all__ = [
    "Grid",
    "Head",
    "Part",
    "build_body",
    "cut_sets",
    "mix_set",
    "parse_body",
    "parse_head",
    "walk_set",
]

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

SET_SIZE, MAX_POSITIONS = 1 << 24, 1 << 19
"""A set has at most so many numbers at a time, unless it is one image; that has at most so many positions."""
LONG, SHORT = 2048, 256
"""Messages of more symbols than these have four lanes, or two."""
MIXED = 4
"""The plan of a body whose symbols are mixed decisions."""
_HEAD = struct.Struct("<BB")
_CAUSES = {
    INPUT_EXHAUSTED: "end before the last one",
    TAIL_MISMATCH: "do not end as an encoder would have ended them",
    BAD_SYMBOL: "hold a number beyond the greatest",
}


class Grid(NamedTuple):
    """Positions of an image's latents."""

    rows: int
    columns: int


class Head(NamedTuple):
    """What a body begins with: 0 to 100, lanes of its message (0: mixed), where that begins and ends."""

    quality: int
    lanes: int
    begin: int
    end: int


def cut_sets(grids: Sequence[Grid], model: LatentModel) -> list[slice]:
    """Cut images into sets, so that what a decoder holds for one is bounded."""
    sets: list[slice] = []
    begin = 0
    width = max(model.n_channels, len(model.net.scale_a))
    for i in range(1, len(grids) + 1):
        size = (i - begin + 1) * grids[begin].rows * grids[begin].columns * width
        if i == len(grids) or grids[i] != grids[begin] or size > SET_SIZE:
            sets.append(slice(begin, i))
            begin = i
    return sets


class Part(NamedTuple):
    """A set in the order of the stream: i64 (3) images, rows, columns; symbols, tables and bases."""

    grid: I64
    symbols: I32
    indexes: I32
    bases: I32


def build_body(symbols: Sequence[I32], quality: int, model: LatentModel, effort: str = "default") -> bytes:
    """Give the body of latents, i32 (images, channels, rows, columns) of each set.

    Effort "fast" uses tables alone; else both coders are tried, and the smaller message is kept.
    """
    parts = [walk_set(latents, quality, model) for latents in symbols]
    coded = np.concatenate([part.symbols - part.bases for part in parts])
    indexes = np.concatenate([part.indexes for part in parts])
    plan = 2 if len(coded) > LONG else 1 if len(coded) > SHORT else 0
    sink = np.empty(tablerans.message_bound(len(coded), 1 << plan), np.uint8)
    length = tablerans.encode(coded, indexes, model.tables, 1 << plan, sink)
    message = sink[len(sink) - length :].tobytes()
    if effort != "fast":
        mixed = _build_mixed(parts, model, length)
        if mixed is not None and len(mixed) < length:
            plan, message = MIXED, mixed
    return _HEAD.pack(quality, plan) + build_varint(len(message)) + message


def walk_set(latents: I32, quality: int, model: LatentModel) -> Part:
    """Find the tables of a set's latents."""
    flat = _to_stream(latents, model)
    part = Part(np.array([len(latents), *latents.shape[2:]]), flat, np.empty_like(flat), np.empty_like(flat))
    work = contextnet.new_work(model.net, len(latents), *latents.shape[2:])
    contextnet.walk(model.net, model.at_quality(quality), work, *part)
    return part


def mix_set(part: Part, mixer: Mixer, model: LatentModel, coder: U64, sink: U8) -> int:
    """Encode a set in mixed decisions, which learn from it; return OK or OUTPUT_FULL."""
    trace = latentmix.new_trace(int(part.grid[0]), int(part.grid[1] * part.grid[2]))
    return latentmix.encode(
        mixer,
        trace,
        part.grid,
        model.net.bounds,
        model.tables,
        part.symbols,
        part.indexes,
        part.bases,
        coder,
        sink,
    )


def _build_mixed(parts: Sequence[Part], model: LatentModel, room: int) -> bytes | None:
    """Give the message of mixed decisions, or None if it has more bytes than there is room for."""
    mixer = model.new_mixer()
    coder, sink = rangecoder.new_coder(), np.empty(room, np.uint8)
    for part in parts:
        status = mix_set(part, mixer, model, coder, sink)
        if status != OK:
            return None
    length = rangecoder.finish_encoding(coder, sink)
    return sink[:length].tobytes() if length >= 0 else None


def parse_head(body: memoryview) -> Head:
    """Give the head of a body.

    Raises
    ------
    InvalidFrame
        It is not what `build_body` writes.
    """
    if len(body) < _HEAD.size:
        raise InvalidFrame("a body of latents ends in its head", expected=_HEAD.size, got=len(body))
    quality, plan = _HEAD.unpack_from(body)
    if quality > MAX_QUALITY or plan not in (0, 1, 2, MIXED):
        raise InvalidFrame("a body of latents has a head that means nothing", got=(quality, plan))
    length, begin = parse_varint(body, _HEAD.size)
    if length > len(body) - begin:
        raise InvalidFrame("bytes of coded latents", expected=length, got=len(body) - begin)
    return Head(quality, 0 if plan == MIXED else 1 << plan, begin, begin + length)


def parse_body(body: memoryview, grids: Sequence[Grid], model: LatentModel) -> tuple[int, list[I32]]:
    """Give the quality, and latents i32 (images, channels, rows, columns) of each set.

    Raises
    ------
    InvalidFrame
        The body is not what an encoder writes.
    """
    head = parse_head(body)
    if any(body[head.end :]):
        raise InvalidFrame("bytes that are not zero come after coded latents")
    source = np.frombuffer(body, np.uint8)[head.begin : head.end].copy()
    sets = [np.array([part.stop - part.start, *grids[part.start]]) for part in cut_sets(grids, model)]
    status, flats = (_decode_tables if head.lanes else _decode_mixed)(source, head, sets, model)
    if status != OK:
        raise InvalidFrame(f"coded latents {_CAUSES[status]}")
    symbols = []
    for flat, (n_images, rows, columns) in zip(flats, sets, strict=True):
        symbols.append(_from_stream(flat, int(n_images), int(rows), int(columns), model))
    return head.quality, symbols


def _decode_tables(source: U8, head: Head, sets: Sequence[I64], model: LatentModel) -> tuple[int, list[I32]]:
    """Give a status, and the symbols of sets (images, rows, columns) in the order of the stream."""
    bias, state = model.at_quality(head.quality), np.zeros(tablerans.STATE_SIZE, np.uint64)
    status = tablerans.start_decoding(source, head.lanes, state)
    widest = int(np.diff(model.net.bounds).max())
    flats = []
    for grid in sets:
        if status != OK:
            return status, []
        flats.append(np.empty(int(grid.prod()) * model.n_channels, np.int32))
        work = contextnet.new_work(model.net, *grid.tolist())
        chunk = np.empty((3, int(grid[0]) * widest), np.int32)
        status = contextnet.decode(
            model.net, bias, work, grid, model.tables, head.lanes, source, state, chunk, flats[-1]
        )
    return (tablerans.finish_decoding(source, state) if status == OK else status), flats


def _decode_mixed(source: U8, head: Head, sets: Sequence[I64], model: LatentModel) -> tuple[int, list[I32]]:
    """Do what `_decode_tables` does, for mixed decisions."""
    bias, mixer, coder = model.at_quality(head.quality), model.new_mixer(), rangecoder.new_coder()
    rangecoder.start(coder, source)
    chunk = np.empty((2, int(np.diff(model.net.bounds).max())), np.int32)
    status, flats = OK, []
    for grid in sets:
        if status != OK:
            return status, []
        flats.append(np.empty(int(grid.prod()) * model.n_channels, np.int32))
        work = contextnet.new_work(model.net, *grid.tolist())
        trace = latentmix.new_trace(int(grid[0]), int(grid[1] * grid[2]))
        status = latentmix.decode(
            mixer, trace, model.net, bias, work, grid, model.tables, coder, source, chunk, flats[-1]
        )
    return (rangecoder.finish_decoding(coder, source) if status == OK else status), flats


def _to_stream(latents: I32, model: LatentModel) -> I32:
    """Bring latents (images, channels, rows, columns) into the order of the stream."""
    by_position = latents.transpose(2, 3, 0, 1)
    n_positions = by_position.shape[0] * by_position.shape[1]
    bounds = model.net.bounds
    groups = [by_position[..., low:high].reshape(n_positions, -1) for low, high in pairwise(bounds)]
    return np.concatenate(groups, axis=1).reshape(-1)


def _from_stream(flat: I32, n_images: int, rows: int, columns: int, model: LatentModel) -> I32:
    """Undo `_to_stream`."""
    by_position = flat.reshape(rows * columns, -1)
    bounds = model.net.bounds
    groups = [
        by_position[:, low * n_images : high * n_images].reshape(rows, columns, n_images, high - low)
        for low, high in pairwise(bounds)
    ]
    return np.ascontiguousarray(np.concatenate(groups, axis=3).transpose(2, 3, 0, 1))
