"""`triptych fit` on many machines: parts of statistics, merged, give the bytes of one run."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def tiles(tmp_path):
    """Images of one shape."""
    random = np.random.default_rng(8)
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in range(20):
        small = random.integers(0, 8, (4, 3, 3), np.uint8) * 32
        Image.fromarray(small.repeat(2, 0).repeat(2, 1)).save(folder / f"{number:02}.png")
    return folder


OPTIONS = {"kmeans": ("-k", 5), "pca": ("--components", 3)}


@pytest.mark.parametrize("mode", OPTIONS)
def test_merged_shards_equal_one_run(tmp_path, run, tiles, mode):
    whole, merged, parts = tmp_path / "whole.tych", tmp_path / "merged.tych", []
    run("fit", mode, tiles, *OPTIONS[mode], "-o", whole)
    for number in (1, 2, 3):
        parts.append(tmp_path / f"{number}.stats")
        told = run("fit", mode, tiles, "--stats-only", "--shard", f"{number}/3", "-o", parts[-1]).stdout
        assert f"statistics for {mode} of {(6, 7, 7)[number - 1]} images" in told
    facts = json.loads(run("fit", mode, "--merge", *parts, *OPTIONS[mode], "-o", merged, "--json").stdout)
    assert facts["images"] == 20
    assert merged.read_bytes() == whole.read_bytes()
    both = tmp_path / "both.stats"
    facts = json.loads(run("fit", mode, "--merge", "--stats-only", *parts[:2], "-o", both, "--json").stdout)
    assert facts == {
        "output": str(both),
        "bytes": both.stat().st_size,
        "mode": mode,
        "images": 13,
        "failed": [],
    }
    piped = both.read_bytes()
    run("fit", mode, "--merge", "-", parts[2], *OPTIONS[mode], "-o", merged, "--force", stdin=piped)
    assert merged.read_bytes() == whole.read_bytes()


def test_an_empty_shard_is_a_part(tmp_path, run, tiles):
    one = tiles / "00.png"
    for number in (1, 2):
        run("fit", "pca", one, "--stats-only", "--shard", f"{number}/2", "-o", tmp_path / f"{number}.stats")
    run("fit", "pca", "--merge", tmp_path / "1.stats", tmp_path / "2.stats", "-o", tmp_path / "x")
    failed = run("fit", "pca", "--merge", tmp_path / "1.stats", "-o", tmp_path / "y", code=1)
    assert "fit needs at least one image" in failed.stderr
    assert not (tmp_path / "y").exists()


def test_an_image_that_cannot_be_read_is_left_out(tmp_path, run, tiles):
    (tiles / "05.png").write_bytes(b"no image")
    told = run("fit", "kmeans", tiles, "--stats-only", "-o", tmp_path / "a.stats", "--json", code=1)
    assert json.loads(told.stdout)["images"] == 19
    run("fit", "kmeans", tiles / "05.png", "--stats-only", "-o", tmp_path / "b.stats", code=1)
    assert not (tmp_path / "b.stats").exists()


def test_parts_that_do_not_fit(tmp_path, run, tiles, folder):
    part, other, output = tmp_path / "a.stats", tmp_path / "b.stats", tmp_path / "x"
    run("fit", "pca", tiles, "--stats-only", "-o", part)
    run("fit", "pca", folder / "a.png", "--stats-only", "-o", other)

    def refused(code, mode, *files):
        return run("fit", mode, "--merge", *files, "-o", output, code=code).stderr

    assert f"{part}: statistics for pca, and this is fit kmeans" in refused(2, "kmeans", part)
    told = refused(1, "pca", part, other)
    assert f"{other}: statistics of images of another shape: expected (8, 6, 3), got (9, 12, 3)" in told
    assert f"{tiles / '00.png'}: not statistics" in refused(3, "pca", part, tiles / "00.png")
    data = part.read_bytes()
    other.write_bytes(data[:-1])
    assert f"{other}: statistics were cut: expected {len(data)}, got {len(data) - 1}" in refused(
        3, "pca", other
    )
    other.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert f"{other}: CRC of statistics" in refused(3, "pca", part, other)
    assert "no such file" in refused(1, "pca", part, tmp_path / "none")
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ae", "a.png", "--stats-only"), "--stats-only: networks are learned from the images"),
        (("gan", "--merge", "a.stats"), "--merge: networks are learned from the images"),
        (("ae", "a.png", "--engine", "dask://host:1"), "--engine: networks are learned from the images"),
        (("kmeans", "a.png", "--stats-only", "-k", "4"), "--stats-only: -k goes with --merge"),
        (("pca", "a.png", "--stats-only", "--variance", "0.9"), "--stats-only: --variance goes with --merge"),
        (("pca", "a.png", "--shard", "1/2"), "--shard: only with --stats-only"),
        (("pca", "--merge"), "--merge: name files"),
        (("pca", "--merge", "a.stats", "--engine", "dask://host:1"), "and no --engine"),
        (("pca", "--merge", "--filelist", "list"), "and no --filelist"),
        (("pca", "--merge", "--stats-only", "--shard", "1/2", "a.stats"), "and no --shard"),
        (("pca", "a.png", "-D", "ae-photo"), "-D: only with ae or gan, not with pca"),
        (("pca", "a.png", "--core-seconds", "3"), "--core-seconds: only with ae or gan, not with pca"),
        (("kmeans", "a.png", "--checkpoint", "x"), "--checkpoint: only with ae or gan, not with kmeans"),
        (("pca", "a.png", "--keep", "#102030"), "--keep: only with kmeans, not with pca"),
        (("pca", "a.png", "-k", "4"), "-k: only with kmeans, not with pca"),
        (("ae", "a.png", "--components", "4"), "--components: only with pca, not with ae"),
        (("kmeans", "a.png", "--no-embed"), "--no-embed: only with pca, not with kmeans"),
        (("svd", "--merge", "a.stats"), "mode must be one of 'kmeans', 'pca', not 'svd'"),
    ],
)
def test_wrong_usage(tmp_path, run, arguments, message):
    assert message in run("fit", *arguments, "-o", tmp_path / "x", code=2).stderr


def test_an_engine_that_is_none(tmp_path, run, tiles):
    told = run("fit", "pca", tiles, "--engine", "ray://host:1", "-o", tmp_path / "x", code=2).stderr
    assert "--engine 'ray://host:1' is none that is known: dask://HOST:PORT" in told


@pytest.mark.parametrize("more", [(), ("--stats-only",)])
def test_an_image_of_another_size_is_named(tmp_path, run, tiles, more):
    Image.new("RGB", (9, 9)).save(tiles / "05.png")
    told = run("fit", "pca", tiles, "-o", tmp_path / "x", *more, code=1).stderr
    assert f"{tiles / '05.png'}: image 5 of a collection for PCA has another shape than image 0" in told
    assert not (tmp_path / "x").exists()


def test_too_few_images_are_the_fault_of_none(tmp_path, run, tiles):
    told = run("fit", "pca", tiles, "--components", 21, "-o", tmp_path / "x", code=1).stderr
    assert f"{tmp_path / 'x'}: fewer images than components" in told
