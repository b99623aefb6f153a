"""The dataset of latents, and the drawing of them; see `triptych.interop.torch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from triptych.dictionary import Dictionary
from triptych.errors import DictionaryMismatch, InvalidOption, TriptychError
from triptych.interop.items import FIELDS, Fields, Raw, SourceName, check_fields, field_of, read_images
from triptych.interop.shards import Piece
from triptych.interop.torchiterable import TriptychIterableDataset
from triptych.limits import Limits
from triptych.modes.neural import AE, GAN, Neural
from triptych.modes.panel import Panel
from triptych.scan import Item, check_shown

_NEURAL = {mode.code: mode for mode in (AE, GAN)}


class LatentDataset(TriptychIterableDataset):
    """The latents of a stream of mode ae or gan, to be drawn where the networks run.

    It is a `TriptychIterableDataset`: shards, order and states are the same. An item is a dict that
    DataLoader collates: "latents", int16 (channels, rows, columns); "quality", int; "shape", int64 (3), the
    height, width and channels of the image; and the fields that are asked for. `draw` takes a batch of them.

    Parameters
    ----------
    source, on_error, shuffle, seed, window, rank, world_size, even, limits, dictionary, storage_options
        As in `TriptychIterableDataset`.
    fields : tuple of str
        Of "label", "key" and "number".

    Raises
    ------
    DictionaryMismatch
        A frame is of another mode, or has another dictionary, than the first one.
    InvalidOption, TriptychError
        As in `TriptychIterableDataset`.
    """

    def __init__(
        self,
        source: SourceName,
        *,
        fields: Fields | list[str] = (),
        **options: Any,
    ) -> None:
        for name in ("transform", "mode", "n_components", "realism"):
            if name in options:
                raise InvalidOption(f"{name} is for pixels; a LatentDataset gives latents, and draw pixels")
        super().__init__(source, fields=fields, **options)
        self._kind = self._kind_of(self._stream.reader.read_frame(0)) if self._n_images else None
        self._panel: Panel | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_panel": None}

    def _check_fields(self, fields: Fields | list[str]) -> Fields:
        return check_fields(fields, FIELDS[1:])

    def _kind_of(self, item: Item) -> tuple[int, str]:
        """Give the mode and the dictionary of a frame of latents."""
        assert item.images is not None
        if item.images.mode not in _NEURAL or not isinstance(item.reference, Dictionary):
            raise DictionaryMismatch(
                "latents are of modes ae and gan: read other streams with TriptychIterableDataset"
            ).locate(offset=item.frame.offset, frame=item.frame.number)
        return item.images.mode, item.reference.id

    def _read(self, piece: Piece, numbers: range) -> list[Raw]:
        raws = read_images(self._stream, numbers, with_pixels=False)
        with self._stream.naming(numbers):
            quality, latents, shapes = self._decode(self._stream.reader.read_frame(piece.frame))
        return [
            raw._replace(
                content={
                    "latents": torch.from_numpy(latents[image].astype(np.int16)),
                    "quality": quality,
                    "shape": torch.tensor(shapes[image]),
                }
            )
            for raw, image in zip(raws, range(piece.start, piece.stop), strict=True)
        ]

    def _decode(self, item: Item) -> tuple[int, Sequence[Any], Sequence[Any]]:
        if self._kind_of(item) != self._kind:
            raise DictionaryMismatch(
                "mode and dictionary of a frame, and of the first one",
                expected=self._kind,
                got=self._kind_of(item),
            ).locate(offset=item.frame.offset, frame=item.frame.number)
        images = item.images
        assert images is not None
        assert isinstance(item.reference, Dictionary)
        limits = self._stream.reading.get("limits") or Limits()
        try:
            limits.check("decoded_bytes", sum(shape.nbytes for shape in images.shapes))
            mode = _NEURAL[images.mode]
            quality, latents = mode.decode_latents(images.body, images.shapes, item.reference)
        except TriptychError as error:
            raise error.locate(offset=item.frame.offset, frame=item.frame.number) from None
        return quality, latents, images.shapes

    def _build(self, raw: Raw) -> dict[str, Any]:
        fields = self._builder.fields
        names = (fields,) if isinstance(fields, str) else fields
        item: dict[str, Any] = raw.content
        return item | {name: field_of(raw, name) for name in names}

    def draw(self, batch: Mapping[str, Tensor], realism: float | None = None) -> Tensor:
        """Draw a batch of latents, on the GPU if there is one. For the main process, not for workers.

        Parameters
        ----------
        batch : mapping
            Collated items: "latents" (n, channels, rows, columns), "quality" (n), "shape" (n, 3).
        realism : float
            0 to 1; by default as the stream's mode says. See `triptych.Reader`.

        Returns
        -------
        uint8 tensor (n, channels, height, width)
            On the device, of the memory format channels_last. What `Reader` gives, but for differences of 1
            where float arithmetic differs.

        Raises
        ------
        InvalidOption
            The images of the batch have several shapes.
        DictionaryMismatch
            There is no generator for this realism.
        DeviceExhausted
            The device has no memory left.
        """
        mode, panel = self._networks()
        realism = check_shown(None, realism).realism
        if realism is None:
            realism = mode.realism
            panel.check_realism(realism)
        shapes = torch.unique(batch["shape"], dim=0)
        if len(shapes) != 1:
            raise InvalidOption(f"images of {len(shapes)} shapes in a batch: collate those of one shape")
        height, width, channels = shapes[0].tolist()
        images = panel.draw_on_device(batch["latents"], batch["quality"], realism)[:, :height, :width]
        if images.shape[3] != channels:
            images = ((images.sum(3, dtype=torch.int32, keepdim=True) * 2 + 3) // 6).to(torch.uint8)
        return images.permute(0, 3, 1, 2)

    def _networks(self) -> tuple[Neural, Panel]:
        item = self._stream.reader.read_frame(0)
        if self._panel is None:
            assert isinstance(item.reference, Dictionary)
            self._panel = Panel(item.reference)
        assert item.images is not None
        return _NEURAL[item.images.mode], self._panel
