"""The section of loaders: an epoch of torch's DataLoader, and what is left behind and comes back."""

from __future__ import annotations

import gc
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import triptych

from bench.image_sets import read_cells
from bench.measure import Pixels, alternate
from bench.peers import select
from bench.results import Goal, Row, Section, Table
from bench.setup import Setup

if TYPE_CHECKING:
    from bench.loader_sets import Loading

_NOTE = (
    "images/s by the clock on the wall, medians; an epoch begins with making the dataset and ends when its"
    " workers are gone. handles: open files and processes after an epoch less those before it; same epochs: 1"
    " where two of one seed are equal, image by image, and those of two seeds are not"
)
_WORKERS = (0, 2)
_N_COMPONENTS = 64


def loader(setup: Setup) -> Section:
    """Measure epochs of loaders."""
    section = Section("loader", notes=[_NOTE])
    sets = import_module("bench.loader_sets")
    faces = read_cells(setup.data / "faces" / "anime64_devtest.png")
    n_components = min(_N_COMPONENTS, len(faces))
    book = triptych.fit("pca", faces, n_components=n_components, threads=1)
    images = np.concatenate([faces] * setup.some(2, 1))[: setup.some(1024, 130)]
    fitted = f"fit('pca', images, n_components={n_components}); mode pca"
    fast = "mode kmeans, effort fast"
    present, table = select(
        [
            *sets.ours("triptych PCA", fitted, book=book, mode="pca"),
            *sets.ours("triptych k-means fast", fast, mode="kmeans", effort="fast"),
            *sets.PEERS,
        ]
    )
    section.tables.append(table)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as home:
        folders = {loading.name: Path(tempfile.mkdtemp(dir=home)) for loading in present}
        for loading in present:
            loading.write(images, folders[loading.name])
        for n_workers in _WORKERS:
            setup.say(f"loader: {n_workers} workers")
            rows += _measure(setup, section, present, folders, n_workers, images)
    columns = ("loader", "workers", "images/s", "handles left", "same epochs", "resumes")
    load = f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores"
    section.tables.append(Table(f"epochs of {len(images)} images ({load})", columns, rows))
    return section


def _measure(
    setup: Setup,
    section: Section,
    present: Sequence[Loading],
    folders: dict[str, Path],
    n_workers: int,
    images: Pixels,
) -> list[Row]:
    sets = import_module("bench.loader_sets")

    def run(loading: Loading) -> None:
        n_images = sets.load_all(loading.make(folders[loading.name], n_workers, 1))
        if n_images != len(images):
            raise AssertionError(f"an epoch of {loading.name} gives {n_images} images of {len(images)}")

    runs = {each.name: partial(run, each) for each in present}
    seconds = alternate(runs, setup.some(3, 1), time.perf_counter)
    rows: list[Row] = []
    for loading in present:
        folder = folders[loading.name]
        before = _count_handles()
        run(loading)
        left = _count_handles() - before
        one, same, other = (sets.load_pixels(loading.make(folder, n_workers, seed)) for seed in (1, 1, 2))
        is_same = int(one == same and one != other and sorted(one) == sorted(other))
        resumes = int(sets.resume(folder, n_workers, 1)) if loading.make is sets.make_ours_iterable else None
        rows.append((loading.name, n_workers, len(images) / seconds[loading.name], left, is_same, resumes))
        if loading.is_ours:
            what = f"{loading.name}, {n_workers} workers"
            section.goals.append(Goal(f"handles left, {what}", left, 0))
            section.goals.append(Goal(f"same epochs of one seed, {what}", is_same, 1, at_least=True))
            if resumes is not None:
                section.goals.append(Goal(f"resumes within an epoch, {what}", resumes, 1, at_least=True))
    return rows


def _count_handles() -> int:
    """Count what this process holds open, files and other processes."""
    gc.collect()
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":  # of a loader's queue: ends soon after its close
            thread.join(5)
    return len(os.listdir("/proc/self/fd")) + len(multiprocessing.active_children())
