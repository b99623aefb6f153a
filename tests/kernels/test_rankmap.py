"""Index maps by ranks: against their twin; what tables keep; messages that are damaged."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from indexed import MAP_KINDS, indexed, make_map, make_palette
from reference import ranks as twin
from triptych.modes.indexmaps import Indexed, pack
from triptych.modes.rankmaps import build_ranks, parse_ranks
from triptych_kernels import rankmap
from triptych_kernels.status import BAD_SYMBOL, INPUT_EXHAUSTED, OK, TAIL_MISMATCH


def build(maps):
    return build_ranks(pack(maps))


def parse(message, maps, whole=True):
    """Give the status and the indices of maps whose palettes are known."""
    found = pack([Indexed(m.colors, np.zeros_like(m.indices)) for m in maps])
    status = parse_ranks(np.frombuffer(message, np.uint8).copy(), found, whole)
    return status, [found.indices(i).tolist() for i in range(len(maps))]


def small(kind, palette, k, height=9, width=13):
    colors = make_palette(palette, k, k)
    return Indexed(colors, make_map(kind, height, width, len(colors), k))


@pytest.mark.parametrize("kind", MAP_KINDS)
@pytest.mark.parametrize("palette", ["rgba", "near", "two ends", "grey"])
def test_the_message_is_the_twins(kind, palette):
    """Palettes of one group and of all, and what is learned from a map before."""
    maps = [small(kind, palette, k) for k in (1, 16, 17, 256, 40)]
    assert build(maps) == twin.encode([(m.colors.tolist(), m.indices.tolist()) for m in maps])


@given(st.lists(indexed(), min_size=1, max_size=3), st.data())
def test_round_trip_of_all_and_of_the_first_maps(maps, data):
    message = build(maps)
    assert parse(message, maps) == (OK, [m.indices.tolist() for m in maps])
    n = data.draw(st.integers(1, len(maps)))
    assert parse(message, maps[:n], whole=False) == (OK, [m.indices.tolist() for m in maps[:n]])


@pytest.mark.parametrize("kind", MAP_KINDS)
def test_a_symbol_never_has_less_than_8_of_65536(kind):
    """Not even one that never comes, in tables that see others thousands of times."""
    model = rankmap.new_model()
    for k in (256, 33, 2):
        found = small(kind, "rgb", k, 90, 120)
        parts, ranks = np.zeros((90 * 120, 2), np.uint32), np.zeros((2, 120), np.uint8)
        rankmap.find_parts(pack([found]), rankmap.new_palette(), model, ranks, parts)
        assert (parts[parts > 0] >> 16).min() >= 8
        starts = model.starts[:-1].reshape(-1, 16)
        edges = np.hstack([starts, np.full((len(starts), 1), 1 << 20)])
        assert not edges[:, 0].any()
        assert np.diff(edges).min() >= 129


@given(indexed(), st.data())
def test_damage_is_refused(found, data):
    message = bytearray(build([found]))
    message[data.draw(st.integers(0, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert parse(bytes(message), [found])[0] in (BAD_SYMBOL, INPUT_EXHAUSTED, TAIL_MISMATCH)


@given(
    indexed(),
    st.lists(st.integers(2**31, 2**63 - 1), min_size=2, max_size=2),
    st.lists(st.integers(0, 2**32 - 1)),
)
def test_any_states_and_words_give_indices_of_the_palette(found, states, words):
    status, maps = parse(struct.pack(f"<2Q{len(words)}I", *states, *words), [found], whole=False)
    assert status in (OK, BAD_SYMBOL, INPUT_EXHAUSTED)
    assert np.max(maps[0]) < len(found.colors)


def test_a_message_that_ends_early_or_goes_on():
    found = small("noise", "rgb", 60)
    message = build([found])
    assert parse(message[:-4], [found])[0] == INPUT_EXHAUSTED
    assert parse(message[:12], [found])[0] == INPUT_EXHAUSTED
    assert parse(message + bytes(4), [found])[0] == TAIL_MISMATCH
    assert parse(message + bytes(4), [found], whole=False)[0] == OK
