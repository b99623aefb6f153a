"""What the coding kernels do, as text that can be compared between processes and targets.

`report()` codes small pictures under every plan, decodes the bodies and many damaged copies of them, and
gives digests of it all. Run as a script, it prints the reports as JSON, with a look into the compiled code;
so it can run where numba compiles for another target or checks every index.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from elsewhere import lines_with_floats
from indexed import MAP_KINDS, MAP_PLANS, PLANS, make_map, make_palette, shapes_of
from smallbook import photograph, small_dictionary
from triptych.dictionary import Dictionary
from triptych.errors import InvalidFrame
from triptych.fit.basis import Basis, build_content
from triptych.images import Shape
from triptych.modes import components
from triptych.modes.indexmaps import Indexed, decode_maps, encode_maps
from triptych.modes.pca import MODE as PCA
from triptych.modes.pca import build_note
from triptych.options import Options
from triptych_kernels import (
    basis,
    blockcoder,
    densemap,
    fastmap,
    paint,
    paletteset,
    palettetree,
    planes,
    postfilter,
    rangecoder,
    rankmap,
    reconstruct,
    scores,
    scoretables,
    spritemap,
    tablerans,
)

CODING_KERNELS = (
    densemap.code_dense,
    fastmap.code_fast,
    spritemap.code_sprite,
    rankmap.find_parts,
    rankmap.write_parts,
    rankmap.write_states,
    rankmap.decode_maps,
    paletteset.code_keys,
    paletteset.code_size,
    paletteset.code_palettes,
    paletteset.set_keys,
    paletteset.set_colors,
    palettetree._build,
    rangecoder.start,
    rangecoder.finish_encoding,
    rangecoder.finish_decoding,
    postfilter.pad_plane,
    postfilter.filter_plane,
    paint.paint,
    planes.to_pixels,
    basis.code_image,
    basis.code_fact,
    scores.code_scores,
    scoretables.encode_raw,
    scoretables.decode,
    tablerans.decode_symbols,
    reconstruct.show_images,
)
"""All that decides what is decoded, in either direction."""
SEARCHING_KERNELS = (blockcoder.code_plane,)
"""As well, but encoders compile a search with float costs into them: only a decoder has no float."""
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


def _pca_frames():
    """Give (name, body, shapes, dictionary), all from integers: another target may fit another basis."""
    book = small_dictionary()
    for channels in (1, 2, 3, 4):
        for tune in ("psnr", "visual"):
            images = [photograph(h, w, channels, h) for h, w in ((1, 1), (20, 33), (40, 17))]
            body = PCA.encode_frame(images, Options(mode="pca", tune=tune), book)
            yield f"blocks of {channels}, {tune}", body, [Shape(*image.shape) for image in images], book
    rng = np.random.default_rng(8)
    for mirrored in (False, True):
        shape = Shape(5, 7, 3)
        stored = (5, 4 if mirrored else 7, 3)
        a_basis = Basis(
            shape,
            mirrored,
            step=60,
            gain=90,
            shift=8,
            precise=2,
            levels=np.array([140, 100, 99, 60]),
            odd=(rng.integers(0, 2, 4) * mirrored).astype(np.uint8),
            mean=rng.integers(-500, 500, stored).astype(np.int32),
            entries=rng.integers(-99, 100, (4, *stored)).astype(np.int16),
        )
        book = Dictionary.build("components", {}, build_content(a_basis))
        found = rng.laplace(0, 6, (4, 90)).astype(np.int32)
        for plan in (components.MIXED, components.SIMILAR, components.TABLES):
            coded = components.Coded(66, found)
            body = build_note(None) + components.build_body(coded, plan, a_basis)
            yield f"components, {mirrored}, plan {plan}", body, [shape] * 90, book


def _pca_outcome(body, shapes, book):
    try:
        images = PCA.decode_frame(memoryview(body), shapes, book, 0, len(shapes))
    except InvalidFrame as error:
        return str(error)
    return _digest(*(image.tobytes() for image in images))


def _outcome(body, shapes, palette):
    try:
        maps = decode_maps(memoryview(body), shapes, palette, len(shapes))
    except InvalidFrame as error:
        return str(error)
    return _digest(*(part.tobytes() for m in maps for part in (m.colors, m.indices)))


def _digest(*parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _damaged(body):
    """Give copies with some bytes changed, three in ten of them cut too."""
    rng = np.random.default_rng(len(body))
    for _ in range(DAMAGED_COPIES):
        copy = np.frombuffer(body, np.uint8).copy()
        places = rng.integers(0, copy.size, rng.integers(1, 4))
        copy[places[1:]] = rng.integers(0, 256, places.size - 1)
        copy[places[0]] ^= 1 << rng.integers(8)
        stop = copy.size if rng.random() < 0.7 else rng.integers(1, copy.size + 1)
        yield copy[:stop].tobytes()


def pca_report():
    """Give a digest of each PCA body, of what it decodes to, and of what damaged copies of it give."""
    found = {}
    for name, body, shapes, book in _pca_frames():
        damaged = [_pca_outcome(copy, shapes, book) for copy in _damaged(body)]
        found[name] = [_digest(body, book.payload), _pca_outcome(body, shapes, book), *damaged]
    return found


def report():
    """Give a digest of each frame's body, of its decoded maps, and of what damaged copies of it give."""
    found = {}
    for name, plan, maps, palette in _frames():
        body, shapes = encode_maps(plan, maps, palette), shapes_of(maps)
        damaged = [_outcome(copy, shapes, palette) for copy in _damaged(body)]
        found[name] = {
            "body": _digest(body),
            "maps": _outcome(body, shapes, palette),
            "expected": _digest(*(part.tobytes() for m in maps for part in (m.colors, m.indices))),
            "damaged": _digest("\n".join(damaged).encode()),
            "refused": sum("body" in outcome for outcome in damaged),
        }
    return found


def compiled():
    """Look into the LLVM IR of each coding kernel, by signature: functions, and lines that name a float.

    A kernel that others call has signatures where those are compiled, and none where they come from a cache.
    """
    found = {}
    for kernel in (*CODING_KERNELS, *SEARCHING_KERNELS):
        for number, signature in enumerate(kernel.signatures):
            if kernel in SEARCHING_KERNELS and "Search(" in str(signature):
                continue
            code = kernel.inspect_llvm(signature)
            found[f"{kernel.__name__} {number}"] = {
                "functions": sum(line.startswith("define ") for line in code.splitlines()),
                "floats": lines_with_floats(code),
                "returns": str(kernel.overloads[signature].signature.return_type),
            }
    return found


if __name__ == "__main__":
    print(json.dumps({"report": report(), "pca": pca_report(), "compiled": compiled()}))
