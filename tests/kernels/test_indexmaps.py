"""Frames of index maps: dense, fast, batch and ranks, through `triptych.modes.indexmaps`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexed import (
    MAP_KINDS,
    MAP_PLANS,
    PLANS,
    indexed,
    make_map,
    make_palette,
    palettes,
    same_maps,
    shapes_of,
)
from triptych.errors import InvalidFrame
from triptych.images import Shape
from triptych.modes.indexmaps import BATCH, DENSE, FAST, RANKS, Indexed, Plan, decode_maps, encode_maps
from triptych_kernels import spritemap
from triptych_kernels.palettetree import build_tree

plans = st.sampled_from(PLANS)
frames = st.lists(indexed(), min_size=1, max_size=4)
book_frames = palettes().flatmap(
    lambda colors: st.tuples(st.just(colors), st.lists(indexed(colors), min_size=1, max_size=4))
)


def encode(plan, maps, palette):
    """Encode; where the batch coder declines maps that are too noisy for it, the dense one takes them."""
    body = encode_maps(plan, maps, palette)
    if body is None:
        assert plan.coder == BATCH
        body = encode_maps(Plan(DENSE), maps, palette)
    return body


def decode(body, shapes, palette=None, stop=None):
    return decode_maps(memoryview(body), shapes, palette, len(shapes) if stop is None else stop)


def pixels_or_invalid(body, shapes, palette=None):
    """Decode what may be damaged: maps of the right shapes with indices below k, or InvalidFrame."""
    try:
        maps = decode(body, shapes, palette)
    except InvalidFrame:
        return None
    assert [m.indices.shape for m in maps] == [shape[:2] for shape in shapes]
    assert all(m.indices.max() < len(m.colors) for m in maps)
    return maps


@given(plans, frames)
def test_round_trip(plan, maps):
    body = encode(plan, maps, None)
    assert same_maps(decode(body, shapes_of(maps)), maps)


@given(st.sampled_from(MAP_PLANS), book_frames)
def test_round_trip_with_a_dictionary(plan, frame):
    palette, maps = frame
    body = encode(plan, maps, palette)
    assert same_maps(decode(body, shapes_of(maps), palette), maps)


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("kind", MAP_KINDS)
def test_round_trip_of_each_kind(plan, kind):
    for k, height, width in ((1, 9, 13), (2, 33, 40), (17, 30, 21), (256, 40, 40)):
        colors = make_palette("rgba", k, k)
        maps = [Indexed(colors, make_map(kind, height, width, k, k))]
        body = encode(plan, maps, None)
        assert same_maps(decode(body, shapes_of(maps)), maps)


@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_every_width_up_to_two_blocks(plan):
    """Padding and the room for blocks of eight depend on the width."""
    for width in range(1, 18):
        for kind in ("flat", "stripes", "sparse"):
            colors = make_palette("rgb", min(3, width), 7)
            maps = [Indexed(colors, make_map(kind, 12, width, len(colors), width))]
            body = encode(plan, maps, None)
            assert same_maps(decode(body, shapes_of(maps)), maps)


@given(plans, st.lists(indexed(), min_size=2, max_size=4), st.data())
def test_stopping_early_gives_the_same_images(plan, maps, data):
    stop = data.draw(st.integers(0, len(maps) - 1))
    body, shapes = encode(plan, maps, None), shapes_of(maps)
    assert same_maps(decode(body, shapes, stop=stop), maps[:stop])


@given(plans, frames, st.integers(1, 9))
def test_zeros_behind_the_body_are_nothing_and_other_bytes_are_refused(plan, maps, n):
    body, shapes = encode(plan, maps, None), shapes_of(maps)
    assert same_maps(decode(body + bytes(n), shapes), maps)
    with pytest.raises(InvalidFrame):
        decode(body + bytes(n) + b"\1", shapes)


@given(plans, frames, st.floats(0, 1e12))
def test_errors_are_kept_to_a_tenth_of_a_percent(plan, maps, error):
    maps = [Indexed(m.colors, m.indices, error) for m in maps]
    found = decode(encode(plan, maps, None), shapes_of(maps))
    assert [m.error for m in found] == pytest.approx([error] * len(maps), rel=1e-3, abs=1e-3)


@given(plans, frames)
def test_the_same_maps_give_the_same_bytes(plan, maps):
    body = encode(plan, maps, None)
    assert encode(plan, maps, None) == body
    in_columns = [Indexed(m.colors, np.asfortranarray(m.indices)) for m in maps]
    assert encode(plan, in_columns, None) == body


@given(plans, frames, st.data())
def test_a_changed_byte_gives_pixels_or_an_error(plan, maps, data):
    body, shapes = bytearray(encode(plan, maps, None)), shapes_of(maps)
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    # Bytes are what readers decode: for memory that may be written to, each kernel would be compiled again.
    pixels_or_invalid(bytes(body), shapes)


@given(plans, frames, st.data())
def test_a_shortened_body_never_passes_for_the_whole(plan, maps, data):
    body, shapes = encode(plan, maps, None), shapes_of(maps)
    short = body[: data.draw(st.integers(0, len(body) - 1))]
    found = pixels_or_invalid(short, shapes)
    assert found is None or not same_maps(found, maps)


@given(plans, frames, st.data())
def test_shapes_that_are_not_those_of_the_body(plan, maps, data):
    body = encode(plan, maps, None)
    side = st.integers(1, 50)
    shapes = data.draw(
        st.lists(st.builds(Shape, side, side, st.just(4)), min_size=len(maps), max_size=len(maps))
    )
    pixels_or_invalid(body, shapes)


@given(
    st.binary(max_size=300),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=4),
    st.none() | palettes(),
    st.binary(min_size=8, max_size=8),
)
def test_random_bodies(body, sides, palette, behind):
    """And what lies in memory behind the body decides nothing."""
    shapes = [Shape(*side, 4) for side in sides]
    found = pixels_or_invalid(body, shapes, palette)
    again = pixels_or_invalid(memoryview(body + behind)[: len(body)], shapes, palette)
    assert (found is None) == (again is None)
    assert found is None or same_maps(found, again)


@given(plans, st.binary(min_size=1, max_size=300), st.integers(1, 40), st.integers(1, 40))
def test_random_bytes_under_a_good_plan(plan, coded, height, width):
    pixels_or_invalid(bytes([plan.to_byte(False)]) + coded, [Shape(height, width, 4)])


@pytest.mark.parametrize("byte", range(256))
def test_plan_bytes(byte):
    coder, n_flags, pairs, rest = byte & 3, byte >> 3 & 3, byte >> 5 & 3, byte >> 7
    good = not rest and (
        (coder == FAST and pairs < 3)
        or (coder == DENSE and pairs in (0, 2))
        or (coder in (BATCH, RANKS) and not pairs and not n_flags)
    )
    if good:
        assert Plan.parse(byte).to_byte(bool(byte & 4)) == byte
    else:
        with pytest.raises(InvalidFrame):
            Plan.parse(byte)


def test_empty_bodies_and_bodies_that_end_in_their_errors():
    for body in (b"", b"\4", b"\4\0\0\0"):
        with pytest.raises(InvalidFrame):
            decode(body, [Shape(1, 1, 4)] * 2)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.needs_palettes], ids=str)
def test_what_needs_palettes_does_not_go_with_a_dictionary(plan):
    with pytest.raises(InvalidFrame, match="dictionary"):
        decode(bytes([plan.to_byte(False)]), [Shape(1, 1, 4)], make_palette("rgb", 4, 0))


@pytest.mark.parametrize("plan", [Plan(DENSE), Plan(FAST), Plan(BATCH)], ids=str)
def test_no_more_colors_than_pixels(plan):
    colors = make_palette("rgb", 5, 0)
    body = encode(plan, [Indexed(colors, make_map("noise", 2, 3, 5, 0))], None)
    decode(body, [Shape(2, 3, 4)])
    with pytest.raises(InvalidFrame, match="palette"):
        decode(body, [Shape(2, 2, 4)])


@pytest.mark.parametrize("plan", MAP_PLANS, ids=str)
def test_a_body_whose_last_bytes_are_zero(plan):
    """Noise that ends in one colour at the tree's far end: improbable ones alone for more than 40 bits."""
    for seed in range(5):
        colors = make_palette("rgb", 256, seed)
        tree, node = build_tree(colors), 0
        while node >= 0:
            node = int(tree.right[node])
        indices = make_map("noise", 24, 24, 256, seed)
        indices[-1, -8:] = -1 - node
        maps = [Indexed(colors, indices)]
        body = encode(plan, maps, None)
        assert same_maps(decode(body, shapes_of(maps)), maps)


