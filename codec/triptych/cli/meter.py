"""How fast a collection is encoded: a bar on stderr (on a terminal only), and figures at the end.

The figures are of this run: images, their bytes of pixels, and the bytes of stream that came of them.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self


class Meter:
    """Counts images as they are handed to the encoder.

    Parameters
    ----------
    total : int or None
        Images that there will be, failures among them, if that is known.
    is_quiet : bool
        No bar.
    """

    def __init__(self, total: int | None, *, is_quiet: bool = False) -> None:
        self.pixel_bytes = 0
        self._begin = time.perf_counter()
        self._bar: Any = None
        if sys.stderr.isatty() and not is_quiet:
            from tqdm import tqdm

            self._bar = tqdm(unit=" images", total=total, file=sys.stderr, leave=False, delay=0.3)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.perf_counter() - self._begin

    def add(self, pixel_bytes: int, n_done: int, stream_bytes: int) -> None:
        """Count an image; `n_done` images are behind us, failures among them, and so many bytes of stream."""
        self.pixel_bytes += pixel_bytes
        # The text is made when the bar was just drawn, for the next time: making it for each image is slow.
        if self._bar is not None and self._bar.update(n_done - self._bar.n):
            rate = self.pixel_bytes / self.seconds / 1e6
            text = f"{rate:.1f} MB/s, ratio {stream_bytes / self.pixel_bytes:.3f}"
            self._bar.set_postfix_str(text, refresh=False)

    def figures(self, n_images: int) -> dict[str, float]:
        """Give what a report says of a run that encoded so many images."""
        seconds = self.seconds
        return {
            "seconds": round(seconds, 3),
            "images_per_second": round(n_images / seconds, 1),
            "pixel_bytes": self.pixel_bytes,
        }
