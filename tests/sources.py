"""Picture files that Pillow cannot write: small writers of PNG, TIFF and PNM of any depth."""

from __future__ import annotations

import struct
import zlib

import numpy as np

_PNG_COLORS = {1: 0, 2: 4, 3: 2, 4: 6}


def png_chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples, *chunks, bits=16, color=None):
    """Return a PNG file of samples (height, width, channels); `chunks` come before the pixels."""
    height, width, channels = samples.shape
    color = _PNG_COLORS[channels] if color is None else color
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in samples]
    else:
        flags = (samples.reshape(height, width * channels, 1) >> np.arange(bits)[::-1]) & 1
        rows = [np.packbits(row.astype(np.uint8)).tobytes() for row in flags]
    head = png_chunk(b"IHDR", struct.pack(">2I5B", width, height, bits, color, 0, 0, 0))
    body = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + body + png_chunk(b"IEND", b"")


def tiff(samples, order="<", bits=16, extra=(), tags=()):
    """Return a TIFF file of one strip; `extra` says what the channels beyond grey or RGB are."""
    height, width, channels = samples.shape
    n_colors = channels - len(extra)
    data = samples.astype(f"{order}u{bits // 8}").tobytes()
    fields = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (bits,) * channels),
        259: ("H", (1,)),
        262: ("H", (1 if n_colors == 1 else 2,)),
        273: ("I", (0,)),
        277: ("H", (channels,)),
        278: ("I", (height,)),
        279: ("I", (len(data),)),
        **({338: ("H", extra)} if extra else {}),
        **dict(tags),
    }
    place = 8 + 2 + 12 * len(fields) + 4
    entries, later = b"", b""
    for tag, (kind, values) in sorted(fields.items()):
        if tag == 273:
            entries += struct.pack(f"{order}2H2I", tag, 4, 1, 0xDEADBEEF)
            continue
        code = {"H": 3, "I": 4, "s": 2}[kind]
        packed = values if kind == "s" else struct.pack(f"{order}{len(values)}{kind}", *values)
        count = len(values)
        if len(packed) > 4:
            entries += struct.pack(f"{order}2H2I", tag, code, count, place + len(later))
            later += packed
        else:
            entries += struct.pack(f"{order}2HI", tag, code, count) + packed.ljust(4, b"\0")
    strip = struct.pack(f"{order}I", 0xDEADBEEF)
    entries = entries.replace(strip, struct.pack(f"{order}I", place + len(later)))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(fields))
    return head + entries + bytes(4) + later + data


def pnm(samples, top=65535):
    """Return a PGM or PPM file of values up to `top`."""
    height, width, channels = samples.shape
    head = f"P{5 if channels == 1 else 6} {width} {height} {top}\n".encode()
    return head + samples.astype(">u2" if top > 255 else "u1").tobytes()


def ink_profile():
    """Return an ICC profile of CMYK whose inks are all grey: L* falls by a quarter of white with each."""
    inks = np.indices((2, 2, 2, 2)).reshape(4, -1).sum(0)
    lab = np.stack([255 - 63 * inks, np.full(16, 128), np.full(16, 128)], 1).astype(np.uint8)
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * ramp + lab.tobytes() + 3 * ramp
    text = b"text" + bytes(4) + b"test\0"
    desc = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    items = {b"A2B0": lut, b"desc": desc, b"cprt": text, b"wtpt": white}
    table, body = struct.pack(">I", len(items)), b""
    start = 128 + 4 + 12 * len(items)
    for name, item in items.items():
        table += name + struct.pack(">2I", start + len(body), len(item))
        body += item + bytes(-len(item) % 4)
    head = struct.pack(">I4sI", start + len(body), bytes(4), 0x02400000) + b"prtrCMYKLab "
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    return head + struct.pack(">3i", 63190, 65536, 54061) + bytes(48) + table + body
