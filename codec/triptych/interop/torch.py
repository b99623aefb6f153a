"""Streams as datasets of `torch.utils.data`.

`TriptychDataset` is map-style: any sampler, exact length, one `read_batch` for each batch.
`TriptychIterableDataset` reads frames one after the other, each once in an epoch, shared out to ranks and
workers. `LatentDataset` does so for streams of modes ae and gan and leaves the networks to the main process:
workers decode latents, and `draw` makes a batch of images of them on the device.

Images are uint8 tensors (channels, height, width), grey ones of one channel. They are views of the decoded
(height, width, channels), so nothing is copied before batches are collated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch.utils.data import Dataset

from triptych.errors import FormatError
from triptych.interop.colors import ColorMode
from triptych.interop.items import (
    FIELDS,
    Builder,
    Fields,
    OnError,
    Opened,
    Raw,
    Reading,
    Skipped,
    SourceName,
    Transform,
    check_fields,
    has_field,
    read_images,
)
from triptych.interop.torchiterable import TriptychIterableDataset
from triptych.interop.torchlatents import LatentDataset

__all__ = ["LatentDataset", "TriptychDataset", "TriptychIterableDataset"]


class TriptychDataset(Dataset[Any]):
    """The images of a stream, by number.

    Parameters
    ----------
    source : path, URL or bytes
        The stream. Each worker opens it for itself.
    fields : str or tuple of str
        What an item is: one of "image", "label", "key" and "number", or a tuple of such for tuples.
    transform : callable
        Applied to the image, a uint8 tensor (channels, height, width).
    mode : {"L", "LA", "RGB", "RGBA"} or None
        What images are converted to, as Pillow's `convert` does; "RGB" drops alpha. None: each stays as it
        is, and a warning says so where the modes of a stream differ.
    on_error : {"raise", "skip"}
        What to do about an image that is damaged: raise, or give another one in its place, from the next
        frame that is whole, so that lengths and batches stay what they are. `n_skipped` counts them.
    **reading
        `limits`, `dictionary`, `n_components`, `realism` and `storage_options`: as in `triptych.Reader`.

    Raises
    ------
    InvalidOption
        Fields that do not exist; at reading, an image without a label or key that is asked for.
    IndexError
        At reading, a number beyond the length.
    TriptychError
        As in `triptych.Reader`; at reading, with a note that gives the numbers of images. From a worker torch
        raises it again with its type, and its text holds the note.

    Examples
    --------
    >>> import numpy as np, triptych as tp
    >>> dataset = TriptychDataset(tp.encode(np.zeros((4, 6, 3), np.uint8), threads=1))
    >>> len(dataset), dataset[0].shape
    (1, torch.Size([3, 4, 6]))
    """

    def __init__(
        self,
        source: SourceName,
        *,
        fields: Fields | list[str] = "image",
        transform: Transform | None = None,
        mode: ColorMode | None = None,
        on_error: OnError = "raise",
        **reading: Unpack[Reading],
    ) -> None:
        self._builder = Builder(check_fields(fields, FIELDS), transform, mode)
        self._stream = Opened(source, reading, on_error)
        self._skipped = Skipped() if on_error == "skip" else None
        self._length = self._stream.count_images()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Give a batch: what DataLoader asks for. Each frame is decoded once for all of its images."""
        numbers = [range(self._length)[index] for index in indices]
        try:
            raws = self._read(numbers)
        except FormatError as error:
            if not self._stream.is_skipped(error):
                raise
            raws = self._read_whole(numbers)
        return [self._builder.build(raw) for raw in raws]

    @property
    def n_skipped(self) -> int:
        """How many damaged images were asked for by now, in all workers; again in each epoch."""
        return 0 if self._skipped is None else self._skipped.total

    def _read(self, numbers: Sequence[int]) -> list[Raw]:
        return read_images(self._stream, numbers, with_pixels=has_field(self._builder.fields, "image"))

    def _read_whole(self, numbers: Sequence[int]) -> list[Raw]:
        """Read images frame by frame, and others in the place of those that are damaged."""
        assert self._skipped is not None
        raws: dict[int, Raw] = {}
        for _, _, ats in self._stream.reader.table.group(numbers):
            wanted = [numbers[at] for at in ats]
            error: FormatError | None = None
            for _ in self._stream.image_counts():
                try:
                    raws |= zip(ats, self._read(wanted), strict=True)
                    break
                except FormatError as lost:
                    if not self._stream.is_skipped(lost):
                        raise
                    if error is None:
                        self._skipped.add(len(ats))
                    error = error or lost
                    wanted = self._next_frame(wanted)
            else:  # no frame is whole
                assert error is not None
                raise error
        return [raws[at] for at in range(len(numbers))]

    def _next_frame(self, numbers: Sequence[int]) -> list[int]:
        """Give images of the frame after that of these, at the same places in it as far as there are such."""
        table, counts = self._stream.reader.table, self._stream.image_counts()
        places = [table.frame_of(number) for number in numbers]
        frame = (places[0][0] + 1) % len(counts)
        return [table.first_image(frame) + place % int(counts[frame]) for _, place in places]

    def close(self) -> None:
        """Close the stream in this process; reading opens it again."""
        self._stream.close()
