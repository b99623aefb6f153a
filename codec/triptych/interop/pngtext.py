"""The text chunks of a PNG file as they stand: each of a keyword, and those behind the pixels too.

Pillow keeps one text of a keyword, and knows what follows the pixels only when they are loaded.
"""

from __future__ import annotations

import struct
import zlib
from typing import IO

from triptych.sidedata import Text, known_text

_XMP = "XML:com.adobe.xmp"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def read_png_text(file: IO[bytes], most: int) -> Text:
    """Return texts by keyword, without XMP; those of more than `most` bytes are left out.

    The file is left where it was.
    """
    place = file.tell()
    file.seek(0)
    texts: dict[str, list[str]] = {}
    if file.read(len(_SIGNATURE)) == _SIGNATURE:
        while len(head := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", head)
            if name in (b"tEXt", b"zTXt", b"iTXt") and length <= most:
                item = _parse(name, file.read(length), most)
                if item is not None and item[0] != _XMP:
                    texts.setdefault(item[0], []).append(item[1])
                length = 0
            if name == b"IEND":
                break
            file.seek(length + 4, 1)
    file.seek(place)
    return known_text(texts)


def _parse(name: bytes, data: bytes, most: int) -> tuple[str, str] | None:
    keyword, _, rest = data.partition(b"\0")
    compressed, encoding = False, "latin-1"
    if name == b"zTXt":
        compressed, rest = True, rest[1:]
    elif name == b"iTXt":
        compressed, rest, encoding = rest[:1] == b"\1", rest[2:], "utf-8"
        _, _, rest = rest.partition(b"\0")  # the language
        _, _, rest = rest.partition(b"\0")  # the keyword in that language
    if compressed:
        inflater = zlib.decompressobj()
        try:
            rest = inflater.decompress(rest, most)
        except zlib.error:
            return None
        if not inflater.eof:
            return None
    return keyword.decode("latin-1"), rest.decode(encoding, "replace")
