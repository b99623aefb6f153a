"""A slow and obvious twin of the mixed decisions of latents, after FORMAT.md 13.5.

It gives decisions (bit, probability of a 1 in 1/65536) as `coding.encode_bits` takes them. Nothing here
imports the code it checks.
"""

from __future__ import annotations

from itertools import pairwise

from reference import blocks
from reference.coding import HALF, Mixer, clamp, squash, step_of, stretch_table


def table_counts(n_channels):
    """How many contexts each of inputs 1 to 14 has."""
    own = (25, 15, 15, 9, 9, 9, 9, 16, 16)
    return [49 * 32, 225 * 8, 25 * 32, 16 * 32, 256 * 8, *(n_channels * n for n in own)]


def size(x):
    return sum(x >= n for n in (1, 2, 3, 5, 9))


def ratio(a, b):
    """In which of 16 bins a / b is."""
    return clamp(((blocks.log16(a) - blocks.log16(b)) * 6 + 256) >> 5, 0, 15)


def index_of(*parts):
    """A number of digits (x, limit), where x counts from -limit to limit, high digits first."""
    total = 0
    for x, limit in parts:
        total = total * (2 * limit + 1) + clamp(x, -limit, limit) + limit
    return total


class Table:
    """(offset, cumulative frequencies)."""

    def __init__(self, offset, cumulative):
        self.numbers = {offset + e: cumulative[e + 1] - cumulative[e] for e in range(len(cumulative) - 2)}
        self.escape = (cumulative[-1] - cumulative[-2]) // 2

    def mass(self, numbers):
        return sum(f for number, f in self.numbers.items() if number in numbers)


