"""Animations for tests: pictures that change, and what a viewer sees of a file."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import strategies as st
from PIL import Image

STEPS = {"GIF": 10, "PNG": 1, "WEBP": 1}
"""Formats of animations, and the unit of their times in milliseconds."""
RULES = {"GIF": {"disposal": 4}, "PNG": {"disposal": 3, "blend": 2}, "WEBP": {}}
"""How many ways a format has to put a frame over those before it; WebP's encoder chooses by itself."""
EXACT = {"GIF": {}, "PNG": {}, "WEBP": {"lossless": True, "exact": True}}


def shown(image: Image.Image) -> bytes:
    """Give what is seen of a picture: no colour where it is transparent."""
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0
    return pixels.tobytes()


def play(image: Image.Image) -> list[tuple[bytes, float]]:
    """Give what a viewer sees, and for how long; what does not change is one picture."""
    seen: list[tuple[bytes, float]] = []
    for number in range(image.n_frames):
        image.seek(number)
        picture = shown(image)
        duration = image.info.get("duration", 0)
        if seen and seen[-1][0] == picture:
            seen[-1] = (picture, seen[-1][1] + duration)
        else:
            seen.append((picture, duration))
    return seen


def draw_frames(n_frames: int, *, alpha: bool = False, seed: int = 0, size: int = 16) -> list[Image.Image]:
    """Give frames of a few colours, whole in each; with alpha, holes that move."""
    random = np.random.default_rng(seed)
    colors = random.integers(0, 256, (6, 4), np.uint8)
    colors[:, 3] = 255
    if alpha:
        colors[0, 3] = 0
    back = random.integers(0, 6, (size, size))
    frames = []
    for number in range(n_frames):
        indices = back.copy()
        indices[2:6, number % (size - 4) : number % (size - 4) + 4] = number % 6
        frames.append(Image.fromarray(colors[indices]).convert("RGBA" if alpha else "RGB"))
    return frames


def write_animation(frames, format_name: str, duration, **options) -> io.BytesIO:
    """Write an animation with Pillow's own plugin, exactly; GIF with rules of disposal that holes need."""
    target = io.BytesIO()
    extra = {"disposal": 2} if format_name == "GIF" and frames[0].mode == "RGBA" else {}
    frames[0].save(
        target,
        format_name,
        save_all=True,
        append_images=frames[1:],
        duration=duration,
        **(EXACT[format_name] | extra | options),
    )
    target.seek(0)
    return target


@st.composite
def animations(draw):
    """Give a format, a file of it with 2 to 6 frames, some alike, and its times and loop.

    Frames leave behind what the format's rules of disposal say, so viewers may see other pictures than those
    that were drawn here: what counts is what they see.
    """
    format_name = draw(st.sampled_from(sorted(STEPS)))
    n_frames = draw(st.integers(2, 6))
    frames = draw_frames(n_frames, alpha=draw(st.booleans()), seed=draw(st.integers(0, 99)))
    for number in range(1, n_frames - 1):
        if draw(st.integers(0, 4)) == 0:
            frames[number + 1] = frames[number]
    times = draw(st.lists(st.integers(1, 300), min_size=n_frames, max_size=n_frames))
    loop = draw(st.integers(0, 3))
    options = {"duration": [time * STEPS[format_name] for time in times], "loop": loop}
    for name, count in RULES[format_name].items():
        options[name] = draw(st.lists(st.integers(0, count - 1), min_size=n_frames, max_size=n_frames))
    return format_name, write_animation(frames, format_name, **options), loop
