"""Images to streams to images: pixels, keys, metadata, options."""

from __future__ import annotations

import io
import json
import os

import numpy as np
import pytest
import triptych as tp
from PIL import Image, ImageCms


def read(path):
    return np.asarray(Image.open(path))


def test_directory_round_trip(tmp_path, run, stream, pictures):
    run("decode", stream, "-o", tmp_path / "out")
    assert tp.Reader(stream.read_bytes()).keys() == sorted(pictures)
    for key, pixels in pictures.items():
        np.testing.assert_array_equal(read(tmp_path / "out" / f"{key}.png"), pixels)


def test_one_image_to_a_file(tmp_path, run, one, pictures):
    run("decode", one, "-o", tmp_path / "x.png")
    np.testing.assert_array_equal(read(tmp_path / "x.png"), pictures["a"])


def test_a_single_image_has_no_key(one):
    assert tp.Reader(one.read_bytes()).keys() == []


def test_stdin_to_stdout(run, folder, pictures):
    data = run("encode", "-", "-o", "-", stdin=(folder / "b.png").read_bytes()).stdout_bytes
    np.testing.assert_array_equal(tp.decode(data), pictures["b"])
    png = run("decode", "-", "-o", "-", stdin=data).stdout_bytes
    np.testing.assert_array_equal(read(io.BytesIO(png)), pictures["b"])


def test_one_image_of_stdin_by_key(tmp_path, run, stream, pictures):
    run("decode", "-", "--only", "deep/c", "-o", tmp_path / "c.png", stdin=stream.read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "c.png"), pictures["deep/c"])


@pytest.mark.parametrize("only", ["b", "1", "-3"])
def test_one_image_by_key_or_number(tmp_path, run, stream, pictures, only):
    run("decode", stream, f"--only={only}", "-o", tmp_path / "x.png")
    np.testing.assert_array_equal(read(tmp_path / "x.png"), pictures["b"])


@pytest.mark.skipif(os.name == "nt", reason="no modes of files")
def test_a_picture_that_is_replaced_leaves_its_mode(tmp_path, run, one):
    path = tmp_path / "a.png"
    path.touch()
    for mode in (0o600, 0o444):
        path.chmod(mode)
        before = path.stat().st_ino
        run("decode", one, "-fo", path)
        assert path.stat().st_ino != before
        assert path.stat().st_mode & 0o777 == mode


def test_several_of_many(tmp_path, run, stream):
    run("decode", stream, "--only", "a", "--only", "deep/d", "-o", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.glob("out/**/*.png")) == ["a.png", "d.png"]


@pytest.mark.parametrize("name", ["webp", "tiff", ".BMP", "png"])
def test_formats(tmp_path, run, one, pictures, name):
    run("decode", one, "--format", name, "-o", f"{tmp_path}/out/")
    (path,) = (tmp_path / "out").iterdir()
    assert path.suffix == "." + name.lower().removeprefix(".")
    np.testing.assert_array_equal(read(path), pictures["a"])


def test_the_name_of_the_file_gives_the_format(tmp_path, run, one):
    run("decode", one, "-o", tmp_path / "x.bmp")
    with Image.open(tmp_path / "x.bmp") as image:
        assert image.format == "BMP"


def test_append(tmp_path, run, folder, one, pictures):
    run("encode", folder / "b.png", "--append", "-o", one)
    with tp.Reader(one) as reader:
        assert len(reader) == 2
        np.testing.assert_array_equal(reader["b"], pictures["b"])


def test_filelist_and_glob(tmp_path, run, folder):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{folder / 'a.png'}\n\n{folder / 'deep' / 'c.png'}\n")
    run("encode", "--filelist", listed, f"{folder}/b*", "-o", tmp_path / "x.tych")
    assert tp.Reader((tmp_path / "x.tych").read_bytes()).keys() == ["b", "a", "c"]
    run("encode", "--filelist", "-", "-fo", tmp_path / "x.tych", stdin=f"{folder}\n".encode())
    assert len(tp.Reader((tmp_path / "x.tych").read_bytes())) == 4


def test_options_reach_the_encoder(tmp_path, run, folder):
    book = tmp_path / "book.tych"
    run("fit", "kmeans", folder, "-k", 5, "-o", book)
    run(
        "encode", folder, "-D", book, "-o", tmp_path / "x.tych", "--frame-images", 3, "-j", 2, "--effort=fast"
    )
    report = tp.verify(tmp_path / "x.tych")
    assert report.frames == {"DICTIONARY": 1, "IMAGES": 2, "INDEX": 1}
    run("encode", folder, "-D", book, "--no-embed", "-o", tmp_path / "y.tych")
    assert (tmp_path / "y.tych").stat().st_size < (tmp_path / "x.tych").stat().st_size
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    run("encode", tmp_path / "photo.png", "-k", 4, "--keep", "#010203", "-o", tmp_path / "k.tych")
    colors = {tuple(color) for row in tp.decode(tmp_path / "k.tych") for color in row.tolist()}
    assert len(colors) <= 4
    run("encode", tmp_path / "photo.png", "--target-size", "0.6k", "-o", tmp_path / "s.tych")
    assert (tmp_path / "s.tych").stat().st_size <= 600
    run("encode", tmp_path / "photo.png", "-q", 10, "--dither", "--seed", 3, "-o", tmp_path / "q.tych")


