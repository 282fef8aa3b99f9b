"""Augmentation of images: copies that are turned, scaled and moved a little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.utils.data import TensorDataset

DEGREES, SCALE, PIXELS = 10.0, 0.1, 2.0  # the most that a copy is turned, scaled and moved


def augment_images(dataset: TensorDataset, copies: int = 5, seed: int = 0) -> TensorDataset:
    """The images, and copies turned by up to 10°, scaled by up to 10 % and moved by up to 2 pixels.

    A copy keeps its label. The idea is from Simard, Steinkraus & Platt 2003, *Best practices for
    convolutional neural networks applied to visual document analysis*, section 2. See lesson 3.

    Args:
        dataset: images ``[n, channels, height, width]`` and labels ``[n]``.
        copies: of each image (default 5).
        seed: the same seed gives the same copies (default 0).

    Returns:
        ``[n · (copies + 1), …]``: first all images as they were, then the copies in the same order.

    Raises:
        ValueError: fewer than 0 copies.

    Example:
        >>> one = TensorDataset(torch.ones(1, 1, 8, 8), torch.tensor([3]))
        >>> images, labels = augment_images(one, copies=2).tensors
        >>> images.shape, labels
        (torch.Size([3, 1, 8, 8]), tensor([3, 3, 3]))
    """
    if copies < 0:
        raise ValueError(f"copies is {copies}; ask for 0 or more copies of each image.")
    images, labels = dataset.tensors
    generator = torch.Generator().manual_seed(seed)
    varied = [images]
    for _ in range(copies):
        turn, scale, right, down = torch.rand(4, len(images), generator=generator) * 2 - 1
        angle, size = turn * DEGREES * torch.pi / 180, 1 + scale * SCALE
        cos, sin = size * angle.cos(), size * angle.sin()
        across, along = right * 2 * PIXELS / images.shape[-1], down * 2 * PIXELS / images.shape[-2]
        rows = torch.stack([cos, -sin, across, sin, cos, along], dim=1)  # [n, 6]
        places = F.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
        varied.append(F.grid_sample(images, places, align_corners=False))
    return TensorDataset(torch.cat(varied), labels.repeat(copies + 1))
