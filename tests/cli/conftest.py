"""Fixtures of the command line's tests: a runner, and a folder of small pictures."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from triptych.cli import group


def draw(height, width, channels, n_colors=6, seed=0):
    """Give a picture of blocks in a few colours."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 256, (n_colors, channels), np.uint8)
    small = colors[random.integers(0, n_colors, (-(-height // 4), -(-width // 4)))]
    return np.ascontiguousarray(small.repeat(4, 0).repeat(4, 1)[:height, :width])


@pytest.fixture
def pictures():
    """Pictures by key: L, LA, RGB, RGBA."""
    shapes = {"a": (9, 12, 3), "b": (16, 16, 4), "deep/c": (5, 7, 1), "deep/d": (20, 3, 2)}
    return {
        key: draw(*shape, seed=number).squeeze(axis=() if shape[2] > 1 else 2)
        for number, (key, shape) in enumerate(shapes.items())
    }


@pytest.fixture
def folder(tmp_path, pictures):
    """Those pictures as PNG files in a directory."""
    root = tmp_path / "pictures"
    for key, pixels in pictures.items():
        path = root / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


@pytest.fixture
def run():
    """Run the command line in this process; an exception that is no exit is raised."""

    def run_command(*args, code=0, stdin=None):
        result = CliRunner().invoke(group, [str(arg) for arg in args], input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, (result.exit_code, result.output)
        if code:
            assert "Traceback" not in result.output
        return result

    return run_command


@pytest.fixture
def stream(tmp_path, folder, run):
    """A stream of the pictures."""
    path = tmp_path / "all.tych"
    run("encode", folder, "-o", path, "-j1")
    return path


@pytest.fixture
def one(tmp_path, folder, run):
    """A stream of one picture, a."""
    path = tmp_path / "one.tych"
    run("encode", folder / "a.png", "-o", path)
    return path
