"""The training loop of the face expression network: steps, schedule, moving average, checkpoints."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_atomic
from mmpipe.extractors.faces.densenet import FerplusDenseNet, load_network
from mmpipe.extractors.faces.ferplus import CROP_SIZE
from mmpipe.pipeline.face_training.augmentation import augment, normalise
from mmpipe.pipeline.face_training.config import FaceTraining
from mmpipe.pipeline.face_training.ferplus import FerplusPart
from mmpipe.pipeline.face_training.sampling import draw_weights, epoch_order
from mmpipe.pipeline.face_training.strategy import StepStrategy
from mmpipe.pipeline.face_training.teacher import taught_by

__all__ = ["FaceProgress", "FaceRun"]


@dataclass(frozen=True)
class FaceProgress:
    """Where a training is.

    Attributes:
        step: steps that are done.
        steps: steps of the whole run.
        loss: mean loss since the last report.
        faces_per_second: faces trained on in a second since the last report.
    """

    step: int
    steps: int
    loss: float
    faces_per_second: float


class FaceRun:
    """The state of a training run: network, moving average, optimiser, step.

    Args:
        train: the faces to train on.
        config: hyper-parameters.
        checkpoint: where the state is saved; if it is there, the run goes on from it.
        strategy: how a step is computed.
        device: `cpu` or `cuda`.

    Raises:
        UsageError: the checkpoint belongs to another config or other faces, or there are fewer faces than in a batch.
    """

    def __init__(
        self, train: FerplusPart, config: FaceTraining, checkpoint: Path, strategy: StepStrategy, device: str = "cpu"
    ) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self._checkpoint, self._strategy, self._device = checkpoint, strategy, device
        self._faces, self._targets = torch.from_numpy(train.faces), torch.from_numpy(train.targets)
        if config.teacher is not None:
            taught = taught_by(load_network(config.teacher), train, strategy, device=device)
            self._targets = torch.lerp(self._targets, taught, config.teacher_weight)
        self._faces_sha256 = hashlib.sha256(train.faces.tobytes()).hexdigest()
        self.steps_an_epoch = len(self._faces) // config.batch_size
        if not self.steps_an_epoch:
            raise UsageError(
                f"batch_size {config.batch_size} is more than the {len(self._faces)} training faces: "
                "give a smaller one with --set batch_size=N"
            )
        self.steps = self.steps_an_epoch * config.epochs
        network = FerplusDenseNet() if config.start is None else load_network(config.start)
        self._network: FerplusDenseNet = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._parameters = list(self._network.parameters())
        self._forward = strategy.forward(self._network)
        self._weights = draw_weights(train.labels, config.rare_share)
        self.average = copy.deepcopy(self._network)
        self._optimiser = torch.optim.SGD(
            self._parameters, config.peak_rate, config.momentum, weight_decay=config.weight_decay, nesterov=True
        )
        self.step, self.loss = 0, float("nan")
        self.epoch_is_due = False
        """Whether the run was stopped after an epoch's last step and before the epoch was evaluated."""
        if checkpoint.exists():
            self._resume()

    def advance(self) -> FaceProgress:
        """Train up to the next checkpoint or the end of the epoch."""
        began, first, losses = time.perf_counter(), self.step, []
        self._network.train()
        while True:
            losses.append(self._train_step())
            self.step += 1
            if self.step % self.config.checkpoint_steps == 0 or self.step % self.steps_an_epoch == 0:
                break
        self.loss = sum(losses) / len(losses)
        if self._strategy.rank == 0:
            self._save()
        rate = (self.step - first) * self.config.batch_size / (time.perf_counter() - began)
        return FaceProgress(self.step, self.steps, self.loss, rate)

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True, map_location=self._device)
        # Checkpoints of versions that trained on the part as published name neither this choice nor the faces.
        if {"as_published": True} | state["config"] != self.config.model_dump(mode="json"):
            raise UsageError(
                f"{self._checkpoint} belongs to a run with another config ({state['config']}): "
                "give another --out, or remove the checkpoint to start again"
            )
        if state.get("faces_sha256", self._faces_sha256) != self._faces_sha256:
            raise UsageError(
                f"{self._checkpoint} belongs to a run on other training faces, as when a part of FERPlus was added or "
                "removed since: give another --out, or remove the checkpoint to start again"
            )
        self._network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step, self.loss = state["step"], state["loss"]
        self.epoch_is_due = self.step % self.steps_an_epoch == 0

    def _save(self) -> None:
        state = {
            "config": self.config.model_dump(mode="json"),
            "faces_sha256": self._faces_sha256,
            "network": self._network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "step": self.step,
            "loss": self.loss,
        }
        write_atomic(self._checkpoint, lambda part: torch.save(state, part))

    def _rate(self) -> float:
        progress, warmup = self.step / self.steps, self.config.warmup
        if progress < warmup:
            return self.config.peak_rate * (0.04 + 0.96 * progress / warmup)
        return self.config.peak_rate * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def _batch(self) -> tuple[Tensor, Tensor]:
        """This process's images and targets of the step."""
        config, (epoch, within) = self.config, divmod(self.step, self.steps_an_epoch)
        rank, processes = self._strategy.rank, self._strategy.processes
        order = epoch_order(self._weights, torch.Generator().manual_seed(config.seed + 7919 * epoch))
        rows = order[within * config.batch_size : (within + 1) * config.batch_size][rank::processes]
        generator = torch.Generator().manual_seed((config.seed * 1_000_003 + self.step) * processes + rank)
        side = config.small_side if epoch < round(config.small_part * config.epochs) else CROP_SIZE
        images = augment(normalise(self._faces[rows]), config, side, generator)
        return images.to(self._device), self._targets[rows].to(self._device)

    def _train_step(self) -> float:
        images, targets = self._batch()
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        loss = F.cross_entropy(self._forward(images), targets)
        gradients = torch.autograd.grad(loss, self._parameters)
        loss = loss.detach()
        statistics = [buffer for buffer in self._network.buffers() if buffer.is_floating_point()]
        self._strategy.average([loss, *gradients, *statistics])
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()
        self._update_average()
        return float(loss)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.state_dict().values(), self._network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
