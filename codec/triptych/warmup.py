"""Compile every kernel now, rather than at the first image.

Small images go through all that a user can ask for: each effort, opaque and transparent colours, batches,
dictionaries, dithering, rate-aware mapping and searches; photographs and collections in the PCA panel;
latents, where torch is installed. What numba compiles it keeps on disk, so a second run takes a moment.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import numpy as np

from triptych.callables import make_callable
from triptych.images import Pixels

__all__ = ["on_compilation", "warmup"]


def warmup() -> int:
    """Compile every kernel of every mode.

    Returns
    -------
    int
        Functions that were compiled; 0 where all were in the cache.
    """
    n_compiled = 0

    def count() -> None:
        nonlocal n_compiled
        n_compiled += 1

    with on_compilation(count):
        for images, dictionary_size, options in _cases():
            _round_trip(images, "kmeans", {"n_colors": dictionary_size} if dictionary_size else None, options)
        for image, options in _photographs():
            _round_trip([image], "pca", None, options)
        for images, fitting, options in _collections():
            _round_trip(images, "pca", fitting, options)
        if find_spec("torch") and find_spec("safetensors"):
            for effort in ("default", "max"):
                _round_trip([_noise(3)], "ae", None, {"effort": effort})
    return n_compiled


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


def _cases() -> Iterator[tuple[list[Pixels], int | None, dict[str, Any]]]:
    """Give (images, colours of their dictionary or None, options)."""
    opaque, clear = _noise(3), _noise(4)
    for effort in ("fast", "default", "max"):
        for image in (opaque, clear):
            yield [image], None, {"effort": effort, "n_colors": 8}
            yield [image] * 2, None, {"effort": effort, "n_colors": 8}
            yield [image] * 2, 8, {"effort": effort}
    for image in (opaque, clear):
        yield [image], None, {"lossless": True}
        yield [image], None, {"n_colors": 8, "quality": 50}
        yield [image], None, {"n_colors": 8, "dither": True}
        yield [image], None, {"n_colors": 8, "keep": [(1, 2, 3)]}
        yield [image], None, {"target_size": 300}
    yield [opaque], None, {"target_psnr": 20}
    # A larger picture goes to other coders, and one of many colours is fitted in steps.
    for effort in ("fast", "default"):
        yield [_noise(3, 160)], None, {"effort": effort, "n_colors": 8}


def _photographs() -> Iterator[tuple[Pixels, dict[str, Any]]]:
    """Give (image, options) for the shipped dictionary of photographs."""
    for channels in (1, 2, 3, 4):
        for effort in ("fast", "default"):
            for tune in ("psnr", "visual"):
                yield _noise(channels), {"effort": effort, "tune": tune}


def _collections() -> Iterator[tuple[list[Pixels], dict[str, Any], dict[str, Any]]]:
    """Give (images, options of their dictionary, options)."""
    images = [_noise(3) // np.uint8(shade) for shade in (1, 2, 3, 4)]
    for effort in ("fast", "default"):
        yield images, {"variance": 1.0}, {"effort": effort}
    yield [_noise(6)], {"n_components": 2}, {"effort": "fast"}
    # Many images are compared with each other, and learned from by their statistics.
    yield list(np.random.default_rng(0).integers(0, 256, (80, 2, 2, 1), np.uint8)), {"variance": 1.0}, {}


def _noise(channels: int, side: int = 12) -> Pixels:
    """Give a picture of which hardly two pixels are alike."""
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)


def _round_trip(
    images: list[Pixels], mode: str, fitting: dict[str, Any] | None, options: dict[str, Any]
) -> None:
    """Write and read images, with a dictionary that is fitted to them if `fitting` says how."""
    from triptych.fit import fit
    from triptych.reader import Reader
    from triptych.writer import Writer

    dictionary = None
    if fitting is not None:
        dictionary = fit(mode, images, effort=options.get("effort", "default"), threads=1, **fitting)
    buffer = io.BytesIO()
    with Writer(buffer, dictionary, mode=mode, threads=1, **options) as writer:
        for image in images:
            writer.write(image)
    with Reader(buffer.getvalue(), dictionary=[] if dictionary is None else [dictionary]) as reader:
        for _ in reader:
            pass


make_callable(warmup)
