"""The k-means panel from pixels to bytes and back: what each option promises."""

import io

import numpy as np
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from triptych.modes.indexmaps import BATCH, DENSE, Plan, encode_maps, parse_head
from triptych.modes.kmeans import MODE
from triptych.modes.reduce import Picture, to_rgba
from triptych.options import Options
from triptych_kernels.mapmodel import SHARED

EFFORTS = ("fast", "default", "max")


def photo(height: int = 48, width: int = 64, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A picture with far more than 256 colours: smooth waves and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 8.0
    waves = [np.sin(x * (c + 1) / 3 + y / (c + 2)) + np.cos(y * (c + 1) / 4) for c in range(channels)]
    noise = rng.normal(0, 4, (height, width, channels))
    return np.clip(np.stack(waves, -1) * 60 + 128 + noise, 0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = ((a.astype(float) - b) ** 2).mean()
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


few_colors = st.integers(1, 4).flatmap(
    lambda channels: hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(1, 20), st.just(channels)),
        elements=st.sampled_from([0, 7, 128, 255]),
    )
)


@settings(max_examples=30)
@given(few_colors, st.sampled_from(EFFORTS), st.booleans())
def test_few_colors_are_exact(image, effort, lossless):
    got = tp.decode(tp.encode(image, effort=effort, lossless=lossless))
    assert np.array_equal(got.reshape(image.shape), image)


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("n_colors", [1, 2, 16, 200])
def test_the_palette_has_at_most_n_colors(effort, channels, n_colors):
    image = photo(channels=channels)
    got = tp.decode(tp.encode(image, effort=effort, n_colors=n_colors))
    assert got.reshape(image.shape).shape == image.shape
    assert len(np.unique(got.reshape(-1, channels), axis=0)) <= n_colors


def test_each_pixel_has_the_nearest_color():
    image = photo()
    got = tp.decode(tp.encode(image, n_colors=12))
    palette = np.unique(got.reshape(-1, 3), axis=0).astype(int)
    best = ((image[:, :, None].astype(int) - palette) ** 2).sum(-1).min(-1)
    assert np.array_equal(((image.astype(int) - got) ** 2).sum(-1), best)


def test_info_tells_wcss_and_psnr():
    image = photo()
    data = tp.encode(image, n_colors=12)
    info = tp.Reader(data).info(0)
    got = tp.decode(data)
    assert info["wcss"] == pytest.approx(((image.astype(float) - got) ** 2).sum(), rel=1e-3)
    assert info["psnr"] == pytest.approx(psnr(image, got), abs=0.01)
    assert info["coder"] in ("dense", "batch")


@pytest.mark.parametrize("quality", [0, 40, 100])
@pytest.mark.parametrize("dither", [False, True])
def test_kept_colors_come_out(quality, dither):
    image = photo()
    image[:5, :5] = keep = (1, 254, 3)
    got = tp.decode(tp.encode(image, n_colors=8, keep=[keep], quality=quality, dither=dither))
    assert (got[:5, :5] == keep).all()


def test_quality_trades_error_for_bytes():
    image = photo(96, 96)
    streams = [tp.encode(image, n_colors=64, quality=q) for q in (100, 60, 30, 0)]
    sizes = [len(data) for data in streams]
    errors = [psnr(image, tp.decode(data)) for data in streams]
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors, reverse=True)
    assert sizes[-1] < sizes[0] / 2


@pytest.mark.parametrize("target", [300, 500, 900, 1500])
def test_target_size(target):
    data = tp.encode(photo(), mode="kmeans", target_size=target)
    assert target * 0.8 < len(data) <= target
    assert len(tp.encode(photo(), target_size=target, n_colors=16, effort="fast")) <= target


@pytest.mark.parametrize("target", [20.0, 28.5, 33.0])
def test_target_psnr(target):
    image = photo()
    got = tp.decode(tp.encode(image, mode="kmeans", target_psnr=target))
    assert target <= psnr(image, got) < target + 2.5


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"target_size": 44}, "fits into target_size: raise it"),
        ({"target_psnr": 70.0}, "reaches the target_psnr of 70 dB: lower it"),
    ],
)
def test_unreachable_targets(target, message):
    with pytest.raises(tp.TargetUnreachable, match=message):
        tp.encode(photo(), n_colors=16, **target)


