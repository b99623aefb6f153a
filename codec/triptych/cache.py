"""The frames that a Reader used last, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from triptych.images import Pixels
from triptych.scan import Item


class CachedFrame:
    """A frame as read; `pixels` once all its images were decoded, `used` once any was."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.pixels: list[Pixels] | None = None
        self.used = False

    @property
    def nbytes(self) -> int:
        """Bytes that this holds."""
        return self.item.frame.length + sum(array.nbytes for array in self.pixels or ())


class FrameCache:
    """Frames by number; the least recently used go first. For any number of threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._nbytes = 0
        self._frames: OrderedDict[int, CachedFrame] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int, read: Callable[[int], Item]) -> CachedFrame:
        """Give a frame, read it where it is not here."""
        with self._lock:
            if number in self._frames:
                self._frames.move_to_end(number)
                return self._frames[number]
        frame = CachedFrame(read(number))
        with self._lock:
            if number not in self._frames:
                self._frames[number] = frame
                self._nbytes += frame.nbytes
                self._shrink()
        return frame

    def keep_pixels(self, number: int, frame: CachedFrame, pixels: list[Pixels]) -> None:
        """Keep all images of a frame that is still here."""
        with self._lock:
            if self._frames.get(number) is frame and frame.pixels is None:
                before = frame.nbytes
                frame.pixels = pixels
                self._nbytes += frame.nbytes - before
                self._shrink()

    def _shrink(self) -> None:
        while self._nbytes > self._max_bytes:
            self._nbytes -= self._frames.popitem(last=False)[1].nbytes
