"""The training loop: any objective, in steps that can stop and go on without loss.

One process or several: where `torch.distributed` is initialised (`torchrun` does it), each process takes its
own steps on its own images, and parameters are averaged every few steps (local SGD, Stich 2019), so that one
GPU, several, or two busy cores need no other code. Checkpoints hold weights, their moving average, the
optimisers, all random states and the place in the data; every process writes its own, at the same step.

Budgets are seconds of processor time, summed over processes, as wall time means little on a shared machine.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed, nn

from triptych.fit.statefile import SUFFIX, load_state, not_a_state, save_state

_TELL_SECONDS = 60.0
"""Between lines of how far it is, where none tells more."""


@dataclass(frozen=True)
class Schedule:
    """How long, how fast.

    Parameters
    ----------
    core_seconds : float
        Budget, earlier runs of the same checkpoint included.
    batch : int
        Images of a step, in each process.
    rate : float
        Learning rate: constant after a short start, falling to zero in the last part (`anneal`).
    anneal : float
        Share of the budget in which the rate falls; 0: it stays, so that training can go on.
    average : float
        Decay of the moving average, taken every fourth step.
    sync : int
        Steps between averagings of processes.
    save_seconds : float
        Between checkpoints.
    """

    core_seconds: float
    batch: int = 16
    rate: float = 1e-3
    anneal: float = 0.2
    average: float = 0.99
    warm_up: int = 100
    clip: float = 2.0
    sync: int = 8
    save_seconds: float = 300.0


Step = Callable[[Tensor], tuple[Tensor, dict[str, float]]]


class Companion(Protocol):
    """What takes part in training beside the model, a discriminator say: it is averaged and saved too."""

    parameters: list[nn.Parameter]

    def state_dict(self) -> dict[str, Any]:
        """Give what `load_state_dict` takes."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        ...


