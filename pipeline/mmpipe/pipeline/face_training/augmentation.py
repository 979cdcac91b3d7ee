"""What the network sees of a face: normalised, transformed at random, of the network's size.

Legend: B batch, H height, W width. Images are made on the CPU: every device trains on the same ones.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mmpipe.extractors.faces.ferplus import CROP_SIZE, FERPLUS_MEAN, FERPLUS_STD
from mmpipe.pipeline.face_training.config import FaceTraining

__all__ = ["augment", "normalise", "resize"]


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
