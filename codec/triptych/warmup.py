"""Compile every kernel now, rather than at the first image.

Small images go through all that a user can ask for: each effort, opaque and transparent colours, batches,
dictionaries, dithering, rate-aware mapping and searches; photographs and collections in the PCA panel;
latents, where torch is installed. What numba compiles it keeps on disk, so a second run takes a moment.
numba compiles one function at a time in a process; several processes, by `executor`, share the work.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import numpy as np

from triptych.callables import make_callable
from triptych.images import Pixels
from triptych.parallel import ordered_map

__all__ = ["on_compilation", "warmup"]


class _Case(NamedTuple):
    """Images to write and read; `fitting`: the options of their dictionary, if it is to be fitted to them."""

    images: list[Pixels]
    mode: Literal["kmeans", "pca", "ae"]
    fitting: dict[str, Any] | None
    options: dict[str, Any]


def warmup(executor: Executor | None = None) -> int:
    """Compile every kernel of every mode.

    Parameters
    ----------
    executor : concurrent.futures.Executor or None
        Of processes that compile instead of this one; two take little more than half of the time of one.

    Returns
    -------
    int
        Functions that were compiled; 0 where all were in the cache. A warning tells if they cannot be kept
        for the next process.
    """
    n_compiled, fault = compile_all(executor)
    if n_compiled and fault is not None:
        warnings.warn(
            f"compiled kernels are not kept ({fault}): set NUMBA_CACHE_DIR to a folder where they can be",
            stacklevel=2,
        )
    return n_compiled


def compile_all(executor: Executor | None) -> tuple[int, str | None]:
    """Compile every kernel; return how many functions that took, and why they are not kept, if so."""
    # Kinds that share most of their kernels are far from each other: who comes later finds them compiled.
    kinds = [_collections, _palettes, _latents, _photographs]
    counts, faults = zip(*ordered_map(_compile, kinds, len(kinds) if executor else 1, executor), strict=True)
    return sum(counts), next((fault for fault in faults if fault is not None), None)


def _compile(cases: Callable[[], Iterator[_Case]]) -> tuple[int, str | None]:
    """Write and read the images of some cases; return what `compile_all` does.

    The cases are made here: a pool of processes one of which dies waits for ever where a job is larger than
    a pipe holds (CPython 3.11).
    """
    n_compiled = 0

    def count() -> None:
        nonlocal n_compiled
        n_compiled += 1

    with on_compilation(count):
        for case in cases():
            _round_trip(case)
    return n_compiled, cache_fault()


def cache_fault() -> str | None:
    """Say why kernels that are compiled here are not kept for other processes; None: they are."""
    from triptych_kernels import _jit

    return _jit.cache_fault()


@contextmanager
def on_compilation(callback: Callable[[], object]) -> Iterator[None]:
    """Call back for each function that numba compiles inside, because its cache on disk had none."""
    from numba.core import event

    class Listener(event.Listener):  # type: ignore[misc]  # numba carries no types
        def on_start(self, event: Any) -> None:
            callback()

        def on_end(self, event: Any) -> None:
            pass

    with event.install_listener("numba:compile", Listener()):
        yield


def _palettes() -> Iterator[_Case]:
    opaque, clear = _noise(3), _noise(4)
    for effort in ("fast", "default", "max"):
        for image in (opaque, clear):
            yield _Case([image], "kmeans", None, {"effort": effort, "n_colors": 8})
            yield _Case([image] * 2, "kmeans", None, {"effort": effort, "n_colors": 8})
            yield _Case([image] * 2, "kmeans", {"n_colors": 8}, {"effort": effort})
    for image in (opaque, clear):
        yield _Case([image], "kmeans", None, {"lossless": True})
        yield _Case([image], "kmeans", None, {"n_colors": 8, "quality": 50})
        yield _Case([image], "kmeans", None, {"n_colors": 8, "dither": True})
        yield _Case([image], "kmeans", None, {"n_colors": 8, "keep": [(1, 2, 3)]})
        yield _Case([image], "kmeans", None, {"target_size": 300})
    yield _Case([opaque], "kmeans", None, {"target_psnr": 20})
    # A larger picture goes to other coders, and one of many colours is fitted in steps.
    for effort in ("fast", "default"):
        yield _Case([_noise(3, 160)], "kmeans", None, {"effort": effort, "n_colors": 8})


def _photographs() -> Iterator[_Case]:
    """Give cases for the shipped dictionary of photographs."""
    for channels in (1, 2, 3, 4):
        for effort in ("fast", "default"):
            for tune in ("psnr", "visual"):
                yield _Case([_noise(channels)], "pca", None, {"effort": effort, "tune": tune})


def _collections() -> Iterator[_Case]:
    images = [_noise(3) // np.uint8(shade) for shade in (1, 2, 3, 4)]
    for effort in ("fast", "default"):
        yield _Case(images, "pca", {"variance": 1.0}, {"effort": effort})
    yield _Case([_noise(6)], "pca", {"n_components": 2}, {"effort": "fast"})
    # Many images are compared with each other, and learned from by their statistics.
    many = np.random.default_rng(0).integers(0, 256, (80, 2, 2, 1), np.uint8)
    yield _Case(list(many), "pca", {"variance": 1.0}, {})


def _latents() -> Iterator[_Case]:
    if find_spec("torch") and find_spec("safetensors"):
        for effort in ("default", "max"):
            yield _Case([_noise(3)], "ae", None, {"effort": effort})


def _noise(channels: int, side: int = 12) -> Pixels:
    """Give a picture of which hardly two pixels are alike."""
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)


def _round_trip(case: _Case) -> None:
    """Write and read the images of a case."""
    from triptych.fit import fit
    from triptych.reader import Reader
    from triptych.writer import Writer

    dictionary, options = None, case.options
    if case.fitting is not None:
        effort = options.get("effort", "default")
        dictionary = fit(case.mode, case.images, effort=effort, threads=1, **case.fitting)
    buffer = io.BytesIO()
    with Writer(buffer, dictionary, mode=case.mode, threads=1, **options) as writer:
        for image in case.images:
            writer.write(image)
    with Reader(buffer.getvalue(), dictionary=[] if dictionary is None else [dictionary]) as reader:
        for _ in reader:
            pass


make_callable(warmup)