def test_targets_in_a_batch_hold_for_each_image():
    images = [photo(seed=s) for s in range(3)]
    stream = io.BytesIO()
    with tp.Writer(stream, mode="kmeans", target_psnr=27.0, frame_images=3) as writer:
        for image in images:
            writer.write(image)
    for image, got in zip(images, tp.Reader(stream.getvalue()), strict=True):
        assert psnr(image, got) >= 27.0


def test_lossless_refuses_more_than_256_colors():
    with pytest.raises(tp.TooManyColors, match=r"3,0\d\d colours.*256.*without lossless"):
        tp.encode(photo(), lossless=True)


def test_dithering_keeps_the_mean():
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None], 64, 0)
    plain, dithered = (tp.decode(tp.encode(ramp, n_colors=2, dither=d)) for d in (False, True))
    assert abs(dithered[:, 16:48].mean() - ramp[:, 16:48].mean()) < 4
    assert not np.array_equal(plain, dithered)


@pytest.mark.parametrize("effort", ["fast", "default"])
@pytest.mark.parametrize("quality", [None, 50])
def test_shared_palette(effort, quality):
    images = [photo(20 + 3 * s, 40, seed=s) for s in range(5)]
    book = tp.fit("kmeans", images, n_colors=24)
    assert book.n_colors == 24
    stream = io.BytesIO()
    with tp.Writer(stream, dictionary=book, effort=effort, quality=quality) as writer:
        for image in images:
            writer.write(image)
    palette = {tuple(color) for color in np.frombuffer(book.content, np.uint8).reshape(-1, 4)[:, :3]}
    total = 0.0
    with tp.Reader(stream.getvalue()) as reader:
        for i, image in enumerate(images):
            got = reader[i]
            assert {tuple(color) for color in got.reshape(-1, 3)} <= palette
            assert reader.info(i)["n_colors"] == 24
            total += ((image.astype(float) - got) ** 2).sum()
    if quality is None:
        assert total == pytest.approx(book.wcss)
    else:
        assert total > book.wcss


def test_exact_palette_of_a_collection():
    images = [np.full((4, 5, 3), c, np.uint8) for c in range(10)]
    book = tp.fit("kmeans", images, n_colors=16)
    assert (book.wcss, book.n_colors) == (0, 10)
    assert np.array_equal(tp.decode(tp.encode(images[3], dictionary=book, lossless=True)), images[3])


def test_dictionary_and_options_that_do_not_go_together():
    book = tp.fit("kmeans", [photo()], n_colors=4)
    with pytest.raises(tp.InvalidOption, match="keep belongs to fit"):
        tp.encode(photo(), dictionary=book, keep=[(0, 0, 0)])
    with pytest.raises(tp.EncodeError, match="lossless"):
        tp.encode(photo(), dictionary=book, lossless=True)
    other = tp.Dictionary(b"\x63" + book.payload[1:])
    with pytest.raises(tp.DictionaryMismatch, match="palette"):
        tp.encode(photo(), mode="kmeans", dictionary=other)


def test_sprites_share_a_frame():
    rng = np.random.default_rng(5)
    shades = rng.integers(1, 85, 70)
    sprites = [(rng.integers(0, 3, (16, 16, 1)).repeat(3, 2) * shade).astype(np.uint8) for shade in shades]
    stream = io.BytesIO()
    with tp.Writer(stream, lossless=True) as writer:
        for i, sprite in enumerate(sprites):
            writer.write(sprite, key=f"s{i}")
    with tp.Reader(stream.getvalue()) as reader:
        assert reader.info(69)["frame"] == 1
        assert all(map(np.array_equal, reader, sprites))
    alone = sum(len(tp.encode(sprite)) for sprite in sprites)
    assert len(stream.getvalue()) < alone * 0.8


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_to_rgba(channels):
    image = photo(3, 4, channels)
    rgba = to_rgba(image)
    alpha = image[:, :, -1] if channels in (2, 4) else 255
    assert (rgba[:, :, 3] == alpha).all()
    assert (rgba[:, :, 0] == image[:, :, 0]).all()
    assert (rgba[:, :, 2] == image[:, :, 2 if channels > 2 else 0]).all()


