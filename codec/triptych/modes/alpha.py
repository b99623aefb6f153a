"""Alpha of pictures whose colours are coded with loss: exactly, as grey pictures of the k-means panel.

Alpha is a shape, not a colour. The planes of a frame's pictures are one k-means body, with its length before
it; a frame without alpha has nothing. FORMAT.md sections 7 and 13 say where it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from triptych.errors import InvalidFrame
from triptych.images import Pixels, Shape
from triptych.modes.kmeans import MODE as KMEANS
from triptych.options import Options
from triptych.varint import build_varint, parse_varint

__all__ = ["decode_alpha", "encode_alpha", "has_alpha"]


def has_alpha(shape: Shape) -> bool:
    """Say whether an image has alpha."""
    return shape.channels in (2, 4)


def encode_alpha(images: Sequence[Pixels], options: Options) -> bytes:
    """Code what the images (height, width, channels) have of alpha, with its length before it."""
    planes = [np.ascontiguousarray(image[:, :, -1:]) for image in images if has_alpha(Shape(*image.shape))]
    if not planes:
        return b""
    exact = replace(
        options,
        mode="kmeans",
        lossless=True,
        quality=None,
        target_size=None,
        target_psnr=None,
        keep=(),
        dither=False,
        n_colors="auto",
        variance=None,
        n_components=None,
    )
    body = KMEANS.encode_frame(planes, exact, None)
    return build_varint(len(body)) + body


def decode_alpha(
    body: memoryview, at: int, shapes: Sequence[Shape], stop: int
) -> tuple[list[Pixels | None], int]:
    """Give the alpha (height, width, 1) of each of the first `stop` images, None where it has none.

    at: where the length stands in the body. Also give where what follows begins.

    Raises
    ------
    InvalidFrame
        The body is not what `encode_alpha` gives.
    """
    grey = [shape._replace(channels=1) for shape in shapes if has_alpha(shape)]
    if not grey:
        return [None] * stop, at
    length, at = parse_varint(body, at)
    if at + length > len(body):
        raise InvalidFrame("alpha goes beyond the body", expected=at + length, got=len(body))
    wanted = sum(map(has_alpha, shapes[:stop]))
    planes = iter(KMEANS.decode_frame(body[at : at + length], grey, None, 0, wanted))
    return [next(planes) if has_alpha(shape) else None for shape in shapes[:stop]], at + length
