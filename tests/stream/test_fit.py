"""`fit` streams images into a dictionary; the clustering has its own tests."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import triptych as tp

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