def test_hidden_colors_of_transparent_pixels_survive_lossless():
    image = np.zeros((4, 4, 4), np.uint8)
    image[0, 0] = (255, 0, 0, 0)
    image[1, 1] = (0, 0, 255, 0)
    assert np.array_equal(tp.decode(tp.encode(image, lossless=True)), image)


def test_large_flat_image_is_readable_under_default_limits():
    image = np.full((2048, 2048), 7, np.uint8)
    data = tp.encode(image)
    assert len(data) < 150
    assert np.array_equal(tp.decode(data), image)


@pytest.mark.parametrize("target", [20.0, 40.0])
def test_hidden_colors_do_not_count_against_a_target(target):
    image = photo(12, 12, 4)
    image[:, ::2, 3] = 0
    got = tp.decode(tp.encode(image, mode="kmeans", target_psnr=target)).astype(float)
    weighted = [np.dstack([a[:, :, :3] * a[:, :, 3:] / 255, a[:, :, 3]]) for a in (got, image.astype(float))]
    assert psnr(*weighted) >= target


def test_lossless_holds_to_n_colors():
    image = np.arange(40, dtype=np.uint8).reshape(5, 8)
    assert np.array_equal(tp.decode(tp.encode(image, lossless=True, n_colors=40)), image)
    with pytest.raises(tp.TooManyColors, match="at most 39"):
        tp.encode(image, lossless=True, n_colors=39)


def drawings(n):
    """Flat shapes of few colours, 64 x 64."""
    y, x = np.mgrid[:64, :64]
    shapes = [((x - 30 - i) ** 2 + (y - 20) ** 2 < 200) * 60 + (y > 40 + i % 5) * 90 for i in range(n)]
    return [np.stack([shape, 255 - shape, shape // 2], -1).astype(np.uint8) for shape in shapes]


def dithered(n):
    """Two colours in a pattern of four by four: hardly a pixel is like its neighbours, and all repeats."""
    order = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
    x = np.mgrid[:64, :64][1]
    return [
        np.where(x // 4 + i > order[x.T % 4, x % 4], 255, 20).astype(np.uint8)[:, :, None] for i in range(n)
    ]


@pytest.mark.parametrize(
    ("images", "coder"),
    [
        ([photo(64, 64, seed=seed) for seed in range(3)], "ranks"),
        ([photo(64, 64)], "ranks"),
        ([photo(200, 200)], "fast"),
        (drawings(3), "fast"),
        (dithered(3), "fast"),
        ([picture[:20, :20] for picture in drawings(3)], "batch"),
    ],
    ids=["photographs", "a photograph", "a large photograph", "drawings", "dithered", "small drawings"],
)
def test_the_coder_of_effort_fast(images, coder):
    target = io.BytesIO()
    with tp.Writer(target, effort="fast", mode="kmeans") as writer:
        for image in images:
            writer.write(image)
    with tp.Reader(target.getvalue()) as reader:
        assert {reader.info(i)["coder"] for i in range(len(images))} == {coder}


@pytest.mark.parametrize("shift", range(3))
def test_default_effort_takes_the_shorter_of_dense_and_batch(shift):
    """Of drawings of one size: under palettes that differ, moved a little, or the same again."""
    images = [np.roll(image, i * shift, 1) // (1 + i % 2) for i, image in enumerate(drawings(6))]
    options = Options(mode="kmeans", lossless=True)
    maps = [Picture(image, options).exact() for image in images]
    bodies = [encode_maps(plan, maps, None) for plan in (Plan(DENSE, 0, SHARED), Plan(BATCH))]
    assert MODE.encode_frame(images, options, None) == min(bodies, key=len)


@pytest.mark.parametrize("n", [1, 3])
def test_small_photographs_share_a_dense_model(n):
    body = MODE.encode_frame([photo(64, 64, seed=seed) for seed in range(n)], Options(mode="kmeans"), None)
    assert parse_head(memoryview(body), n)[0] == Plan(DENSE, 0, SHARED)
