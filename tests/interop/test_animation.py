"""Animations through Pillow: the same pictures, shown for the same times, as often as before."""

from __future__ import annotations

import io

import numpy as np
import pytest
import triptych as tp
import triptych.pillow
from hypothesis import given, settings
from moving import STEPS, animations, draw_frames, play, shown, write_animation
from PIL import Image
from triptych.interop.animation import count_frames, iterate_frames
from triptych.interop.pillow import FORMAT

triptych.pillow.register()


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, FORMAT, **options)
    buffer.seek(0)
    return buffer


@settings(max_examples=25)
@given(animations())
def test_animations_of_other_formats(animation):
    format_name, file, loop = animation
    with Image.open(file) as source, Image.open(saved(source, save_all=True)) as opened:
        assert play(opened) == play(source)
        # GIF says how often all is repeated.
        assert opened.info["loop"] == (loop + 1 if format_name == "GIF" and loop else loop)
        again = saved(opened, save_all=True)
        assert again.getvalue() == opened.fp.getvalue()


@pytest.mark.parametrize(
    "duration", [70, 33.25, [40, 50, 60], (1, 2, 3), np.array([40, 50, 60]), np.float32(5)]
)
@pytest.mark.parametrize("loop", [0, 4])
def test_times_that_are_given(duration, loop):
    frames = draw_frames(3)
    data = saved(frames[0], save_all=True, append_images=frames[1:], duration=duration, loop=loop)
    expected = np.broadcast_to(duration, 3).tolist()
    with Image.open(data) as opened:
        for number in (2, 0, 1):
            opened.seek(number)
            assert (opened.info["duration"], opened.info["loop"]) == (expected[number], loop)
            assert shown(opened) == shown(frames[number])
    infos = [tp.Reader(data.getvalue()).info(number) for number in range(3)]
    assert [info["duration"] for info in infos] == expected
    assert [info.get("loop") for info in infos] == [loop, None, None]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loop": None}, (0, 1)),  # as GIF has it: shown once
        ({"loop": 0}, (0, 0)),
        ({"duration": 0}, (0, 0)),
        ({}, (None, None)),  # a series of pictures
    ],
)
def test_what_makes_an_animation(options, expected):
    frames = draw_frames(2)
    with Image.open(saved(frames[0], save_all=True, append_images=frames[1:], **options)) as opened:
        for number in range(2):
            opened.seek(number)
            assert (opened.info.get("duration"), opened.info.get("loop")) == expected


def test_a_picture_has_no_time_unless_it_is_given():
    image = draw_frames(1)[0]
    image.info["duration"] = 40
    assert "duration" not in Image.open(saved(image)).info
    assert Image.open(saved(image, duration=50)).info["duration"] == 50
    assert Image.open(saved(image, save_all=True)).info["duration"] == 40


@pytest.mark.parametrize("duration", [-1, "fast", [40], float("nan")])
def test_times_that_cannot_be(duration):
    frames = draw_frames(2)
    with pytest.raises(tp.InvalidOption, match="duration"):
        saved(frames[0], save_all=True, append_images=frames[1:], duration=duration)


@pytest.mark.parametrize("duration", ["fast", -5, float("nan"), 1e12, None])
def test_times_of_files_that_cannot_be(duration):
    frames = draw_frames(2)
    frames[0].info["duration"] = duration
    with Image.open(saved(frames[0], save_all=True, append_images=frames[1:])) as opened:
        assert opened.info.get("duration", 0) == 0


def test_several_animations_in_one_stream():
    """Each has its loop, from whatever frame it is asked, also when streams are joined and written anew."""
    groups = [(3, 70, 2), (2, None, None), (4, 30, 0), (2, 30, 5)]
    streams = [
        saved(
            *draw_frames(n, seed=n)[:1],
            save_all=True,
            append_images=draw_frames(n, seed=n)[1:],
            frame_images=1 + n % 2,
            **({} if duration is None else {"duration": duration, "loop": loop}),
        ).getvalue()
        for n, duration, loop in groups
    ]
    expected = [(duration, loop) for n, duration, loop in groups for _ in range(n)]
    with Image.open(io.BytesIO(b"".join(streams))) as opened:
        for image in (opened, Image.open(saved(opened, save_all=True))):
            for number in np.random.default_rng(0).permutation(np.arange(len(expected)).repeat(3)).tolist():
                image.seek(number)
                assert (image.info.get("duration"), image.info.get("loop")) == expected[number]


def test_keys_keep_animations_apart_whose_beginnings_are_lost():
    target = io.BytesIO()
    with tp.Writer(target, frame_images=2) as writer:
        for number, name in enumerate("aaabbb"):
            writer.write(draw_frames(6)[number], f"{name}/{number}", duration=50, loop=None if number else 3)
    with Image.open(target) as opened:
        for number in (5, 1, 3, 0, 4, 2):
            opened.seek(number)
            assert opened.info["loop"] == (3 if number < 3 else 0)


