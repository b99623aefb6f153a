"""`verify`: read all of a stream, and say what is in it or what is wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from triptych.callables import make_callable
from triptych.describe import reference_id
from triptych.dictionary import Shelf, iterate_dictionaries
from triptych.errors import FormatError, InvalidFrame, InvalidOption, UnsupportedFeature
from triptych.framing import Damage, FrameType
from triptych.index import PartIndex
from triptych.limits import Limits
from triptych.parallel import OrderedPool
from triptych.scan import Item, decode_item, scan
from triptych.source import SourceLike, open_source
from triptych.table import add_to_index


@dataclass
class Report:
    """What a stream holds.

    Attributes
    ----------
    frames : dict
        Number of frames by the name of their type.
    images : int
    dictionaries : dict
        By id (or its start, where the stream gives no more): whether the stream holds it.
    nbytes : int
        Bytes of all whole frames.
    damage : list of Damage
        Byte ranges that are lost; empty unless `damage="skip"`.
    """

    frames: dict[str, int] = field(default_factory=Counter)
    images: int = 0
    dictionaries: dict[str, bool] = field(default_factory=dict)
    nbytes: int = 0
    damage: list[Damage] = field(default_factory=list)


def verify(
    source: SourceLike,
    level: Literal["structure", "decode"] = "decode",
    *,
    damage: Literal["raise", "skip"] = "raise",
    dictionary: Any = None,
    limits: Limits | None = None,
    threads: int = 1,
) -> Report:
    """Check a stream.

    Parameters
    ----------
    source : path, bytes, file object or pipe
        Read once, front to back.
    level : {"structure", "decode"}
        `"structure"`: checksums, frames, metadata and indexes; needs no dictionary. `"decode"`: each image
        too.
    damage : {"raise", "skip"}
        Raise at the first damage, or go on and list it in the report.
    dictionary, limits, threads
        As in `Reader`.

    Raises
    ------
    FormatError, LimitExceeded, DictionaryMissing
        What is wrong, with its frame and offset.
    """
    for name, value, allowed in (
        ("level", level, ("structure", "decode")),
        ("damage", damage, ("raise", "skip")),
    ):
        if value not in allowed:
            raise InvalidOption(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    limits = limits or Limits()
    shelf = Shelf(iterate_dictionaries(dictionary, limits), limits)
    report = Report()
    on_damage = report.damage.append if damage == "skip" else None

    def check_images(item: Item) -> None:
        """Decode and drop; in threads, so damage is noted by the caller's own list in any order."""
        assert item.images is not None
        try:
            decode_item(item, 0, len(item.images.shapes), shelf, limits)
        except UnsupportedFeature:
            raise
        except FormatError as error:
            if on_damage is None:
                raise
            on_damage(Damage(item.frame.offset, item.frame.offset + item.frame.length, error))

    pool: OrderedPool[None] = OrderedPool(threads)
    opened = open_source(source)
    try:
        indexes = _IndexCheck()
        for item in scan(opened, limits, on_damage=on_damage):
            _count(report, item)
            if not report.damage:  # where frames are missing, no index fits
                indexes.check(item)
            if item.images is not None and level == "decode":
                pool.submit(check_images, item)
        for _ in pool.drain():
            pass
    finally:
        pool.close()
        opened.close()
    report.frames = dict(report.frames)
    report.damage.sort(key=lambda lost: lost.start)
    return report


def _count(report: Report, item: Item) -> None:
    known = item.frame.type in FrameType.__members__.values()
    report.frames[FrameType(item.frame.type).name if known else f"{item.frame.type:#04x}"] += 1
    report.nbytes += item.frame.length
    if item.images is not None:
        report.images += len(item.images.shapes)
    name = reference_id(item.reference)
    if name is not None:
        report.dictionaries[name] = report.dictionaries.get(name, False) or not isinstance(
            item.reference, bytes
        )


class _IndexCheck:
    """Compares each INDEX frame with the frames before it."""

    def __init__(self) -> None:
        self._part = -1
        self._index = PartIndex()

    def check(self, item: Item) -> None:
        frame = item.frame
        if frame.part != self._part:
            self._part = frame.part
            self._index = PartIndex()
        if frame.type != FrameType.INDEX:
            add_to_index(self._index, item, frame.offset - frame.part)
        elif self._index.build(frame.offset - frame.part) != frame.payload:
            raise InvalidFrame(
                "an INDEX frame is not that of the frames before it", offset=frame.offset, frame=frame.number
            )


make_callable(verify)
