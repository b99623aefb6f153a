"""The section of the mixing core: the kernels against the same algorithm in C, compiled here and now.

One synthetic source of bits; n counters, each in a context of its own (the last 1, 2, ... n bits, hashed);
two or three rows of weights; the range coder. Both sides start from the same state and write the same bytes.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, njit, uint8, uint64
from triptych_kernels import contextmix
from triptych_kernels.contextmix import HALF, SQUASH, STRETCH, clamp, squash, step_of
from triptych_kernels.rangecoder import code_bit

from bench import peers
from bench.measure import alternate
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

_RATE, _RATE_MIN = 80, 16
_CONTEXTS = 4096
_ROWS = 16
"""Rows of a weight set, chosen by four bits of the history."""
_N_SETS = {5: 2, 7: 2, 15: 2, 23: 3}
_FLAGS = ("-O3", "-march=native", "-fwrapv", "-shared", "-fPIC")
_SOURCE = Path(__file__).with_suffix(".c")

Bits = npt.NDArray[np.uint8]
_GCC = peers.Peer("gcc", " ".join(_FLAGS), lambda: peers.program_version("gcc", "--version"))


@dataclass(frozen=True)
class State:
    """Adaptive state before the first bit, and the tables."""

    counters: npt.NDArray[np.uint32]
    weights: npt.NDArray[np.int32]
    row_starts: npt.NDArray[np.int32]

    @classmethod
    def new(cls, n_inputs: int) -> State:
        """Start with every counter at 1/2 and with equal weights."""
        width = 8 * (n_inputs // 8 + 1)
        n_sets = _N_SETS[n_inputs]
        weights = np.zeros(n_sets * _ROWS * width, np.int32)
        weights[: _ROWS * width] = 65536 * 2 // n_inputs
        starts = np.arange(n_sets, dtype=np.int32) * np.int32(_ROWS * width)
        return cls(np.full(n_inputs * _CONTEXTS, HALF, np.uint32), weights, starts)


Run = Callable[[Bits, Bits, State, bool], int]
"""A side: (bits, stream, state, whether it encodes) to the position in the stream at its end."""


def make_kernel(n_inputs: int) -> Run:
    """Compile our side for a number of inputs: the smallest model that can stand around the core."""
    n_sets, width = _N_SETS[n_inputs], 8 * (n_inputs // 8 + 1)
    # The factories, not the functions: not every width has a user in every version.
    predict: Any = contextmix._make_predict(n_inputs, n_sets)
    train: Any = contextmix._make_train(n_inputs, n_sets)

    @njit(nogil=True, fastmath=False, error_model="numpy")  # type: ignore[untyped-decorator,unused-ignore]
    def run(bits, sink, source, counters, weights, row_starts):  # type: ignore[no-untyped-def]
        low, high, code, pos = uint64(0), uint64(0xFFFFFFFF), uint64(0), uint64(0)
        at, rows = np.zeros(n_inputs, np.int64), np.zeros(n_sets, np.int64)
        seen, logits = np.zeros(width, np.uint32), np.zeros(width, np.int32)
        history = uint64(0)
        if source is not None:
            for _ in range(4):
                code = (code << uint64(8)) | uint64(source[pos])
                pos += uint64(1)
        for t in range(bits.size):
            for i in range(n_inputs):
                context = history & ((uint64(2) << uint64(i)) - uint64(1))
                slot = ((context * uint64(0x9E3779B1)) >> uint64(7)) & uint64(_CONTEXTS - 1)
                at[i] = int64(i * _CONTEXTS) + int64(slot)
            for s in range(n_sets):
                row = int64((history >> uint64(4 * s)) & uint64(_ROWS - 1))
                rows[s] = int64(row_starts[s]) + row * int64(width)
            p = squash(predict(counters, at, STRETCH, weights, rows, seen, logits))
            bit = int64(0)
            if sink is not None:
                bit = int64(bits[t])
            low, high, code, pos, bit = code_bit(low, high, code, pos, bit, clamp(p, 2, 65534), sink, source)
            if source is not None:
                bits[t] = uint8(bit)
            train(counters, at, weights, rows, seen, logits, step_of(bit, p, _RATE), bit, int64(_RATE_MIN))
            history = (history << uint64(1)) | uint64(bit)
        if sink is not None:
            for _ in range(4):
                sink[pos] = uint8(low >> uint64(24))
                low = (low << uint64(8)) & uint64(0xFFFFFFFF)
                pos += uint64(1)
        return int64(pos)

    def call(bits: Bits, stream: Bits, state: State, encoding: bool) -> int:
        ends = (stream, None) if encoding else (None, stream)
        return int(run(bits, *ends, state.counters, state.weights, state.row_starts))

    return call


def make_c(n_inputs: int, folder: Path) -> Run:
    """Compile the C side for a number of inputs."""
    library = folder / f"mixing{n_inputs}.so"
    defines = [f"-DN_INPUTS={n_inputs}", f"-DN_SETS={_N_SETS[n_inputs]}"]
    subprocess.run(["gcc", *_FLAGS, *defines, "-o", str(library), str(_SOURCE)], check=True)
    loaded = ctypes.CDLL(str(library))

    def call(bits: Bits, stream: Bits, state: State, encoding: bool) -> int:
        function = loaded.encode if encoding else loaded.decode
        function.restype = ctypes.c_int64
        arrays = (state.counters, state.weights, state.row_starts, STRETCH, SQUASH)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in arrays)
        return int(
            function(
                ctypes.c_void_p(bits.ctypes.data),
                ctypes.c_int64(bits.size),
                ctypes.c_void_p(stream.ctypes.data),
                ctypes.c_int64(stream.size),
                *pointers,
            )
        )

    return call


def draw_bits(n: int) -> Bits:
    """Draw bits whose probability depends on the eight bits before."""
    generator = np.random.default_rng(1)
    chances = generator.beta(0.4, 0.4, 256).tolist()
    drawn = generator.random(n).tolist()
    bits, history = bytearray(n), 0
    for t, number in enumerate(drawn):
        bits[t] = number < chances[history]
        history = (history << 1 | bits[t]) & 255
    return np.frombuffer(bytes(bits), np.uint8).copy()


def stream_of(run: Run, bits: Bits, n_inputs: int) -> Bits:
    """Encode, decode, compare; give the stream."""
    sink = np.zeros(2 * bits.size // 8 + 1024, np.uint8)
    stream = sink[: run(bits, sink, State.new(n_inputs), True)]
    back = np.zeros_like(bits)
    # The decoder reads ahead by less than what the encoder's last bytes and these zeros give.
    run(back, np.concatenate([stream, np.zeros(8, np.uint8)]), State.new(n_inputs), False)
    if not np.array_equal(back, bits):
        raise AssertionError("the bits do not come back")
    return stream


def core(setup: Setup) -> Section:
    """Measure the core at every width that the kernels use."""
    section = Section("core")
    section.notes.append(
        "million decisions a second of CPU time; streams of both sides are equal byte for byte"
    )
    present, table = peers.select([_GCC])
    section.tables.append(table)
    bits = draw_bits(setup.some(1_000_000, 100_000))
    rows: list[Row] = []
    for n_inputs in _N_SETS:
        setup.say(f"core: {n_inputs} inputs")
        sides: dict[str, Run] = {"kernel": make_kernel(n_inputs)}
        with tempfile.TemporaryDirectory() as folder:
            if present:
                sides["C"] = make_c(n_inputs, Path(folder))
            streams = {name: stream_of(run, bits, n_inputs) for name, run in sides.items()}
            if present and not np.array_equal(streams["kernel"], streams["C"]):
                raise AssertionError(f"C and kernel write different streams with {n_inputs} inputs")
            for encoding in (True, False):
                seconds = _time(sides, bits, streams["kernel"], n_inputs, encoding, setup.some(9, 3))
                direction = "encode" if encoding else "decode"
                speeds = [bits.size / 1e6 / seconds[name] for name in sides]
                ratio = speeds[0] / speeds[1] if present else None
                rows.append((f"{n_inputs} inputs, {direction}", _N_SETS[n_inputs], *speeds, ratio))
                what = f"kernel / C, {n_inputs} inputs, {direction}"
                section.goals.append(Goal(what, ratio, 0.9, at_least=True))
    columns = ("what", "weight sets", *sides, "kernel / C")
    section.tables.append(Table("the mixing core with its range coder", columns, rows))
    return section


def _time(
    sides: dict[str, Run], bits: Bits, stream: Bits, n_inputs: int, encoding: bool, rounds: int
) -> dict[str, float]:
    def runner(run: Run) -> Callable[[], object]:
        target = bits.copy() if encoding else np.zeros_like(bits)
        other = np.zeros(2 * bits.size // 8 + 1024, np.uint8)
        if not encoding:
            other[: stream.size] = stream
        return lambda: run(target, other, State.new(n_inputs), encoding)

    return alternate({name: runner(run) for name, run in sides.items()}, rounds)
