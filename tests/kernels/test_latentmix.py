"""Mixed decisions of latents: against their twin, there and back, on whatever bytes come."""

import json

import numpy as np
import pytest
from elsewhere import floats_of, on_plain_cpu
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import contextnet as network_twin
from reference import latentmix as twin
from reference.coding import encode_bits
from smallnet import TAPS, random_latents, random_tensors
from triptych.errors import InvalidFrame
from triptych.fit.networkbook import NetworkBook
from triptych.modes import latents as coder
from triptych.modes.latents import Grid, build_body, parse_body
from triptych.varint import build_varint
from triptych_kernels import latentmix
from triptych_kernels.contextnet import MAX_SYMBOL

GROUPS = st.sampled_from([((0, 2), (0, 16)), ((0, 4, 6), (0, 16, 32)), ((0, 2, 4, 8), (0, 0, 16, 16))])
GRIDS = st.sampled_from([(1, 1), (1, 5), (5, 1), (3, 4), (4, 2)])
QUALITIES = st.integers(0, 100)


def varied_tables(random, n_tables=1792):
    """Tables sure of zero, unsure, all but escapes, and some that have no entry for zero."""
    size = int(random.integers(2, 7))
    frequencies = random.integers(
        1, random.choice([3, 60, 65000 // size], n_tables)[:, None], (n_tables, size)
    )
    # The rest to any entry, the escape too.
    most = random.integers(size, size=n_tables)
    frequencies[np.arange(n_tables), most] += 65536 - frequencies.sum(axis=1)
    return {
        "tables.offsets": random.choice([-2, -1, 0, 0, 1, 5], n_tables).astype(np.int16),
        "tables.sizes": np.full(n_tables, size, np.uint16),
        "tables.frequencies": frequencies.astype(np.uint16).ravel(),
    }


def random_state(random, n_channels):
    """Counters and weights that mixed decisions may begin with."""
    n_weights = latentmix.count_weights(n_channels)
    return {
        "mixer.counters": random.integers(0, 65536, latentmix.count_counters(n_channels), np.uint16),
        "mixer.weights": random.choice([-32768, -300, 0, 500, 4000, 32767], n_weights).astype(np.int16),
    }


def make_model(seed, groups, extreme=False, state=False):
    """A random generator, tensors, and the model they make."""
    random = np.random.default_rng(seed)
    tensors = random_tensors(random, *groups, TAPS, 2, extreme) | varied_tables(random)
    if state:
        tensors |= random_state(random, groups[0][-1])
    return random, tensors, NetworkBook("patches", {}, tensors).latents


models = st.builds(make_model, st.integers(0, 2**32 - 1), GROUPS, st.booleans(), st.booleans())


def drawn_sets(drawn, grids, extreme):
    """Latents of sets of one or two images each, and the grids of all images."""
    random, tensors, _ = drawn
    grids = [grid for i, grid in enumerate(grids) if not i or grid != grids[i - 1]]
    symbols = [
        random_latents(random, tensors["context.bounds"], 1 + i % 2, *grid, extreme)
        for i, grid in enumerate(grids)
    ]
    return symbols, [Grid(*grid) for part, grid in zip(symbols, grids, strict=True) for _ in part]


def mixed_body(symbols, quality, model):
    """A body of mixed decisions, smaller than that of tables or not."""
    parts = [coder.walk_set(part, quality, model) for part in symbols]
    message = coder._build_mixed(parts, model, 40 * sum(part.size for part in symbols) + 8)
    return bytes([quality, coder.MIXED]) + build_varint(len(message)) + message


@given(models, st.lists(GRIDS, min_size=1, max_size=2), QUALITIES, st.booleans())
@settings(max_examples=20)
def test_messages_are_what_the_twin_writes(drawn, grids, quality, extreme):
    _, tensors, model = drawn
    symbols, _ = drawn_sets(drawn, grids, extreme)
    spec = network_twin.Model(tensors, quality)
    state = [None, None] if model.state is None else [values.tolist() for values in model.state]
    mixed = twin.Coder(network_twin.tables_of(tensors), model.n_channels, *state)
    for part in symbols:
        mixed.code_set(part, network_twin.walk(spec, part), tensors["context.bounds"].tolist())
    message = encode_bits(mixed.decisions)
    assert mixed_body(symbols, quality, model) == (
        bytes([quality, coder.MIXED]) + build_varint(len(message)) + message
    )


@given(models, st.lists(GRIDS, min_size=1, max_size=3), QUALITIES, st.booleans())
def test_bodies_come_back(drawn, grids, quality, extreme):
    symbols, grids = drawn_sets(drawn, grids, extreme)
    body = mixed_body(symbols, quality, drawn[2])
    got, found = parse_body(memoryview(body + bytes(3)), grids, drawn[2])
    assert got == quality
    assert all(map(np.array_equal, found, symbols))


@given(models, st.lists(GRIDS, min_size=1, max_size=3), QUALITIES, st.booleans())
def test_effort_max_keeps_what_is_smaller(drawn, grids, quality, extreme):
    symbols, grids = drawn_sets(drawn, grids, extreme)
    plain, mixed = build_body(symbols, quality, drawn[2]), mixed_body(symbols, quality, drawn[2])
    assert build_body(symbols, quality, drawn[2], "max") == min(plain, mixed, key=len)


@given(models, st.lists(GRIDS, min_size=1, max_size=3), st.binary(max_size=300), QUALITIES)
def test_any_bytes_give_latents_in_range_or_an_error(drawn, grids, noise, quality):
    symbols, grids = drawn_sets(drawn, grids, False)
    body = bytes([quality, coder.MIXED]) + build_varint(len(noise)) + noise
    try:
        _, found = parse_body(memoryview(body), grids, drawn[2])
    except InvalidFrame:
        return
    assert [part.shape for part in found] == [part.shape for part in symbols]
    assert max(np.abs(part).max() for part in found) <= MAX_SYMBOL


@given(models, st.lists(GRIDS, min_size=1, max_size=3), QUALITIES, st.data())
def test_damage_is_seen_or_another_body(drawn, grids, quality, data):
    """What is accepted is what an encoder writes of what comes out."""
    symbols, grids = drawn_sets(drawn, grids, False)
    body = mixed_body(symbols, quality, drawn[2])
    begin = coder.parse_head(memoryview(body)).begin
    damaged = bytearray(body)
    damaged[data.draw(st.integers(begin, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        _, found = parse_body(memoryview(damaged), grids, drawn[2])
    except InvalidFrame:
        return
    again = mixed_body(found, quality, drawn[2])
    message = damaged[begin:].rstrip(b"\0")
    assert again[coder.parse_head(memoryview(again)).begin :].rstrip(b"\0") == message


def test_the_longest_residuals_come_back():
    """Bases and latents at opposite ends, from tables that know nothing of either."""
    _, tensors, _ = make_model(3, ((0, 2), (0, 16)))
    for sign in (-1, 1):
        tensors["context.c"][:], tensors["context.scale_c"][:] = 0, 0
        tensors["context.bias_c"][:, :2] = -sign * (2**31 - 1)
        model = NetworkBook("patches", {}, tensors).latents
        symbols = [np.full((1, 2, 3, 3), sign * MAX_SYMBOL, np.int32)]
        part = coder.walk_set(symbols[0], 0, model)
        assert (part.bases == -sign * 1024).all()
        _, found = parse_body(memoryview(mixed_body(symbols, 0, model)), [Grid(3, 3)], model)
        assert np.array_equal(found, symbols)


def report():
    """Bodies of a few models, which are the same for every target."""
    found = []
    for seed, extreme, state in ((1, False, False), (2, False, True), (3, True, True)):
        drawn = make_model(seed, ((0, 4, 6), (0, 16, 32)), extreme, state)
        symbols, grids = drawn_sets(drawn, [(5, 7), (1, 1)], extreme)
        body = mixed_body(symbols, 37, drawn[2])
        assert all(map(np.array_equal, parse_body(memoryview(body), grids, drawn[2])[1], symbols))
        found.append(body.hex())
    return found


@pytest.mark.slow
@pytest.mark.background(28, on_plain_cpu(__file__))
def test_another_target_gives_the_same_bytes_without_a_float(background):
    """A plain CPU, with every index checked; kernels are compiled anew, so that their code can be seen."""
    assert background.json() == {"report": report(), "floats": []}


if __name__ == "__main__":
    digest = report()
    seen = [line for kernel in (latentmix.encode, latentmix.decode) for line in floats_of(kernel)]
    print(json.dumps({"report": digest, "floats": seen}))
