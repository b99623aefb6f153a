# ruff: noqa: E402  (what may be missing is asked for first)
"""The networks: what begins as nothing, what sees what, levels between levels, and tiles' halos."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks are built of torch")

from hypothesis import given
from hypothesis import strategies as st
from smallnet import SHAPE, small_codec
from triptych.networks.context import ContextNet
from triptych.networks.discriminator import Discriminator, discriminator_loss, notch
from triptych.networks.layers import at_levels, logistic_bits
from triptych.networks.patches import PATCH, PatchCodec, PatchConfig
from triptych.networks.whole import WholeCodec, WholeConfig, group_bounds

ARCHITECTURES = pytest.mark.parametrize("architecture", ["whole", "patches"])
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def quiet():
    """One thread, no gradients, and the same random numbers each time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


def images(architecture, n=3):
    side = SHAPE[:2] if architecture == "whole" else (32, 48)
    return torch.rand(n, 3, *side)


def fresh(architecture):
    """A codec as training begins."""
    small = small_codec(architecture)
    if architecture == "whole":
        return WholeCodec(small.config, small.rows, small.mean, small.deviation)
    return PatchCodec(small.config, small.rows.flatten(1), small.deviation)


@ARCHITECTURES
def test_a_codec_begins_as_its_linear_transform(architecture):
    codec = fresh(architecture)
    pictures, level = images(architecture), torch.tensor([0.0, 1.0, 1.7])
    coordinates = codec.analyse(pictures, level)
    assert torch.allclose(codec.synthesise(coordinates, level), codec.condition(coordinates), atol=1e-6)
    # Rows are unit vectors that are orthogonal: what they show, they find.
    twice = codec.analyse(codec.synthesise(coordinates, level), level)
    assert torch.allclose(twice, coordinates, rtol=0.1, atol=0.02)


@ARCHITECTURES
def test_gains_are_undone(architecture):
    codec = small_codec(architecture)
    codec.shift.zero_()
    codec.log_ungain.copy_(-codec.log_gain)
    level = torch.tensor([0.0, 0.5, 2.0])
    coordinates = torch.randn(3, codec.channels, 1, 1)
    gain = at_levels(codec.log_gain, level).exp()[..., None, None]
    assert torch.allclose(codec.coordinates(coordinates * gain, level), coordinates, atol=1e-5)


@ARCHITECTURES
def test_latents_of_an_image_do_not_depend_on_its_batch(architecture):
    codec = small_codec(architecture)
    pictures, level = images(architecture), torch.tensor([0.0, 0.3, 2.0])
    together = codec.latents(pictures, level)
    for i in range(3):
        alone = codec.latents(pictures[i : i + 1], level[i : i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-4)


@ARCHITECTURES
def test_quantizing_rounds_or_goes_one_step_towards_zero(architecture):
    codec = small_codec(architecture)
    level = torch.full((2,), 1.0)
    latents = torch.randn(2, codec.channels, 1, 1) * 5
    near, found = latents.round(), codec.quantize(latents, level)
    step = near - found
    assert ((step == 0) | (step == near.sign())).all()
    assert (found == -codec.quantize(-latents, level)).all()


@ARCHITECTURES
def test_the_objective_of_training_is_what_is_measured(architecture):
    codec = small_codec(architecture)
    pictures, level = images(architecture), torch.tensor([0.0, 1.0, 2.0])
    trained, measured = codec(pictures, level), codec.measure(pictures, level)
    assert torch.allclose(trained.bits, measured.bits, rtol=1e-5)
    assert torch.allclose(trained.weight, torch.tensor([8.0, 40.0, 200.0]))
    # Decoders clip and round.
    assert (measured.error < trained.error * 1.05 + 0.1).all()


@ARCHITECTURES
def test_gradients_reach_all_that_is_trained(architecture):
    codec = small_codec(architecture)
    with torch.enable_grad():
        found = codec(images(architecture), torch.tensor([0.2, 1.0, 1.5]))
        torch.autograd.backward(found.cost().mean())
    for name, parameter in codec.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@ARCHITECTURES
def test_starting_finds_priors_and_norms(architecture):
    codec = fresh(architecture)
    codec.start(images(architecture, 8))
    assert (codec.context.norm == codec.context.norm.round()).all()
    assert codec.context.norm.min() >= 1
    assert codec.context.norm.max() <= 64
    assert (codec.context.bias_c[:, codec.channels :] == codec.prior).all()
    assert (codec.prior != 0).all()
    assert codec.shift.isfinite().all()


@given(st.sampled_from([(0, 2, 4, 10), (0, 4), (0, 2, 4, 6, 8)]), st.integers(0, 2), SEEDS)
def test_the_context_network_sees_only_what_is_known(bounds, radius, seed):
    """A latent changes nothing of those before it in raster order, nor of its own group and those before."""
    random = np.random.default_rng(seed)
    context = ContextNet(bounds[-1], 32, list(bounds), radius, 2)
    for parameter in context.parameters():
        parameter.copy_(torch.from_numpy(random.normal(0, 0.3, parameter.shape).astype(np.float32)))
    rows, columns = 4, 5
    latents = torch.from_numpy(random.integers(-5, 6, (1, bounds[-1], rows, columns)).astype(np.float32))
    place = int(random.integers(rows)), int(random.integers(columns))
    channel = int(random.integers(bounds[-1]))
    other = latents.clone()
    other[0, channel, *place] += 3
    level = torch.tensor([0.4])
    pairs = zip(context(latents, level), context(other, level), strict=True)
    changed = sum(((one - two).abs() > 1e-3).float() for one, two in pairs)[0]
    group = int(np.searchsorted(bounds, channel, "right")) - 1
    assert not changed[: bounds[group + 1], *place].any()
    for y in range(rows):
        for x in range(columns):
            is_seen = (y, x) > place and abs(x - place[1]) <= radius and y - place[0] <= radius
            if (y, x) != place and not is_seen:
                assert not changed[:, y, x].any()


def test_faked_context_networks_are_close_and_have_gradients():
    context = small_codec("patches").context
    latents, level = torch.randint(-4, 5, (2, 8, 3, 3)).float(), torch.tensor([0.0, 1.3])
    exact = context(latents, level)
    context.faked = True
    with torch.enable_grad():
        faked = context(latents, level)
        torch.autograd.backward(faked[0].sum() + faked[1].sum())
    for one, two in zip(exact, faked, strict=True):
        assert torch.allclose(one, two, atol=0.3)
    assert torch.allclose(faked[0] * 32, (faked[0] * 32).round(), atol=1e-3)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in context.parameters())


