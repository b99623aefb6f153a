"""`verify`: read all of a stream, and say what is in it or what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from triptych.callables import make_callable
from triptych.describe import reference_id
from triptych.dictionary import Dictionary, Shelf, iterate_dictionaries
from triptych.errors import InvalidFrame, InvalidOption
from triptych.framing import Damage, FrameType
from triptych.index import PartIndex
from triptych.limits import Limits
from triptych.parallel import ordered_map
from triptych.scan import Item, decode_all, scan
from triptych.source import SourceLike, open_source
from triptych.table import add_to_index
from triptych.urls import StorageOptions


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
    storage_options: StorageOptions | None = None,
) -> Report:
    """Check a stream.

    Parameters
    ----------
    source : path, URL, bytes, file object or pipe
        Read once, front to back.
    level : {"structure", "decode"}
        `"structure"`: checksums, frames, metadata and indexes; needs no dictionary. `"decode"`: each image
        too.
    damage : {"raise", "skip"}
        Raise at the first damage, or go on and list it in the report.
    dictionary, limits, threads, storage_options
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
    accepted = limits or Limits()
    shelf = Shelf(iterate_dictionaries(dictionary, accepted), accepted)
    report = Report()
    on_damage = report.damage.append if damage == "skip" else None

    def check(item: Item) -> None:
        decode_all(item, shelf, accepted, on_damage)

    opened = open_source(source, storage_options)
    try:
        items = _count(scan(opened, accepted, on_damage=on_damage), report, on_damage)
        if level == "decode":
            items = (item for item in items if item.images is not None)
            for _ in ordered_map(check, items, threads):
                pass
        else:
            for _ in items:
                pass
    finally:
        opened.close()
    report.frames = dict(report.frames)
    report.damage.sort(key=lambda lost: lost.start)
    return report


def _count(
    items: Iterable[Item], report: Report, on_damage: Callable[[Damage], None] | None
) -> Iterator[Item]:
    """Pass items on; count them, and compare each INDEX frame with the frames before it."""
    part = -1
    index = PartIndex()
    for item in items:
        frame = item.frame
        known = frame.type in FrameType.__members__.values()
        report.frames[FrameType(frame.type).name if known else f"{frame.type:#04x}"] += 1
        report.nbytes += frame.length
        report.images += len(item.images.shapes) if item.images is not None else 0
        name = reference_id(item.reference)
        if name is not None:
            embedded = isinstance(item.reference, Dictionary)
            report.dictionaries[name] = report.dictionaries.get(name, False) or embedded
        if frame.part != part:
            part = frame.part
            index = PartIndex()
        # Where frames are missing, no index fits.
        is_index = frame.type == FrameType.INDEX and not report.damage
        if is_index and index.build(frame.offset - part) != frame.payload:
            error = InvalidFrame(
                "an INDEX frame is not that of the frames before it; `triptych index` writes it anew",
                offset=frame.offset,
                frame=frame.number,
            )
            if on_damage is None:
                raise error
            on_damage(Damage(frame.offset, frame.offset + frame.length, error))
        add_to_index(index, item, frame.offset - part)
        yield item


make_callable(verify)
