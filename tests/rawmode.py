"""A mode for tests of the stream: the body is the raw pixels, so nothing here needs numba."""

from __future__ import annotations

import numpy as np
from triptych.errors import DictionaryMismatch, InvalidFrame
from triptych.modes import registry


class RawMode:
    """Pixels as they are; with a dictionary, each byte is XORed with the first byte of its content."""

    name = "raw"
    code = 15
    default_dictionary = None

    def encode_frame(self, images, options, dictionary):
        return b"".join((image ^ self._mask(dictionary)).tobytes() for image in images)

    def decode_frame(self, body, shapes, dictionary, start, stop, n_components=None, realism=None):
        if len(body) < sum(shape.nbytes for shape in shapes):
            raise InvalidFrame("the body is too short")
        images, position = [], 0
        for shape in shapes[:stop]:
            pixels = np.frombuffer(body, np.uint8, shape.nbytes, position).reshape(shape)
            images.append(pixels ^ self._mask(dictionary))
            position += shape.nbytes
        return images[start:]

    def images_per_frame(self, shape, options, dictionary):
        return 1 if shape.pixels > 16 else 4

    def describe_frame(self, body, shapes, dictionary):
        return [{"raw_bytes": shape.nbytes} for shape in shapes]

    def _mask(self, dictionary):
        if dictionary is None:
            return np.uint8(0)
        if not dictionary.content:
            raise DictionaryMismatch("the dictionary is empty")
        return np.uint8(dictionary.content[0])


RAW = RawMode()
registry.register(RAW)


def register_for_one_test(mode, monkeypatch):
    """Add a mode, or replace the one of its code, until the test ends."""
    monkeypatch.setattr(registry, "_CODES", {**registry._CODES})
    monkeypatch.setattr(registry, "_loaded", {**registry._loaded})
    registry.register(mode)
