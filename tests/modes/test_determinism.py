"""The same images and options give the same bytes: for any number of threads, again, in a fresh process."""

import hashlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import triptych as tp
from indexed import MAP_KINDS, make_map, make_palette

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {
    "as they are": {"n_colors": 256},
    "small palettes": {"n_colors": 6},
    "a quality": {"n_colors": 40, "quality": 60},
    "frames of three": {"n_colors": 16, "frame_images": 3},
    "fast": {"n_colors": 16, "effort": "fast"},
}


def pictures():
    """Small and middling, opaque and not, regular and noisy."""
    sides = ((8, 8), (16, 16), (33, 21), (1, 70))
    for number in range(16):
        height, width = sides[number % 4] if number else (140, 140)
        colors = make_palette(("rgb", "grey", "rgba")[number % 3], 60, number)
        indices = make_map(MAP_KINDS[number % len(MAP_KINDS)], height, width, len(colors), number)
        yield np.ascontiguousarray(colors[indices][..., : 3 + (number % 3 == 2)])


def write(name, threads=1, dictionary=None):
    target = io.BytesIO()
    with tp.Writer(target, dictionary, threads=threads, mode="kmeans", **OPTIONS[name]) as writer:
        for number, image in enumerate(pictures()):
            writer.write(image, key=str(number))
    return target.getvalue()


def digests():
    return {name: hashlib.sha256(write(name)).hexdigest() for name in OPTIONS}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("with_dictionary", [False, True])
def test_any_number_of_threads(name, with_dictionary):
    book = tp.fit("kmeans", list(pictures()), n_colors=32, threads=1) if with_dictionary else None
    one = write(name, 1, book)
    assert write(name, 2, book) == one
    assert write(name, 8, book) == one
    images = list(tp.Reader(one, threads=1))
    for threads in (2, 8):
        again = list(tp.Reader(one, threads=threads))
        assert all(map(np.array_equal, again, images))
        assert len(again) == len(images) == 16


def test_dictionaries_do_not_depend_on_threads():
    ids = {tp.fit("kmeans", list(pictures()), n_colors=32, threads=threads).id for threads in (1, 2, 8)}
    assert len(ids) == 1


def test_twice_in_a_process():
    assert digests() == digests()


@pytest.mark.slow
def test_a_fresh_process():
    folders = [str(ROOT / name) for name in ("codec", "kernels", "tests")]
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(folders), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{digests()}\n"


if __name__ == "__main__":
    print(digests())
