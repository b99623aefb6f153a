"""Files of several images: none is left out in silence, and `--all-frames` has them come out as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
import triptych as tp
from moving import STEPS, draw_frames, shown, write_animation
from PIL import Image
from triptych.errors import EncodeError
from triptych.jobs import Lost, Outcome

TIMES = [100, 50, 70, 20, 1000]


def read(path):
    return tp.Reader(path.read_bytes())


def time_of(reader, key):
    info = reader.info(key)
    return info.get("duration"), info.get("loop")


@pytest.fixture
def moving(tmp_path):
    """A folder of animations of each format, pages, an icon and a picture."""
    root = tmp_path / "moving"
    (root / "deep").mkdir(parents=True)
    for number, name in enumerate(sorted(STEPS)):
        frames = draw_frames(5, alpha=number != 1, seed=number)
        (root / f"{name.lower()}.{name.lower()}").write_bytes(
            write_animation(frames, name, TIMES, loop=0).read()
        )
    pages = draw_frames(3, seed=7)
    pages[0].save(root / "deep" / "pages.tiff", save_all=True, append_images=pages[1:])
    Image.new("RGB", (32, 32), "teal").save(root / "icon.ico", sizes=[(16, 16), (32, 32)])
    pages[0].save(root / "still.png")
    return root


KEYS = (
    [f"deep/pages/{n:04}" for n in range(1, 4)]
    + [f"gif/{n:04}" for n in range(1, 6)]
    + [f"icon/{n:04}" for n in (1, 2)]
    + [f"png/{n:04}" for n in range(1, 6)]
    + ["still"]
    + [f"webp/{n:04}" for n in range(1, 6)]
)


@pytest.mark.parametrize("options", [(), ("--lossless",), ("--per-image",)])
def test_what_is_left_out_is_told_and_counted(run, moving, tmp_path, options):
    result = run("encode", moving, "-o", tmp_path / "x.tych", "--json", *options)
    told = [line for line in result.stderr.splitlines() if "only the first frame" in line]
    assert len(told) == 1
    assert "4 more" in told[0]
    assert "--all-frames" in told[0]
    assert json.loads(result.stdout)["frames_left_out"] == 4 * 3 + 2 + 1
    assert len(read(tmp_path / "x.tych")) == 6


def test_of_one_file_it_is_told_how_many(run, moving, tmp_path):
    result = run("encode", moving / "gif.gif", "-o", tmp_path / "x.tych")
    assert result.stderr.strip().endswith(
        "gif.gif: only the first frame is read; --all-frames reads all (it has 5 frames)"
    )
    result = run("fit", "kmeans", moving / "gif.gif", "-o", tmp_path / "book.tych", "-k4")
    assert "--all-frames" in result.stderr


@pytest.mark.parametrize("threads", [1, 3])
def test_all_frames(run, moving, tmp_path, threads):
    result = run("encode", moving, "-o", tmp_path / "x.tych", "--all-frames", "--json", "-j", threads)
    report = json.loads(result.stdout)
    assert (report["images"], report["frames_left_out"], result.stderr) == (len(KEYS), 0, "")
    with read(tmp_path / "x.tych") as reader:
        assert reader.keys() == KEYS
        times = {key: time_of(reader, key) for key in KEYS}
        for name in ("gif", "png", "webp"):
            keys = [f"{name}/{n:04}" for n in range(1, 6)]
            assert [times.pop(key) for key in keys] == list(
                zip(TIMES, [0, None, None, None, None], strict=True)
            )
            with Image.open(moving / f"{name}.{name}") as source:
                for number, key in enumerate(keys):
                    source.seek(number)
                    assert shown(Image.fromarray(reader[key])) == shown(source)
        assert set(times.values()) == {(None, None)}


def test_times_are_no_metadata(run, moving, tmp_path):
    run("encode", moving / "gif.gif", "-o", tmp_path / "x.tych", "--all-frames", "--no-metadata")
    assert read(tmp_path / "x.tych").info(3)["duration"] == 20


def test_frames_of_stdin(run, moving, tmp_path):
    file = (moving / "gif.gif").read_bytes()
    run("encode", "-", "-o", tmp_path / "x.tych", "--all-frames", stdin=file)
    assert read(tmp_path / "x.tych").keys() == [f"{n:04}" for n in range(1, 6)]


def test_fit_learns_from_all_frames(run, moving, tmp_path):
    run("fit", "kmeans", moving / "gif.gif", "-o", tmp_path / "book.tych", "-k", "256", "--all-frames")
    book = tp.load_dictionary(tmp_path / "book.tych")
    with Image.open(moving / "gif.gif") as source:
        for number in range(5):
            source.seek(number)
            tp.encode(source, dictionary=book, lossless=True)  # raises where a colour is missing


def test_a_damaged_animation_keeps_the_frames_before_the_damage(run, moving, tmp_path):
    data = (moving / "gif.gif").read_bytes()
    (moving / "gif.gif").write_bytes(data[: len(data) - 40])
    result = run("encode", moving, "-o", tmp_path / "x.tych", "--all-frames", "--json", code=1)
    (failed,) = json.loads(result.stdout)["failed"]
    assert "gif.gif (frame 5 of 5 and all after it)" in failed
    assert read(tmp_path / "x.tych").keys() == [key for key in KEYS if key != "gif/0005"]


@pytest.mark.parametrize("cut", [1, 4, 8, 15, len(KEYS)])
def test_a_resumed_run_adds_the_frames_that_are_missing(run, moving, tmp_path, cut):
    run("encode", moving, "-o", tmp_path / "whole.tych", "--all-frames", "--frame-images", "1")
    with read(tmp_path / "whole.tych") as reader, tp.Writer(tmp_path / "x.tych") as writer:
        for key in KEYS[:cut]:
            duration, loop = time_of(reader, key)
            writer.write(reader[key], key, duration=duration, loop=loop)
        expected = [reader[key] for key in KEYS]
        times = [time_of(reader, key) for key in KEYS]
    result = run("encode", moving, "-o", tmp_path / "x.tych", "--all-frames", "--resume", "--json")
    report = json.loads(result.stdout)
    assert (report["images"], report["skipped"]) == (len(KEYS) - cut, cut)
    with read(tmp_path / "x.tych") as reader:
        assert reader.keys() == KEYS
        assert all(map(np.array_equal, reader, expected))
        assert [time_of(reader, key) for key in KEYS] == times


def test_frames_that_cannot_be_encoded_are_named(run, moving, tmp_path, monkeypatch):
    from triptych import jobs, writer

    def encode_frame(job):
        keys = [entry.key for entry in job.entries]
        if "gif/0003" in keys or "still" in keys:
            return Outcome(None, [Lost(keys, EncodeError("it is cursed"))])
        return jobs.encode_frame(job)

    monkeypatch.setattr(writer, "encode_frame", encode_frame)
    result = run(
        "encode", moving, "-o", tmp_path / "x.tych", "--all-frames", "--frame-images", "1", "--json", code=1
    )
    failed = json.loads(result.stdout)["failed"]
    assert failed == [f"{moving}/gif.gif (frame 3)", f"{moving}/still.png"]


def test_a_file_of_many_frames_counts_once(run, moving, tmp_path):
    path = moving / "gif.gif"
    result = run("encode", path, "-o", tmp_path / "x.tych", "--all-frames", "--json", "-v")
    assert json.loads(result.stdout)["input_bytes"] == path.stat().st_size
