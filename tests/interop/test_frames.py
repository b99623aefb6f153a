"""Frames as files of other formats show them: the same pictures at the same times, or a line says not."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from moving import STEPS, play, shown
from PIL import Image
from triptych.interop.frames import prepare_frames

LOSSLESS = {"WEBP": {"lossless": True, "exact": True}}


def written(frames, infos, format_name):
    images, options, changes = prepare_frames(frames, infos, format_name)
    buffer = io.BytesIO()
    images[0].save(buffer, format_name, **options, **LOSSLESS.get(format_name, {}))
    buffer.seek(0)
    return buffer, changes


def as_seen(frames, infos):
    """Give what `play` should find."""
    seen = []
    for frame, info in zip(frames, infos, strict=True):
        picture = shown(Image.fromarray(frame))
        if seen and seen[-1][0] == picture:
            seen[-1] = picture, seen[-1][1] + info["duration"]
        else:
            seen.append((picture, info["duration"]))
    return seen


@st.composite
def sequences(draw):
    """Give frames of one size and any kind, in a few colours that GIF can have, and times of 10 ms."""
    height, width = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    frames = []
    for _ in range(draw(st.integers(2, 5))):
        n_channels = draw(st.sampled_from([1, 2, 3, 4]))
        frame = draw(
            hnp.arrays(np.uint8, (height, width, n_channels), elements=st.sampled_from([0, 1, 128, 255]))
        )
        if n_channels % 2 == 0:
            frame[..., -1] = np.where(frame[..., -1] > 100, 255, 0)
        frames.append(frame[..., 0] if n_channels == 1 else frame)
    return frames, [{"duration": draw(st.integers(1, 60)) * 10} for _ in frames]


@settings(max_examples=200)
@given(sequences(), st.sampled_from(sorted(STEPS)), st.integers(0, 3))
def test_the_same_pictures_at_the_same_times(sequence, format_name, loop):
    frames, infos = sequence
    infos[0]["loop"] = loop
    file, changes = written(frames, infos, format_name)
    assert changes == []
    with Image.open(file) as image:
        expected = as_seen(frames, infos)
        if len(expected) == 1:  # a still: Pillow says nothing of its time
            assert shown(image) == expected[0][0]
            return
        assert play(image) == expected
        said = (
            {"loop": loop} if format_name != "GIF" else {1: {}, 0: {"loop": 0}}.get(loop, {"loop": loop - 1})
        )
        assert {name: image.info[name] for name in ("loop",) if name in image.info} == said


@given(sequences(), st.sampled_from(sorted(STEPS)))
def test_stills(sequence, format_name):
    for frame in sequence[0]:
        file, changes = written([frame], [{}], format_name)
        with Image.open(file) as image:
            assert shown(image) == shown(Image.fromarray(frame))
        assert changes == []


@given(st.lists(st.fractions(0, 60_000, max_denominator=9), min_size=2, max_size=40))
@pytest.mark.parametrize(("format_name", "unit"), [("GIF", 10), ("WEBP", 1)])
def test_times_never_drift(format_name, unit, times):
    """Each frame begins at most half a unit from its time, but where some are shorter than one."""
    frames = [np.full((1, 1), number % 256, np.uint8) for number in range(len(times))]
    infos = [{"duration": float(time)} for time in times]
    held = prepare_frames(frames, infos, format_name).options["duration"]
    assert all(time % unit == 0 for time in held)
    assert all(
        (got > 0) == (time > 0) for got, time in zip(held, times, strict=True) if time == 0 or got == 0
    )
    if all(time >= unit for time in times):
        begins = [abs(sum(held[:n]) - sum(times[:n])) for n in range(len(times) + 1)]
        assert max(begins) <= Fraction(unit, 2) + Fraction(1, 10**6)


ROUNDED = "times are rounded to {} ms, as {} has them"
CUT_GIF = "times are cut to 655.35 s, the most of GIF"


@pytest.mark.parametrize(
    ("format_name", "durations", "expected", "told"),
    [
        ("GIF", [100 / 3] * 3, [30, 40, 30], [ROUNDED.format(10, "GIF")]),
        ("GIF", [1, 1, 1], [10, 10, 10], [ROUNDED.format(10, "GIF")]),
        ("GIF", [0, 700_000, 10], [0, 655_350, 10], [CUT_GIF]),
        ("GIF", [1, 700_000, 3], [10, 655_350, 10], [CUT_GIF, ROUNDED.format(10, "GIF")]),
        ("GIF", [20, 30, 0], [20, 30, 0], []),
        ("WEBP", [100 / 3] * 3, [33, 34, 33], [ROUNDED.format(1, "WEBP")]),
        ("WEBP", [33, 0, 7], [33, 0, 7], []),
        ("PNG", [100 / 3] * 3, [100 / 3] * 3, []),
        ("PNG", [65_537, 1, 2], [65_537, 1, 2], ["times are rounded to what PNG holds"]),
    ],
)
def test_times_that_a_format_does_not_hold_are_told(format_name, durations, expected, told):
    frames = [np.full((2, 2), value, np.uint8) for value in (0, 90, 200)]
    file, changes = written(frames, [{"duration": time} for time in durations], format_name)
    assert changes == told
    with Image.open(file) as image:
        assert [time for _, time in play(image)] == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("format_name", "most"), [("GIF", 65_536), ("WEBP", 65_535)])
def test_loops_that_a_format_does_not_hold_are_told(format_name, most):
    frames = [np.full((2, 2), value, np.uint8) for value in (0, 90)]
    for loop, told in (most, []), (most + 1, [f"the animation is played {most:,} times, the most of"]):
        file, changes = written(frames, [{"duration": 10, "loop": loop}, {"duration": 10}], format_name)
        assert [text.removesuffix(f" {format_name}") for text in changes] == told
        with Image.open(file) as image:
            assert image.info["loop"] + (format_name == "GIF") == most


def test_frames_that_are_equal_may_be_shown_for_long():
    """Pillow adds up their times, and GIF holds no sum beyond 655.35 s."""
    frames = [np.full((2, 2), value, np.uint8) for value in (0, 90, 90, 90)]
    file, changes = written(frames, [{"duration": 400_000}] * 4, "GIF")
    assert changes == [CUT_GIF]
    with Image.open(file) as image:
        assert [time for _, time in play(image)] == [400_000, 655_350]


@pytest.mark.parametrize("format_name", ["BMP", "DIB", "PPM"])
def test_transparency_that_is_left_out_is_told(format_name):
    for alpha, changes in (254, [f"transparency is left out, which {format_name} does not hold"]), (255, []):
        assert written([np.full((2, 2, 4), alpha, np.uint8)], [{}], format_name)[1] == changes


def test_what_gif_does_not_hold_is_told():
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (40, 40, 3), np.uint8)
    _, changes = written([colors], [{}], "GIF")
    assert changes == ["colours are reduced to the 256 of GIF"]
    half = np.dstack([colors[:4, :4], np.full((4, 4), 90, np.uint8)])
    _, changes = written([half], [{}], "GIF")
    assert changes == ["half transparent pixels become transparent or not, as GIF has them"]


@pytest.mark.parametrize("n_colors", [1, 2, 255, 256, 257])
@pytest.mark.parametrize("has_holes", [False, True])
def test_as_many_colours_as_gif_has(n_colors, has_holes):
    keys = np.arange(n_colors + 3, dtype=np.uint32)[:n_colors].repeat(2)[: 2 * n_colors].reshape(2, -1)
    frame = np.stack([keys % 256, keys // 256, keys * 0, keys * 0 + 255], 2).astype(np.uint8)
    if has_holes:
        frame = np.hstack([frame, np.zeros((2, 1, 4), np.uint8)])
    file, changes = written([frame], [{}], "GIF")
    assert bool(changes) == (n_colors + has_holes > 256)
    if not changes:
        assert shown(Image.open(file)) == shown(Image.fromarray(frame))
