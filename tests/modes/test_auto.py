"""Which panel `auto` chooses: exactly what can be exact, else by weighing."""

import contextlib
import io

import numpy as np
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from smallbook import photograph, small_dictionary
from triptych.modes.auto import CLEARLY, Chooser, Kind, look_at, weigh_modes
from triptych.options import Options


def icon(seed, side=32):
    """A disc with a soft edge on a plain ground: drawn, yet of many colours."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - random.uniform(side * 0.4, side * 0.6, (2, 1, 1))
    inside = np.clip(side * random.uniform(0.2, 0.4) - np.hypot(y, x) + 0.5, 0, 1)[:, :, None]
    front, back = random.integers(0, 256, (2, 3))
    return np.rint(front * inside + back * (1 - inside)).astype(np.uint8)


def texture(seed, side=32):
    """A smooth field with noise: taken, not drawn."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    field = 128 + 60 * np.sin(x / 5 + seed) + 40 * np.cos(y / 7)
    return np.clip(field[:, :, None] + random.normal(0, 9, (side, side, 3)), 0, 255).astype(np.uint8)


def weigh(pictures, **options):
    """Weigh pictures that are of one kind."""
    looks = [look_at(picture, Options(**options)) for picture in pictures]
    return weigh_modes(looks[0].kind, looks, Options(**options))


def choose(image, dictionary=None, **options):
    return Chooser(Options(**options), dictionary).choose(image)


def few_colors(random, side, channels):
    """A picture of at most 256 colours, of patches or of noise."""
    n = int(random.integers(1, 257))
    colors = random.integers(0, 256, (n, channels), np.uint8)
    patch = int(random.choice([1, 1, 4, 9]))
    indices = random.integers(0, n, (side // patch + 1, side // patch + 1))
    return colors[indices.repeat(patch, 0).repeat(patch, 1)[:side, :side]]


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


@given(st.integers(0, 1 << 32), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]), st.booleans())
def test_at_most_256_colors_are_exact_without_being_asked(seed, side, channels, with_quality):
    image = few_colors(np.random.default_rng(seed), side, channels)
    # A quality says how lossy the lossy ones are; grey ones of many levels are among them.
    options = {"quality": 30} if with_quality and channels > 2 else {}
    assert np.array_equal(tp.decode(tp.encode(image, **options)).reshape(image.shape), image)


@settings(max_examples=20)
@given(st.integers(0, 1 << 32), st.lists(st.booleans(), min_size=1, max_size=9))
def test_what_is_exact_alone_is_exact_among_others(seed, few):
    random = np.random.default_rng(seed)
    images = [few_colors(random, 20, 3) if each else texture(i, 24) for i, each in enumerate(few)]
    target = io.BytesIO()
    with tp.Writer(target) as writer:
        for image in images:
            writer.write(image)
    with tp.Reader(target.getvalue()) as reader:
        for number, (each, image) in enumerate(zip(few, images, strict=True)):
            assert reader.info(number)["mode"] == ("kmeans" if each else "pca")
            assert not each or np.array_equal(reader[number], image)


@settings(max_examples=20)
@given(
    st.integers(0, 1 << 32),
    st.sampled_from([1, 2, 3]),
    st.one_of(
        st.builds(lambda psnr: {"target_psnr": psnr}, st.floats(20, 50)),
        st.builds(lambda quality: {"quality": quality}, st.integers(0, 100)),
    ),
)
def test_no_lossy_stream_is_taken_that_is_not_clearly_smaller(seed, channels, options):
    random = np.random.default_rng(seed)
    image = few_colors(random, 32, channels)
    if channels == 1 and seed % 2:  # grey, but taken
        image = texture(seed % 99, 40)[:, :, :1]
    data, exact = tp.encode(image, **options), tp.encode(image, lossless=True)
    is_exact = np.array_equal(tp.decode(data).reshape(image.shape), image)
    assert is_exact or len(data) <= CLEARLY * len(exact) + 44  # the head of the stream is the same


def test_a_grey_photograph_is_exact_unless_a_quality_is_asked_for():
    image = texture(3, 64)[:, :, :1]
    exact, lossy = tp.encode(image), tp.encode(image, quality=50)
    assert np.array_equal(tp.decode(exact), image[:, :, 0])
    assert tp.Reader(lossy).info(0)["mode"] == "pca"
    assert len(lossy) < CLEARLY * len(exact)


def test_labels_are_exact():
    """Class numbers in areas: many levels of grey, and each of them means something."""
    random = np.random.default_rng(1)
    labels = np.zeros((128, 128), np.uint8)
    for y, x in random.integers(0, 128, (400, 2)):
        labels[y : y + 20, x : x + 20] = random.integers(0, 150)
    for options in ({}, {"quality": 50}, {"effort": "fast"}):
        assert np.array_equal(tp.decode(tp.encode(labels, **options)), labels)


@settings(max_examples=8)
@given(st.integers(0, 1000), st.sampled_from([icon, texture]), st.floats(26, 36))
def test_auto_meets_a_target_with_the_bytes_of_the_better_panel(seed, draw, target):
    image = draw(seed)
    data = tp.encode(image, target_psnr=target)
    assert psnr(tp.decode(data), image) >= target - 1e-6
    by_name = [tp.encode(image, mode=mode, target_psnr=target) for mode in ("kmeans", "pca")]
    if draw is icon:
        assert len(data) == min(map(len, by_name))
    else:  # many colours: no palette is looked for
        assert len(data) == len(by_name[1])


