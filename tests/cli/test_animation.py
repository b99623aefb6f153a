"""Files of several images: none is left out in silence, and `--all-frames` has them come out as they were."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest
import triptych as tp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moving import STEPS, animations, draw_frames, play, shown, write_animation
from PIL import Image, ImageSequence
from triptych.cli import options as cli_options
from triptych.errors import EncodeError
from triptych.interop.animation import iterate_frames
from triptych.jobs import Lost, Outcome
from triptych.limits import DEFAULT

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


def played(path):
    """Give what is seen of a file, and how often it is played."""
    with Image.open(path) as image:
        return play(image), plays(image)


def plays(image):
    """Give how often a file says that it is played, 0 for ever: GIF says how often it is repeated."""
    if image.format != "GIF":
        return image.info.get("loop", 0)
    loop = image.info.get("loop")
    return 1 if loop is None else loop + bool(loop)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(animations(), st.sampled_from(sorted(STEPS)))
def test_animations_of_one_format_come_out_in_another(run, tmp_path, animation, target):
    _, file, _ = animation
    source, stream, path = (tmp_path / name for name in ("a.in", "a.tych", f"a.{target.lower()}"))
    source.write_bytes(file.getvalue())
    run("encode", source, "-o", stream, "--all-frames", "-f")
    result = run("decode", stream, "-o", path, "-f")
    with Image.open(file) as given_image, Image.open(path) as image:
        seen, expected = play(image), play(given_image)
        assert [picture for picture, _ in seen] == [picture for picture, _ in expected]
        if len(expected) == 1:  # a still: nothing is played
            return
        assert plays(image) == plays(given_image)
        times, wanted = ([time for _, time in played] for played in (seen, expected))
        if target == "GIF":
            stored = times_of(given_image)
            is_told = "times are rounded to 10 ms, as GIF has them" in result.stderr
            assert is_told == any(round(time, 6) % 10 for time in stored)
            late = np.abs(np.cumsum(times) - np.cumsum(wanted)).max()
            assert late <= is_told * (5 + 10 * sum(time < 10 for time in stored))
        else:
            assert times == pytest.approx(wanted)
            assert path.name not in result.stderr


def times_of(image):
    times = []
    for frame in ImageSequence.Iterator(image):
        frame.load()  # WebP knows times only then
        times.append(frame.info.get("duration", 0))
    return times


def test_what_gif_does_not_hold_is_told_in_a_line_each(run, tmp_path):
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (32, 32, 4), np.uint8) for _ in range(3)]
    with tp.Writer(tmp_path / "a.tych") as writer:
        for frame in frames:
            writer.write(frame, duration=33, loop=0 if frame is frames[0] else None)
    result = run("decode", tmp_path / "a.tych", "-o", tmp_path / "a.gif")
    lines = [line for line in result.stderr.splitlines() if "compiling" not in line]
    assert [line.rpartition("a.gif: ")[2] for line in lines] == [
        "half transparent pixels become transparent or not, as GIF has them",
        "colours are reduced to the 256 of GIF",
        "times are rounded to 10 ms, as GIF has them",
    ]
    assert run("decode", tmp_path / "a.tych", "-o", tmp_path / "a.png").stderr == ""


@pytest.fixture
def all_frames(run, moving, tmp_path):
    run("encode", moving, "-o", tmp_path / "all.tych", "--all-frames")
    return tmp_path / "all.tych"


@pytest.mark.parametrize("name", sorted(STEPS))
def test_one_animation_of_several(run, moving, all_frames, tmp_path, name):
    file = f"{name.lower()}.{name.lower()}"
    run("decode", all_frames, "--only", f"{name.lower()}/", "-o", tmp_path / file)
    assert played(tmp_path / file) == played(moving / file)
    result = run("decode", all_frames, "--only", "none/", "-o", tmp_path / file, "-f", code=1)
    assert "--only none/: no image has a key that begins so" in result.stderr


def test_frames_go_to_a_directory_each_alone_or_as_animations(run, moving, all_frames, tmp_path):
    run("decode", all_frames, "-o", tmp_path / "each")
    files = sorted(path.relative_to(tmp_path / "each") for path in (tmp_path / "each").rglob("*.png"))
    assert [path.with_suffix("").as_posix() for path in files] == KEYS
    result = run("decode", all_frames, "-o", tmp_path / "whole", "--animations", "--format", "webp", "--json")
    pages = [key for key in KEYS if key.startswith(("deep", "icon"))]
    names = sorted([*pages, "gif", "png", "webp", "still"])
    assert sorted(json.loads(result.stdout)["files"]) == [f"{tmp_path}/whole/{name}.webp" for name in names]
    for name in ("gif", "png", "webp"):
        assert played(tmp_path / "whole" / f"{name}.webp") == played(moving / f"{name}.{name}")


def test_animations_of_pillow_have_numbers(run, tmp_path):
    with tp.Writer(tmp_path / "a.tych") as writer:
        for number in range(6):
            writer.write(draw_frames(6)[number], duration=40, loop=None if number % 3 else 2)
    run("decode", tmp_path / "a.tych", "-o", tmp_path / "out", "--animations")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.png", "3.png"]
    assert played(tmp_path / "out" / "3.png")[1] == 2


def test_where_a_beginning_was_left_out_animations_stay_apart(run, all_frames, tmp_path):
    run(
        "extract",
        all_frames,
        "--only",
        "gif/",
        "--only",
        "png/0002",
        "--only",
        "png/0003",
        "-o",
        tmp_path / "x",
    )
    run("decode", tmp_path / "x", "-o", tmp_path / "out", "--animations")
    found = {path.name: played(path) for path in (tmp_path / "out").iterdir()}
    assert {name: (len(seen), loop) for name, (seen, loop) in found.items()} == {
        "gif.png": (5, 0),
        "png.png": (2, 0),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "x.gif"), "x.gif holds one image, and the stream has more: use --only, or -o DIRECTORY"),
        (
            ("--only", "gif/", "--only", "png/", "-o", "x.gif"),
            "x.gif holds one animation, and the stream",
        ),
        (("--only", "gif/", "-o", "x.jpg"), "x.jpg holds one image, and the stream has more"),
        (("-o", "-", "--format", "gif"), "stdout holds one image"),
        (("-o", "out", "--animations", "--format", "jpg"), "--animations: .jpg files hold none"),
    ],
)
def test_what_one_file_does_not_hold(run, all_frames, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in run("decode", all_frames, *options, code=2).stderr
    assert not (tmp_path / options[options.index("-o") + 1]).exists()


def test_frames_of_several_sizes_make_no_animation(run, tmp_path):
    with tp.Writer(tmp_path / "a.tych") as writer:
        for size in (8, 9):
            writer.write(np.zeros((size, 8), np.uint8), duration=40)
    result = run("decode", tmp_path / "a.tych", "-o", tmp_path / "a.gif", code=1)
    assert "a.gif: frames of several sizes make no GIF" in result.stderr


def test_an_animation_on_stdout(run, moving, all_frames):
    result = run("decode", all_frames, "--only", "png/", "-o", "-", "--format", "png")
    assert played(io.BytesIO(result.stdout_bytes)) == played(moving / "png.png")


@pytest.mark.parametrize("arguments", [("-o", "x.png"), ("-o", "x", "--animations"), ("-o", "x.tiff")])
def test_what_is_in_memory_at_once_is_limited(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with tp.Writer("a.tych") as writer:
        for number in range(9):
            writer.write(np.full((1000, 1000), number, np.uint8), duration=40)
    monkeypatch.setattr(cli_options, "DEFAULT", dataclasses.replace(DEFAULT, decoded_bytes=4_000_000))
    result = run("decode", "a.tych", *arguments, "--max-pixels", "1M", code=5)
    assert "a.tych: Limits.decoded_bytes allows 4,000,000, and this needs 5,000,000" in result.stderr
    run("decode", "a.tych", *arguments, "--max-pixels", "3M")


@pytest.mark.parametrize("name", sorted(STEPS))
def test_opencv_shows_the_same(run, moving, all_frames, tmp_path, name):
    """What Pillow writes and reads again may be wrong twice: OpenCV has readers of its own."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "imreadanimation"):
        pytest.skip("this OpenCV reads no animations")
    path = tmp_path / f"a.{name.lower()}"
    run("decode", all_frames, "--only", "png/", "-o", path)
    _, film = cv2.imreadanimation(str(path))
    frames = [cv2.cvtColor(frame[..., :4], cv2.COLOR_BGRA2RGBA) for frame in film.frames]
    with Image.open(moving / "png.png") as source:
        assert [shown(Image.fromarray(frame)) for frame in frames] == [picture for picture, _ in play(source)]
    assert (film.durations.tolist(), film.loop_count) == (TIMES, 0)


