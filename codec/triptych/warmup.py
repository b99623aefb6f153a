"""Compile every kernel now, rather than at the first image.

Small images go through all that a user can ask for: each effort, opaque and transparent colours, batches,
dictionaries, dithering, rate-aware mapping and searches. What numba compiles it keeps on disk, so a second
run takes a moment.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
            _round_trip(images, dictionary_size, options)
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
    # Past the size up to which images share a frame, other coders serve.
    for effort in ("fast", "default"):
        yield [np.tile(opaque, (16, 16, 1))], None, {"effort": effort, "n_colors": 8}


def _noise(channels: int) -> Pixels:
    """Give a small picture of fewer than 256 colours, none of them regular."""
    values = np.arange(12 * 12 * channels, dtype=np.uint64) * np.uint64(2654435761) >> np.uint64(9)
    return (values % np.uint64(251)).astype(np.uint8).reshape(12, 12, channels)


def _round_trip(images: list[Pixels], dictionary_size: int | None, options: dict[str, Any]) -> None:
    from triptych.fit import fit
    from triptych.reader import Reader
    from triptych.writer import Writer

    dictionary = None
    if dictionary_size is not None:
        dictionary = fit(
            "kmeans", images, n_colors=dictionary_size, effort=options.get("effort", "default"), threads=1
        )
    buffer = io.BytesIO()
    with Writer(buffer, dictionary, threads=1, **options) as writer:
        for image in images:
            writer.write(image)
    with Reader(buffer.getvalue()) as reader:
        for _ in reader:
            pass


make_callable(warmup)
