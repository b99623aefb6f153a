"""What became of the images of a run of `encode`: one line, a line for each image, or figures for JSON."""

from __future__ import annotations

import math
import os
from collections import deque
from typing import Any, NamedTuple

from triptych.cli.console import plural, say
from triptych.cli.inputs import Input
from triptych.cli.pictures import STDIN

_MOST_NAMES = 3
"""Images that the line names, of those that are not exact."""


class _Shown(NamedTuple):
    name: str
    mode: str
    psnr: float | None
    """In dB; infinite: what shows is exact; None: all is."""


class Summary:
    """Takes inputs as they are handed to the Writer, and what it says of them when frames are written.

    is_verbose: whether each image is told, as it is written.
    """

    def __init__(self, *, is_verbose: bool) -> None:
        self._is_verbose = is_verbose
        self._waiting: deque[tuple[str, Input]] = deque()
        self._shown: list[_Shown] = []
        self._n_changed = 0
        self._n_bytes: int | None = 0

    def add_input(self, each: Input, *, is_changed: bool) -> None:
        """Note an input that is to be encoded; `is_changed`: it was converted when it was read."""
        self._waiting.append((each.key, each))
        self._n_changed += is_changed

    def add_encoded(self, mode: str, keys: list[str | None], psnrs: list[float | None]) -> None:
        """Note images of a frame that was written: `triptych.writer.OnEncoded`."""
        for key, psnr in zip(keys, psnrs, strict=True):
            each = self._take(key or "")
            self._shown.append(_Shown(each.name, mode, psnr))
            if each.path == STDIN or not os.path.isfile(each.path):
                self._n_bytes = None  # not known
            elif self._n_bytes is not None and each.frame <= 1:  # a file of many frames counts once
                self._n_bytes += os.path.getsize(each.path)
            if self._is_verbose:
                say(f"{each.name}: {mode}, {_quality(psnr)}", err=True)

    def _take(self, key: str) -> Input:
        """Give the input that an image is of; those before it were left out."""
        while True:
            waiting, each = self._waiting.popleft()
            if waiting == key:
                return each

    def line(self, output: str, n_bytes: int) -> str:
        """Say all in one line; `n_bytes` were written."""
        images = "" if len(self._shown) == 1 else f"{plural(len(self._shown), 'image')}, "
        ratio = ""
        if self._n_bytes:
            inputs = "input" if len(self._shown) == 1 else "inputs"
            ratio = f", {n_bytes / self._n_bytes:.3f} of the {inputs}"
        return f"{output}: {images}{n_bytes:,} bytes{ratio}; {self._qualities()}"

    def _qualities(self) -> str:
        lossy = [each for each in self._shown if each.psnr is not None]
        n_exact = len(self._shown) - len(lossy)
        exact = "exact" if not self._n_changed else f"exact but for {plural(self._n_changed, 'conversion')}"
        if len(self._shown) == 1:
            only = self._shown[0]
            return f"{only.mode}, {_quality(only.psnr) if lossy else exact}"
        if not lossy:
            return f"all {exact}"
        psnrs = [each.psnr for each in lossy if each.psnr is not None]
        names = ", ".join(os.path.basename(each.name) for each in lossy[:_MOST_NAMES])
        more = f" and {len(lossy) - _MOST_NAMES:,} more" if len(lossy) > _MOST_NAMES else ""
        at = "" if math.isinf(min(psnrs)) else "at "
        each = f"{len(lossy):,} {at}{_range(min(psnrs), max(psnrs))}"
        return f"{n_exact:,} {exact}, {each} ({names}{more})" if n_exact else f"none exact, {each}"

    def figures(self) -> dict[str, Any]:
        """Give what a report says of the images that were written."""
        lossy = [each for each in self._shown if each.psnr is not None]
        report: dict[str, Any] = {"input_bytes": self._n_bytes, "exact": len(self._shown) - len(lossy)}
        report["lossy"] = {each.name: _plain(each.psnr) for each in lossy}
        return report


def _plain(psnr: float | None) -> float | None:
    """Give what JSON can hold."""
    return None if psnr is None or math.isinf(psnr) else round(psnr, 2)


def _quality(psnr: float | None, digits: int = 2) -> str:
    if psnr is None:
        return "exact"
    return "exact but for hidden colours" if math.isinf(psnr) else f"{psnr:.{digits}f} dB"


def _range(least: float, most: float) -> str:
    if math.isinf(least) or round(least, 1) == round(most, 1):
        return _quality(least, 1)
    return f"{least:.1f} to {_quality(most, 1)}" if math.isinf(most) else f"{least:.1f} to {most:.1f} dB"
