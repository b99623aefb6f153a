"""The integer context network: against its twin, at its bounds, there and back, on whatever bytes come."""

import json

import numpy as np
import pytest
from elsewhere import floats_of, on_plain_cpu
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import contextnet as twin
from reference import rans
from smallnet import TAPS, random_latents, random_tensors
from triptych.errors import InvalidFrame
from triptych.fit.networkbook import NetworkBook
from triptych.modes import latents as coder
from triptych.modes.latents import Grid, build_body, parse_body
from triptych_kernels import contextnet

KERNELS = (contextnet.walk, contextnet.decode)

SEEDS = st.integers(0, 2**32 - 1)
GROUPS = st.sampled_from(
    [
        ((0, 2), (0, 16)),
        ((0, 4, 6), (0, 16, 32)),
        # Degrees without units, at the start, in the middle and at the end.
        ((0, 2, 4, 10), (0, 0, 16, 16)),
        ((0, 2, 4, 6, 8), (0, 16, 16, 48, 48)),
    ]
)
WINDOWS = st.sampled_from(
    [((0, 0),), TAPS, ((0, 2), (0, 0)), ((3, -2), (1, 4), (0, 1), (0, 0)), ((8, 0), (2, 1), (0, 0))]
)
GRIDS = st.sampled_from([(1, 1), (1, 5), (5, 1), (3, 4), (4, 2)])
QUALITIES = st.integers(0, 100)


@st.composite
def models(draw, extreme=False):
    """A random generator, tensors, and the model they make."""
    random = np.random.default_rng(draw(SEEDS))
    bounds, units = draw(GROUPS)
    tensors = random_tensors(random, bounds, units, draw(WINDOWS), draw(st.integers(1, 4)), extreme)
    return random, tensors, NetworkBook("patches", {}, tensors).latents


def walk(model, symbols, quality):
    """Tables and bases that the kernel finds."""
    n, _, rows, columns = symbols.shape
    flat = coder._to_stream(symbols, model)
    indexes, bases = np.empty_like(flat), np.empty_like(flat)
    work = contextnet.new_work(model.net, n, rows, columns)
    grid = np.array([n, rows, columns])
    contextnet.walk(model.net, model.at_quality(quality), work, grid, flat, indexes, bases)
    return list(zip(indexes.tolist(), bases.tolist(), strict=True))