@pytest.mark.parametrize("plan", [plan for plan in PLANS if plan.coder != RANKS], ids=str)
def test_an_encoder_that_runs_out_of_room_starts_again(plan, monkeypatch):
    maps = [Indexed(make_palette("rgba", 9, i), make_map("noise", 20, 20, 9, i)) for i in range(2)]
    body = encode(plan, maps, None)
    rooms = []
    empty = np.empty

    def small_empty(size, dtype):
        if isinstance(size, tuple):  # not a sink
            return empty(size, dtype)
        rooms.append(size)
        return empty(len(body) // 2 if len(rooms) < 3 else size, dtype)

    monkeypatch.setattr("triptych.modes.indexmaps.np.empty", small_empty)
    assert encode(plan, maps, None) == body
    assert len(rooms) == 3


@pytest.mark.parametrize("shape", [(60, 60), (1, 3600), (3600, 1)])
def test_the_batch_coder_declines_what_takes_too_many_decisions(shape):
    """So that decoding takes a time in proportion to the pixels, whoever made the body."""
    colors = make_palette("rgb", 256, 0)
    assert encode_maps(Plan(BATCH), [Indexed(colors, make_map("noise", *shape, 256, 0))], None) is None
    body = encode_maps(Plan(BATCH), [Indexed(colors, make_map("runs", *shape, 256, 0))], None)
    assert body is not None


def test_the_batch_coder_stops_within_a_row(monkeypatch):
    """A picture may be one row: waiting for its end would be waiting for all of it."""
    made, new_model = [], spritemap.new_model
    monkeypatch.setattr(spritemap, "new_model", lambda *args: made.append(new_model(*args)) or made[-1])
    colors = make_palette("rgb", 256, 0)
    assert encode_maps(Plan(BATCH), [Indexed(colors, make_map("noise", 1, 5000, 256, 0))], None) is None
    assert made[0].budget[0] >= -256


@pytest.mark.slow
@given(st.sampled_from(MAP_PLANS), st.integers(0, 2**32 - 1))
def test_large_maps_wear_every_table_out(plan, seed):
    """Long enough for lines to be taken over, matches to be forgotten and learning rates to end."""
    colors = make_palette("rgb", 200, seed)
    halves = [make_map(kind, 64, 256, 200, seed) for kind in ("noise", "gradient")]
    maps = [Indexed(colors, np.vstack(halves))]
    body = encode(plan, maps, None)
    assert same_maps(decode(body, shapes_of(maps)), maps)
