"""Slow and obvious twins of the coding kernels' parts. Nothing here imports the code it checks.

Numbers are Python's, which never overflow; where FORMAT.md section 6 says that something wraps, `i32`
says so. Tables come from real numbers to sixty digits rather than from the fixed-point recipe.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from functools import cache
from typing import NamedTuple

K1, K2 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
HALF = (1 << 31) + 2560


def i32(number):
    """The number modulo 2^32, in -2^31 to 2^31 - 1."""
    return (number + (1 << 31)) % (1 << 32) - (1 << 31)


def clamp(x, low, high):
    return min(max(x, low), high)


@cache
def squash_table():
    """65536 / (1 + e^(-x/256)) for x = -3072 to 3071, rounded down."""
    with localcontext(prec=60):
        exact = [65536 / (1 + (Decimal(-x) / 256).exp()) for x in range(-3072, 3072)]
        return [clamp(math.floor(p), 1, 65535) for p in exact]


@cache
def stretch_table():
    """The least logit of probability (2i + 1) / 8192 or more; the upper half mirrors the lower one."""
    with localcontext(prec=60):
        odds = [Decimal(2 * i + 1) / (8192 - (2 * i + 1)) for i in range(2048)]
        lower = [max(-3071, math.ceil(256 * o.ln())) for o in odds]
    return lower + [-x for x in reversed(lower)]


def squash(logit):
    return squash_table()[logit + 3072]


def trained(counter, bit, least):
    """A counter after a bit."""
    p, rate = counter >> 12, counter & 4095
    target = (1 << 20) - 1 if bit else 0
    p += (target - p >> 2) * rate >> 10
    return p << 12 | max(least, rate - 1 - (rate * rate >> 12))


def logit_of(counter):
    return stretch_table()[counter >> 20]


class Mixer:
    """A mixed decision of n inputs: `counters` and `weights` are lists, changed in place."""

    def __init__(self, n, width):
        self.n, self.width = n, width

    def predict(self, counters, at, weights, rows):
        self.seen = [counters[i] for i in at]
        self.inputs = [logit_of(c) for c in self.seen] + [0] * (self.width - 1 - self.n) + [100]
        total = 0
        for i, x in enumerate(self.inputs):
            total += x * (i32(sum(weights[row + i] for row in rows)) >> 3)
        return clamp(i32(total) >> 13, -3071, 3071)

    def train(self, counters, at, weights, rows, step, bit, least):
        for number, row in enumerate(rows):
            shift = 14 if number == 0 else 15
            for i, x in enumerate(self.inputs):
                move = i32(i32(x * step) + (1 << shift - 1)) >> shift
                weights[row + i] = i32(weights[row + i] + move)
        for i, counter in zip(at, self.seen, strict=True):
            counters[i] = trained(counter, bit, least)


def step_of(bit, p16, rate):
    return ((bit << 16) - p16) * rate >> 8


def refinement_row():
    return [squash(clamp((j - 16) * 128, -3071, 3071)) << 6 for j in range(33)]


def refine(points, logit):
    """The probability that a row of 33 points gives a logit: between its two neighbours."""
    j, f = divmod(clamp(logit, -2048, 2047) + 2048, 128)
    return points[j] * (128 - f) + points[j + 1] * f >> 13


def refine_train(points, logit, bit):
    j, f = divmod(clamp(logit, -2048, 2047) + 2048, 128)
    target = (1 << 22) - 1 if bit else 0
    points[j] += (target - points[j]) * (128 - f) * 5 >> 14
    points[j + 1] += (target - points[j + 1]) * f * 5 >> 14


def pair_logit(counters, at, weights, w):
    a, b = (logit_of(counters[i]) for i in at)
    return clamp(a * weights[w] + b * weights[w + 1] >> 16, -3071, 3071)


def pair_train(counters, at, weights, w, p16, bit, gain):
    for i in range(2):
        x = logit_of(counters[at[i]])
        weights[w + i] = i32(weights[w + i] + (x * ((bit << 16) - p16) * gain + 16384 >> 15))
        counters[at[i]] = trained(counters[at[i]], bit, 16)


class Interval:
    """The range coder's state: [low, high] within 32 bits."""

    def __init__(self):
        self.low, self.high = 0, 2**32 - 1

    def middle(self, p16):
        # (high - low) * p / 65536, rounded down, but never more than 32 bits at a time.
        return self.low + (self.high - self.low) * p16 // 65536

    def take(self, bit, p16):
        """Narrow to a bit; give the bytes that are settled by it."""
        middle = self.middle(p16)
        if bit:
            self.high = middle
        else:
            self.low = middle + 1
        settled = []
        while self.low >> 24 == self.high >> 24:
            settled.append(self.low >> 24)
            self.low = self.low << 8 & 0xFFFFFFFF
            self.high = self.high << 8 & 0xFFFFFFFF | 255
        return settled

    def tail(self):
        """The number in the interval with the most trailing zero bytes; the least of these."""
        for n_zero in (4, 3, 2, 1, 0):
            unit = 256**n_zero
            number = -(-self.low // unit) * unit
            if number <= self.high:
                return number
        raise AssertionError


def encode_bits(decisions):
    """The message of (bit, p16) decisions."""
    interval, message = Interval(), []
    for bit, p16 in decisions:
        message += interval.take(bit, p16)
    return bytes([*message, *interval.tail().to_bytes(4, "big")]).rstrip(b"\0")


def decode_bits(message, probabilities):
    """The bits of a message, and whether it is one that an encoder of these bits writes."""
    interval, bits, position = Interval(), [], 0
    for p16 in probabilities:
        window = message[position : position + 4].ljust(4, b"\0")
        bits.append(int(int.from_bytes(window, "big") <= interval.middle(p16)))
        position += len(interval.take(bits[-1], p16))
    canonical = encode_bits(list(zip(bits, probabilities, strict=True)))
    return bits, message.rstrip(b"\0") == canonical


# Bit histories.


def n_states(n0, n1):
    """How many states stand for these counts."""
    bounds = (20, 48, 15, 8, 6, 5)
    least, most = sorted((n0, n1))
    if least > 5 or most > bounds[least]:
        return 0
    return 2 if least > 0 and n0 + n1 <= 17 else 1


@cache
def history_states():
    """All states in order: (n0, n1, last bit), the last bit None where it is not remembered."""
    states = []
    for total in range(50):
        for n1 in range(total + 1):
            lasts = {0: (), 1: (None,), 2: (0, 1)}[n_states(total - n1, n1)]
            states += [(total - n1, n1, last) for last in lasts]
    return states


def history_after(n0, n1, bit):
    """Counts after a bit: the other bit's count is cut, then both shrink until there is a state for them."""
    counts = [n0, n1]
    rare_first = n0 < n1
    if rare_first:
        counts.reverse()
        bit = 1 - bit
    counts[bit] += 1
    counts[1 - bit] = sum(counts[1 - bit] >= bound for bound in (1, 2, 3, 4, 5, 7, 8))
    big, small = counts
    while not n_states(big, small):
        if small < 2:
            big -= 1
        else:
            big, small = (big * (small - 1) + small // 2) // small, small - 1
    return (small, big) if rare_first else (big, small)


def next_history(state, bit):
    states = history_states()
    n0, n1, _ = states[state]
    after = history_after(n0, n1, bit)
    return next(i for i, (*counts, last) in enumerate(states) if (*counts,) == after and last in (None, bit))


def history_counter(state):
    if state >= len(history_states()):
        return HALF
    n0, n1, _ = history_states()[state]
    return ((2**22 - 1) * (6 * n1 + 1) // (6 * (n0 + n1) + 2) >> 2) << 12 | 2560


# The tree of a palette.

DIRECTIONS = (
    (256, 0, 0, 0),
    (0, 256, 0, 0),
    (0, 0, 256, 0),
    (0, 0, 0, 256),
    (148, 148, 148, 0),
    (181, 0, -181, 0),
    (105, -209, 105, 0),
    (181, 181, 0, 0),
    (0, 181, 181, 0),
    (181, -181, 0, 0),
    (0, 181, -181, 0),
)


class Leaf(NamedTuple):
    color: int


class Node(NamedTuple):
    axis: tuple
    threshold: int
    inverse_width: int
    left: object
    right: object


def grow_tree(colors, ids=None):
    """The tree of a list of RGBA colours, as nested nodes."""
    ids = list(range(len(colors))) if ids is None else ids
    if len(ids) == 1:
        return Leaf(ids[0])

    def projections(direction):
        return {i: sum(d * int(v) for d, v in zip(direction, colors[i], strict=True)) for i in ids}

    def spread(direction):
        x = projections(direction).values()
        return len(ids) * sum(v * v for v in x) - sum(x) ** 2

    axis = max(DIRECTIONS, key=spread)
    x = projections(axis)
    ids = sorted(ids, key=x.get)
    n, half = len(ids), len(ids) // 2
    first = max(1, 35 * n // 100)
    last = min(max(first + 1, (65 * n + 99) // 100), n - 1)

    def merit(j):
        return x[ids[j]] - x[ids[j - 1]], -abs(j - half), j

    split = max(range(first, last + 1), key=merit)
    return Node(
        axis,
        4 * (x[ids[split]] + x[ids[split - 1]]),
        2**24 // max(512, math.isqrt(spread(axis)) // n),
        grow_tree(colors, ids[:split]),
        grow_tree(colors, ids[split:]),
    )


def preorder(tree):
    """The inner nodes in order of their numbers."""
    if isinstance(tree, Leaf):
        return []
    return [tree, *preorder(tree.left), *preorder(tree.right)]


def paths(tree, so_far=()):
    """The decisions that lead to each colour."""
    if isinstance(tree, Leaf):
        return {tree.color: so_far}
    return paths(tree.left, (*so_far, 0)) | paths(tree.right, (*so_far, 1))


def pages(tree, number=None):
    """Page and slot of each inner node by its number."""
    numbers = {id(node): i for i, node in enumerate(preorder(tree))}
    places = {}

    def fill(root):
        waiting = [root]
        for slot in range(1, 16):
            if not waiting:
                return
            node = waiting.pop(0)
            places[numbers[id(node)]] = numbers[id(root)], slot
            waiting += [side for side in (node.left, node.right) if isinstance(side, Node)]
        for node in waiting:
            fill(node)

    if isinstance(tree, Node):
        fill(tree)
    return places


# Palettes.


def key_string(color, layout):
    """The key of a colour as a string of 0 and 1."""
    r, g, b, a = (int(v) for v in color)
    planes = [f"{v % 256:08b}" for v in ((g, r - g + 128, b - g + 128) if layout & 2 else (g,))]
    alpha = f"{255 - a:08b}" if layout & 1 else ""
    return alpha + "".join("".join(bits) for bits in zip(*planes, strict=True))


def color_of_key(text, layout):
    """The colour of a key."""
    a = 255
    if layout & 1:
        a, text = 255 - int(text[:8], 2), text[8:]
    if not layout & 2:
        return (int(text, 2),) * 3 + (a,)
    g, r, b = (int(text[c::3], 2) for c in range(3))
    return (r + g - 128) % 256, g, (b + g - 128) % 256, a


def least_layout(colors):
    """Bit 0 if any colour is not opaque, bit 1 if any is not grey."""
    return int(any(c[3] != 255 for c in colors)) + 2 * int(any(len({*map(int, c[:3])}) > 1 for c in colors))
