"""The recipe of the face expression weights: FERPlus in, a safetensors file and a log out.

Legend: B batch, H height, W width, C classes.

Soft-label cross-entropy on the annotators' distribution; flips, rotations, scale and shift in one interpolation, random
erasing; smaller images at first; rare classes drawn more often; SGD with Nesterov momentum under a one-cycle schedule;
an exponential moving average of the weights is what ships. Every random number follows from (seed, step), so a run that
was killed ends like one that was not.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file
from tools.face_weights.dense import DensePasses
from tools.face_weights.processes import average_over_processes, joined, processes, rank
from torch import Tensor

from mmpipe.core.errors import UsageError
from mmpipe.core.files import write_atomic, write_bytes
from mmpipe.extractors.faces.densenet import FerplusDenseNet, load_network
from mmpipe.extractors.faces.ferplus import CROP_SIZE, FERPLUS_CLASSES, FERPLUS_MEAN, FERPLUS_STD
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.pipeline.face_training.ferplus import FerplusPart, read_ferplus

__all__ = ["FaceTraining", "draw_weights", "epoch_order", "evaluate", "taught_by", "train_face"]


class FaceTraining(BaseModel):
    """Hyper-parameters of the recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=8, ge=1)
    """Passes over the training part."""
    batch_size: int = Field(default=64, ge=2)
    """Faces in a step."""
    peak_rate: float = Field(default=0.2, gt=0)
    """Highest learning rate of the one-cycle schedule."""
    warmup: float = Field(default=0.25, gt=0, lt=1)
    """Share of the steps in which the rate rises."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 5e-4
    """On all weights."""
    ema_decay: float = Field(default=0.998, gt=0, lt=1)
    """Decay of the moving average of the weights, a step."""
    rotation_degrees: float = 15.0
    """Largest rotation."""
    scale: float = 0.13
    """Largest relative change of size."""
    shift: float = 0.12
    """Largest shift, as a share of the image's side."""
    erasing: float = 0.25
    """Probability of erasing a rectangle."""
    rare_share: float = Field(default=0.05, ge=0, lt=1)
    """Faces of a class with a smaller share than this are drawn sqrt(this / share) times as often as others (repeat
    factor sampling, Gupta et al. 2019); 0 draws every face once an epoch."""
    small_side: int = Field(default=48, ge=32, le=CROP_SIZE, multiple_of=8)
    """Height and width of the images in the first part of the training (FER2013's own size)."""
    small_part: float = Field(default=0.75, ge=0, lt=1)
    """Share of the epochs in that part; the rest sees the network's 64 pixels."""
    processes: int = Field(default=1, ge=1)
    """Processes that share a step's faces: one a core. Each normalises by the statistics of its own part."""
    native: bool = False
    """Element-wise passes in C, about twice as fast."""
    start: Path | None = None
    """Weights to start from; None starts from random ones."""
    teacher: Path | None = None
    """Weights whose answers are mixed into the votes (Hinton et al. 2015); None learns from the votes alone."""
    teacher_weight: float = Field(default=0.5, ge=0, le=1)
    """Share of the teacher's answers in the targets."""
    evaluate_epochs: int = Field(default=1, ge=1)
    """The valid part is evaluated after every so many epochs, and at the end."""
    seed: int = 0
    """Decides order, augmentation and initial weights."""
    checkpoint_steps: int = Field(default=100, ge=1)
    """A checkpoint is written every so many steps."""


def normalise(faces_BHW: Tensor) -> Tensor:
    """Gray uint8 [B, 48, 48] to normalised float32 [B, 1, 48, 48]."""
    return (faces_BHW.float().unsqueeze(1) - FERPLUS_MEAN) / FERPLUS_STD


def augment(images_B1HW: Tensor, config: FaceTraining, side: int, generator: torch.Generator) -> Tensor:
    """Random flip, rotation, scale and shift, resampled once to side x side; then a rectangle set to the mean."""
    batch = len(images_B1HW)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(batch, generator=generator) * 2 - 1) * limit

    angle, scale = uniform(math.radians(config.rotation_degrees)), 1 + uniform(config.scale)
    flip = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift_x, shift_y = uniform(2 * config.shift), uniform(2 * config.shift)
    theta = torch.stack([cos * flip, -sin, shift_x, sin * flip, cos, shift_y], dim=1).view(batch, 2, 3)
    grid = F.affine_grid(theta, [batch, 1, side, side], align_corners=False)
    images = F.grid_sample(images_B1HW, grid, padding_mode="border", align_corners=False)
    return _erase(images, config.erasing, generator)


