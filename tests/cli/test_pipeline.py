"""Encoding collections: a bounded pipeline in order, failures among many, shards, resumed runs."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import pytest
import triptych as tp
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from triptych import sink as sinks
from triptych.cli import group
from triptych.cli.inputs import Input, collect_images
from triptych.writer import Writer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": f"{ROOT / 'codec'}{os.pathsep}{ROOT / 'kernels'}"}
N_IMAGES = 40
LOSSLESS = ("--lossless", "--effort", "fast", "--frame-images", 4)


def draw(number):
    """Give a picture that shows its number."""
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4, :, 0] = number
    pixels[4:, :, 1] = 255 - number
    return pixels


def key_of(number):
    return f"part{number % 3}/n{number:03d}"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A directory of numbered pictures, in folders."""
    root = tmp_path_factory.mktemp("many")
    for number in range(N_IMAGES):
        path = root / f"{key_of(number)}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw(number)).save(path)
    return root


KEYS = sorted(map(key_of, range(N_IMAGES)))


def content(source):
    """Give (key, number that the pixels show) of all images in order, each checked."""
    found = []
    with tp.Reader(source) as reader:
        for info, pixels in reader.items():
            number = int(pixels[0, 0, 0])
            np.testing.assert_array_equal(pixels, draw(number))
            found.append((info.get("key"), number))
    return found


ALL = [(key, int(key[-3:])) for key in KEYS]


def invoke(*args, code=0, stdin=None):
    """Run the command line without fixtures, for properties."""
    result = CliRunner().invoke(group, [str(arg) for arg in args], input=stdin)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def without_notice(stderr):
    return [line for line in stderr.splitlines() if "compiling kernels" not in line]


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """The bytes of one run with one thread."""
    path = tmp_path_factory.mktemp("whole") / "x.tych"
    invoke("encode", many, "-o", path, "-j1", *LOSSLESS)
    return path.read_bytes()


def test_inputs_keep_their_order(whole):
    assert content(whole) == ALL


@pytest.mark.parametrize("threads", [0, 2, 4])
def test_threads_give_the_same_bytes(tmp_path, run, many, whole, threads):
    run("encode", many, "-o", tmp_path / "x.tych", "-j", threads, *LOSSLESS)
    assert (tmp_path / "x.tych").read_bytes() == whole


def test_resume_of_nothing_gives_the_same_bytes(tmp_path, run, many, whole):
    run("encode", many, "-o", tmp_path / "x.tych", "--resume", "-j2", *LOSSLESS)
    assert (tmp_path / "x.tych").read_bytes() == whole


@pytest.mark.parametrize("threads", [1, 4])
def test_few_images_are_in_memory(tmp_path, run, many, monkeypatch, threads):
    """At most two images a thread are read ahead, however slow the Writer is."""
    lock, load, write = Lock(), Input.load, Writer.write
    loaded = handed = most = 0

    def counted_load(self, *reading):
        nonlocal loaded, most
        picture = load(self, *reading)
        with lock:
            loaded += 1
            most = max(most, loaded - handed)
        return picture

    def slow_write(self, *args, **kwargs):
        nonlocal handed
        time.sleep(0.002)
        with lock:
            handed += 1
        write(self, *args, **kwargs)

    monkeypatch.setattr(Input, "load", counted_load)
    monkeypatch.setattr(Writer, "write", slow_write)
    run("encode", many, "-o", tmp_path / "x.tych", "-j", threads, *LOSSLESS)
    assert (loaded, handed) == (N_IMAGES, N_IMAGES)
    assert most <= 2 * threads + 1
    if threads == 1:
        assert most == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_failures_among_many_are_named_in_order(tmp_path, run, many, threads):
    bad = []
    names = []
    for number in range(N_IMAGES):
        name = many / f"{key_of(number)}.png"
        if number % 7 == 3:
            name = tmp_path / f"bad{number:02d}.png"
            if number != 10:  # this one is not there at all
                name.write_bytes(b"no image")
            bad.append(str(name))
        names.append(str(name))
    (tmp_path / "list").write_text("\n".join(names))
    path = tmp_path / "x.tych"
    args = ("--filelist", tmp_path / "list", "-o", path, "-j", threads, *LOSSLESS)
    result = run("encode", *args, "--json", code=1)
    assert [line.split(": ")[1] for line in without_notice(result.stderr)] == bad
    report = json.loads(result.stdout)
    assert report["failed"] == bad
    assert report["images"] == N_IMAGES - len(bad)
    assert [number for _, number in content(path)] == [n for n in range(N_IMAGES) if n % 7 != 3]


