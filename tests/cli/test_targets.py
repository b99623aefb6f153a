"""What is never written to: what is read, and names of other formats."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import triptych as tp
import triptych.pillow
from PIL import Image
from triptych.cli.outputs import is_input

GREY = np.zeros((3, 3), np.uint8)
# By what is read, in a folder that has it: calls that are to write to OUT.
CALLS = {
    "a.img": ["encode b.img a.img -o OUT", "encode --filelist list -o OUT", "fit kmeans a.img -o OUT"],
    "list": ["encode a.img --filelist list -o OUT", "fit kmeans --filelist list -o OUT"],
    "book.tych": [
        "encode a.img -D ./book.tych -o OUT",
        "extract shared.tych --only 0 -D ./book.tych -o OUT",
        "fit ae a.img -D ./book.tych -o OUT",
    ],
    "one.tych": [
        "cat shared.tych one.tych -o OUT",
        "extract one.tych --only 0 -o OUT",
        "index one.tych -o OUT",
    ],
    "1.stats": ["fit kmeans --merge 1.stats -o OUT", "fit kmeans --merge --stats-only 1.stats -o OUT"],
    "one.png": ["decode one.png -o OUT"],
    "book.png": ["decode shared.tych -D ./book.png -o OUT"],
}
CASES = [(read, call) for read, calls in CALLS.items() for call in calls]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what verbs read, as the current one."""
    monkeypatch.chdir(tmp_path)
    for name, level in (("a", 0), ("b", 255)):
        Image.new("L", (3, 3), level).save(f"{name}.img", "PNG")
    (tmp_path / "list").write_text("a.img\nb.img\n")
    book = tp.fit("kmeans", [GREY], n_colors=2)
    for name in ("one.tych", "one.png"):
        (tmp_path / name).write_bytes(tp.encode(GREY))
    (tmp_path / "shared.tych").write_bytes(tp.encode(GREY, dictionary=book, embed=False))
    for name in ("book.tych", "book.png"):
        book.save(name)
    (tmp_path / "1.stats").write_bytes(b"never read")
    return tmp_path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("way", ["name", "other name", "link", "hard link"])
@pytest.mark.parametrize(("read", "call"), CASES, ids=[call for _, call in CASES])
def test_an_input_is_not_written_to(place, run, read, call, way):
    alias = f"alias{os.path.splitext(read)[1]}"
    ways = {"name": read, "other name": f"{place}/../{place.name}/./{read}"}
    target = ways.get(way, alias)
    if way == "link":
        os.symlink(place / read, alias)
    elif way == "hard link":
        os.link(read, alias)
    before = contents(place)
    said = run(*call.replace("OUT", target).split(), "-f", code=2).stderr
    assert f"{target}: is an input too, and would be lost: name another output" in said
    assert contents(place) == before


def test_an_image_of_a_folder_is_not_written_to(place, run):
    (place / "pictures").mkdir()
    os.link("a.img", "pictures/a.png")
    os.link("a.img", "x.tych")
    for more in (["-f"], ["--append"]):
        assert "is an input too" in run("encode", "pictures", "-o", "x.tych", *more, code=2).stderr


def test_of_a_folder_that_is_written_only_inputs_are_spared(place, run):
    (place / "out").mkdir()
    with tp.Writer("out/a.png") as writer:
        for key in ("a", "b"):
            writer.write(GREY, key=key)
    before = (place / "out" / "a.png").read_bytes()
    said = run("decode", "out/a.png", "-o", "out", "-f", code=1).stderr
    assert "out/a: is an input too, and would be lost" in said
    assert (place / "out" / "a.png").read_bytes() == before
    with Image.open("out/b.png") as image:
        assert np.array_equal(image, GREY)


def test_a_url_that_is_read_is_not_written_to(place, run):
    said = run("cat", "s3://bucket/x.tych", "one.tych", "-fo", "s3://bucket/x.tych", code=2).stderr
    assert "s3://bucket/x.tych: is an input too" in said


def test_stdout_that_is_an_input(place, monkeypatch):
    with open("one.tych", "ab") as handle:
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(handle))
        assert is_input("-", ["one.tych"])
        assert not is_input("-", ["shared.tych", "-", "not there", None])


def test_names_that_are_one_file_to_the_system(place, monkeypatch):
    stat = os.stat
    with monkeypatch.context() as patch:  # a file system that ignores case
        patch.setattr("os.stat", lambda path, **more: stat(os.fspath(path).lower(), **more))
        assert is_input("ONE.TYCH", ["one.tych"])
    assert not is_input("ONE.TYCH", ["one.tych"])


@pytest.mark.parametrize("name", ["x.png", "x.PNG", "x.jxl", "x.npy", "x.heic", "s3://bucket/x.webp?a=b"])
@pytest.mark.parametrize(
    "verb",
    ["encode a.img", "fit kmeans a.img", "cat one.tych", "extract one.tych --only 0", "index one.tych"],
)
def test_a_stream_has_no_name_of_a_picture(place, run, verb, name):
    before = contents(place)
    for more in ([], ["-f"]):
        said = run(*verb.split(), "-o", name, *more, code=2).stderr
        assert "what is written is a Triptych stream, not" in said
        assert "name it OUT.tych (`triptych decode` writes pictures)" in said
    assert contents(place) == before


@pytest.mark.parametrize("name", ["x.tych", "x.bin", "x", ".png", "x.v2"])
def test_a_stream_may_have_any_other_name(place, run, name):
    run("encode", "a.img", "-o", name)
    assert np.array_equal(tp.decode((place / name).read_bytes()), GREY)


@pytest.mark.parametrize("name", ["x.jxl", "x.heic", "x.xyz", "x.tych", "x.psd"])
@pytest.mark.parametrize("force", [(), ("-f",)])
def test_a_picture_has_no_name_of_what_pillow_does_not_write(place, run, name, force):
    triptych.pillow.register()
    said = run("decode", "one.tych", "-o", name, *force, code=2).stderr
    assert f"-o {name}: Pillow writes no '{name[1:]}'" in said
    assert "png, webp, tiff, bmp and npy hold all pixels exactly" in said
    assert not (place / name).exists()


def test_other_names_of_pictures(place, run):
    run("decode", "one.tych", "-o", "x")
    run("decode", "one.tych", "-o", "x.xyz", "--format", "png")
    run("decode", "one.tych", "-o", "x.jxl/")
    run("cat", "one.tych", "one.tych", "-o", "two.tych")
    run("decode", "two.tych", "-o", "run.2026")
    for name in ("x", "x.xyz", "x.jxl/0.png", "run.2026/1.png"):
        with Image.open(name) as image:
            assert image.format == "PNG"
    said = run("decode", "two.tych", "-o", "two.jxl", code=2).stderr  # a folder of PNG files is not meant
    assert "Pillow writes no '.jxl'" in said
