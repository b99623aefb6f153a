"""What the coding kernels do, as text that can be compared between processes and targets.

`report()` codes small pictures under every plan, decodes the bodies and many damaged copies of them, and
gives digests of it all. Run as a script, it prints the report as JSON, with a look into the compiled code;
so it can run where numba compiles for another target or checks every index.
"""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
from indexed import MAP_KINDS, MAP_PLANS, PLANS, make_map, make_palette, shapes_of
from triptych.errors import InvalidFrame
from triptych.modes.indexmaps import Indexed, decode_maps, encode_maps
from triptych_kernels import densemap, fastmap, paletteset, palettetree, rangecoder, spritemap

CODING_KERNELS = (
    densemap.code_dense,
    fastmap.code_fast,
    spritemap.code_sprite,
    paletteset.code_keys,
    paletteset.code_size,
    palettetree._build,
    rangecoder.start,
    rangecoder.finish_encoding,
    rangecoder.finish_decoding,
)
"""All that decides what is decoded, in either direction."""
DAMAGED_COPIES = 40


def _frames():
    """Give (name, plan, maps, the dictionary's palette or None)."""
    sizes = ((1, 1), (3, 5), (17, 23), (40, 33))
    for plan in PLANS:
        for k, palette_kind in ((1, "rgb"), (5, "grey"), (90, "rgba")):
            colors = [make_palette(palette_kind, min(k, h * w), k) for h, w in sizes]
            maps = [
                Indexed(c, make_map(kind, h, w, len(c), k))
                for c, (h, w), kind in zip(colors, sizes, MAP_KINDS, strict=False)
            ]
            yield f"{plan}, {k} colours", plan, maps, None
            if plan in MAP_PLANS:
                palette = colors[-1]
                maps = [
                    Indexed(palette, make_map(kind, 20, 30, len(palette), k)) for kind in ("tiles", "noise")
                ]
                yield f"{plan}, {k} colours of a dictionary", plan, maps, palette


def _outcome(body, shapes, palette):
    try:
        maps = decode_maps(memoryview(body), shapes, palette, len(shapes))
    except InvalidFrame as error:
        return str(error)
    return _digest(*(part.tobytes() for m in maps for part in (m.colors, m.indices)))


def _digest(*parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()


def report():
    """Give a digest of each frame's body, of its decoded maps, and of what damaged copies of it give."""
    found = {}
    for name, plan, maps, palette in _frames():
        body, shapes = encode_maps(plan, maps, palette), shapes_of(maps)
        rng = np.random.default_rng(len(body))
        damaged = []
        for _ in range(DAMAGED_COPIES):
            copy = np.frombuffer(body, np.uint8).copy()
            places = rng.integers(0, copy.size, rng.integers(1, 4))
            copy[places[1:]] = rng.integers(0, 256, places.size - 1)
            copy[places[0]] ^= 1 << rng.integers(8)
            stop = copy.size if rng.random() < 0.7 else rng.integers(1, copy.size + 1)
            damaged.append(_outcome(copy[:stop].tobytes(), shapes, palette))
        found[name] = {
            "body": _digest(body),
            "maps": _outcome(body, shapes, palette),
            "expected": _digest(*(part.tobytes() for m in maps for part in (m.colors, m.indices))),
            "damaged": _digest("\n".join(damaged).encode()),
            "refused": sum("body" in outcome for outcome in damaged),
        }
    return found


def compiled():
    """Look into the LLVM IR of each coding kernel, by signature: functions, and lines that name a float."""
    found = {}
    for kernel in CODING_KERNELS:
        for number, signature in enumerate(kernel.signatures):
            lines = kernel.inspect_llvm(signature).splitlines()
            found[f"{kernel.__name__} {number}"] = {
                "functions": sum(line.startswith("define ") for line in lines),
                "floats": [line for line in lines if re.search(r"\b(half|float|double|fp128)\b", line)],
            }
    return found


if __name__ == "__main__":
    print(json.dumps({"report": report(), "compiled": compiled()}))
