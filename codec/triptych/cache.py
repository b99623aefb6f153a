"""The frames that a Reader used last, as read and as opened for showing, bounded in bytes.

A frame that is asked for one image is opened only as far as that needs; asked for another, all of it. Where
frames are seen to be asked again, and nothing had to go yet, all of a frame is opened at once: images asked
for at random then cost what they cost in order.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from triptych.forking import renew_after_fork
from triptych.modes.base import OpenFrame
from triptych.scan import Item

ItemReader = Callable[[int], Item]
Opener = Callable[[Item, int, int], OpenFrame]


class CachedFrame:
    """A frame as read; once any image was wanted, `opened` for the images in `shown`."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.opened: OpenFrame | None = None
        self.shown = range(0)
        self.lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes that this holds."""
        return self.item.frame.length + (self.opened.nbytes if self.opened is not None else 0)


class FrameCache:
    """Frames by number; the least recently used go first. For any number of threads, and across fork."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._is_asked_again = False
        self._after_fork()
        renew_after_fork(self)

    def _after_fork(self) -> None:
        """Begin anew."""
        self._lock = threading.Lock()
        self._frames: OrderedDict[int, CachedFrame] = OrderedDict()
        self._nbytes = 0
        self._is_full = False

    def get(self, number: int, read: ItemReader) -> CachedFrame:
        """Give a frame, read it where it is not here."""
        with self._lock:
            if number in self._frames:
                self._frames.move_to_end(number)
                return self._frames[number]
        frame = CachedFrame(read(number))
        with self._lock:
            # Another thread may have been quicker; all are to have the same one.
            if number in self._frames:
                return self._frames[number]
            self._frames[number] = frame
            self._nbytes += frame.nbytes
            self._shrink()
        return frame

    def open(self, number: int, read: ItemReader, images: Sequence[int], opener: Opener) -> CachedFrame:
        """Give a frame opened for these images; `opener(item, start, stop)` opens it."""
        frame = self.get(number, read)
        first, last = min(images), max(images)
        if first in frame.shown and last in frame.shown:
            return frame
        with frame.lock:  # so that threads that want the same frame decode it once
            if first in frame.shown and last in frame.shown:
                return frame
            assert frame.item.images is not None
            shown = range(len(frame.item.images.shapes))
            if frame.opened is not None:
                self._is_asked_again = True
            elif not self._is_asked_again or self._is_full:
                shown = range(first, last + 1)
            self._keep(number, frame, opener(frame.item, shown.start, shown.stop))
        return frame

    def _keep(self, number: int, frame: CachedFrame, opened: OpenFrame) -> None:
        with self._lock:
            before = frame.nbytes
            frame.opened, frame.shown = opened, opened.images
            if self._frames.get(number) is frame:
                self._nbytes += frame.nbytes - before
                self._shrink()

    def _shrink(self) -> None:
        while self._nbytes > self._max_bytes:
            self._nbytes -= self._frames.popitem(last=False)[1].nbytes
            self._is_full = True