def test_an_animation_whose_beginning_is_lost_is_played_for_ever():
    target = io.BytesIO()
    with tp.Writer(target) as writer:
        for number, frame in enumerate(draw_frames(4)):
            writer.write(frame, duration=50 if number else None)
    with Image.open(target) as opened:
        opened.seek(3)
        assert (opened.info["duration"], opened.info["loop"]) == (50, 0)
        opened.seek(0)
        assert "duration" not in opened.info


def test_frames_that_change_their_mode():
    """The first frame of a GIF is of mode P, those after it are RGB or RGBA; all are shown as they are."""
    frames = draw_frames(4, alpha=True)
    with Image.open(write_animation(frames, "GIF", 40)) as source:
        modes = [frame.mode for frame in iterate_frames(source)]
        assert len(set(modes)) > 1
        with Image.open(saved(source, save_all=True)) as opened:
            assert [shown(frame) for frame in iterate_frames(opened)] == list(map(shown, frames))


def test_a_default_image_is_no_frame():
    frames = draw_frames(3)
    file = write_animation(frames, "PNG", 40, default_image=True)
    with Image.open(file) as source, Image.open(saved(source, save_all=True)) as opened:
        seen = [(frame.info.get("duration"), frame.info.get("loop")) for frame in iterate_frames(opened)]
        assert seen == [(None, None), (40, 0), (40, 0)]


def test_pages_and_icons():
    pages = draw_frames(3)
    tiff, icon = io.BytesIO(), io.BytesIO()
    pages[0].save(tiff, "TIFF", save_all=True, append_images=pages[1:])
    pages[0].resize((64, 64)).save(icon, "ICO", sizes=[(16, 16), (32, 32), (64, 64)])
    with Image.open(tiff) as image:
        assert count_frames(image) == 3
        assert [shown(page) for page in iterate_frames(image)] == list(map(shown, pages))
        assert "duration" not in Image.open(saved(image, save_all=True)).info
    with Image.open(icon) as image:
        assert count_frames(image) == 3
        assert [page.size for page in iterate_frames(image)] == [(64, 64), (32, 32), (16, 16)]
    macs = io.BytesIO()
    pages[0].resize((64, 64)).save(macs, "ICNS")
    with Image.open(macs) as image:
        widths = [page.width for page in iterate_frames(image)]
        assert count_frames(image) == len(widths) > 3
        assert (widths[0], widths) == (image.width, sorted(widths, reverse=True))


@pytest.mark.parametrize("format_name", sorted(STEPS))
def test_imageio(tmp_path, format_name):
    iio = pytest.importorskip("imageio.v3")
    frames = np.stack(draw_frames(3))
    iio.imwrite(tmp_path / "x.tych", frames, duration=80, loop=0)
    np.testing.assert_array_equal(iio.imread(tmp_path / "x.tych", index=...), frames)
    assert iio.immeta(tmp_path / "x.tych", index=2)["duration"] == 80


OF_OTHERS = [
    {"optimize": True, "progressive": True, "subsampling": "4:4:4"},  # JPEG
    {"compress_level": 9, "bits": 4},  # PNG
    {"method": 6, "exact": True, "alpha_quality": 100, "minimize_size": True},  # WebP
    {"speed": 6, "codec": "auto", "max_threads": 2},  # AVIF
    {"compression": "tiff_lzw", "tiffinfo": {}},  # TIFF
]


@pytest.mark.parametrize("options", OF_OTHERS)
def test_options_of_other_formats_are_ignored_with_one_warning(options):
    image = draw_frames(1)[0]
    with pytest.warns(UserWarning, match=r"ignores options that it does not have") as caught:
        data = saved(image, quality=85.0, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert all(name in str(caught[0].message) for name in options)
    assert data.getvalue() == saved(image, quality=85).getvalue()


@pytest.mark.parametrize("quality", [100, 80.0, np.float64(3)])
@pytest.mark.parametrize("lossless", [True, np.True_])
def test_lossless_wins_over_quality(lossless, quality):
    image = draw_frames(1)[0]
    assert (
        saved(image, lossless=lossless, quality=quality).getvalue() == saved(image, lossless=True).getvalue()
    )


@pytest.mark.parametrize(
    "options", [{"effort": "slow"}, {"quality": 85.5}, {"lossless": True, "target_size": 9}, {"n_colours": 4}]
)
def test_wrong_options_of_ours_are_refused(options):
    with pytest.raises(tp.InvalidOption):
        saved(draw_frames(1)[0], **options)