@given(models() | models(extreme=True), GRIDS, st.integers(1, 3), QUALITIES, st.booleans())
@settings(max_examples=30)
def test_the_kernel_finds_what_its_twin_finds(drawn, grid, n_images, quality, extreme):
    """With weights, multipliers, biases and latents as great as they can be, too: nothing overflows."""
    random, tensors, model = drawn
    symbols = random_latents(random, tensors["context.bounds"], n_images, *grid, extreme)
    assert walk(model, symbols, quality) == twin.walk(twin.Model(tensors, quality), symbols)


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_greatest_sums_do_not_overflow(sign):
    """As many inputs, units and the greatest values of all that the format allows."""
    bounds, units, taps = (0, 1022, 1024), (0, 16, 2048), ((1, 0), (0, 1), (0, 0))
    taps = ((1, 1), *taps)
    random = np.random.default_rng(1)
    tensors = random_tensors(random, bounds, units, taps, 1)
    for name in "abc":
        tensors[f"context.{name}"][:] = -128
        tensors[f"context.scale_{name}"][:] = 2**31 - 1
        tensors[f"context.bias_{name}"][:] = sign * (2**31 - 1)
    tensors["context.norm"][:] = 255
    model = NetworkBook("patches", {}, tensors).latents
    symbols = np.full((1, 1024, 2, 2), 32767 * sign, np.int32)
    found = walk(model, symbols, 50)
    # The twin, of which all units of a layer are equal here: inputs are u and |u|.
    u = 2047
    bias = (((sign * (2**31 - 1)) * 100 // 100) << 8) + 2**23
    per_latent = -128 * u + (-128 * u) * sign
    at = iter(found)
    for around in (0, 1, 1, 3):  # Positions of the grid of 2 x 2 that a position sees.
        for group, size in ((0, 1022), (1, 2)):
            widths = (16, 2032)[: group + 1]
            first = [
                twin.act(per_latent * (around * 1024 + 1022 * g), 2**31 - 1, bias) for g in range(group + 1)
            ]
            second = []
            for g in range(group + 1):
                s = sum(-128 * w * h for w, h in zip(widths[: g + 1], first, strict=False))
                second.append(twin.act(s, 2**31 - 1, bias))
            s = sum(-128 * w * h for w, h in zip(widths, second, strict=True))
            x = (s * (2**31 - 1) + bias) >> 24
            mean, scale = twin.limit(x, 32767), min(max(x, 0), 55)
            base = (mean + 16) >> 5
            expected = (32 * scale + mean - 32 * base + 16, base)
            assert [next(at) for _ in range(size)] == [expected] * size


SETS = st.lists(st.tuples(GRIDS, st.integers(1, 3)), min_size=1, max_size=3)


def images_of(drawn, sets, extreme):
    """Latents of sets, and the grids of their images."""
    random, tensors, _ = drawn
    sets = [part for i, part in enumerate(sets) if not i or part[0] != sets[i - 1][0]]
    symbols = [random_latents(random, tensors["context.bounds"], n, *grid, extreme) for grid, n in sets]
    return symbols, [Grid(*grid) for grid, n in sets for _ in range(n)]


@given(models() | models(extreme=True), SETS, QUALITIES, st.booleans())
def test_bodies_come_back(drawn, sets, quality, extreme):
    symbols, grids = images_of(drawn, sets, extreme)
    body = build_body(symbols, quality, drawn[2], "fast")
    got, found = parse_body(memoryview(body + bytes(3)), grids, drawn[2])
    assert got == quality
    assert all(map(np.array_equal, found, symbols))


@given(models(), SETS, QUALITIES)
@settings(max_examples=15)
def test_a_body_is_what_the_twins_write(drawn, sets, quality):
    _, tensors, model = drawn
    symbols, _ = images_of(drawn, sets, False)
    body = build_body(symbols, quality, model, "fast")
    head = coder.parse_head(memoryview(body))
    spec = twin.Model(tensors, quality)
    found = [pair for part in symbols for pair in twin.walk(spec, part)]
    values = [value for part in symbols for value in twin.order(spec, part)]
    coded = [value - base for value, (_, base) in zip(values, found, strict=True)]
    tables = [table for table, _ in found]
    message = rans.encode_tables(coded, tables, twin.tables_of(tensors), head.lanes)
    assert body[head.begin : head.end] == message
    assert head.lanes == (4 if len(values) > 2048 else 2 if len(values) > 256 else 1)


@given(models(), SETS, st.binary(max_size=200), QUALITIES, st.integers(0, 2))
def test_any_bytes_give_latents_in_range_or_an_error(drawn, sets, noise, quality, plan):
    symbols, grids = images_of(drawn, sets, False)
    states = np.random.default_rng(len(noise)).integers(1 << 31, 1 << 63, 1 << plan, np.int64).tobytes()
    noise = noise[: len(noise) // 4 * 4]
    message = states + noise
    body = bytes([quality, plan]) + coder.build_varint(len(message)) + message
    for data in (body, noise):
        try:
            _, found = parse_body(memoryview(data), grids, drawn[2])
        except InvalidFrame:
            continue
        assert [part.shape for part in found] == [part.shape for part in symbols]


@given(models(), SETS, QUALITIES, st.data())
def test_damage_is_seen_or_another_body(drawn, sets, quality, data):
    """What is accepted is what an encoder writes of what comes out."""
    symbols, grids = images_of(drawn, sets, False)
    body = bytearray(build_body(symbols, quality, drawn[2], "fast"))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        got, found = parse_body(memoryview(body), grids, drawn[2])
    except InvalidFrame:
        return
    head = coder.parse_head(memoryview(body))
    again = build_body(found, got, drawn[2], "fast")
    if coder.parse_head(memoryview(again)).lanes == head.lanes:
        assert again == body[: head.end]
    assert max(np.abs(part).max() for part in found) <= contextnet.MAX_SYMBOL


@given(models(), SETS)
def test_no_prefix_is_read(drawn, sets):
    symbols, grids = images_of(drawn, sets, False)
    body = build_body(symbols, 40, drawn[2], "fast")
    for stop in {*range(min(12, len(body))), len(body) // 2, len(body) - 4, len(body) - 1}:
        with pytest.raises(InvalidFrame):
            parse_body(memoryview(body[:stop]), grids, drawn[2])


@given(models(), st.integers(0, 3), st.integers(0, 3), SEEDS)
def test_no_latent_is_foretold_from_later_ones(drawn, row, column, seed):
    """Changing a latent changes no table of those before it, nor of those of its group and image."""
    random, tensors, model = drawn
    symbols = random_latents(random, tensors["context.bounds"], 2, 4, 4)
    before = walk(model, symbols, 70)
    channel = int(np.random.default_rng(seed).integers(model.n_channels))
    changed = symbols.copy()
    changed[1, channel, row, column] += 5
    flat, marks = (coder._to_stream(part, model) for part in (symbols, changed))
    at = int(np.flatnonzero(flat != marks)[0])
    after = walk(model, changed, 70)
    bounds = tensors["context.bounds"]
    group = int(np.searchsorted(bounds, channel, "right")) - 1
    end_of_group = at + int(bounds[group + 1]) - channel
    assert after[:end_of_group] == before[:end_of_group]


def report():
    """Bodies of a few models, which are the same for every target."""
    found = []
    for seed, bounds, units, taps, extreme in (
        (1, (0, 4, 6), (0, 16, 32), TAPS, False),
        (2, (0, 2, 4, 10), (0, 0, 16, 48), ((0, 0),), False),
        (3, (0, 2), (0, 16), ((3, -2), (0, 1), (0, 0)), True),
    ):
        random = np.random.default_rng(seed)
        tensors = random_tensors(random, bounds, units, taps, 3, extreme)
        model = NetworkBook("patches", {}, tensors).latents
        symbols = [random_latents(random, bounds, 2, 5, 7), random_latents(random, bounds, 1, 1, 1, True)]
        body = build_body(symbols, 37, model, "fast")
        _, back = parse_body(memoryview(body), [Grid(5, 7)] * 2 + [Grid(1, 1)], model)
        assert all(map(np.array_equal, back, symbols))
        found.append(body.hex())
    return found


@pytest.mark.slow
@pytest.mark.background(10, on_plain_cpu(__file__))
def test_another_target_gives_the_same_bytes_without_a_float(background):
    """A plain CPU, every index checked; kernels are compiled anew, so that their code can be looked at."""
    assert background.json() == {"report": report(), "floats": []}


def test_kernels_return_integers():
    report()
    for kernel in KERNELS:
        assert kernel.signatures
        for signature in kernel.signatures:
            assert str(kernel.overloads[signature].signature.return_type) in ("int64", "Literal[int](0)")


if __name__ == "__main__":
    print(
        json.dumps({"report": report(), "floats": [line for kernel in KERNELS for line in floats_of(kernel)]})
    )
