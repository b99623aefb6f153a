"""Which images of a stream make one file: the frames of an animation, pages, sizes of an icon."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from triptych.cli.failures import UsageFailure

if TYPE_CHECKING:
    from triptych.images import Pixels

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


def group_animations(images: Iterator[Decoded]) -> Iterator[list[Decoded]]:
    """Give all frames of an animation together, and each other image for itself."""
    from triptych.timing import goes_on

    group: list[Decoded] = []
    for info, pixels in images:
        if group and not goes_on(group[-1][0], info):
            yield group
            group = []
        group.append((info, pixels))
    if group:
        yield group


def gather(images: Iterator[Decoded], suffix: str, where: str) -> list[Decoded]:
    """Give the images that go to one file together, which are all.

    Raises
    ------
    UsageFailure
        The format holds one image, or one animation, and there are more.
    """
    from PIL import Image

    from triptych.interop.frames import PAGED

    if Image.registered_extensions().get(suffix) in PAGED:
        return list(images)
    begin: list[list[Decoded]] = []
    if holds_animations(suffix):
        begin = list(islice(group_animations(images), 2))
        if len(begin) == 1:
            return begin[0]
    if any(len(group) > 1 for group in begin):
        more = "one animation, and the stream has more: use --only NAME/, or -o DIRECTORY --animations"
    else:
        more = "one image, and the stream has more: use --only, or -o DIRECTORY"
    raise UsageFailure(f"{where} holds {more}")