def test_metadata_travels(tmp_path, run, folder):
    exif = Image.Exif()
    exif[0x010E] = "a title"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    image = Image.open(folder / "a.png")
    image.save(tmp_path / "m.webp", lossless=True, exif=exif, icc_profile=profile, xmp=xmp)
    run("encode", tmp_path / "m.webp", "-o", tmp_path / "m.tych")
    for suffix in ("png", "webp", "jpg", "tiff"):
        run("decode", tmp_path / "m.tych", "-o", tmp_path / f"n.{suffix}")
        with Image.open(tmp_path / f"n.{suffix}") as decoded:
            assert decoded.getexif()[0x010E] == "a title", suffix
            assert decoded.info["icc_profile"] == profile, suffix
            assert decoded.info["xmp"] == xmp, suffix
    # What was stored does not depend on the kind of file that it came through.
    run("encode", tmp_path / "n.png", "-o", tmp_path / "again.tych")
    assert (tmp_path / "again.tych").read_bytes() == (tmp_path / "m.tych").read_bytes()
    run("encode", tmp_path / "m.webp", "--no-metadata", "-o", tmp_path / "bare.tych")
    assert (
        not {"exif", "xmp", "icc_profile"} & tp.Reader((tmp_path / "bare.tych").read_bytes()).info(0).keys()
    )


def test_resolution_travels(tmp_path, run, folder):
    Image.open(folder / "a.png").save(tmp_path / "said.png", dpi=(150, 75))
    run("encode", tmp_path / "said.png", "-o", tmp_path / "d.tych")
    for suffix in ("png", "jpg", "tiff", "bmp"):
        run("decode", tmp_path / "d.tych", "-o", tmp_path / f"d.{suffix}")
        with Image.open(tmp_path / f"d.{suffix}") as decoded:
            assert tuple(map(round, decoded.info["dpi"])) == (150, 75), suffix
    run("encode", tmp_path / "said.png", "--no-metadata", "-o", tmp_path / "bare.tych")
    assert "dpi" not in tp.Reader((tmp_path / "bare.tych").read_bytes()).info(0)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tiff", "avif"])
def test_metadata_that_cannot_be_written_costs_no_image(tmp_path, run, pictures, suffix):
    with tp.Writer(tmp_path / "x.tych") as writer:
        for key, exif in (("before", None), ("bad", b"XX*\0\x08\0\0\0"), ("after", None)):
            writer.write(pictures["a"], key=key, exif=exif, xmp=b"<x/>")
    result = run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", "--format", suffix)
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["after", "bad", "before"]
    assert suffix != "tiff" or "bad.tiff: written without EXIF, which .tiff files do not" in result.stderr


def test_json_reports(tmp_path, run, folder):
    (folder / "bad.png").write_text("no image")
    result = run("encode", folder, "-o", tmp_path / "x.tych", "--json", code=1)
    report = json.loads(result.stdout)
    assert report["images"] == 4
    assert report["failed"] == [str(folder / "bad.png")]
    assert report["bytes"] == (tmp_path / "x.tych").stat().st_size
    report = json.loads(run("decode", tmp_path / "x.tych", "-o", tmp_path / "out", "--json").stdout)
    assert len(report["files"]) == 4
    assert (report["failed"], report["lost"]) == ([], [])


def test_the_first_frame_of_an_animation_with_a_warning(tmp_path, run, pictures):
    frames = [Image.fromarray(pictures["a"]), Image.fromarray(255 - pictures["a"])]
    frames[0].save(tmp_path / "x.webp", save_all=True, append_images=frames[1:], lossless=True)
    result = run("encode", tmp_path / "x.webp", "-o", tmp_path / "x.tych")
    assert "2 frames" in result.stderr
    np.testing.assert_array_equal(tp.decode(tmp_path / "x.tych")[..., :3], pictures["a"])


def test_threads_give_the_same_bytes(tmp_path, run, folder, stream):
    run("encode", folder, "-o", tmp_path / "j2.tych", "-j", 2)
    assert (tmp_path / "j2.tych").read_bytes() == stream.read_bytes()
