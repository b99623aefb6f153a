"""Slow and obvious twins of the rANS coders. Nothing here imports the code it checks.

States are Python's integers. A coder of `state_bits` keeps each lane's state x in L = 2^(state_bits - 1) to
2^(state_bits - 1 + word_bits) - 1, and words have `word_bits`; an event is (start, frequency) out of 2^bits.
"""

from __future__ import annotations

import heapq
import math
from typing import NamedTuple


class Refused(Exception):
    """A message that no encoder writes: "exhausted", "tail" or "symbol"."""


class Format(NamedTuple):
    low: int
    word_bits: int
    state_nbytes: int


STATIC = Format(1 << 15, 16, 4)
TABLES = Format(1 << 31, 32, 8)


class Encoder:
    """Takes the events of a message from the last to the first."""

    def __init__(self, form, n_lanes):
        self.form, self.words = form, []
        self.states = [form.low] * n_lanes

    def push(self, lane, start, frequency, bits):
        x, form = self.states[lane], self.form
        if x >= (form.low << form.word_bits >> bits) * frequency:
            self.words.append(x % 2**form.word_bits)
            x >>= form.word_bits
        self.states[lane] = (x // frequency << bits) + x % frequency + start

    def message(self):
        states = b"".join(x.to_bytes(self.form.state_nbytes, "little") for x in self.states)
        nbytes = self.form.word_bits // 8
        return states + b"".join(word.to_bytes(nbytes, "little") for word in reversed(self.words))


class Decoder:
    """Gives the events of a message from the first to the last."""

    def __init__(self, form, n_lanes, message):
        self.form = form
        nbytes, start = form.word_bits // 8, form.state_nbytes * n_lanes
        if len(message) < start:
            raise Refused("exhausted")
        self.states = [
            int.from_bytes(message[at : at + form.state_nbytes], "little")
            for at in range(0, start, form.state_nbytes)
        ]
        if len(message) % nbytes or not all(form.low <= x < form.low << form.word_bits for x in self.states):
            raise Refused("tail")
        words = [message[at : at + nbytes] for at in range(start, len(message), nbytes)]
        self.words = [int.from_bytes(word, "little") for word in reversed(words)]

    def slot(self, lane, bits):
        return self.states[lane] % 2**bits

    def pop(self, lane, start, frequency, bits):
        x = frequency * (self.states[lane] >> bits) + self.slot(lane, bits) - start
        if x < self.form.low:
            if not self.words:
                raise Refused("exhausted")
            x = x << self.form.word_bits | self.words.pop()
        self.states[lane] = x

    def bit(self, lane):
        bit = self.slot(lane, 1)
        self.pop(lane, bit, 1, 1)
        return bit

    def finish(self):
        if self.words or any(x != self.form.low for x in self.states):
            raise Refused("tail")


# Bytes under one table.


def encode_static(symbols, frequencies, n_lanes):
    coder = Encoder(STATIC, n_lanes)
    for i in reversed(range(len(symbols))):
        s = symbols[i]
        coder.push(i % n_lanes, sum(frequencies[:s]), frequencies[s], 12)
    return coder.message()


def decode_static(message, frequencies, n_lanes, n):
    coder, found = Decoder(STATIC, n_lanes, message), []
    starts = [sum(frequencies[:s]) for s in range(256)]
    for i in range(n):
        slot = coder.slot(i % n_lanes, 12)
        s = next(s for s in range(256) if starts[s] <= slot < starts[s] + frequencies[s])
        coder.pop(i % n_lanes, starts[s], frequencies[s], 12)
        found.append(s)
    coder.finish()
    return found


def cost(counts, frequencies):
    """Nats that symbols take which occur so often."""
    return sum(-c * math.log(f / 4096) for c, f in zip(counts, frequencies, strict=True) if c)


def best_cost(counts):
    """The least cost of frequencies that sum to 4096: each next unit goes where it saves the most."""
    frequencies = [int(c > 0) for c in counts]

    def entry(s):
        return -counts[s] * math.log1p(1 / frequencies[s]), s

    heap = [entry(s) for s, c in enumerate(counts) if c]
    heapq.heapify(heap)
    for _ in range(4096 - sum(frequencies)):
        s = heap[0][1]
        frequencies[s] += 1
        heapq.heapreplace(heap, entry(s))
    return cost(counts, frequencies)


# Numbers under many tables: (offset, cumulative frequencies).


def escape_bits(number, offset, n):
    """What follows an escape from the n numbers that begin with the offset: side, zeros, distance."""
    distance = offset - number if number < offset else number - (offset + n - 1)
    digits = f"{distance:b}"
    return [int(number < offset)] + [0] * (len(digits) - 1) + [int(digit) for digit in digits]


def encode_tables(symbols, indexes, tables, n_lanes):
    coder = Encoder(TABLES, n_lanes)
    for i in reversed(range(len(symbols))):
        offset, cumulative = tables[indexes[i]]
        lane, entry, n = i % n_lanes, symbols[i] - offset, len(cumulative) - 2
        if not 0 <= entry < n:
            for bit in reversed(escape_bits(symbols[i], offset, n)):
                coder.push(lane, bit, 1, 1)
            entry = n
        coder.push(lane, cumulative[entry], cumulative[entry + 1] - cumulative[entry], 16)
    return coder.message()


def decode_tables(message, indexes, tables, n_lanes):
    coder, found = Decoder(TABLES, n_lanes, message), []
    for i, index in enumerate(indexes):
        offset, cumulative = tables[index]
        lane, n = i % n_lanes, len(cumulative) - 2
        slot = coder.slot(lane, 16)
        entry = next(k for k in range(n + 1) if cumulative[k + 1] > slot)
        coder.pop(lane, cumulative[entry], cumulative[entry + 1] - cumulative[entry], 16)
        number = offset + entry
        if entry == n:
            is_below, n_zeros, distance = coder.bit(lane), 0, 1
            while not coder.bit(lane):
                n_zeros += 1
                if n_zeros == 32:
                    raise Refused("symbol")
            for _ in range(n_zeros):
                distance = 2 * distance + coder.bit(lane)
            number = offset - distance if is_below else offset + n - 1 + distance
            if not -(2**31) <= number < 2**31:
                raise Refused("symbol")
        found.append(number)
    coder.finish()
    return found


def table_cost(symbols, indexes, tables):
    """Bits that the tables say the symbols take."""
    total = 0.0
    for number, index in zip(symbols, indexes, strict=True):
        offset, cumulative = tables[index]
        n = len(cumulative) - 2
        entry = number - offset if 0 <= number - offset < n else n
        total += 16 - math.log2(cumulative[entry + 1] - cumulative[entry])
        total += len(escape_bits(number, offset, n)) if entry == n else 0
    return total
