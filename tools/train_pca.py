"""Train the dictionary of photographs that ships with the package: `triptych/dictionaries/photo.tych`.

    python tools/train_pca.py ../shared/data/photos --work DIR [-o photo.tych] [--tiles 700] [--seed 1]

The folder holds mosaics of 256 x 256 tiles (AVIF, 16 to a row, black where a tile is missing). Stages, each
kept in the work folder, so that a run that was stopped goes on where it was:

1. `color`: the principal axes of colour;
2. `open`: block classes from blocks anywhere, their templates with the noise that quantization will bring;
3. `closed-1`, `closed-2`...: the classes learned again from what the coder itself chose and saw;
4. `state`: what the coder knows after coding tiles at many steps: a frame begins with it;
5. `filters`: the post-filters of several steps.

Everything is drawn with the seed; the same arguments give the same dictionary on the same machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from triptych.dictionary import Dictionary
from triptych.fit.blockbook import CHROMA, SIDES, BlockBook, BlockClasses, build_blocks, quantize_classes
from triptych.fit.blocks import BlockClass, color_axes, fit_classes, sample_blocks
from triptych.images import Pixels, Shape
from triptych.modes import blocks
from triptych_kernels import blockcoder, blockcost, blockmodel, postfilter
from triptych_kernels.planes import to_planes

TILE = 256
NAMES = ("luma-8", "luma-16", "chroma-8", "chroma-16")
N_CLASSES = (40, 16, 8, 2)
KEPT = (64, 112, 64, 80)
OPEN_SAMPLES = (400_000, 120_000, 250_000, 60_000)
OPEN_STEP = 24.0
CLOSED_STEP = 26.0
MAX_ROWS = (700_000, 160_000, 500_000, 60_000)
STATE_STEPS = (24, 112)
FILTER_STEPS = (32, 48, 64, 80, 96)
FILTER_RIDGE = 30.0
FASTEST_RATE = 400
"""Counters start at least this ready to change: they were learned on pictures unlike the next one."""


def read_tiles(folder: Path, n: int, rng: np.random.Generator) -> list[Pixels]:
    """Draw n tiles from all mosaics of a folder."""
    full = []
    mosaics = sorted(folder.glob("*clean*.avif"))
    if not mosaics:
        raise SystemExit(f"{folder}: no *clean*.avif here")
    for path in mosaics:
        mosaic = np.asarray(Image.open(path).convert("RGB"))
        for y in range(0, mosaic.shape[0] - TILE + 1, TILE):
            for x in range(0, mosaic.shape[1] - TILE + 1, TILE):
                tile = mosaic[y : y + TILE, x : x + TILE]
                if tile.max() > 0:
                    full.append(tile.copy())
    return [full[i] for i in rng.permutation(len(full))[:n]]


def log(text: str) -> None:
    print(f"{time.strftime('%X')} {text}", flush=True)


class Trainer:
    """The stages; each reads what the one before left in the work folder."""

    def __init__(self, folder: Path, work: Path, n_tiles: int, seed: int) -> None:
        self.folder, self.work, self.n_tiles, self.seed = folder, work, n_tiles, seed
        work.mkdir(parents=True, exist_ok=True)

    def tiles(self, stage: int, n: int | None = None) -> list[Pixels]:
        """Draw this stage's tiles."""
        return read_tiles(self.folder, n or self.n_tiles, np.random.default_rng([self.seed, stage]))

    def color(self) -> np.ndarray:
        """Stage 1."""
        path = self.work / "color.npy"
        if not path.exists():
            log("color")
            np.save(path, np.rint(color_axes(self.tiles(1)) * (1 << 14)).astype(np.int16))
        return np.load(path)

    def planes_of(self, tile: Pixels) -> np.ndarray:
        """Give a tile's planes."""
        planes = np.empty((3, *tile.shape[:2]), np.int16)
        to_planes(tile, self.color().astype(np.int64), planes)
        return planes

    def open_loop(self) -> tuple[BlockClasses, ...]:
        """Stage 2."""
        for i, name in enumerate(NAMES):
            if (self.work / f"open-{name}.npz").exists():
                continue
            planes = [self.planes_of(tile).astype(np.float32) / 8 for tile in self.tiles(2)]
            rows = sample_blocks(planes, SIDES[i], OPEN_SAMPLES[i], chroma=CHROMA[i], seed=self.seed)
            rounds = fit_classes(rows, SIDES[i] ** 2, N_CLASSES[i], OPEN_STEP, n_rounds=6, seed=self.seed)
            self._save(f"open-{name}", _last(f"open {name}", rounds), KEPT[i])
        return self._load("open")

    def closed_loop(self, number: int, before: tuple[BlockClasses, ...]) -> tuple[BlockClasses, ...]:
        """Stage 3: code tiles with the classes before, learn from the blocks as they were coded."""
        if all((self.work / f"closed-{number}-{name}.npz").exists() for name in NAMES):
            return self._load(f"closed-{number}")
        rng = np.random.default_rng([self.seed, 3, number])
        rows: list[list[np.ndarray]] = [[] for _ in NAMES]
        labels: list[list[np.ndarray]] = [[] for _ in NAMES]
        loaded = blocks._Loaded(self._book(before, None, None))
        for planes, coded, _ in self._code(self.tiles(10 + number), loaded, (48, 104), rng):
            for p in range(3):
                for i in (0, 1) if p == 0 else (2, 3):
                    n, most = SIDES[i] ** 2, planes[p].size // SIDES[i] ** 2
                    found = np.empty((most, n + before[i].predictor.shape[2]), np.float32)
                    chosen = np.empty(most, np.int64)
                    count = blockcoder.collect_rows(coded[p], planes[p], SIDES[i], p > 0, found, chosen)
                    rows[i].append(found[:count].copy())
                    labels[i].append(chosen[:count].copy())
        for i, name in enumerate(NAMES):
            all_rows, all_labels = np.concatenate(rows[i]), np.concatenate(labels[i])
            rows[i] = []
            pick = rng.permutation(len(all_rows))[: MAX_ROWS[i]]
            rounds = fit_classes(
                all_rows[pick],
                SIDES[i] ** 2,
                N_CLASSES[i],
                CLOSED_STEP,
                n_rounds=6,
                seed=self.seed,
                chosen=all_labels[pick],
            )
            self._save(f"closed-{number}-{name}", _last(f"closed {number} {name}", rounds), KEPT[i])
        return self._load(f"closed-{number}")

    def state(self, classes: tuple[BlockClasses, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Stage 4."""
        path = self.work / "state.npz"
        if not path.exists():
            log("state")
            loaded = blocks._Loaded(self._book(classes, None, None))
            rng = np.random.default_rng([self.seed, 4])
            for _ in self._code(self.tiles(4, self.n_tiles // 2), loaded, STATE_STEPS, rng, keep=True):
                pass
            counters, weights = loaded.mixer.counters, loaded.mixer.weights
            rates = np.maximum(counters & 4095, FASTEST_RATE).astype(np.uint32)
            untouched = counters == blockmodel.HALF
            counters = np.where(untouched, counters, (counters & ~np.uint32(4095)) | rates)
            np.savez(path, counters=counters, weights=weights)
        data = np.load(path)
        return data["counters"], data["weights"]

    def filters(self, classes: tuple[BlockClasses, ...], state: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Stage 5."""
        path = self.work / "filters.npy"
        if not path.exists():
            loaded = blocks._Loaded(self._book(classes, state, None))
            sets = []
            for step in FILTER_STEPS:
                log(f"filters of step {step}")
                n = postfilter.N_CLASSES
                sums = [(np.zeros((n, 24, 24)), np.zeros((n, 24))) for _ in range(2)]
                rng = np.random.default_rng([self.seed, 5, step])
                tiles = self.tiles(5, self.n_tiles // 2)
                for planes, coded, _ in self._code(tiles, loaded, (step, step + 1), rng):
                    for p in range(3):
                        height, width = planes[p].shape
                        padded = np.empty((height + 4, width + 8), np.int16)
                        postfilter.pad_plane(coded[p].rec, padded)
                        kinds = np.empty((height, width), np.int64)
                        postfilter.classify(padded, coded[p].split, step, kinds)
                        postfilter.add_sums(padded, kinds, planes[p], *sums[min(p, 1)])
                sets.append([_solve(*one, 2.0 ** (step / 16)) for one in sums])
            np.save(path, np.array(sets, np.int16))
        return np.load(path)

    def run(self, rounds: int) -> Dictionary:
        """Run what is left, and build the dictionary."""
        classes = self.open_loop()
        for number in range(1, rounds + 1):
            classes = self.closed_loop(number, classes)
        state = self.state(classes)
        filters = self.filters(classes, state)
        params = {
            "classes": dict(zip(NAMES, (one.log_sigma.shape[0] for one in classes), strict=True)),
            "licence": "free-use, GPL-2+, CC-BY(-SA)-4.0 and Unsplash photographs; see tools/train_pca.py",
            "seed": self.seed,
            "tiles": self.n_tiles,
            "trained_on": "photos256_clean",
        }
        return Dictionary.build("blocks", params, build_blocks(self._book(classes, state, filters)))

    def _book(
        self,
        classes: tuple[BlockClasses, ...],
        state: tuple[np.ndarray, np.ndarray] | None,
        filters: np.ndarray | None,
    ) -> BlockBook:
        if state is None:
            mixer = blockmodel.new_mixer()
            state = mixer.counters, mixer.weights
        means = np.rint(blockcost.mean_magnitudes() * 256).astype(np.int64)
        steps = FILTER_STEPS
        if filters is None:
            filters, steps = np.zeros((0, 2, postfilter.N_CLASSES, postfilter.N_TAPS), np.int16), ()
        return BlockBook(classes, self.color(), means, *state, np.array(steps, np.int64), filters)

    def _code(
        self,
        tiles: list[Pixels],
        loaded: blocks._Loaded,
        steps: tuple[int, int],
        rng: np.random.Generator,
        keep: bool = False,
    ) -> Iterator[tuple[np.ndarray, list[blockcoder.Plane], int]]:
        """Code tiles, each at a step drawn from a range; `keep`: the model goes on from tile to tile."""
        for tile in tiles:
            planes, step = self.planes_of(tile), int(rng.integers(*steps))
            codec = blocks._Codec(loaded, np.empty(tile.size * 4, np.uint8), None)
            setting = blocks.Setting((step,))
            coded = codec.code(Shape(*tile.shape), setting, step, "default", planes)
            if keep:
                loaded.mixer = codec.mixer
            yield planes, coded, step

    def _save(self, stage: str, classes: list[BlockClass], kept: int) -> None:
        found = quantize_classes(classes, kept)
        np.savez(
            self.work / f"{stage}.npz",
            predictor=found.predictor,
            transform=found.transform,
            log_sigma=found.log_sigma,
        )

    def _load(self, stage: str) -> tuple[BlockClasses, ...]:
        found = []
        for name in NAMES:
            data = np.load(self.work / f"{stage}-{name}.npz")
            found.append(BlockClasses(data["predictor"], data["transform"], data["log_sigma"]))
        return tuple(found)


def _last(what: str, rounds: Iterator[tuple[list[BlockClass], float, float]]) -> list[BlockClass]:
    """Run all rounds; give the classes of the last."""
    last: list[BlockClass] = []
    for classes, cost, changed in rounds:
        log(f"{what}: {cost:.4f} squared steps a sample, {changed:.3f} changed")
        last = classes
    return last


def _solve(scatter: np.ndarray, product: np.ndarray, step: float) -> np.ndarray:
    """Solve the normal equations of filters, drawn to zero; give taps in 1/4096."""
    whole = scatter + np.tril(scatter, -1).transpose(0, 2, 1)
    whole += np.eye(24) * (64 * step * step * FILTER_RIDGE)
    taps = np.linalg.solve(whole, product[:, :, None])[:, :, 0] * 4096
    size = np.abs(taps).sum(1, keepdims=True)
    return np.rint(taps * np.minimum(1, (postfilter.TAP_SUM - 24) / np.maximum(size, 1))).astype(np.int16)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--tiles", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=3, help="of closed-loop learning")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    dictionary = Trainer(given.photos, given.work, given.tiles, given.seed).run(given.rounds)
    output = given.output or given.work / "photo.tych"
    dictionary.save(output)
    log(f"{output}: {len(dictionary.payload):,} bytes, {dictionary.id}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
