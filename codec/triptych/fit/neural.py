"""`fit("ae", ...)` and `fit("gan", ...)`: images to a dictionary of networks.

Small images of one size get networks of whole images, which begin as their PCA; others get networks of
patches, which begin as their KLT. Stage one ("ae") trains all on rate and squared error; stage two ("gan")
trains a second generator for the same latents. All of it stops and goes on through checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from triptych.dictionary import Dictionary
from triptych.errors import InvalidImage, InvalidOption
from triptych.fit.adversary import Adversary
from triptych.fit.basis import parse_content
from triptych.fit.components import fit_components
from triptych.fit.networkbook import KIND, NetworkBook, load_network, parse_tensors
from triptych.fit.statefile import SUFFIX, load_state, save_state
from triptych.fit.trained import (
    basis_tensors,
    export_codec,
    load_codec,
    notched_generator,
    replace_generator,
)
from triptych.fit.training import Schedule, Trainer
from triptych.images import Pixels
from triptych.networks.codec import Objective
from triptych.networks.device import choose_device, put, settle
from triptych.networks.patches import PATCH, PatchCodec, PatchConfig
from triptych.networks.refine import refine
from triptych.networks.whole import WholeCodec, WholeConfig
from triptych.options import Options

Say = Callable[[dict[str, float]], None]
Codec = WholeCodec | PatchCodec

WHOLE_SAMPLES = 3 * 96 * 96
"""Images of one size of at most so many samples get networks of whole images."""
LEAST_WHOLE = 1024
N_COMPONENTS = 1024
BASIS_QUALITY = 30
"""The precision of the basis: PCA's own at about the coarsest of the default trade-offs."""
CROP = 128
SAMPLE_PATCHES = 40_000
START_IMAGES, START_CROPS = 1500, 200
HELD_SHARE, MAX_HELD = 32, 256
"""One image of so many, and at most these, are held back to report on."""
WHOLE_SCHEDULE = {"batch": 16, "rate": 1e-3, "average": 0.995}
PATCH_SCHEDULE = {"batch": 4, "rate": 1e-3, "average": 0.995}
GAN_SCHEDULE = {"batch": 16, "rate": 3e-4, "average": 0.998, "anneal": 0.4}
REFINED_SCHEDULE = {"rate": 2e-4, "average": 0.998, "anneal": 0.4}
REFINED_HELD = 64
GAN_LEVELS = (0.0, 0.6)
"""The share of trade-offs that a GAN is trained for."""
FAKED_SHARE = 0.1
"""The last part of stage one trains the context network as its integers will be."""
DECAY = 0.01
END_SECONDS, END_SHARE = 30.0, 0.2
"""Of a budget, for the last evaluation and what is learned of mixed decisions: the lesser of the two."""


@dataclass(frozen=True)
class Training:
    """How to train: where checkpoints go, for how long, how it begins, and whom to tell.

    `core_seconds` is the budget of this stage, earlier runs from the same folder included. `schedule`
    replaces fields of `Schedule`, `config` those of the networks' configuration. `refined` above 0 trains the
    generator alone, on latents that so many passes of an encoder's search have moved. Setting `stop` ends
    training early. `began`: what `time.process_time()` was where the budget begins, if that was before.
    """

    folder: Path
    core_seconds: float
    say: Say | None = None
    seed: int = 0
    schedule: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    refined: int = 0
    stop: Event | None = None
    began: float | None = None


class Source:
    """Images as training takes them: crops or whole, mirrored and shifted at random."""

    def __init__(self, images: Sequence[Pixels], whole: bool, device: torch.device) -> None:
        self.images, self.whole, self.device = images, whole, device

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, numbers: npt.NDArray[np.int64], generator: np.random.Generator) -> Tensor:
        """Give images float (n, channels, h, w) in [0, 1]."""
        parts = []
        for number in numbers:
            image = self.images[number]
            image = _shifted(image, generator) if self.whole else _crop(image, generator)
            parts.append(image[:, ::-1] if generator.random() < 0.5 else image)
        return self.tensor(np.stack(parts))

    def tensor(self, images: Pixels) -> Tensor:
        """Give images as networks take them, on the device."""
        values = put(images.transpose(0, 3, 1, 2), self.device)
        return values.float().div(255).contiguous(memory_format=torch.channels_last)


def _shifted(image: Pixels, generator: np.random.Generator) -> Pixels:
    down, right = generator.integers(0, 3, 2)
    height, width = image.shape[:2]
    return np.pad(image, ((1, 1), (1, 1), (0, 0)), "edge")[down : down + height, right : right + width]


