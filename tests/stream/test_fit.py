"""`fit` streams images into a dictionary; the clustering has its own tests."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import triptych as tp
from PIL import Image
from triptych.errors import InvalidImage
from triptych.fit import CollectionStatistics

RNG = np.random.default_rng(0)
IMAGES = [
    RNG.integers(0, 255, shape, np.uint8) // 32 * 32 for shape in ((9, 8), (5, 6, 2), (7, 7, 3), (6, 9, 4))
]


def test_params_and_content():
    book = tp.fit("kmeans", iter(IMAGES), n_colors=8, effort="fast", threads=1)
    assert book.kind == "palette"
    assert (book.images, book.n_colors) == (4, 8)
    assert book.pixels == sum(image.shape[0] * image.shape[1] for image in IMAGES)
    assert len(book.content) == 4 * 8
    assert book.wcss > 0


def test_the_same_for_any_order_of_work():
    arguments = {"n_colors": 8, "effort": "fast"}
    one = tp.fit("kmeans", IMAGES, threads=1, **arguments)
    assert tp.fit("kmeans", IMAGES[::-1], threads=2, **arguments) == one
    with ThreadPoolExecutor(2) as executor:
        assert tp.fit("kmeans", IMAGES, executor=executor, **arguments) == one


def test_grey_and_alpha_become_colours():
    grey = np.array([[0, 200]], np.uint8)
    alpha = np.array([[[200, 0], [0, 255]]], np.uint8)
    book = tp.fit("kmeans", [grey, alpha], n_colors=4)
    colors = {tuple(color) for color in np.frombuffer(book.content, np.uint8).reshape(-1, 4).tolist()}
    assert {(0, 0, 0, 255), (200, 200, 200, 255)} <= colors
    assert book.wcss == 0


def test_target_psnr_chooses_the_number_of_colours():
    few = tp.fit("kmeans", IMAGES[2:3], target_psnr=15, effort="fast")
    many = tp.fit("kmeans", IMAGES[2:3], target_psnr=30, effort="fast")
    assert few.n_colors < many.n_colors


def test_refused():
    with pytest.raises(tp.InvalidImage, match="at least one"):
        tp.fit("kmeans", [])
    with pytest.raises(tp.InvalidImage):
        tp.fit("kmeans", [np.zeros(3)], threads=2)
    with pytest.raises(tp.InvalidOption, match="'kmeans'"):
        tp.fit("svd", IMAGES)
    with pytest.raises(tp.LimitExceeded):
        tp.fit("kmeans", IMAGES, limits=tp.Limits(pixels_per_image=10))


def colorful(height=12, width=16):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 15, y * 20, 255 - x * 15], -1).astype(np.uint8)


class Lazy:
    """An array that is neither numpy's nor a buffer: it has a shape, and gives rows."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __iter__(self):
        return iter(self.array)


@pytest.mark.parametrize("mode", ["kmeans", "pca"])
@pytest.mark.parametrize(
    "picture", [colorful(), colorful()[:, :, 0], colorful()[:, :, :2], Image.fromarray(colorful())]
)
def test_one_picture_is_one(mode, picture):
    expected = tp.fit(mode, [picture], threads=1)
    assert tp.fit(mode, picture, threads=1) == expected
    statistics = CollectionStatistics(mode)
    statistics.update(picture)
    assert statistics.n_images == 1
    assert statistics.fit(threads=1) == expected


@pytest.mark.parametrize("holder", [np.asarray, memoryview, Lazy])
@pytest.mark.parametrize("shape", [(9, 7, 6), (1, 7, 6), (5, 7, 6, 3), (2, 7, 6, 1), (3, 4, 6, 7)])
def test_an_array_of_pictures_is_that_many(holder, shape):
    pictures = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    statistics = CollectionStatistics("pca")
    statistics.update(holder(pictures))
    assert statistics.n_images == len(pictures)
    assert statistics.fit(threads=1) == tp.fit("pca", list(pictures), threads=1)


@pytest.mark.parametrize("channels", [2, 3, 4])
@pytest.mark.parametrize("mode", ["kmeans", "pca"])
def test_channels_that_may_come_first_are_asked_about(mode, channels):
    first = np.zeros((channels, 12, 16), np.uint8)
    with pytest.raises(InvalidImage, match=r"give list\(images\);.*transpose\(1, 2, 0\)"):
        tp.fit(mode, first)
    statistics = CollectionStatistics(mode)
    statistics.update(list(first))
    assert statistics.n_images == channels


@pytest.mark.parametrize("shape", [(), (12,), (1, 2, 3, 4, 3)])
def test_arrays_of_other_axes_are_no_collections(shape):
    with pytest.raises(InvalidImage, match="is no collection"):
        tp.fit("kmeans", np.zeros(shape, np.uint8))


def test_an_array_of_objects_is_a_list():
    pictures = np.empty(2, object)
    pictures[:] = [colorful(), colorful(5, 3)]
    assert tp.fit("kmeans", pictures, n_colors=4).images == 2
