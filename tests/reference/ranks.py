"""A slow and obvious twin of the coder of index maps by ranks: all of it, from indices to the message."""

from reference.rans import TABLES, Encoder


def median_edge(w, n, nw):
    """The median of W, N and W + N - NW."""
    return sorted((w, n, w + n - nw))[1]


def at(rows, y, x):
    """An index; left of a row what lies above its first, right of it its last, above the first row 0."""
    if y < 0:
        return 0
    return rows[y][min(x, len(rows[y]) - 1)] if x >= 0 else at(rows, y - 1, 0)


def neighbours(rows, y, x):
    """Give W, N, NW, NE."""
    if y == 0:
        return (at(rows, y, x - 1),) * 4
    return at(rows, y, x - 1), at(rows, y - 1, x), at(rows, y - 1, x - 1), at(rows, y - 1, x + 1)


def rank_of(distances, place):
    """How many come before a place where the nearest is first, and then the first."""
    return sorted(range(len(distances)), key=lambda i: (distances[i], i)).index(place)


class Tables:
    """Adaptive tables by name, each of 15 borders between 16 symbols, in 1 / 2^20."""

    def __init__(self):
        self.borders, self.seen = {}, {}

    def take(self, name, symbol):
        """Give the symbol's part of 65536, (start, size), and learn it."""
        likely = [65536 // (2 * i + 3) for i in range(16)]
        spare = 2**20 - 16 * 256
        first = [256 * i + spare * sum(likely[:i]) // sum(likely) for i in range(1, 16)]
        borders, seen = self.borders.get(name, first), self.seen.get(name, 0)
        edges = [0, *(border // 16 for border in borders), 65536]
        self.seen[name] = seen + 1
        self.borders[name] = [
            border + (256 * i + spare * (i > symbol) - border) // 2 ** min(7, 3 + seen // 8)
            for i, border in enumerate(borders, 1)
        ]
        return edges[symbol], edges[symbol + 1] - edges[symbol]


def encode(maps):
    """Give the message of (colours, rows of indices): lists, colours of four."""
    tables, events = Tables(), []
    for colors, rows in maps:
        ranks = [[(0, 0)] * len(rows[0]) for _ in rows]
        for y, row in enumerate(rows):
            for x, index in enumerate(row):
                near = [colors[i] for i in neighbours(rows, y, x)]
                # In 1/8 steps: half of a plane's corner, half of a median.
                point = [
                    min(1020, max(0, 2 * w + 2 * n + ne - nw)) + 4 * median_edge(w, n, nw)
                    for w, n, nw, ne in zip(*near, strict=True)
                ]
                activity = sum(
                    abs(w - nw) + abs(n - nw) + abs(n - ne) for w, n, nw, ne in zip(*near, strict=True)
                )
                texture = sum(activity >= bound for bound in (12, 30, 60, 100, 160, 240, 400))
                far = [max(abs(8 * c - p) for c, p in zip(color, point, strict=True)) for color in colors]
                groups = [far[i : i + 16] for i in range(0, len(far), 16)]
                west, north = ranks[y][x - 1] if x else (0, 0), ranks[y - 1][x] if y else (0, 0)
                rank = rank_of([min(group) for group in groups], index // 16)
                if len(groups) > 1:
                    events.append((0, *tables.take(("group", texture, min(4, west[0] + north[0])), rank)))
                fine = rank_of(groups[index // 16], index % 16)
                calm = min(5, (west[1] + north[1] + 1) // 2)
                events.append((1, *tables.take(("color", texture, min(2, rank), calm), fine)))
                ranks[y][x] = rank, fine
    coder = Encoder(TABLES, 2)
    for lane, start, size in reversed(events):
        coder.push(lane, start, size, 16)
    return coder.message()
