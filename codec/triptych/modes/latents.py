"""Quantized latents as the body of a frame, and back (FORMAT.md section 13): integers in, integers out.

Images with grids of the same size that follow each other are coded together, as *sets*: position by position,
group by group, image by image. Nothing here knows of networks that draw pixels, or of torch.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from triptych_kernels import contextnet, tablerans
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, TAIL_MISMATCH

from triptych.errors import InvalidFrame
from triptych.fit.networkbook import MAX_QUALITY, LatentModel
from triptych.varint import build_varint, parse_varint

__all__ = ["Grid", "Head", "build_body", "cut_sets", "parse_body", "parse_head"]

I32 = npt.NDArray[np.int32]

SET_POSITIONS = 1 << 16
"""A set has at most so many positions, unless it is one image."""
LONG, SHORT = 2048, 256
"""Messages of more symbols than these have four lanes, or two."""
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
    """What a body begins with: 0 to 100, lanes of its message, where that begins and ends."""

    quality: int
    lanes: int
    begin: int
    end: int


def cut_sets(grids: Sequence[Grid]) -> list[slice]:
    """Cut images into sets."""
    sets: list[slice] = []
    begin = 0
    for i in range(1, len(grids) + 1):
        size = (i - begin + 1) * grids[begin].rows * grids[begin].columns
        if i == len(grids) or grids[i] != grids[begin] or size > SET_POSITIONS:
            sets.append(slice(begin, i))
            begin = i
    return sets


def build_body(symbols: Sequence[I32], quality: int, model: LatentModel) -> bytes:
    """Give the body of latents, i32 (images, channels, rows, columns) of each set."""
    bias = model.at_quality(quality)
    flats, indexes = [], []
    for latents in symbols:
        flat = _to_stream(latents, model)
        found, bases = np.empty_like(flat), np.empty_like(flat)
        grid = np.array([len(latents), *latents.shape[2:]])
        work = contextnet.new_work(model.net, len(latents), latents.shape[3])
        contextnet.walk(model.net, bias, work, grid, flat, found, bases)
        flats.append(flat - bases)
        indexes.append(found)
    flat, index = np.concatenate(flats), np.concatenate(indexes)
    plan = 2 if len(flat) > LONG else 1 if len(flat) > SHORT else 0
    sink = np.empty(tablerans.message_bound(len(flat), 1 << plan), np.uint8)
    length = tablerans.encode(flat, index, model.tables, 1 << plan, sink)
    return _HEAD.pack(quality, plan) + build_varint(length) + sink[len(sink) - length :].tobytes()


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
    if quality > MAX_QUALITY or plan > 2:
        raise InvalidFrame("a body of latents has a head that means nothing", got=(quality, plan))
    length, begin = parse_varint(body, _HEAD.size)
    if length > len(body) - begin:
        raise InvalidFrame("bytes of coded latents", expected=length, got=len(body) - begin)
    return Head(quality, 1 << plan, begin, begin + length)


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
    bias = model.at_quality(head.quality)
    state = np.zeros(tablerans.STATE_SIZE, np.uint64)
    status = tablerans.start_decoding(source, head.lanes, state)
    widest = int(np.diff(model.net.bounds).max())
    symbols = []
    for part in cut_sets(grids):
        if status != OK:
            break
        n_images, (rows, columns) = part.stop - part.start, grids[part.start]
        flat = np.empty(n_images * rows * columns * model.n_channels, np.int32)
        status = contextnet.decode(
            model.net,
            bias,
            contextnet.new_work(model.net, n_images, columns),
            np.array([n_images, rows, columns]),
            model.tables,
            head.lanes,
            source,
            state,
            np.empty((3, n_images * widest), np.int32),
            flat,
        )
        symbols.append(_from_stream(flat, n_images, rows, columns, model))
    if status == OK:
        status = tablerans.finish_decoding(source, state)
    if status != OK:
        raise InvalidFrame(f"coded latents {_CAUSES[status]}")
    return head.quality, symbols


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
