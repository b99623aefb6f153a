"""Mistakes that a type checker finds: each line that ends in a code of mypy has this error, and no other."""

import numpy as np
import triptych as tp
from triptych.fit import CollectionStatistics
from triptych.interop.numcodecs import Triptych
from triptych.interop.sklearn import PaletteQuantizer
from triptych.interop.torch import TriptychDataset
from triptych.interop.zarr import TriptychCodec

image = np.zeros((16, 16, 3), np.uint8)

tp.encode(image, n_colours=8)  # call-arg
tp.encode(image, quality="high")  # arg-type
tp.encode(image, quality=0.9)  # arg-type
tp.encode(image, n_colors="many")  # arg-type
tp.encode(image, mode="kmeens")  # arg-type
tp.encode(image, effort="slow")  # arg-type
tp.encode(image, tune="ssim")  # arg-type
tp.encode(image, keep="red")  # arg-type
tp.encode(image, target_psnr="40")  # arg-type
tp.encode(image, limits=10**9)  # arg-type
tp.encode(image, dictionary=3)  # arg-type
tp.Writer("x.tych", n_colours=8)  # call-arg
tp.Writer("x.tych", mode="kmeens")  # arg-type
tp.Writer("x.tych", lossless="yes")  # arg-type
tp.fit("kmean", [image])  # call-overload
tp.fit("kmeans", [image], colors=8)  # call-overload
tp.fit("kmeans", [image], variance=0.9)  # call-overload
tp.fit("pca", [image], core_seconds=9)  # call-overload
tp.fit("ae", [image], n_components=9)  # call-overload
CollectionStatistics("ae")  # arg-type
CollectionStatistics("kmeans").fit(n_colours=8)  # call-arg
tp.Reader("x.tych", damage="ignore")  # arg-type
tp.Reader("x.tych")[0, 2]  # call-overload
tp.Reader("x.tych")[1.0]  # call-overload
tp.Reader("x.tych").get(1.0)  # call-overload
tp.decode(b"", out=bytearray(768))  # arg-type
tp.verify("x.tych", level="full")  # arg-type
Triptych(n_colours=4)  # call-arg
Triptych(threads=4)  # call-arg
TriptychCodec(quality="high")  # arg-type
PaletteQuantizer(effort="slow")  # arg-type
TriptychDataset("x.tych", realism="high")  # arg-type
TriptychDataset("x.tych", mode="CMYK")  # arg-type
TriptychDataset("x.tych", on_error="warn")  # arg-type