def test_auto_shows_the_most_in_so_many_bytes():
    image = icon(1)
    data = tp.encode(image, target_size=200)
    assert len(data) <= 200
    others = []
    for mode in ("kmeans", "pca"):
        with contextlib.suppress(tp.TargetUnreachable):
            others.append(psnr(tp.decode(tp.encode(image, mode=mode, target_size=200)), image))
    assert psnr(tp.decode(data), image) == max(others)


def test_a_target_out_of_reach_of_one_panel_is_met_by_the_other():
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    flat = noise // 64 * 64
    assert np.array_equal(tp.decode(tp.encode(flat, target_psnr=90.0)), flat)
    with pytest.raises(tp.TargetUnreachable):
        tp.encode(noise, target_psnr=90.0)


def test_a_collection_of_soft_icons_is_weighed_at_what_the_quality_gives():
    sheets = [np.concatenate([icon(5 * i + j, 48) for j in range(5)]) for i in range(4)]
    assert all(len(np.unique(sheet.reshape(-1, 3), axis=0)) > 256 for sheet in sheets)
    found = weigh(sheets, quality=40)
    assert found.mode == "kmeans"
    assert set(found.costs) == {"kmeans", "pca"}
    assert found.costs["kmeans"] < found.costs["pca"]
    assert str(found).startswith(f"kmeans: the fewest bytes an image at {found.psnr:.2f} dB (kmeans ")
    assert found.psnr is not None


@pytest.mark.parametrize("option", [{"n_colors": 9}, {"lossless": True}, {"dither": True}])
def test_an_option_of_one_panel_decides(option):
    assert weigh([texture(1), texture(2)], **option).mode == "kmeans"


@pytest.mark.parametrize("channels", [2, 4])
def test_noisy_alpha_that_pca_must_keep_may_go_to_a_palette(channels):
    random = np.random.default_rng(0)
    image = np.dstack([texture(1)[:, :, : channels - 1], random.integers(0, 256, (32, 32), np.uint8)])
    data = tp.encode(image, target_size=900)
    assert len(data) <= 900
    assert tp.Reader(data).info(0)["mode"] == "kmeans"


@pytest.mark.parametrize(
    "option", [{"n_colors": 9}, {"dither": True}, {"keep": [(0, 0, 0)]}, {"lossless": True}]
)
@pytest.mark.parametrize("mode", ["pca", "ae"])
def test_options_of_palettes_are_refused_elsewhere(mode, option):
    with pytest.raises(tp.InvalidOption, match="belongs to mode 'kmeans'"):
        tp.encode(texture(1), mode=mode, **option)


@pytest.mark.parametrize("option", [{"n_components": 3}, {"variance": 0.9}])
def test_options_of_components_are_refused_for_palettes(option):
    with pytest.raises(tp.InvalidOption, match="belongs to mode 'pca'"):
        tp.encode(texture(1), mode="kmeans", **option)


# What decides without weighing.


@pytest.mark.parametrize("channels", [3, 4])
def test_auto_takes_pca_for_photographs(channels):
    assert choose(photograph(60, 60, channels)).mode.name == "pca"


def test_auto_sees_colors_that_a_sample_misses():
    image = np.zeros((400, 400, 3), np.uint8)
    image[:12, :20] = photograph(12, 20, 3)
    assert choose(image).mode.name == "kmeans"
    image[300:, 1:300:7] = photograph(100, 43, 3)
    assert choose(image).mode.name == "pca"


@pytest.mark.parametrize(
    "options", [{"n_colors": 9}, {"lossless": True}, {"dither": True}, {"keep": [(0, 0, 0)]}]
)
def test_auto_takes_kmeans_for_its_options(options):
    assert choose(photograph(60, 60, 3), **options).mode.name == "kmeans"


def test_auto_takes_the_panel_of_the_dictionary():
    image = photograph(20, 20, 3)
    assert choose(image // 200, small_dictionary()).mode.name == "pca"
    assert choose(image, tp.fit("kmeans", [image], n_colors=4)).mode.name == "kmeans"
    assert choose(image // 200, mode="pca").mode.name == "pca"


def test_a_picture_that_does_not_suit_the_dictionary_may_go_without_it():
    tiles = [texture(i, 16) for i in range(9)]
    basis = tp.fit("pca", tiles, n_components=3)
    other = texture(1, 24)
    with pytest.raises(tp.DictionaryMismatch), tp.Writer(io.BytesIO(), basis) as writer:
        writer.write(other)
    chooser = Chooser(Options(), basis, is_lenient=True)
    assert [chooser.choose(image).dictionary is basis for image in (tiles[0], other)] == [True, False]
    assert chooser.n_unsuited == 1


def test_kinds():
    few, grey, many = few_colors(np.random.default_rng(0), 20, 3), texture(0)[:, :, :1], texture(0)
    assert [look_at(image, Options(quality=9)).kind for image in (few, grey, many)] == list(Kind)
    assert look_at(grey, Options()).kind is Kind.FEW  # told apart only where loss was asked for
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert look_at(np.dstack([ramp, ramp]), Options(quality=9)).kind is Kind.GREY
