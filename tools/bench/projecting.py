"""The section of the projection kernel: rounded scores of many images, beside numpy and scikit-learn."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import ours_pca
from bench.measure import Pixels, alternate
from bench.peers import Peer, select
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

_N_IMAGES, _SIDE, _N_COMPONENTS, _STEP = 10_000, 28, 64, 30.0
Floats = npt.NDArray[np.float32]
Scores = npt.NDArray[np.int16]


def _kernel_version() -> str:
    ours_pca.find_project()
    return f"numba {version('numba')}"


KERNEL = Peer("kernel", "triptych_kernels.project.project_and_quantize, dead 0", _kernel_version)
NUMPY = Peer(
    "numpy",
    "float32: astype, subtract the mean, gemm, rint, astype",
    lambda: version("numpy"),
)
NUMPY_FOLDED = Peer(
    "numpy, mean folded",
    "float32: astype, gemm, subtract the projected mean, rint in place, astype",
    lambda: version("numpy"),
)
SKLEARN = Peer(
    "scikit-learn",
    "PCA.transform of uint8, fitted as float32; division by the step, rint, astype",
    lambda: version("scikit-learn"),
)


def crops(data: Path) -> Pixels:
    """Cut 28x28 luma pieces out of a pack of faces: uint8 (10000, 784)."""
    path = next(iter(sorted((data / "faces").glob("anime64_*"))), None)
    if path is None:
        raise FileNotFoundError(f"no anime64_* in {data / 'faces'}")
    with Image.open(path) as image:
        plane = np.asarray(image.convert("L"))
    generator = np.random.default_rng(1)
    tops, lefts = (generator.integers(0, length - _SIDE + 1, _N_IMAGES) for length in plane.shape)
    windows = np.lib.stride_tricks.sliding_window_view(plane, (_SIDE, _SIDE))
    return windows[tops, lefts].reshape(_N_IMAGES, -1)


def numpy_project(images: Pixels, mean: Floats, basis: Floats) -> Scores:
    """Project as one writes it."""
    scores = np.rint((images.astype(np.float32) - mean) @ basis).astype(np.int16)
    return np.asarray(scores)


def numpy_project_folded(images: Pixels, mean: Floats, basis: Floats) -> Scores:
    """Project with the mean taken off the scores, as one writes it to save memory."""
    scores = images.astype(np.float32) @ basis
    scores -= mean @ basis
    np.rint(scores, out=scores)
    return np.asarray(scores.astype(np.int16))


def sklearn_project(pca: Any, images: Pixels) -> Scores:
    """Project with a fitted PCA."""
    return np.asarray(np.rint(pca.transform(images) / np.float32(_STEP)).astype(np.int16))


def working_nbytes(run: Callable[[], Scores]) -> int:
    """Give the most bytes that a run holds beside its result, as far as Python's allocators see them."""
    tracemalloc.start()
    result = run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return max(0, peak - result.nbytes)


def project_speed(setup: Setup) -> Section:
    """Measure the kernel that projects images and rounds their scores."""
    section = Section("project-speed")
    section.notes.append(
        f"{_N_IMAGES} pieces of {_SIDE}x{_SIDE} luma of a pack of faces, {_N_COMPONENTS} components, one"
        " thread; CPU time; memory: tracemalloc's peak less the result"
    )
    present, table = select([KERNEL, NUMPY, NUMPY_FOLDED, SKLEARN])
    section.tables.append(table)
    images = crops(setup.data)
    setup.say("project-speed: fitting")
    mean, vectors = _fit(images)
    basis = np.ascontiguousarray(vectors / np.float32(_STEP))
    runs: dict[str, Callable[[], Scores]] = {
        NUMPY.name: partial(numpy_project, images, mean, basis),
        NUMPY_FOLDED.name: partial(numpy_project_folded, images, mean, basis),
    }
    if KERNEL in present:
        runs = {KERNEL.name: partial(ours_pca.find_project(), images, mean, basis)} | runs
    if SKLEARN in present:
        runs[SKLEARN.name] = partial(sklearn_project, _sklearn(mean, vectors), images)
    wanted = runs[NUMPY.name]()
    for name, run in runs.items():
        # Sums in another order: a score beside a half may round to its other side.
        if np.abs(run().astype(np.int32) - wanted).max() > 1:
            raise AssertionError(f"{name} gives other scores than numpy")
    setup.say("project-speed: timing")
    seconds = alternate(runs, setup.some(31, 5))
    memory = {name: working_nbytes(run) / 1e6 for name, run in runs.items()}
    ours = seconds.get(KERNEL.name)
    rows: list[Row] = [
        (
            name,
            1000 * seconds[name],
            images.nbytes / 1e6 / seconds[name],
            seconds[name] / ours if ours else None,
            memory[name],
            float((run() != wanted).mean()),
        )
        for name, run in runs.items()
    ]
    columns = ("what", "ms", "MB/s", "time / kernel's", "working MB", "scores unlike numpy's")
    section.tables.append(Table("project and round", columns, rows))
    for peer, limit in ((NUMPY, 2.0), (SKLEARN, 2.5)):
        ratio = seconds[peer.name] / ours if ours and peer.name in seconds else None
        section.goals.append(Goal(f"times as fast as {peer.name}", ratio, limit, at_least=True))
    section.goals.append(Goal("working memory, MB", memory.get(KERNEL.name), 2.0))
    return section


def _fit(images: Pixels) -> tuple[Floats, Floats]:
    """Give the mean (d,) and the first principal vectors (d, k)."""
    centred = images - images.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return images.mean(axis=0).astype(np.float32), vectors[:, : -_N_COMPONENTS - 1 : -1].astype(np.float32)


def _sklearn(mean: Floats, vectors: Floats) -> Any:
    """Give a PCA in float32 of this very basis, so that its scores can be compared."""
    pca = import_module("sklearn.decomposition").PCA(_N_COMPONENTS)
    pca.mean_, pca.components_, pca.n_components_ = mean, np.ascontiguousarray(vectors.T), _N_COMPONENTS
    pca.explained_variance_ = np.ones(_N_COMPONENTS, np.float32)
    return pca