@given(st.integers(1, 5), SEEDS)
def test_levels_are_interpolated(n_levels, seed):
    table = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (n_levels, 3)).astype(np.float32))
    level = torch.linspace(0, n_levels - 1, 9)
    expected = [np.interp(level.numpy(), np.arange(n_levels), column) for column in table.numpy().T]
    assert np.allclose(at_levels(table, level).numpy().T, expected, atol=1e-5)


@given(st.floats(-4, 4), st.floats(-3, 3))
def test_bits_are_those_of_a_distribution(mean, log_scale):
    numbers = torch.arange(-600, 601).float()
    bits = logistic_bits(numbers, torch.tensor(mean), torch.tensor(log_scale))
    # Each number has at least 2^-20, so the sum is a little more than 1.
    assert 0.999 < float((2.0**-bits).sum()) < 1.003


@pytest.mark.parametrize("depths", [((1, 2, 2), (1, 1, 2)), ((3, 0, 1), (0, 3, 4)), ((0, 1, 0), (2, 2, 0))])
def test_nothing_of_a_patch_codec_looks_beyond_its_halo(depths):
    """The first depths are the default ones, of E and G; one position changes in a row of them."""
    random = np.random.default_rng(4)
    small = PatchConfig(4, (1.0, 2.0), (0, 4), 16, 1, (2, 2, 2), depths[0], (2, 2, 2), depths[1])
    halo = small.halo
    codec = PatchCodec(small, torch.randn(4, 768) / 28, torch.ones(4)).double()
    for values in codec.parameters():
        values.copy_(torch.from_numpy(random.normal(0, 0.4, values.shape)))
    level = torch.tensor([0.5], dtype=torch.float64)
    grid = 2 * halo + 8
    middle = grid // 2
    pictures = torch.rand(1, 3, PATCH, PATCH * grid).double()
    other = pictures.clone()
    other[..., PATCH * middle : PATCH * (middle + 1)] += 0.5
    changed = (codec.latents(pictures, level) != codec.latents(other, level)).any(1).any(1)[0]
    seen = changed.nonzero().flatten()
    assert seen.min() >= middle - halo
    assert seen.max() <= middle + halo
    latents = torch.randn(1, 4, 1, grid).double()
    other = latents.clone()
    other[..., middle] += 1
    shown = (codec.generate(latents, level) != codec.generate(other, level)).any(1).any(1)[0]
    seen = shown.nonzero().flatten()
    assert seen.min() >= PATCH * (middle - halo)
    assert seen.max() < PATCH * (middle + halo + 1)


@pytest.mark.parametrize("shape", [(16, 16, 3), (20, 33, 1), (5, 7, 2), (48, 16, 4)])
def test_whole_images_of_any_shape(shape):
    """A U-net pads what blocks do not divide, and crops it again."""
    height, width, channels = shape
    samples = height * width * channels
    rows = torch.linalg.qr(torch.randn(samples, 4))[0].T.contiguous()
    config = WholeConfig(shape, 4, (1.0, 2.0), (), 8, 16, (4, 4, 8))
    codec = WholeCodec(config, rows, torch.full((samples,), 0.5), torch.ones(4))
    pictures, level = torch.rand(2, channels, height, width), torch.tensor([0.0, 1.0])
    symbols = codec.quantize(codec.latents(pictures, level), level)
    assert codec.generate(symbols, level).shape == pictures.shape


@pytest.mark.parametrize("n", [1, 4, 12, 13, 100, 1024, 4096])
def test_groups_of_components_rise_to_their_number(n):
    bounds = group_bounds(n)
    assert (bounds[0], bounds[-1]) == (0, n)
    assert bounds == sorted(set(bounds))


def test_notching_takes_the_checkerboard_and_leaves_the_rest():
    y, x = np.mgrid[:12, :14].astype(np.float32)
    board, slope, stripes = (
        torch.from_numpy(values.astype(np.float32)).expand(1, 3, 12, 14)
        for values in ((-1) ** (y + x), y * 0.1 + x * 0.2, (-1) ** x)
    )
    assert notch(board)[..., 1:-1, 1:-1].abs().max() < 1e-6
    assert torch.allclose(notch(slope), slope, atol=0.03)
    assert torch.allclose(notch(stripes), stripes, atol=1e-6)


def test_a_discriminator_tells_two_kinds_apart():
    judge = Discriminator(3, (8, 8, 8))
    optimizer = torch.optim.Adam(judge.parameters(), lr=5e-3)
    condition = torch.zeros(4, 3, 16, 16)
    losses = []
    with torch.enable_grad():
        for _ in range(25):
            real = judge(torch.rand(4, 3, 16, 16) * 0.3, condition)[:2]
            fake = judge(torch.rand(4, 3, 16, 16) * 0.3 + 0.7, condition)[:2]
            loss = discriminator_loss(real, fake)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