def _crop(image: Pixels, generator: np.random.Generator) -> Pixels:
    height, width = image.shape[:2]
    top, left = generator.integers(0, height - CROP + 1), generator.integers(0, width - CROP + 1)
    return image[top : top + CROP, left : left + CROP]


def fit_networks(
    mode: str, images: Sequence[Pixels], training: Training, start: Dictionary | None = None
) -> Dictionary:
    """Train networks.

    Parameters
    ----------
    mode : "ae" or "gan"
        Stage one; or stage two, on the dictionary `start`.
    images : sequence of uint8 (h, w, c)
        Held in memory: they are seen many times.
    training : Training
        How.
    start : Dictionary or None
        For "gan" the trained autoencoder; for "ae" one whose training is to go on, without its optimiser.

    Raises
    ------
    InvalidImage
        Too few images, or too small ones.
    """
    device = choose_device()
    if mode == "gan":
        if start is None or start.kind != KIND:
            raise InvalidOption(
                "fit gan goes on from networks that fit ae made: give them as dictionary",
                options=("dictionary",),
            )
        return _fit_gan(images, training, start, device)
    if training.refined:
        if start is None:
            raise InvalidOption("a generator is trained on refined latents after all else was trained")
        return _fit_refined(images, training, start, device)
    codec, basis = _begin(images, training, device) if start is None else _go_on(images, start, device)
    whole = isinstance(codec, WholeCodec)
    source, held = _divide(images, whole, device)
    schedule = _schedule(WHOLE_SCHEDULE if whole else PATCH_SCHEDULE, training)
    trainer = Trainer(
        codec,
        _optimizer(codec, schedule.rate),
        partial(_rate_distortion_step, codec),
        source.batch,
        len(source),
        schedule,
        training.folder,
        training.seed,
        lambda _: _figures(source.tensor(held), codec.n_levels, codec.measure),
        say=training.say,
        stop=training.stop,
        began=training.began,
    )
    trainer.resume()
    until = schedule.core_seconds * (1 - FAKED_SHARE)
    trainer.run(until)
    codec.context.faked = True
    trainer.run()
    trainer.use_averages()
    content, encoder = export_codec(codec, basis=basis)
    return _dictionary(codec, content, encoder, trainer, len(images), {})


def _go_on(images: Sequence[Pixels], start: Dictionary, device: torch.device) -> tuple[Codec, bytes | None]:
    """Give the codec of a dictionary, to be trained further."""
    book, codec = _open(images, start, device)
    codec.requires_grad_(True)
    return codec, book.tensors["basis"].tobytes() if isinstance(codec, WholeCodec) else None


def _open(images: Sequence[Pixels], start: Dictionary, device: torch.device) -> tuple[NetworkBook, Codec]:
    """Give a dictionary and its codec, nothing of it trainable, if it is for such images."""
    if not start.encoder:
        raise InvalidOption("training goes on from a dictionary with its encoder: the file that fit ae wrote")
    book = load_network(start)
    codec = load_codec(book, parse_tensors(start.encoder)[0]).codec
    _check_images(images, codec)
    settle(codec, device)
    return book, codec


def _fit_refined(
    images: Sequence[Pixels], training: Training, start: Dictionary, device: torch.device
) -> Dictionary:
    """Train the generator alone, on latents as encoders leave them; the one trained as a GAN stays."""
    book, codec = _open(images, start, device)
    codec.generator.requires_grad_(True)
    whole = isinstance(codec, WholeCodec)
    source, held = _divide(images, whole, device)
    schedule = _schedule((WHOLE_SCHEDULE if whole else PATCH_SCHEDULE) | REFINED_SCHEDULE, training)

    def search(part: Tensor, level: Tensor) -> Tensor:
        with torch.no_grad():
            symbols = codec.quantize(codec.latents(part, level), level)
        return refine(codec, part, symbols, level, training.refined)

    def step(part: Tensor) -> tuple[Tensor, dict[str, float]]:
        level = _random_levels(codec, part)
        error = (codec.generate(search(part, level), level) - part).square().flatten(1).sum(1)
        loss = (error * codec.weights(level).sqrt()).mean() / part[0, 0].numel() ** 0.5 / 2
        return loss, {"loss": loss.item()}

    def measure(part: Tensor, level: Tensor) -> Objective:
        return codec.measure(part, level, search(part, level))

    trainer = Trainer(
        codec.generator,
        torch.optim.Adam(codec.generator.parameters(), lr=schedule.rate, betas=(0.9, 0.98)),
        step,
        source.batch,
        len(source),
        schedule,
        training.folder,
        training.seed,
        lambda _: _figures(source.tensor(held[:REFINED_HELD]), codec.n_levels, measure),
        say=training.say,
        stop=training.stop,
        began=training.began,
    )
    trainer.resume()
    trainer.run()
    trainer.use_averages()
    content = replace_generator(book, codec.generator, realism=False)
    return _dictionary(codec, content, start.encoder, trainer, len(images), {"ae": start.id})


