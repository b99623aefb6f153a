"""`TriptychCodec`, a codec of zarr format 3: chunks of uint8 images to bytes.

It is an array's `serializer`, with the options, chunk shapes and dictionaries of
`triptych.interop.numcodecs.Triptych`. Chunks are coded in threads. zarr fills chunks at the edge of an array
up to the whole chunk before they come here, and leaves out those that hold nothing but the fill value.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any, Self, Unpack

import numpy as np
from zarr.abc.codec import ArrayBytesCodec
from zarr.core.array_spec import ArraySpec
from zarr.core.buffer import Buffer, NDBuffer
from zarr.core.common import JSON, parse_named_configuration

from triptych.dictionary import DictionaryLike
from triptych.errors import InvalidFrame, InvalidImage
from triptych.interop.numcodecs import Triptych, refuse_paths
from triptych.keywords import CodingOptions
from triptych.options import explain_options

__all__ = ["TriptychCodec"]

NAME = "triptych"


@explain_options(CodingOptions, embed=False)
@dataclass(frozen=True, init=False)
class TriptychCodec(ArrayBytesCodec):
    """A codec of images for arrays of zarr format 3.

    Give it as `serializer`, with `compressors=None`: its bytes are compressed already.

    Parameters
    ----------
    **options
        `dictionary` and `channels_last` of `triptych.interop.numcodecs.Triptych`, and its options:

    Raises
    ------
    InvalidOption
        No such option, or a wrong value.
    InvalidImage
        When an array is made: its dtype is not uint8, or it has fewer than two axes.

    Examples
    --------
    >>> import zarr
    >>> zarr.registry.register_codec("triptych", TriptychCodec)
    >>> array = zarr.create_array(
    ...     {},
    ...     shape=(10, 10),
    ...     chunks=(8, 8),
    ...     dtype="uint8",
    ...     serializer=TriptychCodec(lossless=True),
    ...     compressors=None,
    ... )
    >>> array[:] = np.eye(10, dtype=np.uint8)
    >>> int(array[:].sum())
    10
    """

    codec: Triptych
    is_fixed_size = False

    def __init__(
        self,
        *,
        dictionary: DictionaryLike | None = None,
        channels_last: bool | None = None,
        **options: Unpack[CodingOptions],
    ) -> None:
        codec = Triptych(dictionary=dictionary, channels_last=channels_last, **options)
        object.__setattr__(self, "codec", codec)

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Make a codec of its entry in the metadata of an array.

        Raises
        ------
        InvalidOption
            As of the class; or the dictionary is a path.
        """
        _, configuration = parse_named_configuration(data, NAME, require_configuration=False)
        given: dict[str, Any] = {**(configuration or {})}
        refuse_paths(given)
        return cls(**given)

    def to_dict(self) -> dict[str, JSON]:
        """Give its entry in the metadata of an array."""
        configuration = self.codec.get_config()
        del configuration["id"]
        return {"name": NAME, "configuration": configuration}

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Refuse an array that does not hold images; zarr calls this for every array, and inside shards."""
        dtype = array_spec.dtype.to_native_dtype()
        if dtype != np.uint8:
            raise InvalidImage(f"the codec {NAME!r} is for arrays of uint8, not of {dtype}")
        if array_spec.ndim < 2:
            raise InvalidImage(
                f"the codec {NAME!r} is for arrays of images, (..., height, width) or "
                f"(..., height, width, channels), not of shape {array_spec.shape}"
            )
        return self

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Raise what zarr expects of a codec of no fixed size: that depends on the pixels."""
        raise NotImplementedError

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        # The metadata of the array tell the shape of a chunk: it would be said twice in the stream.
        images = self.codec.split_images(chunk_data.as_numpy_array())
        encoded = await asyncio.to_thread(self.codec.encode_images, images, {})
        return chunk_spec.prototype.buffer.from_bytes(encoded)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        images, _ = await asyncio.to_thread(self.codec.decode_images, chunk_data.to_bytes())
        if images.size != math.prod(chunk_spec.shape):
            raise InvalidFrame("samples of a chunk", expected=chunk_spec.shape, got=images.shape)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(images.reshape(chunk_spec.shape))