@pytest.mark.parametrize("threads", [1, 3])
def test_images_that_miss_a_target_fail_alone(tmp_path, run, many, threads):
    inputs = tmp_path / "in"
    inputs.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for number in range(8):
        pixels = noise if number in (0, 3, 7) else draw(number)
        Image.fromarray(pixels).save(inputs / f"{number}.png")
    args = ("encode", inputs, "--mode", "kmeans", "--target-psnr", 60, "-j", threads)
    result = run(*args, "-o", tmp_path / "x.tych", "--json", code=1)
    report = json.loads(result.stdout)
    assert report["failed"] == [str(inputs / f"{number}.png") for number in (0, 3, 7)]
    assert report["images"] == 5
    assert [number for _, number in content(tmp_path / "x.tych")] == [1, 2, 4, 5, 6]
    only_bad = [inputs / f"{number}.png" for number in (0, 3, 7)]
    result = run("encode", *only_bad, *args[2:], "-o", tmp_path / "y.tych", "--json", code=1)
    assert json.loads(result.stdout)["images"] == 0
    assert not (tmp_path / "y.tych").exists()


def test_an_image_that_does_not_fit_the_dictionary_fails_alone(tmp_path, run, many):
    book = tmp_path / "book.tych"
    tp.fit("pca", [draw(number) for number in range(N_IMAGES)], n_components=2, effort="fast").save(book)
    odd = tmp_path / "odd.png"
    Image.fromarray(draw(1)[:5]).save(odd)
    pca = ("--mode", "pca", "-D", book)
    result = run("encode", many, odd, *pca, "-o", tmp_path / "x.tych", "-j2", code=1)
    assert str(odd) in without_notice(result.stderr)[-1]
    assert tp.Reader((tmp_path / "x.tych").read_bytes()).keys() == KEYS
    result = run("encode", odd, many, *pca, "-o", tmp_path / "y.tych", "-j2", code=2)
    assert str(odd) in without_notice(result.stderr)[-1]
    assert not (tmp_path / "y.tych").exists()


def test_stdin_among_files(tmp_path, run, many):
    png = io.BytesIO()
    Image.fromarray(draw(200)).save(png, "PNG")
    run("encode", many, "-", "-o", tmp_path / "x.tych", "-j3", *LOSSLESS, stdin=png.getvalue())
    assert content(tmp_path / "x.tych") == [*ALL, ("-", 200)]


def test_the_report(tmp_path, run, many):
    path = tmp_path / "x.tych"
    report = json.loads(run("encode", many, "-o", path, "--json", *LOSSLESS).stdout)
    assert report["bytes"] == path.stat().st_size
    assert report["pixel_bytes"] == N_IMAGES * draw(0).nbytes
    rounded = report["seconds"] - 0.001, report["seconds"] + 0.001
    assert rounded[0] < N_IMAGES / report["images_per_second"] < rounded[1]
    assert (report["images"], report["skipped"], report["failed"]) == (N_IMAGES, 0, [])
    report = json.loads(run("encode", many, "-o", path, "--json", "--resume", *LOSSLESS).stdout)
    assert (report["images"], report["skipped"], report["failed"]) == (0, N_IMAGES, [])


# --resume


