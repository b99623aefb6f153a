"""Palettes as sets: keys against their twin, round trips, and decoding whatever comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexed import make_palette, palettes
from reference import coding as twin
from triptych.modes.indexmaps import Indexed, pack
from triptych_kernels import paletteset
from triptych_kernels.mapmodel import new_maps
from triptych_kernels.rangecoder import finish_decoding, finish_encoding, new_coder, start
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK

COLORS = st.lists(st.tuples(*[st.integers(0, 255)] * 4), min_size=1, max_size=30).map(
    lambda colors: np.array(colors, np.uint8)
)


def keys_to_colors(keys, layout):
    colors = np.empty((len(keys), 4), np.uint8)
    paletteset.set_colors(keys, *paletteset.layout_bits(layout), layout, colors)
    return colors


def encode(some_palettes):
    """The message of palettes of (colours, layout)."""
    coder, model, sink = new_coder(), paletteset.new_model(), np.zeros(1 << 14, np.uint8)
    for colors, layout in some_palettes:
        keys = np.sort(paletteset.colors_to_keys(colors, layout))
        paletteset.code_size(len(keys), layout, model, coder, sink, None)
        bits = paletteset.layout_bits(layout)
        assert paletteset.code_keys(keys, len(keys), *bits, model, coder, sink, None) == OK
    return sink[: finish_encoding(coder, sink)].tobytes()


def decode(message, n):
    """Give (status, palettes as keys and layouts, status of the end)."""
    source = np.frombuffer(message, np.uint8)
    coder, model, found = new_coder(), paletteset.new_model(), []
    start(coder, source)
    for _ in range(n):
        size, layout = divmod(paletteset.code_size(1, 0, model, coder, None, source), 4)
        keys = np.zeros(size + 1, np.uint64)
        bits = paletteset.layout_bits(layout)
        status = paletteset.code_keys(keys, len(keys), *bits, model, coder, None, source)
        if status != OK:
            return status, found, None
        found.append((keys, layout))
    return OK, found, finish_decoding(coder, source)


@given(COLORS, st.integers(0, 3))
def test_keys(colors, layout):
    keys = paletteset.colors_to_keys(colors, layout)
    strings = [twin.key_string(color, layout) for color in colors]
    assert [f"{int(key):0{len(strings[0])}b}" for key in keys] == strings
    back = keys_to_colors(keys, layout)
    assert [tuple(c) for c in back.tolist()] == [twin.color_of_key(text, layout) for text in strings]


@given(palettes())
def test_the_least_layout_holds_the_colors(colors):
    layout = twin.least_layout(colors)
    for wider in range(4):
        if wider & layout == layout:
            keys = paletteset.colors_to_keys(colors, wider)
            assert (keys_to_colors(keys, wider) == colors).all()


@given(palettes())
def test_the_order_of_keys_is_the_same_in_every_layout_that_holds_them(colors):
    layout = twin.least_layout(colors)
    assert (np.diff(paletteset.colors_to_keys(colors, layout).astype(np.int64)) > 0).all()
    assert (np.diff(paletteset.colors_to_keys(colors, 3).astype(np.int64)) > 0).all()


@given(st.lists(palettes(60), max_size=5), st.data())
def test_round_trip(some_palettes, data):
    wider = [(colors, twin.least_layout(colors) | data.draw(st.integers(0, 3))) for colors in some_palettes]
    status, found, end = decode(encode(wider), len(wider))
    assert status == end == OK
    for (keys, layout), (colors, expected) in zip(found, wider, strict=True):
        assert layout == expected
        assert (keys == np.sort(paletteset.colors_to_keys(colors, layout))).all()


@given(st.lists(palettes(60), min_size=1, max_size=5))
def test_palettes_of_maps_take_their_least_layouts(some_palettes):
    """All at once, of maps with just enough pixels for them."""
    sizes = [(1, len(colors)) for colors in some_palettes]
    maps = pack([Indexed(colors, np.zeros((1, len(colors)), np.uint8)) for colors in some_palettes])
    coder, sink = new_coder(), np.zeros(1 << 14, np.uint8)
    assert paletteset.code_palettes(maps, 0, len(sizes), paletteset.new_model(), coder, sink, None) == OK
    message = sink[: finish_encoding(coder, sink)].tobytes()
    assert message == encode([(colors, twin.least_layout(colors)) for colors in some_palettes])
    coder, source = new_coder(), np.frombuffer(message, np.uint8)
    found = new_maps(sizes, np.zeros((sum(map(len, some_palettes)), 4), np.uint8))
    start(coder, source)
    assert paletteset.code_palettes(found, 0, len(sizes), paletteset.new_model(), coder, None, source) == OK
    assert finish_decoding(coder, source) == OK
    assert all((found.palette(i) == colors).all() for i, colors in enumerate(some_palettes))


def test_round_trip_of_whole_alphabets():
    """256 greys are every key there is; 256 colours at random are far apart."""
    for kind in ("grey", "grey and alpha", "rgb", "rgba", "near"):
        colors = make_palette(kind, 256, 5)
        layout = twin.least_layout(colors)
        status, found, end = decode(encode([(colors, layout)] * 2), 2)
        assert status == end == OK
        assert (keys_to_colors(found[1][0], layout) == colors).all()


def test_a_palette_that_comes_again_costs_little():
    colors = make_palette("rgb", 64, 3)
    once, twice = (len(encode([(colors, 2)] * n)) for n in (1, 2))
    assert twice - once < once / 4


def test_order_costs_nothing():
    """A set of k keys of b bits has log2(binomial(2^b, k)) bits; random colours come close to that."""
    colors = make_palette("rgb", 256, 3)
    ideal = sum(np.log2((2**24 - i) / (i + 1)) for i in range(256)) / 8
    assert len(encode([(colors, 2)])) < ideal * 1.05


@given(st.binary(max_size=200), st.integers(1, 4))
def test_any_bytes_give_ascending_keys_or_a_status(message, n):
    status, found, _ = decode(message, n)
    assert status in (OK, BAD_SYMBOL, INPUT_EXHAUSTED)
    for keys, layout in found:
        assert (keys[1:] > keys[:-1]).all()
        assert int(keys[-1]) < 1 << len(paletteset.layout_bits(layout)[0])


@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.data())
def test_a_flipped_bit_never_passes_for_another_palette_and_its_end(seed, bit, data):
    """The message is canonical: what is accepted is what encoding gives again."""
    message = bytearray(encode([(make_palette("rgba", 20, seed), 3)]))
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << bit
    status, found, end = decode(bytes(message), 1)
    if status == end == OK:
        keys, layout = found[0]
        again = encode([(keys_to_colors(keys, layout), layout)])
        assert again == bytes(message).rstrip(b"\0")


@pytest.mark.parametrize("layout", range(4))
def test_keys_have_as_many_bits_as_their_layout_says(layout):
    channels, levels = paletteset.layout_bits(layout)
    assert len(channels) == (8 if not layout & 2 else 24) + (8 if layout & 1 else 0)
    assert len({*zip(channels.tolist(), levels.tolist(), strict=True)}) == len(channels)
