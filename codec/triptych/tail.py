"""The end of a stream that is to be continued: what to cut off, which part goes on, which slots are bound."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from triptych.dictionary import Dictionary
from triptych.errors import InvalidFrame, InvalidOption, Truncated
from triptych.framing import HEADER_LEN, INDEX_END, SIGNATURE, Damage
from triptych.index import PartIndex, read_index
from triptych.limits import Limits
from triptych.sink import SinkLike
from triptych.source import Source, is_seekable, open_source
from triptych.table import Table, load_table


@dataclass(frozen=True)
class Tail:
    """How a stream can be continued: its whole frames end at `size`, its last part begins at `part`.

    `is_indexed` says whether the stream itself has the last part's index.
    """

    size: int
    part: int
    index: PartIndex
    slots: dict[tuple[bytes, bool], int]
    is_indexed: bool = False


def find_tail(target: SinkLike, limits: Limits) -> Tail | None:
    """Say how the stream at a target can be continued; None: there is none yet.

    A path must be locked against other Writers by now: see `triptych.sink.open_append`.
    Where `part` is `size`, a new part has to begin. A torn end is left out, with a warning. Other damage is
    raised.
    """
    if isinstance(target, (str, os.PathLike)):
        if not os.path.exists(target):
            return None
    elif is_seekable(target):
        target.seek(0)
    source = open_source(target)
    try:
        if source.size is None:
            raise InvalidOption("append=True needs a target that can seek, and be read")
        tail = _find_tail(source, source.size, limits) if source.size else None
    finally:
        source.close()
    return tail if tail and tail.size else None


def _find_tail(source: Source, size: int, limits: Limits) -> Tail:
    damage: list[Damage] = []
    try:
        table = load_table(source, limits, damage.append)
    except Truncated:  # not even one header is whole
        table = Table(source, [], limits)
    if damage:
        lost = damage[0]
        if len(damage) > 1 or not isinstance(lost.error, Truncated) or lost.stop < size:
            raise lost.error
        size = lost.start
        warnings.warn(
            f"the stream was cut short: its last {lost.stop - size} bytes are dropped",
            RuntimeWarning,
            stacklevel=4,
        )
    if not table.parts:
        return Tail(size, max(0, size - HEADER_LEN), PartIndex(), {})
    if bytes(source.read_at(size - HEADER_LEN, len(SIGNATURE))) == SIGNATURE:
        # Either an empty part or the end of some payload: a new part is right after both.
        return Tail(size, size, PartIndex(), {})
    part = table.parts[-1]
    ends_in_index = bytes(source.read_at(size - len(INDEX_END), len(INDEX_END))) == INDEX_END
    if ends_in_index and not part.is_indexed and read_index(source, size, limits) is None:
        raise InvalidFrame(
            "the INDEX frame at the end is not that of the frames before it; `triptych index` writes it anew",
            offset=size,
        )
    slots = {slot_key(reference): slot for slot, reference in table.slots_of(len(table.parts) - 1)}
    if part.is_indexed:  # the INDEX frame itself is one of those that go before what is added
        part.index.add_other(part.span)
    return Tail(size, part.offset, part.index, slots, part.is_indexed)


def slot_key(reference: Dictionary | bytes) -> tuple[bytes, bool]:
    """Give the id, and whether the dictionary itself is there."""
    if isinstance(reference, Dictionary):
        return bytes.fromhex(reference.id), True
    return reference, False
