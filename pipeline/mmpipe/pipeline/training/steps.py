"""The gradients of one step: the paper's objective, or pseudo-labels beside the labelled rows.

Paper: L_semi = L_cls + alpha L_rec + beta (L_pair + L_unpaired) + omega (alpha L_rec + beta (L_pair + L_unpaired)) of
unlabelled rows (equations 7 to 9).

Pseudo-labels: L_cls + omega times the cross-entropy of noisy views of unlabelled rows (dropout of features, and of
whole modalities) against a class that is taken as theirs: the teacher's (`self-train`), or what the network itself says
of the plain features where its probability reaches a threshold (`consistency`, FixMatch of Sohn et al. 2020). With
both, the teacher's class goes first.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpipe.pipeline.training.config import TrainConfig
from mmpipe.pipeline.training.data.dataset import Pool, Rows
from mmpipe.pipeline.training.losses import matching, reconstruction
from mmpipe.pipeline.training.model import Network, Output, noisy_views

__all__ = ["NO_CLASS", "Step"]

NO_CLASS = -1
"""Of a row that has no pseudo-label."""


def _unsupervised(
    output: Output,
    features: Mapping[str, Tensor],
    keep: Mapping[str, Tensor],
    config: TrainConfig,
) -> dict[str, Tensor]:
    """The terms that need no label, unweighted."""
    zero = output.logits.new_zeros(())
    terms = {"rec": zero, "pair": zero, "unpaired": zero}
    if config.alpha:
        terms["rec"] = reconstruction(output.reconstructions, features, keep)
    if config.beta:
        terms["pair"], terms["unpaired"] = matching(output.latents, config)
    return terms


def _weighted(terms: Mapping[str, Tensor], config: TrainConfig) -> Tensor:
    return config.alpha * terms["rec"] + config.beta * (terms["pair"] + terms["unpaired"])


class Step:
    """A step up to the gradients: first the labelled side's, then the unlabelled side's are added.

    One side after the other needs memory for the activations of one side only.

    Args:
        config: hyper-parameters.
        model: the network.
        targets: the class of every row of the labelled dataset.
        train: labelled rows.
        unlabeled: rows of the unlabelled side; None trains supervised.
        pseudo: the teacher's class of every row of the unlabelled dataset, or `NO_CLASS`; None without a teacher.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: Network,
        targets: Tensor,
        train: Pool,
        unlabeled: Pool | None,
        pseudo: Tensor | None = None,
    ) -> None:
        self.config, self.model, self.train, self.unlabeled = config, model, train, unlabeled
        self.pseudo = pseudo
        self.targets, self.device = targets, next(model.parameters()).device
        self.weights = None
        if config.class_weights:
            counts_K = torch.bincount(targets[train.rows], minlength=model.num_classes)
            self.weights = (len(train.rows) / (counts_K.count_nonzero() * counts_K.clamp(min=1))).to(self.device)

    def _side(self, pool: Pool, rows: Rows) -> tuple[Output, dict[str, Tensor]]:
        features, keep = pool.batch(rows, self.device)
        output = self._answer(features, keep, reconstruct=self.config.alpha > 0)
        return output, _unsupervised(output, features, keep, self.config)

    def __call__(self, rows: Rows, other: Rows) -> dict[str, Tensor]:
        """Add to the gradients and give the terms of the loss."""
        output, terms = self._side(self.train, rows)
        cls = self._cross_entropy(output, self.targets[rows].to(self.device))
        loss = cls + _weighted(terms, self.config)
        loss.backward()  # type: ignore[no-untyped-call]
        terms = {name: term.detach() for name, term in terms.items()}
        loss, cls = loss.detach(), cls.detach()
        spread = torch.stack([z.detach().std(dim=0).mean() for z in output.latents.values()]).mean()
        del output
        if self.unlabeled is None:
            return {"train_loss": loss, "cls": cls, **terms, "latent_std": spread}
        if self.config.objective == "paper":
            _, extra = self._side(self.unlabeled, other)
            unlabeled = self.config.omega * _weighted(extra, self.config)
        else:
            extra = self._pseudo_labelled(self.unlabeled, other)
            unlabeled = self.config.omega * extra["cls"]
        if unlabeled.requires_grad:
            unlabeled.backward()  # type: ignore[no-untyped-call]
        terms |= {f"unlabeled_{name}": term.detach() for name, term in extra.items()}
        return {"train_loss": loss + unlabeled.detach(), "cls": cls, **terms, "latent_std": spread}

    def _cross_entropy(self, output: Output, targets_B: Tensor) -> Tensor:
        """Of each classifier by itself, summed: that of the mean of their probabilities would train only their mean."""
        smoothing = self.config.label_smoothing
        losses = [F.cross_entropy(x, targets_B, self.weights, label_smoothing=smoothing) for x in output.trained]
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _pseudo_labelled(self, pool: Pool, rows: Rows) -> dict[str, Tensor]:
        """Cross-entropy of noisy views of unlabelled rows against their pseudo-labels, and the share that has one."""
        features, keep = pool.batch(rows, self.device)
        targets_B = torch.full((len(rows),), NO_CLASS, device=self.device)
        if self.config.objective != "self-train":
            self.model.eval()
            with torch.no_grad():
                probability_B, own_B = self._answer(features, keep).logits.softmax(dim=1).max(dim=1)
            self.model.train()
            targets_B = torch.where(probability_B >= self.config.threshold, own_B, targets_B)
        if self.pseudo is not None:
            taught_B = self.pseudo[rows].to(self.device)
            targets_B = torch.where(taught_B == NO_CLASS, targets_B, taught_B)
        share = (targets_B != NO_CLASS).float().mean()
        with noisy_views(self.model):
            heads = self._answer(features, keep).trained
        losses = [F.cross_entropy(x, targets_B, ignore_index=NO_CLASS, reduction="sum") for x in heads]
        return {"cls": torch.stack(losses).sum() / len(rows), "labelled": share}

    def _answer(
        self, features: Mapping[str, Tensor], keep: Mapping[str, Tensor], *, reconstruct: bool = False
    ) -> Output:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16"):
            output: Output = self.model(features, keep, reconstruct=reconstruct)
        return output
