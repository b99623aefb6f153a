"""Which images of a stream make one file: the frames of an animation, pages, sizes of an icon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from triptych.cli.failures import UsageFailure

if TYPE_CHECKING:
    from triptych.images import Pixels
    from triptych.limits import Limits

Decoded = tuple[dict[str, Any], "Pixels"]
"""What `Reader.info` says of an image, and its pixels."""


def holds_animations(suffix: str) -> bool:
    """Say whether files of a suffix hold animations with their times."""
    from PIL import Image

    from triptych.interop.frames import ANIMATED

    return Image.registered_extensions().get(suffix) in ANIMATED


def each_alone(images: Iterator[Decoded]) -> Iterator[list[Decoded]]:
    """Give each image for itself."""
    return ([image] for image in images)


def group_animations(images: Iterator[Decoded], limits: Limits) -> Iterator[list[Decoded]]:
    """Give all frames of an animation together, and each other image for itself.

    Raises
    ------
    LimitExceeded
        An animation has more bytes of pixels than may be decoded at once.
    """
    from triptych.timing import goes_on

    return _group(images, limits, goes_on)


def _group(
    images: Iterator[Decoded], limits: Limits, goes_on: Callable[[dict[str, Any], dict[str, Any]], bool]
) -> Iterator[list[Decoded]]:
    group: list[Decoded] = []
    n_bytes = 0
    for info, pixels in images:
        if group and not goes_on(group[-1][0], info):
            yield group
            group, n_bytes = [], 0
        group.append((info, pixels))
        n_bytes += pixels.nbytes
        limits.check("decoded_bytes", n_bytes)
    if group:
        yield group


def gather(images: Iterator[Decoded], suffix: str, where: str, limits: Limits) -> list[Decoded]:
    """Give the images that go to one file together, which are all.

    Raises
    ------
    UsageFailure
        The format holds one image, or one animation, and there are more.
    LimitExceeded
        They have more bytes of pixels than may be decoded at once.
    """
    from PIL import Image

    from triptych.interop.frames import PAGED

    begin: list[list[Decoded]] = []
    if Image.registered_extensions().get(suffix) in PAGED:
        begin = list(_group(images, limits, lambda before, info: True))
    elif holds_animations(suffix):
        begin = list(islice(group_animations(images, limits), 2))
    if len(begin) == 1:
        return begin[0]
    if any(len(group) > 1 for group in begin):
        more = "one animation, and the stream has more: use --only NAME/, or -o DIRECTORY --animations"
    else:
        more = "one image, and the stream has more: use --only, or -o DIRECTORY"
    raise UsageFailure(f"{where} holds {more}")