def _fit_gan(
    images: Sequence[Pixels], training: Training, start: Dictionary, device: torch.device
) -> Dictionary:
    book, codec = _open(images, start, device)
    generator = notched_generator(codec).to(device)
    generator.load_state_dict(codec.generator.state_dict())
    whole = isinstance(codec, WholeCodec)
    source, _ = _divide(images, whole, device)
    schedule = _schedule(GAN_SCHEDULE | ({} if whole else {"batch": 4}), training)
    last = codec.n_levels - 1
    adversary = Adversary(codec, generator, (GAN_LEVELS[0] * last, GAN_LEVELS[1] * last), 2 * schedule.rate)
    trainer = Trainer(
        generator,
        torch.optim.Adam(generator.parameters(), lr=schedule.rate, betas=(0.5, 0.95)),
        adversary.step,
        source.batch,
        len(source),
        schedule,
        training.folder,
        training.seed,
        companion=adversary,
        say=training.say,
        stop=training.stop,
        began=training.began,
    )
    trainer.resume()
    trainer.run()
    trainer.use_averages()
    content = replace_generator(book, generator, realism=True)
    return _dictionary(codec, content, start.encoder, trainer, len(images), {"ae": start.id})


def _check_images(images: Sequence[Pixels], codec: Codec) -> None:
    """Refuse images that networks were not made for."""
    for image in images:
        if isinstance(codec, WholeCodec):
            if image.shape != tuple(codec.config.shape):
                raise InvalidImage(
                    "shape of an image, for these networks",
                    expected=tuple(codec.config.shape),
                    got=image.shape,
                )
        elif image.shape[2] != 3 or min(image.shape[:2]) < CROP:
            raise InvalidImage(
                "shape of an image, for networks of patches", expected=(CROP, CROP, 3), got=image.shape
            )


def _dictionary(
    codec: Codec, content: bytes, encoder: bytes, trainer: Trainer, n_images: int, more: dict[str, Any]
) -> Dictionary:
    params = {
        "core_seconds": round(trainer.spent),
        "images": n_images,
        "lambdas": [round(float(v), 3) for v in codec.log_lambda.exp()],
        "steps": trainer.n_steps,
    }
    log = [json.loads(line) for line in trainer.log.read_text().splitlines()] if trainer.log.exists() else []
    return Dictionary.build(KIND, params | more, content, {"curve": log}, encoder)


def _schedule(fields: dict[str, Any], training: Training) -> Schedule:
    # What comes after the last step is paid for too.
    seconds = training.core_seconds - min(END_SECONDS, END_SHARE * training.core_seconds)
    return Schedule(**({"core_seconds": seconds} | fields | (training.schedule or {})))


def _begin(images: Sequence[Pixels], training: Training, device: torch.device) -> tuple[Codec, bytes | None]:
    """Build a codec that is a linear transform; the first process finds it, and the others read it."""
    if not images:
        raise InvalidImage("fit needs at least one image")
    torch.manual_seed(training.seed)
    shapes = {image.shape for image in images}
    shape = next(iter(shapes))
    whole = len(shapes) == 1 and images[0].size <= WHOLE_SAMPLES and len(images) >= LEAST_WHOLE
    training.folder.mkdir(parents=True, exist_ok=True)
    path = training.folder / f"start{SUFFIX}"
    made_for = json.dumps([len(images), sorted(shapes), training.config], sort_keys=True)
    is_first = not distributed.is_initialized() or distributed.get_rank() == 0
    if is_first and not path.exists():
        found = _find_components(images, training) if whole else _find_patches(images, training)
        save_state(found | {"made_for": made_for}, path)
    if distributed.is_initialized():
        distributed.barrier()
    start = load_state(path)
    if start.get("made_for") != made_for:
        raise InvalidOption(f"{training.folder} holds the training of other images or sizes of networks")
    config = {name: value for name, value in (training.config or {}).items() if name != "n_components"}
    codec: Codec
    if whole:
        rows, mean, deviation = basis_tensors(parse_content(start["basis"]))
        codec = WholeCodec(WholeConfig(shape, len(rows), **config), rows, mean, deviation)
        sample = np.stack(images[:START_IMAGES])
    else:
        codec = PatchCodec(PatchConfig(**config), start["rows"], start["deviation"])
        generator = np.random.default_rng(training.seed)
        numbers = generator.integers(len(images), size=START_CROPS)
        sample = np.stack([_crop(images[i], generator) for i in numbers])
    codec.start(torch.from_numpy(sample).permute(0, 3, 1, 2).float() / 255)
    settle(codec, device)
    return codec, start.get("basis")