@given(n_first=st.integers(0, N_IMAGES), n_torn=st.integers(0, 40), threads=st.integers(1, 3))
@settings(max_examples=25)
def test_resume_completes_any_beginning(tmp_path_factory, many, n_first, n_torn, threads):
    """Some images are there, the last frame perhaps torn: at the end each is there once, in order."""
    folder = tmp_path_factory.mktemp("resume")
    path, first = folder / "x.tych", folder / "first"
    first.write_text("".join(f"{many / key}.png\n" for key in KEYS[:n_first]))
    if n_first:
        with tp.Writer(
            path, mode="kmeans", lossless=True, effort="fast", frame_images=4, threads=1
        ) as writer:
            for key, number in ALL[:n_first]:
                writer.write(draw(number), key=key)
        if n_torn:
            os.truncate(path, path.stat().st_size - n_torn)
    result = invoke("encode", many, "-o", path, "--resume", "-j", threads, *LOSSLESS)
    assert content(path) == ALL
    assert all("the stream was cut short" in line for line in without_notice(result.stderr))
    before = path.read_bytes()
    invoke("encode", many, "-o", path, "--resume", *LOSSLESS)
    assert path.read_bytes() == before


def test_resume_retries_what_failed(tmp_path, run, many):
    names = [many / f"{key}.png" for key in KEYS[:5]]
    late = tmp_path / "late.png"
    path = tmp_path / "x.tych"
    run("encode", late, *names, "-o", path, "--resume", *LOSSLESS, code=1)
    Image.fromarray(draw(99)).save(late)
    run("encode", late, *names, "-o", path, "--resume", *LOSSLESS)
    assert sorted(number for _, number in content(path)) == sorted([99, *(int(key[-3:]) for key in KEYS[:5])])


def test_a_file_that_is_named_twice_is_resumed_twice(tmp_path, run, many):
    name = many / f"{KEYS[0]}.png"
    run("encode", name, name, "-o", tmp_path / "twice.tych")
    key = content(tmp_path / "twice.tych")[0][0]
    path = tmp_path / "x.tych"
    with tp.Writer(path) as writer:
        writer.write(draw(0), key=key)
    run("encode", name, name, "-o", path, "--resume")
    assert content(path) == content(tmp_path / "twice.tych")


