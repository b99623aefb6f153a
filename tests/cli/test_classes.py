"""Labels of folders: as torchvision's ImageFolder numbers them, of which a naive twin is here."""

from __future__ import annotations

import os

import pytest
import triptych as tp
from PIL import Image
from triptych.cli.classes import Classes
from triptych.cli.inputs import collect_images

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def image_folder(root):
    """Classes and samples: find_classes and make_dataset(allow_empty=True) of torchvision.datasets.folder."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    samples = {}
    for number, name in enumerate(classes):
        for folder, _, names in sorted(os.walk(os.path.join(root, name), followlinks=True)):
            for each in sorted(names):
                if each.lower().endswith(EXTENSIONS):
                    samples[os.path.join(folder, each)] = number
    return classes, samples


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), len(path.name)).save(path)


@pytest.fixture
def tree(tmp_path):
    """Classes deeper, linked, empty, hidden, not of ASCII, and in another order than that of letters."""
    root = tmp_path / "train"
    names = ("dog/1.png", "dog/old/far/2.png", "Zebra/1.PNG", "ünder/1.jpg", "cat/x.1/1.png", ".tmp/1.png")
    for name in names:
        touch(root / name)
    (root / "empty").mkdir()
    for name in ("elsewhere/1.png", "elsewhere/old/3.png", "single.png"):
        touch(tmp_path / name)
    (root / "linked").symlink_to("../elsewhere")
    (root / "dog" / "linked").symlink_to(tmp_path / "elsewhere" / "old")
    (root / "cat" / "linked.png").symlink_to("../../single.png")
    (root / "dog" / "note.txt").write_text("no image")
    return root


def test_folders_are_numbered_as_image_folder_numbers_them(tree):
    inputs = collect_images([str(tree)], None)
    found = Classes(inputs)
    classes, samples = image_folder(tree)
    assert found.names == classes
    assert {each.path: found.label(each) for each in inputs} == samples
    assert len(samples) == 10


def test_labels_in_a_stream(tmp_path, run, tree):
    result = run("encode", tree, "-o", tmp_path / "x.tych", "--label-folders")
    assert "--label-folders: 1 class without images: empty" in result.stderr
    classes, samples = image_folder(tree)
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.metadata["classes"] == classes
        assert [info["label"] for info, _ in reader.items()] == [
            samples[each.path] for each in collect_images([str(tree)], None)
        ]


def test_names_that_are_not_utf8_are_sorted_as_python_sorts_them(tmp_path):
    try:
        for name in (b"\xff", "\ue000".encode(), b"z"):
            touch(tmp_path / os.fsdecode(name) / "1.png")
    except OSError:
        pytest.skip("this file system has no such names")
    inputs = collect_images([str(tmp_path)], None)
    found = Classes(inputs)
    classes, samples = image_folder(tmp_path)
    assert found.names == ["z", "\\udcff", "\ue000"]
    assert {each.path: found.label(each) for each in inputs} == samples
    assert [os.fsencode(name) for name in classes] == [b"z", b"\xff", "\ue000".encode()]


def test_images_beside_the_classes_have_no_label(tmp_path, run, tree):
    """ImageFolder has none of these, and its numbers are the same with and without them."""
    touch(tree / "beside.png")
    touch(tree / "cover.png")
    result = run("encode", tree, "-o", tmp_path / "x.tych", "--label-folders")
    assert f"{tree / 'beside.png'} and 1 more: lies beside the folders of classes, and gets no label" in (
        result.stderr
    )
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.metadata["classes"] == image_folder(tree)[0]
        assert "label" not in reader.info("beside")
        assert reader.info("Zebra/1")["label"] == 1


def test_a_directory_without_others_and_named_files_are_of_their_own_folder(tree, monkeypatch):
    inputs = collect_images([str(tree / "Zebra"), str(tree / "dog" / "old" / "far" / "2.png")], None)
    found = Classes(inputs)
    assert found.names == ["Zebra", "far"]
    assert [found.label(each) for each in inputs] == [0, 1]
    monkeypatch.chdir(tree / "Zebra")
    for arguments in (["."], ["1.PNG"]):
        assert Classes(collect_images(arguments, None)).names == ["Zebra"]