def _find_components(images: Sequence[Pixels], training: Training) -> dict[str, Any]:
    n = min(N_COMPONENTS, len(images) // 4, images[0].size // 4) // 4 * 4
    n = (training.config or {}).get("n_components", n)
    options = Options(n_components=n, quality=BASIS_QUALITY, embed=False)
    return {"basis": fit_components(iter(images), options).content}


def _find_patches(images: Sequence[Pixels], training: Training) -> dict[str, Any]:
    small = next((image.shape for image in images if min(image.shape[:2]) < CROP), None)
    if small is not None or any(image.shape[2] != 3 for image in images):
        raise InvalidImage(
            f"networks of patches train on RGB images of at least {CROP} x {CROP}; networks of whole images "
            f"on at least {LEAST_WHOLE:,} of one size and at most {WHOLE_SAMPLES:,} samples",
            got=small or "other channels",
        )
    generator = np.random.default_rng(training.seed)
    patches = np.empty((SAMPLE_PATCHES, 3, PATCH, PATCH), np.float32)
    for i in range(SAMPLE_PATCHES):
        image = images[int(generator.integers(len(images)))]
        top, left = (int(generator.integers(side - PATCH + 1)) for side in image.shape[:2])
        patches[i] = image[top : top + PATCH, left : left + PATCH].transpose(2, 0, 1)
    patches /= 255
    patches -= 0.5
    both = np.concatenate([patches, patches[:, :, :, ::-1]]).reshape(2 * SAMPLE_PATCHES, -1)
    values, vectors = np.linalg.eigh((both.T @ both / len(both)).astype(np.float64))
    n = int((training.config or {}).get("channels", PatchConfig.channels))
    rows = np.ascontiguousarray(vectors[:, ::-1][:, :n].T, np.float32)
    deviation = np.sqrt(np.maximum(values[::-1][:n], 1e-9)).astype(np.float32)
    return {"rows": torch.from_numpy(rows), "deviation": torch.from_numpy(deviation)}


def _divide(images: Sequence[Pixels], whole: bool, device: torch.device) -> tuple[Source, Pixels]:
    """Hold the last images back; crops of them, where they are larger."""
    n = min(MAX_HELD, len(images) // HELD_SHARE)
    kept, held = images[: len(images) - n], list(images[len(images) - n :]) or list(images[:1])
    if not whole:
        held = [image[:CROP, :CROP] for image in held]
    return Source(kept, whole, device), np.stack(held)


def _optimizer(codec: Codec, rate: float) -> torch.optim.Optimizer:
    """Adam; weights of vectors of latents decay, as few images could be learned by heart there."""
    dense = [
        p
        for name, p in codec.named_parameters()
        if isinstance(codec, WholeCodec)
        and p.dim() >= 2
        and name.endswith("weight")
        and ("context" in name or "encoder" in name or "mlp" in name)
    ]
    known = {id(p) for p in dense}
    rest = [p for p in codec.parameters() if id(p) not in known]
    groups = [{"params": dense, "weight_decay": DECAY}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=rate, betas=(0.9, 0.98))


def _rate_distortion_step(codec: Codec, images: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Give the loss of a batch at random trade-offs: cost over the square root of lambda evens them out."""
    level = _random_levels(codec, images)
    with torch.autocast("cuda", torch.float16, enabled=images.is_cuda):
        found = codec(images, level)
    scale = images[0, 0].numel() ** 0.5
    loss = (found.cost() / found.weight.sqrt()).mean() / scale / 2
    return loss, {"loss": loss.item(), "bytes": found.bits.mean().item() / 8}


def _random_levels(codec: Codec, images: Tensor) -> Tensor:
    return torch.rand(len(images), device=images.device) * (codec.n_levels - 1)


def _figures(held: Tensor, n_levels: int, measure: Callable[[Tensor, Tensor], Objective]) -> dict[str, float]:
    """Give bytes, PSNR and cost of images held back, at each level."""
    figures: dict[str, float] = {}
    for number in range(n_levels):
        parts = [
            measure(part, torch.full((len(part),), float(number), device=part.device))
            for part in torch.split(held, 64)
        ]
        bits, error = (torch.cat([part[i] for part in parts]) for i in (0, 1))
        psnr = -10 * torch.log10(error.clamp_min(1e-9) / held[0].numel())
        cost = (bits + parts[0].weight[0] * error).mean()
        figures |= {f"bytes_{number}": bits.mean().item() / 8, f"psnr_{number}": psnr.mean().item()}
        figures[f"cost_{number}"] = cost.item()
    return figures
