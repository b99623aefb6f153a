"""A slow and obvious twin of the integer context network, after FORMAT.md 13.2 to 13.3.

Tensors are those of a dictionary by their names (4.4). Sums and products are Python's integers, which cannot
overflow. Nothing here imports the code it checks.
"""

from __future__ import annotations

import numpy as np


def limit(x, m):
    return min(max(x, -m), m)


def act(s, multiplier, bias):
    x = limit((s * multiplier + bias) >> 24, 8191)
    return x if x >= 0 else x >> 3


def ints(array):
    """The same numbers as Python's integers."""
    return array.astype(object)


class Model:
    """What decides symbols, at one quality."""

    def __init__(self, tensors, quality):
        self.bounds, self.units = tensors["context.bounds"].tolist(), tensors["context.units"].tolist()
        self.norm, self.taps = tensors["context.norm"].tolist(), tensors["context.taps"].tolist()
        self.a, self.b, self.c = (ints(tensors[f"context.{name}"]) for name in "abc")
        self.scales = [tensors[f"context.scale_{name}"].tolist() for name in "abc"]
        self.biases = [self.bias(tensors[f"context.bias_{name}"], quality) for name in "abc"]
        self.n_channels = self.bounds[-1]

    def bias(self, rows, quality):
        t = quality * (len(rows) - 1)
        i, p = t // 100, t % 100
        low, high = rows[i].tolist(), rows[min(i + 1, len(rows) - 1)].tolist()
        return [((x * (100 - p) + y * p) // 100 << 8) + 2**23 for x, y in zip(low, high, strict=True)]

    def group_of(self, channel):
        return sum(channel >= bound for bound in self.bounds[1:-1])

    def inputs_of(self, latents, y, x, group):
        """What group `group` may see at a position: a vector 2 M of each tap, or None beyond the grid."""
        seen = []
        for down, right in self.taps:
            row, column = y - down, x - right
            if row < 0 or not 0 <= column < latents.shape[2]:
                seen.append(None)
                continue
            vector = [0] * (2 * self.n_channels)
            for c in range(self.n_channels):
                if (down, right) == (0, 0) and self.group_of(c) >= group:
                    continue
                v = int(latents[c, row, column])
                u = min(abs(v) * self.norm[c], 2047)
                vector[c] = -u if v < 0 else u
                vector[self.n_channels + c] = u
            seen.append(np.array(vector, object))
        return seen

    def foretell(self, latents, y, x, group):
        """Means and scales of a group's channels at a position, from latents (channels, rows, columns)."""
        first, second = {}, {}
        for g in range(group + 1):
            seen = self.inputs_of(latents, y, x, g)
            units = range(self.units[g], self.units[g + 1])
            for j in units:
                s = sum(int(self.a[t, j] @ vector) for t, vector in enumerate(seen) if vector is not None)
                first[j] = act(s, self.scales[0][j], self.biases[0][j])
            for j in units:
                s = sum(int(self.b[j, k]) * h for k, h in first.items())
                second[j] = act(s, self.scales[1][j], self.biases[1][j])
        means, scales = [], []
        for c in range(self.bounds[group], self.bounds[group + 1]):
            for r, found in ((c, means), (self.n_channels + c, scales)):
                s = sum(int(self.c[r, k]) * h for k, h in second.items())
                found.append((s * self.scales[2][r] + self.biases[2][r]) >> 24)
        return [limit(m, 32767) for m in means], [min(max(s, 0), 55) for s in scales]


def walk(model, symbols):
    """Table and base of every latent, in the order of the stream: (images, channels, rows, columns) in."""
    n, _, rows, columns = symbols.shape
    found = []
    for y in range(rows):
        for x in range(columns):
            for group in range(len(model.bounds) - 1):
                for i in range(n):
                    for mean, scale in zip(*model.foretell(symbols[i], y, x, group), strict=True):
                        base = (mean + 16) >> 5
                        found.append((32 * scale + mean - 32 * base + 16, base))
    return found


def order(model, symbols):
    """All latents in the order of the stream."""
    n, _, rows, columns = symbols.shape
    return [
        int(symbols[i, c, y, x])
        for y in range(rows)
        for x in range(columns)
        for low, high in zip(model.bounds, model.bounds[1:], strict=False)
        for i in range(n)
        for c in range(low, high)
    ]


def tables_of(tensors):
    """(offset, cumulative frequencies) of each table, as `reference.rans` takes them."""
    at, tables = 0, []
    for offset, size in zip(
        tensors["tables.offsets"].tolist(), tensors["tables.sizes"].tolist(), strict=True
    ):
        cumulative = [0]
        for frequency in tensors["tables.frequencies"][at : at + size].tolist():
            cumulative.append(cumulative[-1] + frequency)
        tables.append((offset, cumulative))
        at += size
    return tables
