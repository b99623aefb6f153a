"""Scores of a frame under tables that the frame carries (FORMAT.md section 8.6)."""

from __future__ import annotations

from collections.abc import Sequence

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
    weights = _weigh(np.bincount(flat, minlength=N_CLASSES * N_TOKENS).reshape(N_CLASSES, N_TOKENS))
    sink = np.empty(tablerans.message_bound(scores.size, LANES), np.uint8)
    size = tablerans.encode(tokens.ravel(), classes.ravel(), _make_tables(weights), LANES, sink)
    used = [number for number, row in enumerate(weights) if len(row)]
    listed = weights[used[0] : used[-1] + 1] if used else []
    head = bytes([used[0] if used else 0, len(listed)])
    head += b"".join(bytes([len(row)]) + row.tobytes() for row in listed)
    return head + build_varint(size) + sink[len(sink) - size :].tobytes() + raw[: -(-n_bits // 8)].tobytes()


def parse_scores(coded: memoryview, deviations: I64, scores: I32, whole: bool) -> int:
    """Fill scores, i32 (K, n); return OK or a status. What comes after them is looked at if this is all.

    Raises
    ------
    InvalidFrame
        The tables are none.
    """
    weights, at = _parse_weights(coded)
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
    tables = _make_tables(weights)
    read = int(scoretables.decode(scores, deviations, expected, tables, message, state, raw, work))
    if read < OK or not whole:
        return min(read, OK)
    status = tablerans.finish_decoding(message, state)
    is_clear = not raw[-(-read // 8) :].any() and (read & 7 == 0 or raw[read // 8] >> (read & 7) == 0)
    return status if is_clear else TAIL_MISMATCH


def _weigh(counts: I64) -> list[U8]:
    """Give the weights of tokens 0 to the last that occurs, of each class; none for one that does not."""
    greatest = np.maximum(counts.max(axis=1, keepdims=True), 1)
    logs = np.round(16 * np.log2(np.maximum(counts, 1) / greatest)).astype(np.int64) + MAX_WEIGHT
    logs = np.where(counts > 0, np.maximum(logs, 1), 0).astype(np.uint8)
    return [row[: np.flatnonzero(row)[-1] + 1 if row.any() else 0] for row in logs]


def _parse_weights(coded: memoryview) -> tuple[list[U8], int]:
    """Give the weights of all classes, and where they end."""
    if len(coded) < 2:
        raise InvalidFrame("coded scores end before their tables")
    first, n_listed = coded[0], coded[1]
    if first + n_listed > N_CLASSES:
        raise InvalidFrame("classes of scores", expected=f"at most {N_CLASSES}", got=first + n_listed)
    weights, at = [np.zeros(0, np.uint8)] * N_CLASSES, 2
    for number in range(first, first + n_listed):
        n = coded[at] if at < len(coded) else N_TOKENS + 1
        if n > min(N_TOKENS, len(coded) - at - 1):
            raise InvalidFrame("tokens of a table of scores, or bytes for them", expected=N_TOKENS, got=n)
        weights[number] = np.frombuffer(coded[at + 1 : at + 1 + n], np.uint8)
        at += 1 + n
    return weights, at


def _make_tables(weights: Sequence[U8]) -> tablerans.Tables:
    """Turn weights into frequencies of at least 1; what is left is the escape's.

    A share is at most POWERS[15] << 15 < 2^32, and 56 of them, times 65535, stay below 2^54.
    """
    frequencies = []
    for row in weights:
        row = row if len(row) else np.full(N_TOKENS, MAX_WEIGHT, np.uint8)
        shares = np.where(row > 0, POWERS[row & 15] << (row >> 4).astype(np.int64), 0)
        most = tablerans.TOTAL - 1 - len(row)
        frequencies.append(1 + shares * most // max(int(shares.sum()), 1))
    sizes = np.array([len(row) + 1 for row in frequencies], np.int64)
    ends = [np.concatenate([[0], np.cumsum(row), [tablerans.TOTAL]]) for row in frequencies]
    return tablerans.make_tables(
        np.zeros(len(sizes), np.int32), sizes, np.concatenate(ends).astype(np.uint32)
    )
