"""The architectures of the course."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeNet300(nn.Module):
    """LeNet-300-100: two hidden layers of 300 and 100 units, 266,610 parameters.

    The network of LeCun et al. 1998 (section III.C). Since Han et al. 2015, papers on pruning start
    with it. Explained in lesson 1.

    Shapes: images ``[n, 1, 28, 28]`` → logits ``[n, 10]``.

    Example:
        >>> sum(p.numel() for p in LeNet300().parameters())
        266610
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)  # [n, 784]
        x = F.relu(self.fc1(x))  # [n, 300]
        x = F.relu(self.fc2(x))  # [n, 100]
        return self.fc3(x)  # [n, 10]


class TinyNet(nn.Module):
    """One hidden layer of 16 units, 12,730 parameters: a very small student.

    Shapes: images ``[n, 1, 28, 28]`` → logits ``[n, 10]``.

    Example:
        >>> sum(p.numel() for p in TinyNet().parameters())
        12730
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(images.flatten(1))))  # [n, 10]


class SmallCNN(nn.Module):
    """Two convolutions with batch norm and two linear layers: 421,834 parameters.

    Explained in lesson 1. Shapes: images ``[n, 1, 28, 28]`` → logits ``[n, 10]``.

    Example:
        >>> sum(p.numel() for p in SmallCNN().parameters())
        421834
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc1 = nn.Linear(64 * 7 * 7, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)  # [n, 32, 14, 14]
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # [n, 64, 7, 7]
        x = F.relu(self.fc1(x.flatten(1)))  # [n, 128]
        return self.fc2(x)  # [n, 10]


class SmallResNet(nn.Module):
    """A stem, a basic block and a bottleneck, 13,786 parameters: its shortcuts couple channels.

    Both kinds of blocks are from He et al. 2016 (section 3.3 and figure 5). Explained in lesson 2.
    Shapes: images ``[n, 1, 28, 28]`` → logits ``[n, 10]``.

    Example:
        >>> sum(p.numel() for p in SmallResNet().parameters())
        13786
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, 16, 3)
        self.basic1, self.basic2 = _conv(16, 16, 3), _conv(16, 16, 3)
        self.reduce, self.middle = _conv(16, 16, 1), _conv(16, 32, 3, 2)
        self.expand = _conv(32, 64, 1)
        self.shortcut = _conv(16, 64, 1, 2)  # the sum needs 64 channels and half the pixels
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.stem(images))  # [n, 16, 28, 28]
        x = F.relu(x + self.basic2(F.relu(self.basic1(x))))  # a basic block: [n, 16, 28, 28]
        y = F.relu(self.middle(F.relu(self.reduce(x))))
        y = self.expand(y)  # a bottleneck: [n, 64, 14, 14]
        x = F.relu(self.shortcut(x) + y)
        return self.classifier(x.mean((2, 3)))  # [n, 10]


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


def build(architecture: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A new model whose initial weights depend on `seed` alone; the global seed stays as it was.

    An architecture with arguments is ``build(lambda: TextCNN(tokens), seed=1)``.

    Example:
        >>> a, b = build(LeNet300, seed=1), build(LeNet300, seed=1)
        >>> bool(torch.equal(a.fc1.weight, b.fc1.weight))
        True
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return architecture()
