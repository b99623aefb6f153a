"""Varints (FORMAT.md, first section): unsigned integers of up to 63 bits in groups of seven."""

from __future__ import annotations

from triptych.errors import InvalidFrame

MAX = (1 << 63) - 1
_MAX_BYTES = 9


def build_varint(value: int) -> bytes:
    """Give the bytes of 0 <= value < 2**63."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def parse_varint(data: memoryview, position: int) -> tuple[int, int]:
    """Give the value at a position and the position after it."""
    try:
        byte = data[position]
        if byte < 0x80:
            return byte, position + 1
        value = 0
        for place in range(_MAX_BYTES):
            byte = data[position + place]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if byte == 0:
                    raise InvalidFrame("a varint ends in a zero byte")
                return value, position + place + 1
    except IndexError:
        raise InvalidFrame("the payload ends inside a varint") from None
    raise InvalidFrame(f"a varint has more than {_MAX_BYTES} bytes")
