"""What can be said of images without decoding their pixels: the dict that `Reader.info` gives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from triptych.dictionary import Dictionary, Shelf
from triptych.errors import DictionaryMissing
from triptych.metadata import NamedAttachments
from triptych.modes.registry import get_mode
from triptych.scan import Item, Reference, check_expanded


def describe_images(
    item: Item, first_image: int, shelf: Shelf, wanted: Iterable[int] | None = None
) -> list[dict[str, Any]]:
    """Describe the images of a frame, or those that are `wanted`, by their numbers in it.

    Always there: `number`, `shape` (as `decode` gives it), `color` (L, LA, RGB, RGBA, or how many
    bands), `mode`, `frame`, `offset` and `frame_bytes` (of the whole frame), `bytes` (an equal share of
    these, to a tenth). Where the image has them: `key`, `label`, `metadata`, `exif`, `xmp`, `icc_profile`,
    `dpi`, `text`, `colorimetry`, `duration`, `loop`, `palette_order` (for `Reader.read_indexed`),
    `dictionary` (its id). Then what the mode adds; of k-means, `psnr` in dB (None: exact) is the image's
    own, of PCA that of all images of its frame together.
    """
    assert item.images is not None
    mode = get_mode(item.images.mode)
    try:
        dictionary = shelf.get(item.reference)
    except DictionaryMissing:
        dictionary = None
    if dictionary is not None:
        check_expanded(mode, dictionary, shelf.limits)
    extras = mode.describe_frame(item.images.body, item.images.shapes, dictionary)
    described = []
    naming = NamedAttachments()
    for number in range(len(extras)) if wanted is None else wanted:
        extra = extras[number]
        entry = item.images.entry(number)
        shape = entry.shape
        info: dict[str, Any] = {
            "number": first_image + number,
            "shape": shape[:2] if shape.channels == 1 else tuple(shape),
            "color": shape.color,
            "mode": mode.name,
            "frame": item.frame.number,
            "offset": item.frame.offset,
            "frame_bytes": item.frame.length,
            "bytes": item.frame.length if len(extras) == 1 else round(item.frame.length / len(extras), 1),
        }
        optional = {
            "key": entry.key,
            "label": entry.label,
            "dictionary": reference_id(item.reference, dictionary),
        }
        info |= {name: value for name, value in optional.items() if value is not None}
        described.append(info | naming.of(entry.attachments) | extra)
    return described


def reference_id(reference: Reference | None, dictionary: Dictionary | None = None) -> str | None:
    """Give the id of a dictionary in hex: all of it if it is known, else the start that the stream gives."""
    known = reference if isinstance(reference, Dictionary) else dictionary
    if known is not None:
        return known.id
    return reference.hex() if isinstance(reference, bytes) else None
