"""Scores of a frame under tables that the frame carries (FORMAT.md section 8.6)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from triptych_kernels import scoretables, tablerans
from triptych_kernels.scoretables import LANES, N_CLASSES, N_TOKENS
from triptych_kernels.status import OK, TAIL_MISMATCH

from triptych.errors import InvalidFrame
from triptych.fit.basis import POWERS
from triptych.varint import build_varint, parse_varint

__all__ = ["build_scores", "parse_scores"]

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

MAX_WEIGHT = 255
"""A token's weight says its frequency in 1/16 octaves; 0: it does not occur."""


def build_scores(scores: I32, deviations: I64) -> bytes:
    """Give tables and scores, i32 (K, n); deviations i64 (K), of components, in 1/16 octaves of a step."""
    classes, tokens = np.empty_like(scores), np.empty_like(scores)
    raw = np.zeros(2 * scores.size + 4, np.uint8)
    expected = scoretables.new_expected(POWERS, scores.shape[1])
    n_bits = int(scoretables.encode_raw(scores, deviations, expected, classes, tokens, raw))
    flat = (classes * N_TOKENS + tokens).ravel()
    weights, sizes = _weigh(np.bincount(flat, minlength=N_CLASSES * N_TOKENS).reshape(N_CLASSES, N_TOKENS))
    sink = np.empty(tablerans.message_bound(scores.size, LANES), np.uint8)
    size = tablerans.encode(tokens.ravel(), classes.ravel(), _make_tables(weights, sizes), LANES, sink)
    used = np.flatnonzero(sizes).tolist()
    listed = range(used[0], used[-1] + 1) if used else range(0)
    head = bytes([listed.start, len(listed)])
    head += b"".join(bytes([sizes[number]]) + weights[number, : sizes[number]].tobytes() for number in listed)
    return head + build_varint(size) + sink[len(sink) - size :].tobytes() + raw[: -(-n_bits // 8)].tobytes()


def parse_scores(coded: memoryview, deviations: I64, scores: I32, whole: bool) -> int:
    """Fill scores, i32 (K, n); return OK or a status. What comes after them is looked at if this is all.

    Raises
    ------
    InvalidFrame
        The tables are none.
    """
    weights, sizes, at = _parse_weights(coded)
    size, at = parse_varint(coded, at)
    if size > len(coded) - at:
        raise InvalidFrame("bytes of coded scores", expected=size, got=len(coded) - at)
    message = np.frombuffer(coded, np.uint8)[at : at + size].copy()
    raw = np.frombuffer(bytes(coded[at + size :]) + bytes(3), np.uint8)
    state = np.zeros(tablerans.STATE_SIZE, np.uint64)
    status = tablerans.start_decoding(message, LANES, state)
    if status != OK:
        return status
    expected = scoretables.new_expected(POWERS, scores.shape[1])
    work = np.empty((2, scores.shape[1]), np.int32)
    tables = _make_tables(weights, sizes)
    read = int(scoretables.decode(scores, deviations, expected, tables, message, state, raw, work))
    if read < OK or not whole:
        return min(read, OK)
    status = tablerans.finish_decoding(message, state)
    is_clear = not raw[-(-read // 8) :].any() and (read & 7 == 0 or raw[read // 8] >> (read & 7) == 0)
    return status if is_clear else TAIL_MISMATCH


def _weigh(counts: I64) -> tuple[U8, I64]:
    """Give the weights of all tokens in all classes, and how many each class has, to the last that occurs."""
    greatest = np.maximum(counts.max(axis=1, keepdims=True), 1)
    logs = np.round(16 * np.log2(np.maximum(counts, 1) / greatest)).astype(np.int64) + MAX_WEIGHT
    weights = np.where(counts > 0, np.maximum(logs, 1), 0).astype(np.uint8)
    return weights, np.where(weights > 0, np.arange(1, N_TOKENS + 1), 0).max(axis=1)


def _parse_weights(coded: memoryview) -> tuple[U8, I64, int]:
    """Give the weights of all tokens in all classes, how many each class has, and where they end."""
    if len(coded) < 2:
        raise InvalidFrame("coded scores end before their tables")
    first, n_listed = coded[0], coded[1]
    if first + n_listed > N_CLASSES:
        raise InvalidFrame("classes of scores", expected=f"at most {N_CLASSES}", got=first + n_listed)
    weights, sizes, at = np.zeros((N_CLASSES, N_TOKENS), np.uint8), np.zeros(N_CLASSES, np.int64), 2
    for number in range(first, first + n_listed):
        n = coded[at] if at < len(coded) else N_TOKENS + 1
        if n > min(N_TOKENS, len(coded) - at - 1):
            raise InvalidFrame("tokens of a table of scores, or bytes for them", expected=N_TOKENS, got=n)
        weights[number, :n] = coded[at + 1 : at + 1 + n]
        sizes[number] = n
        at += 1 + n
    return weights, sizes, at


def _make_tables(weights: U8, sizes: I64) -> tablerans.Tables:
    """Turn weights into frequencies of at least 1; what is left is the escape's. No size: all weigh the same.

    A share is at most POWERS[15] << 15 < 2^32, and 56 of them, times 65535, stay below 2^54.
    """
    weights = np.where(sizes[:, None] > 0, weights, MAX_WEIGHT)
    sizes = np.where(sizes > 0, sizes, N_TOKENS)
    shares = np.where(weights > 0, POWERS[weights & 15] << (weights >> 4).astype(np.int64), 0)
    whole = np.maximum(shares.sum(axis=1), 1)
    frequencies = 1 + shares * (tablerans.TOTAL - 1 - sizes)[:, None] // whole[:, None]
    ends = np.zeros((N_CLASSES, N_TOKENS + 2), np.int64)
    np.cumsum(frequencies, axis=1, out=ends[:, 1:-1])
    ends[np.arange(N_CLASSES), sizes + 1] = tablerans.TOTAL
    is_used = np.arange(N_TOKENS + 2) <= sizes[:, None] + 1
    return tablerans.make_tables(np.zeros(N_CLASSES, np.int32), sizes + 1, ends[is_used].astype(np.uint32))