@pytest.mark.parametrize("more", [("--append",), ("--force",), ("-o", "-")])
def test_resume_with_what_contradicts_it(tmp_path, run, many, more):
    (tmp_path / "x.tych").write_bytes(b"before")
    run("encode", many, "-o", tmp_path / "x.tych", "--resume", *more, code=2)
    assert (tmp_path / "x.tych").read_bytes() == b"before"


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError("full"), 1)])
def test_frames_before_the_one_that_failed_are_kept(tmp_path, run, many, whole, monkeypatch, error, code):
    """What ends a run with --resume may strike in the midst of a frame."""
    write, frames = sinks._write_fully, []

    def write_some(handle, data):
        frames.append(data)
        if len(frames) < 4:
            write(handle, data)
        else:
            write(handle, data[: len(data) // 2])
            raise error

    path = tmp_path / "x.tych"
    with monkeypatch.context() as patch:
        patch.setattr(sinks, "_write_fully", write_some)
        run("encode", many, "-o", path, "--resume", "-j1", *LOSSLESS, code=code)
    assert path.read_bytes() == b"".join(frames[:3])
    assert whole.startswith(path.read_bytes())
    report = json.loads(run("encode", many, "-o", path, "--resume", "--json", *LOSSLESS).stdout)
    assert report["skipped"] > 0
    assert content(path) == ALL


def test_resume_of_a_damaged_stream_is_refused(tmp_path, run, many):
    path = tmp_path / "x.tych"
    run("encode", many, "-o", path, *LOSSLESS)
    damaged = bytearray(path.read_bytes())
    with tp.Reader(path) as reader:
        start = reader.read_frame(3).frame.offset
        stop = start + reader.read_frame(3).frame.length
    damaged[stop - 1] ^= 1  # the index at the end is whole
    path.write_bytes(damaged)
    error = run("encode", many, "-o", path, "--resume", *LOSSLESS, code=3).stderr
    assert f"bytes {start:,} to {stop:,} are damaged" in error
    assert "triptych decode" in error
    assert path.read_bytes() == damaged
    run("decode", path, "-o", tmp_path / "whole", code=3)
    assert len(list((tmp_path / "whole").rglob("*.png"))) == N_IMAGES - 4


def test_resume_of_what_is_no_stream(tmp_path, run, many):
    (tmp_path / "x.tych").write_bytes(b"something else altogether")
    run("encode", many, "-o", tmp_path / "x.tych", "--resume", code=3)
    assert (tmp_path / "x.tych").read_bytes() == b"something else altogether"


SLOW = """
import sys, time
from triptych.cli import main
from triptych.cli.inputs import Input
load = Input.load
Input.load = lambda each, *reading: time.sleep(0.1) or load(each, *reading)
main(sys.argv[1:])
"""
"""An encoder that can be caught at work."""


def stop_when_it_has(n_bytes, sign, path, *args):
    """Run an encoder in a process of its own until the stream has so many bytes; end it by a signal."""
    command = [sys.executable, "-c", SLOW, *map(str, args), "-o", str(path)]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (path.exists() and path.stat().st_size >= n_bytes):
            time.sleep(0.005)
        assert process.poll() is None, process.stderr.read()
        process.send_signal(sign)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_killed_is_resumed(tmp_path, run, many, whole, sign):
    path = tmp_path / "x.tych"
    size = 0
    for image in (4, 12, 20):
        # On a busy machine the run before may have come further than that.
        n_bytes = max(tp.Reader(whole).info(image)["offset"], size + 1)
        stop_when_it_has(n_bytes, sign, path, "encode", many, "--resume", "-j2", *LOSSLESS)
        assert not list(tmp_path.glob(".*.part"))
        assert path.stat().st_size > size
        size = path.stat().st_size
        if sign == signal.SIGKILL:  # which may strike within a frame; here it always did
            os.truncate(path, size - 1)
    report = json.loads(run("encode", many, "-o", path, "--resume", "--json", *LOSSLESS).stdout)
    assert report["skipped"] > 0
    assert content(path) == ALL


@given(stops=st.sets(st.integers(0, N_IMAGES - 1)), threads=st.integers(1, 3))
@settings(max_examples=15)
def test_a_checkpoint_changes_no_byte(tmp_path_factory, whole, stops, threads):
    path = tmp_path_factory.mktemp("checkpoint") / "x.tych"
    with tp.Writer(path, lossless=True, effort="fast", frame_images=4, threads=threads) as writer:
        for place, (key, number) in enumerate(ALL):
            writer.write(draw(number), key=key)
            if place in stops:
                writer.checkpoint()
                found = content(path)
                assert found == ALL[: len(found)]
                assert path.stat().st_size == writer.size
    assert path.read_bytes() == whole


def test_a_stream_that_lost_its_index_gets_one(tmp_path, run, many, whole):
    path = tmp_path / "x.tych"
    length = int.from_bytes(whole[-20:-16], "little")
    for n_bytes in (len(whole) - length, len(whole) - 1):
        path.write_bytes(whole[:n_bytes])
        run("encode", many, "-o", path, "--resume", *LOSSLESS)
        assert path.read_bytes() == whole


@pytest.mark.parametrize("threads", [1, 3])
def test_frames_that_fail_are_named_by_their_keys(tmp_path, threads):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    lost = []

    def note(keys, error):
        assert isinstance(error, tp.TooManyColors)
        lost.append(keys)

    path = tmp_path / "x.tych"
    options = {"lossless": True, "frame_images": 2, "threads": threads, "on_failure": note}
    with tp.Writer(path, **options) as writer:
        for number in range(6):
            writer.write(noise if number == 3 else draw(number), key=str(number))
    assert lost == [["3"]]
    assert [number for _, number in content(path)] == [0, 1, 2, 4, 5]
    with tp.Writer(tmp_path / "y.tych", **options) as writer:
        writer.write(noise)
    assert lost[1:] == [[None]]
    assert [each.name for each in tmp_path.iterdir()] == ["x.tych"]  # nothing came of the second


# --shard


@given(count=st.integers(1, N_IMAGES + 3))
@settings(max_examples=8)
def test_shards_are_the_whole(tmp_path_factory, many, count):
    folder = tmp_path_factory.mktemp("shards")
    data = b""
    for number in range(1, count + 1):
        path = folder / f"{number}.tych"
        invoke("encode", many, "-o", path, "--shard", f"{number}/{count}", "-j1", *LOSSLESS)
        data += path.read_bytes()
    assert content(data) == ALL
    invoke("cat", *(folder / f"{number}.tych" for number in range(1, count + 1)), "-o", folder / "all.tych")
    assert content(folder / "all.tych") == ALL


def test_a_shard_of_which_nothing_can_be_read_is_an_empty_stream(tmp_path, many):
    inputs = tmp_path / "in"
    shutil.copytree(many, inputs)
    for path in sorted(inputs.rglob("*.png"))[: N_IMAGES // 2]:
        path.write_bytes(b"no picture")
    parts = [tmp_path / "1.tych", tmp_path / "2.tych"]
    for number, (part, code) in enumerate(zip(parts, (1, 0), strict=True), 1):
        invoke("encode", inputs, "-o", part, f"--shard={number}/2", *LOSSLESS, code=code)
    invoke("cat", *parts, "-o", tmp_path / "all.tych")
    assert content(tmp_path / "all.tych") == ALL[N_IMAGES // 2 :]


# --label-folders


@pytest.fixture
def zoo(tmp_path):
    """Two pictures of each of three animals; the numbers of folders are by name."""
    for number, path in enumerate(["train/cat/1", "train/cat/2", "val/cat/1", "train/ant/1", "val/ewe/1"]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(number)).save(tmp_path / f"{path}.png")
    return tmp_path


def labels(stream):
    with tp.Reader(stream) as reader:
        return reader.metadata["classes"], {info["key"]: info["label"] for info, _ in reader.items()}


def test_labels_are_numbers_of_folders(zoo):
    invoke("encode", zoo / "train", zoo / "val", "-o", zoo / "x.tych", "--label-folders", *LOSSLESS)
    assert labels(zoo / "x.tych") == (
        ["ant", "cat", "ewe"],
        {"ant/1": 0, "cat/2": 1, "ewe/1": 2} | dict.fromkeys(_clashing(zoo), 1),
    )


def _clashing(zoo):
    """Keys of the same names in two trees."""
    return ("/".join((zoo / part / "cat/1.png").parts[1:]) for part in ("train", "val"))


def test_shards_and_resumed_runs_have_the_labels_of_the_whole(zoo):
    args = ("encode", zoo / "train", "--label-folders", *LOSSLESS)
    invoke(*args, "-o", zoo / "whole.tych")
    for number in (1, 2):
        invoke(*args, "-o", zoo / f"{number}.tych", f"--shard={number}/2")
    invoke("cat", zoo / "1.tych", zoo / "2.tych", "-o", zoo / "parts.tych")
    invoke("encode", zoo / "train" / "ant", "-o", zoo / "other.tych", *LOSSLESS)
    invoke(*args, "-o", zoo / "1.tych", "--resume")
    for name in ("parts", "1"):
        assert labels(zoo / f"{name}.tych") == labels(zoo / "whole.tych")
    before = (zoo / "1.tych").read_bytes()
    for other in ("1", "other"):
        result = invoke(
            "encode", zoo / "val", "-o", zoo / f"{other}.tych", "--append", "--label-folders", code=2
        )
        assert "labels of other folders, or none" in result.stderr
    assert (zoo / "1.tych").read_bytes() == before


def test_stdin_lies_in_no_folder(zoo):
    result = invoke("encode", zoo / "train", "-", "-o", zoo / "x.tych", "--label-folders", code=2)
    assert "stdin lies in no folder" in result.stderr


def test_datasets_give_labels_of_folders(zoo):
    from triptych.interop.torch import TriptychDataset

    invoke("encode", zoo / "train", "-o", zoo / "x.tych", "--label-folders", *LOSSLESS)
    assert [label for _, label in TriptychDataset(zoo / "x.tych", fields=("image", "label"))] == [0, 1, 1]


def test_a_shard_is_resumed(tmp_path, run, many):
    path = tmp_path / "x.tych"
    args = ("encode", many, "-o", path, "--resume", "--shard", "2/3", "--json", *LOSSLESS)
    first = json.loads(run(*args).stdout)
    second = json.loads(run(*args).stdout)
    assert (first["images"], first["skipped"]) == (second["skipped"], second["images"])
    assert content(path) == ALL[N_IMAGES // 3 : 2 * N_IMAGES // 3]


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_shard(tmp_path, run, many, shard):
    run("encode", many, "-o", tmp_path / "x.tych", f"--shard={shard}", code=2)


# --engine


def test_an_engine_encodes_the_same_bytes(tmp_path, run, many, whole, monkeypatch):
    from triptych.interop import engine

    class Pool(ThreadPoolExecutor):
        n_threads = 3
        jobs = 0

        def submit(self, *args, **kwargs):
            Pool.jobs += 1
            return super().submit(*args, **kwargs)

    def open_pool(address):
        assert address == "dask://head:1"
        return Pool(2)

    monkeypatch.setattr(engine, "open_engine", open_pool)
    run("encode", many, "-o", tmp_path / "x.tych", "--engine", "dask://head:1", *LOSSLESS)
    assert (tmp_path / "x.tych").read_bytes() == whole
    assert Pool.jobs == N_IMAGES / 4


def test_what_is_no_engine(tmp_path, run, many):
    result = run("encode", many, "-o", tmp_path / "x.tych", "--engine", "abacus://here", code=2)
    assert "abacus://here" in result.stderr
    assert not (tmp_path / "x.tych").exists()


# Reading


def test_a_directory_is_walked_in_the_order_of_paths(tmp_path, monkeypatch):
    names = ["a/b.png", "a.png", "a-b.png", "a/b/c.png", "b/a.PNG", "A.png", ".hidden/x.jpeg"]
    for name in (*names, "a/.png", "a/.x.png", "note.txt", "png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    expected = [path.as_posix() for path in sorted(map(Path, [*names, "link.png"]))]
    monkeypatch.chdir(tmp_path)
    for folder in (".", str(tmp_path), f"{tmp_path}//", "a/.."):
        found = [each.path for each in collect_images([folder], None)]
        assert [Path(path).resolve().name for path in found if "link" not in path] == [
            Path(path).name for path in expected if "link" not in path
        ]
        assert [os.path.relpath(path) for path in found] == expected


def test_a_directory_that_cannot_be_opened_is_a_failure(tmp_path, run, many, monkeypatch):
    closed = str(many / "part1")
    scandir = os.scandir

    def guarded(path):
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    result = run("encode", many, "-o", tmp_path / "x.tych", *LOSSLESS, code=1)
    assert without_notice(result.stderr) == [f"triptych: {closed}: permission denied"]
    assert tp.Reader((tmp_path / "x.tych").read_bytes()).keys() == [k for k in KEYS if "part1" not in k]


@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "a.b", "..", "."]), min_size=1, max_size=4).map("/".join),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.sampled_from([".png", ".jpg", ""]), min_size=8, max_size=8),
)
def test_named_files_have_keys_of_their_own(stems, suffixes):
    """Where two share a key, it is the longest that each has."""
    names = [f"nowhere/{stem}/x{suffix}" for stem, suffix in zip(stems, suffixes, strict=False)]
    inputs = collect_images(names, None)
    assert [each.path for each in inputs] == names
    plain = ["/".join(part for part in name.split("/") if part not in (".", "..")) for name in names]
    shared = Counter(each.key for each in inputs)
    for each, longest in zip(inputs, plain, strict=True):
        assert shared[each.key] == 1 or each.key in plain
        assert longest.startswith(each.key) or longest.removesuffix(Path(longest).suffix).endswith(each.key)


def test_a_million_inputs_cost_two_strings_each():
    n = 100_000
    names = [f"photos/{number // 1000:03d}/image-{number:06d}.png" for number in range(n)]
    tracemalloc.start()
    try:
        inputs = collect_images(names, None)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(inputs) == n
    key = sys.getsizeof(inputs[0].key)
    assert kept / n < key + 40  # the paths are the caller's; lists take 8 bytes for each string
    assert most / n < key + 200


# Mode auto: one panel for the collection.


def soft_icons(folder, n):
    """Discs with soft edges on a shaded ground: drawn, and of hundreds of colours."""
    y, x = np.mgrid[:40, :40]
    folder.mkdir()
    for i in range(n):
        inside = np.clip(9 + i - np.hypot(y - 20, x - 18) + 0.5, 0, 1)[:, :, None]
        pixels = inside * [250, 40 + 9 * i, 10] + (1 - inside) * np.stack([y, y, 80 + x // 6], axis=2)
        Image.fromarray(np.rint(pixels).astype(np.uint8)).save(folder / f"{i}.png")


def test_a_collection_gets_the_panel_of_fewest_bytes_and_info_says_why(tmp_path):
    soft_icons(tmp_path / "icons", 6)
    for name, options in (("auto", ()), ("kmeans", ("--mode", "kmeans")), ("pca", ("--mode", "pca"))):
        invoke("encode", tmp_path / "icons", "-o", tmp_path / f"{name}.tych", "--target-psnr", "34", *options)
    auto, kmeans, pca = ((tmp_path / f"{name}.tych").stat().st_size for name in ("auto", "kmeans", "pca"))
    with tp.Reader(tmp_path / "auto.tych") as reader:
        why = reader.metadata["auto"]
        modes = {reader.info(i)["mode"] for i in range(6)}
    assert len(modes) == 1
    assert modes == {"kmeans" if kmeans < pca else "pca"}
    assert auto < min(kmeans, pca) + len(why) + 64
    assert "the fewest bytes an image at 34.00 dB (kmeans " in why
    assert "6 of 6 images tried" in why
    assert f"auto: {why}" in invoke("info", tmp_path / "auto.tych").output


@pytest.mark.parametrize("options", [(), ("-q", "30"), ("--shard", "1/1"), ("-j", "1"), ("--per-image",)])
def test_what_has_few_colors_is_exact_whatever_the_others_are(tmp_path, options):
    """Photographs and drawings in turn, each once in the majority."""
    y, x = np.mgrid[:60, :60]
    random = np.random.default_rng(0)
    for n_taken, n_drawn in ((7, 1), (1, 7)):
        folder = tmp_path / f"{n_taken}"
        folder.mkdir()
        drawn = {}
        for number in range(n_taken + n_drawn):
            pixels = np.stack([x // 9 * 30, y // 9 * 30, 0 * x + number], axis=2).astype(np.uint8)
            if number * n_drawn % (n_taken + n_drawn) < n_drawn:
                drawn[str(number)] = pixels
            else:
                pixels += random.integers(0, 20, pixels.shape, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        stream = tmp_path / f"{n_taken}.tych"
        invoke("encode", folder, "-o", stream, *options)
        with tp.Reader(stream) as reader:
            modes = Counter(reader.info(i)["mode"] for i in range(len(reader)))
            assert modes == {"pca": n_taken, "kmeans": n_drawn}
            assert all(np.array_equal(reader[key], pixels) for key, pixels in drawn.items())
            if "--per-image" not in options:
                why = reader.metadata["auto"]
                assert "exact, at most 256 colours" in why
                assert why.endswith("; 8 of 8 images tried")


def test_a_collection_takes_few_more_bytes_than_its_images_alone(tmp_path):
    soft_icons(tmp_path / "in", 4)
    for number in range(4):
        Image.new("RGB", (40, 40), (number, 9, 9)).save(tmp_path / "in" / f"{number}-flat.png")
    sizes = {}
    for name, options in (("together", ()), ("alone", ("--per-image",))):
        invoke("encode", tmp_path / "in", "-o", tmp_path / "x.tych", "-f", *options)
        sizes[name] = (tmp_path / "x.tych").stat().st_size
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.metadata == {}
    assert sizes["together"] <= sizes["alone"] + 300  # the metadata that say why


def test_shards_choose_as_the_whole_does(tmp_path):
    soft_icons(tmp_path / "icons", 5)
    invoke("encode", tmp_path / "icons", "-o", tmp_path / "whole.tych")
    invoke("encode", tmp_path / "icons", "-o", tmp_path / "part.tych", "--shard", "2/3")
    with tp.Reader(tmp_path / "part.tych") as part, tp.Reader(tmp_path / "whole.tych") as whole:
        assert part.metadata == whole.metadata


def test_each_image_may_have_its_own_panel(tmp_path):
    soft_icons(tmp_path / "icons", 2)
    Image.new("RGB", (40, 40), "teal").save(tmp_path / "icons" / "plain.png")
    invoke("encode", tmp_path / "icons", "-o", tmp_path / "x.tych", "--per-image")
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.metadata == {}
        assert [reader.info(i)["mode"] for i in range(3)] == ["pca", "pca", "kmeans"]


def test_an_image_that_misses_its_target_fails_alone_in_its_frame(tmp_path):
    soft_icons(tmp_path / "icons", 3)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "icons" / "1b.png")
    target = ("-o", tmp_path / "x.tych", "--mode", "kmeans", "--target-psnr", "40")
    result = invoke("encode", tmp_path / "icons", *target, code=1)
    assert "1b.png" in result.output
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert reader.keys() == ["0", "1", "2"]
        assert len({reader.info(i)["frame"] for i in range(3)}) == 1


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("options", [(), ("--frame-images", 16), ("--mode", "pca")])
def test_an_image_of_another_size_goes_without_the_dictionary_or_fails_alone(tmp_path, threads, options):
    tiles = [np.roll(np.arange(256, dtype=np.uint8).reshape(16, 16), i, axis=1) for i in range(20)]
    tp.fit("pca", tiles, n_components=4).save(tmp_path / "book.tych")
    (tmp_path / "in").mkdir()
    for number, tile in enumerate(tiles):
        Image.fromarray(tile[: 12 if number == 5 else 16]).save(tmp_path / "in" / f"{number:02}.png")
    book = ("-D", tmp_path / "book.tych", "-j", threads, *options)
    is_asked = "--mode" in options
    result = invoke("encode", tmp_path / "in", "-o", tmp_path / "x.tych", *book, code=int(is_asked))
    with tp.Reader(tmp_path / "x.tych") as reader:
        if is_asked:
            assert "05.png" in result.output
            assert reader.keys() == [f"{number:02}" for number in range(20) if number != 5]
            return
        assert result.output.count("1 image did not suit the dictionary") == 1
        assert reader.keys() == [f"{number:02}" for number in range(20)]
        assert np.array_equal(reader["05"], tiles[5][:12])
        assert [reader.info(i).get("dictionary") for i in (4, 5)] == [next(iter(reader.dictionaries)), None]


def test_a_dictionary_that_suits_no_image_is_refused(tmp_path):
    soft_icons(tmp_path / "in", 3)
    tp.fit("pca", [np.zeros((8, 8), np.uint8)] * 3, n_components=1).save(tmp_path / "book.tych")
    invoke("encode", tmp_path / "in", "-o", tmp_path / "x.tych", "-D", tmp_path / "book.tych", code=2)
    assert not (tmp_path / "x.tych").exists()


def test_resuming_says_once_why(tmp_path):
    soft_icons(tmp_path / "icons", 3)
    sizes = []
    for _ in range(3):
        invoke("encode", tmp_path / "icons", "-o", tmp_path / "x.tych", "--resume", "--target-psnr", "34")
        sizes.append((tmp_path / "x.tych").stat().st_size)
    assert sizes[1] == sizes[2]
    with tp.Reader(tmp_path / "x.tych") as reader:
        assert "auto" in reader.metadata