class Cursor:
    """Images in a random order without repetition, epoch by epoch; its state is part of a checkpoint."""

    def __init__(self, n_images: int, seed: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.n_images = n_images
        self.order: npt.NDArray[np.int64] = np.zeros(0, np.int64)
        self.at = 0

    def take(self, n: int) -> npt.NDArray[np.int64]:
        """Give the numbers of the next n images."""
        parts = []
        while n:
            if self.at == len(self.order):
                self.order, self.at = self.generator.permutation(self.n_images), 0
            part = self.order[self.at : self.at + n]
            self.at += len(part)
            n -= len(part)
            parts.append(part)
        return np.concatenate(parts)

    def state(self) -> dict[str, Any]:
        """Give what `restore` takes."""
        return {
            "generator": self.generator.bit_generator.state,
            "n_images": self.n_images,
            "order": self.order,
            "at": self.at,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; among other images, with a new epoch."""
        self.generator.bit_generator.state = state["generator"]
        if state["n_images"] == self.n_images:
            self.order, self.at = state["order"], state["at"]


class Trainer:
    """Trains the parameters of one model.

    Parameters
    ----------
    model : nn.Module
        Whose trainable parameters are trained, averaged and checkpointed.
    optimizer : torch.optim.Optimizer
        Of them.
    step : callable
        Of a batch of images, to a loss and figures to report.
    load : callable
        Of image numbers and a random generator, to a batch.
    n_images : int
        How many there are.
    schedule : Schedule
        How long.
    folder : Path
        Where checkpoints and the log go.
    evaluate : callable or None
        Of the model with averaged weights, to figures to report; called at every checkpoint by the first
        process.
    companion : Companion or None
        What is trained against the model.
    say : callable or None
        Told the figures of every report.
    stop : Event or None
        Set, by a signal handler say, it ends `run` at the next step that can be saved.
    began : float or None
        `time.process_time()` where the work began that the budget pays for, if that was before.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: Step,
        load: Callable[[npt.NDArray[np.int64], np.random.Generator], Tensor],
        n_images: int,
        schedule: Schedule,
        folder: Path,
        seed: int = 0,
        evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
        companion: Companion | None = None,
        say: Callable[[dict[str, float]], None] | None = None,
        stop: Event | None = None,
        began: float | None = None,
    ) -> None:
        self._since = time.process_time() if began is None else began
        self.model, self.optimizer, self.step, self.load = model, optimizer, step, load
        self.schedule, self.folder, self.evaluate = schedule, folder, evaluate
        self.companion, self.say, self.stop = companion, say, stop or Event()
        together = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if together else 0
        self.n_processes = distributed.get_world_size() if together else 1
        self.cursor = Cursor(n_images, seed * 1000 + self.rank)
        torch.manual_seed(seed * 1000 + 500 + self.rank)
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.averages = [p.detach().clone() for p in self.parameters]
        self.shared = [*self.parameters, *(companion.parameters if companion is not None else [])]
        # Half precision needs its gradients scaled; without CUDA this does nothing.
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.parameters[0].is_cuda)
        self.n_steps, self.spent = 0, 0.0
        self.rates = [group["lr"] / schedule.rate for group in optimizer.param_groups]
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"checkpoint-{self.rank}{SUFFIX}"
        self.log = folder / "log.jsonl"

    def resume(self) -> bool:
        """Go on from the last checkpoint, if there is one.

        Raises
        ------
        InvalidOption
            What is there was not written by such a training, or is one of an earlier version, in pickle.
        """
        pickled = self.path.with_suffix(".pt")
        if pickled.exists():
            raise not_a_state(pickled, "checkpoints of earlier versions are pickles, which are not opened")
        if not self.path.exists():
            return False
        state = load_state(self.path)
        try:
            self._restore(state)
        except (KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError) as error:
            raise not_a_state(self.path, error) from error
        return True

    def _restore(self, state: dict[str, Any]) -> None:
        weights = [*(p.data for p in self.parameters), *self.averages]
        for mine, kept in zip(weights, [*state["parameters"], *state["averages"]], strict=True):
            if mine.shape != kept.shape:
                raise ValueError(f"a tensor of shape {tuple(kept.shape)}, not {tuple(mine.shape)}")
            mine.copy_(kept)
        self.model.load_state_dict(state["buffers"], strict=False)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.companion is not None:
            self.companion.load_state_dict(state["companion"])
        self.cursor.restore(state["cursor"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available() and state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"])
        self.n_steps, self.spent = state["n_steps"], state["spent"]

    def _buffers(self) -> dict[str, Tensor]:
        trained = dict(self.model.named_parameters())
        return {name: value for name, value in self.model.state_dict().items() if name not in trained}

    def save(self) -> None:
        """Write a checkpoint; a process killed in the middle leaves the last one."""
        state = {
            "parameters": [p.detach() for p in self.parameters],
            "averages": self.averages,
            "buffers": self._buffers(),
            "optimizer": self.optimizer.state_dict(),
            "companion": None if self.companion is None else self.companion.state_dict(),
            "cursor": self.cursor.state(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            "n_steps": self.n_steps,
            "spent": self.spent,
            "schedule": asdict(self.schedule),
        }
        save_state(state, self.path)

    def run(self, until: float | None = None) -> None:
        """Train until the budget is spent, or `until` of it."""
        end = self.schedule.core_seconds if until is None else until
        if self.spent >= end or self.stop.is_set():
            return
        saved = told = time.monotonic()
        sums: dict[str, float] = {}
        n_summed = 0
        while True:
            self._set_rate()
            numbers = self.cursor.take(self.schedule.batch)
            loss, figures = self.step(self.load(numbers, self.cursor.generator))
            self.optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(self.scaler.scale(loss))
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, self.schedule.clip, foreach=True)
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.n_steps += 1
            n_summed += 1
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
            if self.n_steps % 4 == 0:
                decay = min(self.schedule.average, (self.n_steps / (self.n_steps + 30)) ** 3)
                with torch.no_grad():
                    torch._foreach_lerp_(self.averages, list[Tensor](self.parameters), 1 - decay)
            self._count_time()
            is_alone_and_spent = self.n_processes == 1 and self.spent >= end
            if self.n_steps % self.schedule.sync and not is_alone_and_spent:
                continue
            now = time.monotonic()
            stop, save = self._agree(
                self.spent >= end or self.stop.is_set(), now - saved > self.schedule.save_seconds
            )
            if stop or save:
                saved = time.monotonic()
                self.save()
                if self.rank == 0:
                    self._report({name: value / n_summed for name, value in sums.items()})
                sums, n_summed = {}, 0
                self._count_time()  # evaluation is paid for too
            elif self.say is not None and self.rank == 0 and now - told > _TELL_SECONDS:
                told = now
                self.say(self._line({name: value / n_summed for name, value in sums.items()}))
            if stop:
                return

    def _count_time(self) -> None:
        now = time.process_time()
        self.spent += (now - self._since) * self.n_processes
        self._since = now

    def _set_rate(self) -> None:
        schedule = self.schedule
        rate = min(1.0, (self.n_steps + 1) / schedule.warm_up)
        left = 1 - self.spent / schedule.core_seconds
        if schedule.anneal and left < schedule.anneal:
            rate *= max(left / schedule.anneal, 0.005)
        for group, share in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = schedule.rate * share * rate

    def _agree(self, stop: bool, save: bool) -> tuple[bool, bool]:
        """Average parameters over processes, and do what any of them has come to."""
        if self.n_processes == 1:
            return stop, save
        wishes = torch.tensor([float(stop), float(save)], device=self.parameters[0].device)
        flat = torch.cat([*(p.detach().reshape(-1) for p in self.shared), wishes])
        distributed.all_reduce(flat)
        at = 0
        for p in self.shared:
            p.data.copy_((flat[at : at + p.numel()] / self.n_processes).view_as(p))
            at += p.numel()
        stop_votes, save_votes = flat[-2:].tolist()
        return stop_votes > 0, save_votes > 0

    def use_averages(self) -> None:
        """Exchange weights and their averages; twice is nothing."""
        for p, average in zip(self.parameters, self.averages, strict=True):
            kept = p.detach().clone()
            p.data.copy_(average)
            average.copy_(kept)

    def _report(self, figures: dict[str, float]) -> None:
        if self.evaluate is not None:
            self.use_averages()
            figures |= self.evaluate(self.model)
            self.use_averages()
        line = self._line(figures)
        with self.log.open("a") as log:
            log.write(json.dumps(line) + "\n")
        if self.say is not None:
            self.say(line)

    def _line(self, figures: dict[str, float]) -> dict[str, float]:
        images = self.n_steps * self.schedule.batch * self.n_processes
        return {"core_seconds": round(self.spent), "steps": self.n_steps, "images": images} | {
            name: round(value, 4) for name, value in figures.items() if math.isfinite(value)
        }