def test_pages_and_sizes(run, moving, all_frames, tmp_path):
    run("decode", all_frames, "--only", "deep/pages/", "-o", tmp_path / "pages.tiff")
    run("decode", all_frames, "--only", "icon/", "-o", tmp_path / "icon.ico")
    for source, name in ("deep/pages.tiff", "pages.tiff"), ("icon.ico", "icon.ico"):
        with Image.open(moving / source) as given_image, Image.open(tmp_path / name) as image:
            pairs = list(zip(iterate_frames(given_image), iterate_frames(image), strict=True))
            assert len(pairs) == {"pages.tiff": 3, "icon.ico": 2}[name]
            assert all(a.size == b.size and shown(a) == shown(b) for a, b in pairs)


@pytest.mark.parametrize("size", [(20, 20), (7, 30), (256, 256)])
def test_an_icon_of_one_size_keeps_it(run, tmp_path, size):
    """Pillow scales to 16x16, 24x24 and so on unless it is told a size."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], np.uint8))
    (tmp_path / "a.tych").write_bytes(tp.encode(picture, lossless=True))
    run("decode", tmp_path / "a.tych", "-o", tmp_path / "a.ico")
    with Image.open(tmp_path / "a.ico") as image:
        assert (image.info["sizes"], shown(image)) == ({size}, shown(picture))


def test_what_no_icon_is(run, tmp_path):
    for number, sizes in enumerate([(257,), (16, 16)]):
        path = tmp_path / f"{number}.tych"
        with tp.Writer(path) as writer:
            for size in sizes:
                writer.write(np.zeros((size, size), np.uint8))
        result = run("decode", path, "-o", tmp_path / "a.ico", code=1)
        assert "an icon has one picture of each size up to 256x256" in result.stderr


def test_orientation_of_frames(run, tmp_path):
    """GIF cannot say it, so the pixels of all frames are turned."""
    exif = Image.Exif()
    exif[274] = 6
    frames = draw_frames(2, size=12)
    frames = [frame.crop((0, 0, 12, 8)) for frame in frames]
    with tp.Writer(tmp_path / "a.tych") as writer:
        for frame in frames:
            writer.write(frame, duration=40, exif=exif.tobytes().removeprefix(b"Exif\0\0"))
    run("decode", tmp_path / "a.tych", "-o", tmp_path / "a.gif")
    turned = [frame.transpose(Image.Transpose.ROTATE_270) for frame in frames]
    assert [picture for picture, _ in played(tmp_path / "a.gif")[0]] == list(map(shown, turned))


def test_info_says_times_and_loops(run, moving, tmp_path):
    run("encode", moving / "gif.gif", "-o", tmp_path / "x.tych", "--all-frames")
    lines = run("info", tmp_path / "x.tych").stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("  key"))
    names = lines[head].split()
    rows = [dict(zip(names, line.split(), strict=False)) for line in lines[head + 1 :]]
    assert [row["ms"] for row in rows] == list(map(str, TIMES))
    assert rows[0]["plays"] == "ever"
    images = json.loads(run("info", tmp_path / "x.tych", "--json").stdout)["images"]
    assert [(image["duration"], image.get("loop")) for image in images] == list(
        zip(TIMES, [0, None, None, None, None], strict=True)
    )
