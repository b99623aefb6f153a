"""Hugging Face datasets: a column of .tych bytes decodes through the Pillow plugin, wherever it goes."""

from __future__ import annotations

import numpy as np
import pytest
import triptych.pillow
from datasets import Dataset, Features, Image, Value
from triptych import decode, encode, fit
from triptych.interop.pillow import TriptychImageFile

FEATURES = Features({"image": Image(), "label": Value("int64")})
SIGNATURE = b"\x89TYC\r\n\x1a\n"

triptych.pillow.register()


@pytest.fixture
def dataset(sprites):
    encoded = [encode(sprite, lossless=True) for sprite in sprites]
    return Dataset.from_dict({"image": encoded, "label": range(len(sprites))}).cast(FEATURES)


def stored(dataset):
    """The bytes of the column."""
    return [row["bytes"] for row in dataset.cast_column("image", Image(decode=False))["image"]]


def test_a_column_of_bytes_decodes(dataset, sprites):
    assert isinstance(dataset[0]["image"], TriptychImageFile)
    assert dataset[0]["image"].mode == "RGB"
    for row, sprite in zip(dataset, sprites, strict=True):
        np.testing.assert_array_equal(np.asarray(row["image"]), sprite)
    arrays = dataset.with_format("numpy")[:]["image"]
    np.testing.assert_array_equal(np.stack(list(arrays)), sprites)


def test_the_bytes_stay_what_they_are(dataset, sprites, tmp_path):
    """Through parquet, selections, and a map that leaves the column alone."""
    dataset.to_parquet(tmp_path / "sprites.parquet")
    again = Dataset.from_parquet(str(tmp_path / "sprites.parquet"), cache_dir=str(tmp_path / "cache"))
    assert again.features == FEATURES
    expected = [encode(sprite, lossless=True) for sprite in sprites]
    assert stored(again) == expected
    shuffled = again.shuffle(seed=1).select(range(5))
    assert stored(shuffled) == [expected[label] for label in shuffled["label"]]
    mapped = again.map(lambda row: {"bright": float(np.asarray(row["image"]).mean())})
    assert mapped["bright"][3] == pytest.approx(sprites[3].mean())
    assert stored(mapped) == expected


def test_a_map_that_makes_new_images_encodes_them_itself(dataset, sprites):
    """What is left to datasets becomes PNG; bytes of a stream stay bytes of a stream."""
    turned = dataset.map(lambda row: {"image": row["image"].rotate(90)})
    assert all(data.startswith(b"\x89PNG") for data in stored(turned))

    def turn(row):
        return {"image": {"bytes": encode(row["image"].rotate(90), lossless=True), "path": None}}

    turned = dataset.map(turn, features=FEATURES)
    assert all(data.startswith(SIGNATURE) for data in stored(turned))
    np.testing.assert_array_equal(np.asarray(turned[2]["image"]), np.rot90(sprites[2]))


def test_files_of_a_folder(sprites, tmp_path):
    for number, sprite in enumerate(sprites[:3]):
        (tmp_path / f"{number}.tych").write_bytes(encode(sprite, lossless=True))
    paths = sorted(map(str, tmp_path.glob("*.tych")))
    files = Dataset.from_dict({"image": paths}).cast_column("image", Image())
    for row, sprite in zip(files, sprites[:3], strict=True):
        np.testing.assert_array_equal(np.asarray(row["image"]), sprite)


def test_a_dictionary_on_the_search_path(sprites, tmp_path, monkeypatch):
    """Rows name the dictionary that they share, and do not hold it."""
    book = fit("pca", sprites, n_components=20)
    book.save(tmp_path / "book.tych")
    encoded = [encode(sprite, dictionary=book, embed=False) for sprite in sprites]
    dataset = Dataset.from_dict({"image": encoded}).cast_column("image", Image())
    with pytest.raises(OSError, match="broken Triptych stream: dictionary"):
        dataset[0]
    monkeypatch.setenv("TRIPTYCH_PATH", str(tmp_path))
    for row, data in zip(dataset, encoded, strict=True):
        np.testing.assert_array_equal(np.asarray(row["image"]), decode(data))


@pytest.mark.slow
def test_workers_that_are_forked_know_the_plugin(dataset, sprites):
    mapped = dataset.map(lambda row: {"bright": float(np.asarray(row["image"]).mean())}, num_proc=2)
    np.testing.assert_allclose(mapped["bright"], sprites.mean(axis=(1, 2, 3)))