class Coder:
    """What goes on over a frame: the decisions so far, and what was learned from them."""

    def __init__(self, tables, n_channels, counters=None, weights=None):
        self.tables, self.n_channels = [Table(*table) for table in tables], n_channels
        counts = table_counts(n_channels)
        self.firsts = [1 + 6 * sum(counts[:i]) for i in range(14)]
        self.counters = [HALF, *(counters or [HALF] * (6 * sum(counts)))]
        first = [0] * 16 * 6
        for node in range(6):
            first[16 * node : 16 * node + 15] = [56000] + [4000] * 14
        self.weights = weights or first + [0] * 16 * 6 * (292 + n_channels)
        self.mixer = Mixer(15, 16)
        self.often = [(0, 0)] * n_channels
        self.decisions = []

    def decide(self, node, q, bit):
        q = clamp(q, 64, 2**20 - 64)
        v = clamp(stretch_table()[q >> 8] + 2048, 0, 4095) >> 7
        self.counters[0] = q << 12
        at = [0]
        for i, (first, (context, scale)) in enumerate(zip(self.firsts, self.contexts, strict=True)):
            assert context * (scale or 1) < table_counts(self.n_channels)[i]
            at.append(first + 6 * (context * scale + v * scale // 32 if scale else context) + node)
        rows = [16 * (6 * row + node) for row in self.sets]
        p = squash(self.mixer.predict(self.counters, at, self.weights, rows))
        self.decisions.append((bit, clamp(p, 16, 65520)))
        self.mixer.train(self.counters, at, self.weights, rows, step_of(bit, p, 28), bit, 32)

    def raw(self, value, n_bits):
        self.decisions += [(value >> i & 1, 32768) for i in reversed(range(n_bits))]

    def code(self, residual, table):
        """The decisions of a residual, contexts being set."""
        zero = table.mass([0])
        if zero > 65300:
            self.decisions.append((int(residual != 0), 65536 - zero))
        else:
            self.decide(0, 65536 - zero << 4, int(residual != 0))
        if not residual:
            return
        below = table.mass(range(-40000, 0)) + table.escape
        above = 65536 - zero - below
        self.decide(1, below * 2**20 // (below + above), int(residual < 0))
        mass = below if residual < 0 else above
        for k in range(1, 16):
            # What is more than k away, on this side.
            nearer = range(-k, 0) if residual < 0 else range(1, k + 1)
            beyond = (below if residual < 0 else above) - table.mass(nearer)
            q = beyond * 2**20 // mass if beyond < mass else 2**19
            self.decide(min(k + 1, 5), q, int(abs(residual) > k))
            mass = beyond
            if abs(residual) == k:
                return
        rest = abs(residual) - 15
        n_bits = rest.bit_length() - 1
        self.raw(2**n_bits - 1, n_bits)
        if n_bits < 15:
            self.raw(0, 1)
        self.raw(rest - 2**n_bits, n_bits)

    def code_set(self, symbols, found, bounds):
        """Code latents (images, channels, rows, columns); found: tables and bases in the stream's order."""
        n, _, rows, columns = symbols.shape
        found = iter(found)
        around = {}
        for y in range(rows):
            for x in range(columns):
                now = [[0, 0] for _ in range(n)]
                last = [[0, 0] for _ in range(n)]
                for low, high in pairwise(bounds):
                    for i in range(n):
                        for c in range(low, high):
                            number, base = next(found)
                            table = self.tables[number]
                            self.set_contexts(symbols[i, c], y, x, c, base, now[i], around, i, last[i])
                            residual = int(symbols[i, c, y, x]) - base
                            self.code(residual, table)
                            last[i] = [residual, last[i][0]]
                            taken = (65536 * (residual != 0), 65536 - table.mass([0]))
                            now[i] = [(236 * a >> 8) + t for a, t in zip(now[i], taken, strict=True)]
                            self.often[c] = [
                                a - (a >> 6) + t for a, t in zip(self.often[c], taken, strict=True)
                            ]
                            sums = around.get((i, y, x), (0, 0))
                            around[i, y, x] = tuple(a + t for a, t in zip(sums, taken, strict=True))

    def set_contexts(self, plane, y, x, c, base, now, around, image, last):
        def value(down, right):
            inside = y + down >= 0 and 0 <= x + right < plane.shape[1]
            return int(plane[y + down, x + right]) if inside and x + right >= 0 else 0

        w, n, nw, ne = value(0, -1), value(-1, 0), value(-1, -1), value(-1, 1)
        ww, nn = value(0, -2), value(-2, 0)
        seen = [around.get((image, y + d, x + r), (0, 0)) for d, r in ((0, -1), (-1, 0), (-1, -1), (-1, 1))]
        near = ratio(*(65536 + sum(pair[k] for pair in seen) for k in (0, 1)))
        busy = ratio(*(32768 + a for a in now))
        often = ratio(*(65536 + a for a in self.often[c]))
        sizes = 6 * size(abs(w) + abs(n)) + size(abs(nw) + abs(ne) + (abs(ww) + abs(nn)) // 2)
        slope = w + n - nw - base
        w, n, nw, ne, ww, nn = (near_by - base for near_by in (w, n, nw, ne, ww, nn))
        one, two = last
        # Contexts, and how many levels of the network's probability each is divided in.
        self.contexts = [
            (index_of((w, 3), (n, 3)), 32),
            (index_of((ne, 1), (nw, 1), (ww, 2), (nn, 2)), 8),
            (index_of((one, 2), (two, 2)), 32),
            (often, 32),
            (16 * often + busy, 8),
            (25 * c + index_of((w, 2), (n, 2)), 0),
            (15 * c + index_of((w + n, 2), (one, 1)), 0),
            (15 * c + index_of((slope, 2), (ne, 1)), 0),
            (9 * c + index_of((w, 1), (n, 1)), 0),
            (9 * c + index_of((ne, 1), (nw, 1)), 0),
            (9 * c + index_of((ww, 1), (nn, 1)), 0),
            (9 * c + index_of((one, 1), (two, 1)), 0),
            (16 * c + busy, 0),
            (16 * c + near, 0),
        ]
        self.sets = [0, 293 + c, 1 + 16 * busy + near, 257 + sizes]
