"""Which panel `auto` chooses where a target, or a collection, has it weigh them."""

import contextlib

import numpy as np
import pytest
import triptych as tp
from hypothesis import given, settings
from hypothesis import strategies as st
from triptych.modes.auto import look_at, weigh_modes
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
    return weigh_modes(list(map(look_at, pictures)), Options(**options))


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


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


def test_a_collection_goes_to_the_panel_of_most_of_it():
    sprites = [texture(i) // 128 * 128 for i in range(5)]
    assert weigh([*sprites, texture(9)]).mode == "kmeans"
    assert weigh([*map(texture, range(5)), sprites[0]]).mode == "pca"


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
    with pytest.raises(tp.InvalidOption, match="belong to mode 'pca'"):
        tp.encode(texture(1), mode="kmeans", **option)