def _erase(images_B1HW: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    batch, _, height, width = images_B1HW.shape
    size = (0.15 + 0.3 * torch.rand(batch, 2, generator=generator)) * torch.tensor([height, width])
    corner = torch.rand(batch, 2, generator=generator) * (torch.tensor([height, width]) - size)
    chosen = torch.rand(batch, generator=generator) < probability
    rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    top, left = corner[:, 0, None, None], corner[:, 1, None, None]
    inside = (rows >= top) & (rows < top + size[:, 0, None, None])
    inside = inside & (columns >= left) & (columns < left + size[:, 1, None, None])
    return images_B1HW.masked_fill((inside & chosen[:, None, None]).unsqueeze(1), 0.0)


def resize(images_B1HW: Tensor) -> Tensor:
    """Bilinear resize to the network's 64x64."""
    return F.interpolate(images_B1HW, (CROP_SIZE, CROP_SIZE), mode="bilinear", align_corners=False)


@torch.inference_mode()
def taught_by(teacher: FerplusDenseNet, part: FerplusPart, batch_size: int = 32) -> Tensor:
    """A network's class probabilities [N, 8], averaged over face and mirror image, computed in bfloat16."""
    answers = torch.zeros(len(part.faces), len(FERPLUS_CLASSES))
    for start in range(rank() * batch_size, len(part.faces), processes() * batch_size):
        images = resize(normalise(torch.from_numpy(part.faces[start : start + batch_size])))
        for side in (images, images.flip(3)):
            with torch.autocast("cpu", torch.bfloat16):
                logits = teacher(side.to(memory_format=torch.channels_last))
            answers[start : start + batch_size] += logits.float().softmax(dim=1) / 2
    average_over_processes([answers])
    return answers * processes()


@torch.inference_mode()
def evaluate(
    network: FerplusDenseNet, part: FerplusPart, *, flip: bool = False, batch_size: int = 32
) -> dict[str, Any]:
    """Accuracy, unweighted average recall, macro F1 and confusion matrix against the majority class, in float32.

    Args:
        network: the network, in any mode; it is evaluated in evaluation mode.
        part: the faces.
        flip: average the probabilities of each face and its mirror image.
        batch_size: faces a call.

    Returns:
        `accuracy`, `uar` and `macro_f1` in [0, 1], `confusion` [8, 8] (rows are truth), `recall` by class, `faces`.
    """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

    network = network.eval()
    predicted = []
    for start in range(0, len(part.faces), batch_size):
        images = resize(normalise(torch.from_numpy(part.faces[start : start + batch_size])))
        images = images.to(memory_format=torch.channels_last)
        probabilities = network(images).softmax(dim=1)
        if flip:
            probabilities = probabilities + network(images.flip(3)).softmax(dim=1)
        predicted.append(probabilities.argmax(dim=1).numpy())
    truth, guess = part.labels, np.concatenate(predicted)
    classes = range(len(FERPLUS_CLASSES))
    recall = recall_score(truth, guess, labels=classes, average=None, zero_division=0)
    return {
        "faces": len(truth),
        "accuracy": float(accuracy_score(truth, guess)),
        "uar": float(np.mean(recall)),
        "macro_f1": float(f1_score(truth, guess, labels=classes, average="macro", zero_division=0)),
        "recall": dict(zip(FERPLUS_CLASSES, map(float, recall), strict=True)),
        "confusion": confusion_matrix(truth, guess, labels=classes).tolist(),
    }


def train_face(
    data: Path,
    out: Path,
    config: FaceTraining,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Train the network on FERPlus in `data` and write `out` (safetensors), beside it a JSON card and a CSV log.

    A run in the same place with the same config resumes from its last checkpoint.

    Args:
        data: folder of FERPlus, see `read_ferplus`.
        out: the safetensors file; `out` with the endings `.checkpoint`, `.csv` and `.json` lie beside it.
        config: hyper-parameters.
        report: called with a dict of figures every `checkpoint_steps` steps.

    Returns:
        The figures of `evaluate` on the valid part.

    Raises:
        CorpusError: FERPlus is not there.
        UsageError: the checkpoint beside `out` belongs to another config.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with joined(config.processes, _follow, data, out, config):
        return _lead(data, out, config, report)


def _follow(data: Path, out: Path, config: FaceTraining) -> None:
    """Another process's part in a training."""
    run = _Run(read_ferplus(data, "train"), config, out.with_suffix(".checkpoint"))
    while run.step < run.steps:
        run.advance()


def _lead(data: Path, out: Path, config: FaceTraining, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    train, valid = read_ferplus(data, "train"), read_ferplus(data, "valid")
    run = _Run(train, config, out.with_suffix(".checkpoint"))
    figures: dict[str, Any] = {}
    while run.step < run.steps or not figures:
        if run.step < run.steps and not run.epoch_is_due:
            report(run.advance())
        if run.step % run.steps_an_epoch == 0:
            run.epoch_is_due = False
            if run.step < run.steps and run.step // run.steps_an_epoch % config.evaluate_epochs:
                continue
            figures = evaluate(run.average, valid)
            _write_log(out.with_suffix(".csv"), run, figures)
            tensors = {name: value.contiguous() for name, value in run.average.state_dict().items()}
            write_atomic(out, lambda part, tensors=tensors: save_file(tensors, part))  # type: ignore[misc]
    card = {"config": config.model_dump(mode="json"), "classes": FERPLUS_CLASSES, "valid": figures}
    for name, path in (("start", config.start), ("teacher", config.teacher)):
        if path is not None:
            card[f"{name}_sha256"] = sha256(path)
    out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return figures


def _write_log(path: Path, run: _Run, figures: dict[str, Any]) -> None:
    """Add the epoch's line; a run that stopped behind it writes it again, not twice."""
    epoch = run.step // run.steps_an_epoch
    row = {"epoch": str(epoch), "train_loss": f"{run.loss:.4f}"}
    row |= {name: f"{figures[name]:.4f}" for name in ("accuracy", "uar", "macro_f1")}
    before: list[dict[str, str]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            before = [line for line in csv.DictReader(stream) if int(line["epoch"]) < epoch]
    text = io.StringIO()
    writer = csv.DictWriter(text, row, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*before, row])
    write_bytes(path, text.getvalue().encode())


def draw_weights(labels: npt.NDArray[np.int64], rare_share: float) -> Tensor:
    """How often each face is drawn in relation to the others [N]."""
    shares = np.bincount(labels, minlength=len(FERPLUS_CLASSES)) / len(labels)
    return torch.from_numpy(np.sqrt(np.maximum(1.0, rare_share / np.maximum(shares, 1e-9))))[labels]


def epoch_order(weights_N: Tensor, generator: torch.Generator) -> Tensor:
    """An epoch's faces in random order: N draws, each face as often as its weight says, rounded up or down."""
    ends = weights_N.cumsum(0) / weights_N.sum()
    places = (torch.arange(len(weights_N)) + torch.rand(1, generator=generator)) / len(weights_N)
    drawn = torch.searchsorted(ends, places.double()).clamp_max(len(weights_N) - 1)
    return drawn[torch.randperm(len(drawn), generator=generator)]


class _Run:
    """The state of a training run: network, moving average, optimiser, step."""

    def __init__(self, train: FerplusPart, config: FaceTraining, checkpoint: Path) -> None:
        torch.manual_seed(config.seed)
        self.config, self.checkpoint = config, checkpoint
        self.faces, self.targets = torch.from_numpy(train.faces), torch.from_numpy(train.targets)
        if config.teacher is not None:
            taught = taught_by(load_network(config.teacher), train)
            self.targets = torch.lerp(self.targets, taught, config.teacher_weight)
        self.steps_an_epoch = len(self.faces) // config.batch_size
        self.steps = self.steps_an_epoch * config.epochs
        network = FerplusDenseNet() if config.start is None else load_network(config.start)
        self.network = network.to(memory_format=torch.channels_last)
        self.parameters = list(self.network.parameters())
        self.passes = DensePasses(self.network, native=config.native)
        self.weights = draw_weights(train.labels, config.rare_share)
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            config.peak_rate,
            config.momentum,
            weight_decay=config.weight_decay,
            nesterov=True,
        )
        self.step, self.loss = 0, float("nan")
        self.epoch_is_due = False
        if checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        if state["config"] != self.config.model_dump(mode="json"):
            raise UsageError(
                f"{self.checkpoint} belongs to a run with another config ({state['config']}): "
                "give another --out, or remove the checkpoint to start anew"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.loss = state["step"], state["loss"]
        self.epoch_is_due = self.step % self.steps_an_epoch == 0

    def _save(self) -> None:
        state = {
            "config": self.config.model_dump(mode="json"),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "loss": self.loss,
        }
        temporary = self.checkpoint.with_suffix(".part")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, temporary)
        temporary.replace(self.checkpoint)

    def _rate(self) -> float:
        progress, warmup = self.step / self.steps, self.config.warmup
        if progress < warmup:
            return self.config.peak_rate * (0.04 + 0.96 * progress / warmup)
        return self.config.peak_rate * 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))

    def advance(self) -> dict[str, Any]:
        """Train up to the next checkpoint or the end of the epoch; returns the figures of these steps."""
        began, first, losses = time.perf_counter(), self.step, []
        self.network.train()
        while True:
            losses.append(self._train_step())
            self.step += 1
            if self.step % self.config.checkpoint_steps == 0 or self.step % self.steps_an_epoch == 0:
                break
        self.loss = sum(losses) / len(losses)
        if rank() == 0:
            self._save()
        rate = (self.step - first) * self.config.batch_size / (time.perf_counter() - began)
        return {"step": self.step, "steps": self.steps, "loss": self.loss, "faces_per_second": rate}

    def _train_step(self) -> float:
        config, (epoch, within) = self.config, divmod(self.step, self.steps_an_epoch)
        order = epoch_order(self.weights, torch.Generator().manual_seed(config.seed + 7919 * epoch))
        rows = order[within * config.batch_size : (within + 1) * config.batch_size][rank() :: config.processes]
        generator = torch.Generator().manual_seed((config.seed * 1_000_003 + self.step) * config.processes + rank())
        side = config.small_side if epoch < round(config.small_part * config.epochs) else CROP_SIZE
        images, targets = augment(normalise(self.faces[rows]), config, side, generator), self.targets[rows]
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        loss = F.cross_entropy(self.passes(images), targets)
        gradients = torch.autograd.grad(loss, self.parameters)
        loss = loss.detach()
        average_over_processes([loss, *gradients, *(b for b in self.network.buffers() if b.is_floating_point())])
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimiser.step()
        self._update_average()
        return float(loss)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
