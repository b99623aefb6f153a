"""Hypothesis strategies: images, what is said of them, and streams of the raw mode."""

from __future__ import annotations

import io
import operator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import triptych as tp
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

BOOK = tp.Dictionary.build("palette", {"n_colors": 1, "wcss": 2.5}, b"\x5a\x01\x02\x03")
"""A dictionary for the raw mode."""

json_objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**20), 10**20)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
labels = st.integers(-(2**62) + 1, 2**62 - 1)
options = st.fixed_dictionaries(
    {}, optional={"frame_images": st.integers(1, 5), "threads": st.sampled_from([1, 2])}
)


def images(max_side: int = 6):
    """Images as the public face gives them: grey ones have two axes."""
    side = st.integers(1, max_side)
    shapes = st.tuples(side, side) | st.tuples(side, side, st.integers(2, 4))
    return shapes.flatmap(lambda shape: hnp.arrays(np.uint8, shape))


@dataclass
class Record:
    """An image and what is said of it, as arguments of `Writer.write`."""

    image: np.ndarray
    about: dict = field(default_factory=dict)


def _milliseconds(seconds: Fraction) -> float:
    return int(seconds * 1000) if (seconds * 1000).denominator == 1 else float(seconds) * 1000


durations = st.fractions(0, 65535, max_denominator=65535).map(_milliseconds)
"""Times of frames, as they are read."""
resolutions = st.floats(min_value=0, exclude_min=True, allow_infinity=False, width=32)


def records(max_side: int = 6):
    blobs = st.binary(max_size=40)
    words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    about = st.fixed_dictionaries(
        {},
        optional={
            "key": keys,
            "label": labels,
            "metadata": json_objects,
            "exif": blobs,
            "xmp": blobs,
            "icc_profile": blobs,
            "dpi": st.tuples(resolutions, resolutions),
            "text": st.dictionaries(words, words | st.lists(words, min_size=2, max_size=3), min_size=1),
            "colorimetry": st.builds(dict, gamma=resolutions) | st.builds(dict, srgb=st.integers(0, 3)),
        },
    )
    times = st.fixed_dictionaries({"duration": durations}, optional={"loop": st.integers(0, 2**32 - 1)})
    said = st.builds(operator.or_, about, st.just({}) | times)
    return st.builds(Record, images(max_side), said)


def write_stream(some_records, target=None, **writer_options) -> bytes:
    """Write records with the raw mode, by default into bytes."""
    stream = io.BytesIO() if target is None else target
    with tp.Writer(stream, **({"mode": "raw", "threads": 1} | writer_options)) as writer:
        for record in some_records:
            writer.write(record.image, **record.about)
    return stream.getvalue() if target is None else b""


def small_records(n: int) -> list[Record]:
    """Give n small images, each of one value: its number."""
    return [Record(np.full((2, 3), number, np.uint8)) for number in range(n)]


def same_images(got, some_records) -> bool:
    expected = [record.image for record in some_records]
    return len(got) == len(expected) and all(map(np.array_equal, got, expected))
