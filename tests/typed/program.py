"""A program of a user, as type checkers see it: every call here is allowed. It is checked, and never run."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import assert_type

import numpy as np
import numpy.typing as npt
import triptych as tp
from triptych.fit import CollectionStatistics
from triptych.interop.numcodecs import Triptych
from triptych.interop.sklearn import PaletteQuantizer
from triptych.interop.torch import TriptychDataset, TriptychIterableDataset
from triptych.interop.zarr import TriptychCodec

Pixels = npt.NDArray[np.uint8]
image: Pixels = np.zeros((16, 16, 3), np.uint8)

# One image.
data = assert_type(tp.encode(image), bytes)
tp.encode(image, n_colors=8, keep=[(255, 0, 0), np.array([1, 2, 3])], dither=True)
tp.encode(image, n_colors="auto", effort="max", mode="kmeans", seed=np.int64(3))
tp.encode(image, mode="pca", quality=np.uint8(90), tune="psnr", limits=tp.Limits(pixels_per_image=10**9))
tp.encode(image, lossless=True, key="cat", label=3, metadata={"place": "Kyiv"}, dpi=(72, 72))
tp.encode(image, target_psnr=np.float32(40), threads=0, executor=ThreadPoolExecutor(), limits=None)
assert_type(tp.decode(data), Pixels)
assert_type(tp.decode(data, out=np.empty_like(image)), Pixels)

# Dictionaries.
palette = assert_type(tp.fit("kmeans", [image], n_colors=16, keep=[(0, 0, 0)], effort="fast"), tp.Dictionary)
tp.fit("pca", [image], variance=0.95, embed=False)
networks = tp.fit("ae", [image], core_seconds=60, checkpoint=Path("state"), seed=1)
tp.fit("gan", [image], dictionary=networks, say=print)
CollectionStatistics("pca").fit(n_components=8)
tp.encode(image, dictionary=palette, embed=False)

# Streams.
with tp.Writer(Path("images.tych"), palette, frame_images=64, target_size=20_000, mode="auto") as writer:
    writer.write(image, key="cat", label=1)
with tp.Writer(io.BytesIO(), append=False, threads=2, on_failure=lambda keys, error: print(keys, error)):
    pass
with tp.Reader("images.tych", damage="skip", threads=0) as reader:
    for info, pixels in reader.items():
        print(info["number"], assert_type(pixels, Pixels).shape)
    assert_type(reader["cat"], Pixels)
    assert_type(reader[np.int64(0)], Pixels)
    assert_type(reader[:2], list[Pixels])
    assert_type(reader[[0, "cat"]], list[Pixels])
    assert_type(reader[np.array([0, 2])], list[Pixels])
    assert_type(reader.get("cat"), Pixels | None)
    assert_type(reader.get("cat", image), Pixels)
    assert_type(reader.get(9, "none"), Pixels | str)
    assert_type(reader.read_batch([0, "cat"]), list[Pixels])
    assert_type(reader.read_batch(range(1), np.empty((1, 16, 16, 3), np.uint8)), Pixels)
assert_type(tp.verify("images.tych", level="decode"), tp.Report)

# Integrations.
Triptych(n_colors=4, channels_last=True)
TriptychCodec(dictionary=palette, lossless=True)
PaletteQuantizer(16, effort="max")
TriptychDataset("images.tych", fields=["image", "label"], mode="RGB", on_error="skip", limits=tp.Limits())
TriptychIterableDataset("images.tych", shuffle=True, seed=3)
