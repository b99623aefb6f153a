"""The verbs that look at streams and move their frames: info, verify, cat, index, extract, fit."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import triptych as tp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smallbook import photograph
from triptych.cli import group
from triptych.cli import info as cli_info


def test_info_for_people(run, stream, one):
    text = run("info", stream, one).stdout
    assert "4 images" in text
    assert "1 image," in text
    for part in ("deep/c", "7x5", "RGBA", "LA", "exact"):
        assert part in text


def test_info_for_machines(tmp_path, run, folder, stream):
    book = tmp_path / "book.tych"
    run("fit", "kmeans", folder, "-k", 5, "-o", book)
    run("encode", folder, "-D", book, "-fo", stream)
    (facts,) = [json.loads(line) for line in run("info", "--json", stream).stdout.splitlines()]
    assert facts["bytes"] == stream.stat().st_size
    assert facts["lost"] == []
    assert [image["key"] for image in facts["images"]] == ["a", "b", "deep/c", "deep/d"]
    image = facts["images"][0]
    assert (image["shape"], image["color"], image["mode"]) == ([9, 12, 3], "RGB", "kmeans")
    assert image["wcss"] > 0
    assert image["psnr"] > 0
    (dictionary,) = facts["dictionaries"]
    assert dictionary["id"] == tp.load_dictionary(book).id
    assert dictionary["params"]["wcss"] == tp.load_dictionary(book).wcss
    assert json.loads(run("info", "--json", book).stdout)["images"] == []


def test_info_of_a_photograph_and_of_images_that_share_a_frame(tmp_path, run):
    photo, small = tmp_path / "photo.tych", tmp_path / "small.tych"
    picture = photograph(64, 64, 3)
    photo.write_bytes(tp.encode(picture, mode="pca"))
    with tp.Writer(small, mode="kmeans", n_colors=4) as writer:
        for _ in range(3):
            writer.write(picture[:9, :9])
    said, alike = (json.loads(line) for line in run("info", "--json", photo, small).stdout.splitlines())
    error = ((tp.decode(photo).astype(float) - picture) ** 2).mean()
    assert said["images"][0]["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1 / 256)
    assert said["dictionaries"][0]["shipped"] == "photo"
    assert sum(image["bytes"] for image in alike["images"]) == pytest.approx(
        alike["images"][0]["frame_bytes"], abs=0.2
    )
    assert "not in the stream, it comes with triptych" in run("info", photo).stdout


def test_info_of_metadata_and_stdin(run):
    with tp.Writer(buffer := io.BytesIO(), metadata={"title": "t"}) as writer:
        writer.write(np.zeros((2, 2), np.uint8), exif=b"12345", label=3, metadata={"x": 1})
    facts = json.loads(run("info", "-", "--json", stdin=buffer.getvalue()).stdout)
    assert facts["stream"] == "stdin"
    assert facts["metadata"] == {"title": "t"}
    image = facts["images"][0]
    assert (image["exif_bytes"], image["label"], image["metadata"]) == (5, 3, {"x": 1})


def test_info_lists_no_more_images_than_people_read(run, stream, monkeypatch):
    monkeypatch.setattr(cli_info, "_MOST_ROWS", 2)
    whole = run("info", stream, "--all").stdout
    few = run("info", stream).stdout
    assert "deep/d" in whole
    assert few.splitlines()[0] == whole.splitlines()[0]
    assert "deep/c" not in few
    assert few.endswith("  and 2 images more: --all lists them\n")
    assert len(json.loads(run("info", stream, "--json").stdout)["images"]) == 4


def test_info_goes_on_after_a_failure(tmp_path, run, stream):
    result = run("info", tmp_path / "nix", stream, code=1)
    assert "4 images" in result.stdout


def test_verify(run, stream, one):
    assert run("verify", stream, one).stdout.count(": ok (decode)") == 2
    assert "structure" in run("verify", "--level", "structure", one).stdout
    facts = json.loads(run("verify", "--json", stream).stdout)
    assert (facts["images"], facts["lost"]) == (4, [])


def test_cat(tmp_path, run, stream, one, pictures):
    run("cat", stream, one, "-o", tmp_path / "x.tych")
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert len(reader) == 5
        np.testing.assert_array_equal(reader[4], pictures["a"])
    data = run("cat", "-", one, "-o", "-", stdin=one.read_bytes()).stdout_bytes
    assert len(tp.Reader(data)) == 2


def test_index(tmp_path, run, stream, one, folder):
    run("encode", folder, "--frame-images", 1, "-fo", stream)
    whole = stream.read_bytes()
    plain = whole + one.read_bytes()
    stream.write_bytes(plain)
    run("index", stream, "-o", tmp_path / "new.tych")
    run("index", stream)
    assert stream.read_bytes() == (tmp_path / "new.tych").read_bytes() != plain
    assert len(tp.Reader(stream.read_bytes())) == 5
    assert tp.verify(stream).frames == {"META": 1, "IMAGES": 5, "INDEX": 1}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None)
@given(
    wanted=st.sets(st.integers(0, 3), min_size=1),
    frame_images=st.integers(1, 4),
    shared=st.booleans(),
)
def test_extract_keeps_pixels(tmp_path, run, pictures, wanted, frame_images, shared):
    book = tp.fit("kmeans", pictures.values(), n_colors=7) if shared else None
    source, target = tmp_path / "s.tych", tmp_path / "t.tych"
    with tp.Writer(source, book, frame_images=frame_images, threads=1) as writer:
        for number, (key, pixels) in enumerate(pictures.items()):
            writer.write(pixels, key=key, label=number, exif=b"e%d" % number, metadata={"n": number})
    args = [f"--only={number}" if number % 2 else f"--only={list(pictures)[number]}" for number in wanted]
    run("extract", source, *args, "-fo", target)
    with tp.Reader(source) as before, tp.Reader(target) as after:
        assert len(after) == len(wanted)
        for place, number in enumerate(sorted(wanted)):
            np.testing.assert_array_equal(after[place], before[number])
            old, new = before.info(number), after.info(place)
            for name in ("key", "label", "exif", "metadata", "shape"):
                assert new[name] == old[name]


def test_extract_of_whole_frames_copies_them(tmp_path, run, folder):
    source = tmp_path / "s.tych"
    run("encode", folder, "--frame-images", 2, "-o", source)
    run("extract", source, "--only=0", "--only=1", "-o", tmp_path / "t.tych")
    assert (tmp_path / "t.tych").read_bytes() in source.read_bytes()


def test_fit(tmp_path, run, folder):
    text = run("fit", "kmeans", folder, "-k", 4, "-o", tmp_path / "a.tych").stdout
    assert "4 colours from 4 images" in text
    book = tp.load_dictionary(tmp_path / "a.tych")
    assert f"WCSS {book.wcss:,.1f}" in text
    facts = json.loads(run("fit", "kmeans", folder, "-k", 4, "--json", "-o", tmp_path / "b.tych").stdout)
    assert (facts["id"], facts["wcss"], facts["images"]) == (book.id, book.wcss, 4)
    assert (tmp_path / "a.tych").read_bytes() == (tmp_path / "b.tych").read_bytes()
    data = run("fit", "kmeans", folder, "--target-psnr", 20, "-o", "-").stdout_bytes
    assert tp.load_dictionary(data).kind == "palette"


def test_fit_without_any_image(tmp_path, run):
    (tmp_path / "bad.png").write_text("")
    run("fit", "kmeans", tmp_path / "bad.png", "-o", tmp_path / "x", code=1)
    assert not (tmp_path / "x").exists()


def test_fit_leaves_bad_images_out(tmp_path, run, folder):
    (folder / "bad.png").write_text("")
    result = run("fit", "kmeans", folder, "-k", 4, "-o", tmp_path / "x", "--json", code=1)
    assert json.loads(result.stdout)["images"] == 4


def test_help(run):
    for verb in group.list_commands(None):
        assert run(verb, "--help").stdout.startswith("Usage:")
