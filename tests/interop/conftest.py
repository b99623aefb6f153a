"""Pictures that several integrations store: a photograph and sprites, from those of the demo."""

from pathlib import Path

import numpy as np
import pytest
import triptych
from PIL import Image

PICTURES = Path(triptych.__file__).parent / "demo" / "pictures"


@pytest.fixture(scope="session")
def photo():
    """A part of a photograph: uint8 (96, 128, 3)."""
    with Image.open(PICTURES / "harbour.webp") as image:
        return np.asarray(image.convert("RGB"))[100:196, 100:228].copy()


@pytest.fixture(scope="session")
def sprites():
    """Tiles of 16x16, of few colours: uint8 (48, 16, 16, 3)."""
    with Image.open(PICTURES / "tiles.png") as image:
        pixels = np.asarray(image.convert("RGB"))[: 6 * 16, : 8 * 16]
    return np.ascontiguousarray(pixels.reshape(6, 16, 8, 16, 3).swapaxes(1, 2).reshape(48, 16, 16, 3))
