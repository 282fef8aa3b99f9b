"""Small networks with everything through which channels are followed; 3 × 8 × 8 images in, 4 out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.structured.dependency import groups


class Flat(nn.Module):
    """Two convolutions with batch norm, and a linear layer behind a flatten of 2 × 2 pixels."""

    def __init__(self, flatten: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 5, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(5)
        self.conv2 = nn.Conv2d(5, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.flatten = flatten
        self.fc1 = nn.Linear(24, 7)
        self.fc2 = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)  # [n, 5, 4, 4]
        x = F.avg_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # [n, 6, 2, 2]
        return self.fc2(F.gelu(self.fc1(self.flatten(x))))


class Basic(nn.Module):
    """ResNet's basic block; the shortcut is the identity where the shapes allow it."""

    def __init__(self, wide_in: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride > 1 or wide_in != out:
            conv = nn.Conv2d(wide_in, out, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y)


class Bottleneck(nn.Module):
    """ResNet's bottleneck: 1 × 1, 3 × 3, 1 × 1, and the sum."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.add(x, self.body(x)))


class SqueezeExcite(nn.Module):
    """Channels are multiplied by what a look at their means says (Hu et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        gate = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))).sigmoid()
        return self.fc((x * gate).mean((2, 3)))


class Twice(nn.Module):
    """One layer that is called twice: it reads what it answered."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(192, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1)).relu()
        return self.last(self.again(self.again(x).relu()).relu())


class Dense(nn.Module):
    """DenseNet's block: each layer reads all before it, side by side (Huang et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.bn, self.conv3 = nn.BatchNorm2d(10), nn.Conv2d(10, 5, 1)
        self.fc = nn.Linear(15 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv1(x).relu()
        both = torch.cat([a, self.conv2(a)], 1)
        all_three = torch.cat((both, self.conv3(self.bn(both).relu())), dim=1)
        return self.fc(F.max_pool2d(all_three, 4).flatten(1))


class UNet(nn.Module):
    """Down, and up again beside what was there before (Ronneberger et al. 2015)."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 5, 2, stride=2)
        self.slope, self.out = nn.PReLU(11), nn.Conv2d(11, 4, 1)
        self.upsample, self.last = nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 1)
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x).relu()
        x = self.up(self.down2(first).relu())
        x = self.out(self.slope(torch.cat([first, x], 1)))
        return self.fc(F.adaptive_max_pool2d(self.last(self.upsample(x)), 1).flatten(1))


class Halves(nn.Module):
    """YOLO's block: one half goes on, the other waits; in the end all are side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8)
        self.inner, self.outer = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 4, 1)
        self.conv2, self.fc = nn.Conv2d(12, 5, 1), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.bn(self.conv1(x)).relu().chunk(2, 1)
        b2 = b + self.outer(self.inner(b).relu())
        return self.fc(self.conv2(torch.cat([a, b, b2], 1)).relu().mean((2, 3)))


def _grouped() -> nn.Module:
    """ResNeXt's convolution, three groups of two (Xie et al. 2017)."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 12, 3, groups=3, bias=False), nn.BatchNorm2d(12), nn.PReLU()),
        *(nn.Conv2d(12, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)),
    )


def _view(x: Tensor) -> Tensor:
    return x.view(x.size(0), -1)


def _reshape(x: Tensor) -> Tensor:
    return x.reshape(x.shape[0], -1)


def _torch_flatten(x: Tensor) -> Tensor:
    return torch.flatten(x, 1)


def _method(x: Tensor) -> Tensor:
    return x.flatten(start_dim=1)


def _mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(192, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Dropout()),
        *(nn.Linear(12, 10, bias=False), nn.Tanh(), nn.Linear(10, 4)),
    )


def _resnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU()),
        *(Basic(6, 6), Basic(6, 8, 2), Basic(8, 8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )


def _bottlenecks() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()),
        *(Bottleneck(8, 4), Bottleneck(8, 3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )


def _mobilenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU6()),
        *(nn.Conv2d(6, 6, 3, groups=6, bias=False), nn.BatchNorm2d(6), nn.ReLU6()),
        *(nn.Conv2d(6, 9, 1), nn.BatchNorm2d(9), nn.Hardswish()),
        *(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 4)),
    )


def _signal() -> nn.Module:
    """Along one axis: the image's rows behind one another."""
    return nn.Sequential(
        nn.Flatten(2),
        *(nn.Conv1d(3, 6, 5, stride=2), nn.BatchNorm1d(6), nn.SiLU(), nn.MaxPool1d(3)),
        *(nn.Conv1d(6, 5, 3), nn.LeakyReLU(), nn.AdaptiveAvgPool1d(2), nn.Flatten()),
        nn.Linear(10, 4),
    )


NETS: dict[str, Callable[[], nn.Module]] = {
    "linear chain": _mlp,
    "nn.Flatten": lambda: Flat(nn.Flatten()),
    "torch.flatten": lambda: Flat(_torch_flatten),
    "x.flatten": lambda: Flat(_method),
    "view": lambda: Flat(_view),
    "reshape": lambda: Flat(_reshape),
    "basic blocks": _resnet,
    "bottlenecks": _bottlenecks,
    "depthwise": _mobilenet,
    "squeeze and excite": SqueezeExcite,
    "called twice": Twice,
    "one axis": _signal,
    "side by side": Dense,
    "down and up": UNet,
    "halves": Halves,
    "grouped": _grouped,
}


class DenseNorm(nn.Module):
    """A dense block with norms across channels, and a residual sum behind one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(1, 12)
        self.conv3, self.fc = nn.Conv2d(12, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        a = self.norm1(self.conv1(x)).relu()
        both = self.norm2(torch.cat([a, a + self.conv2(a)], 1))
        return self.fc(self.conv3(both).relu().mean((2, 3)))


def _norm_chain() -> nn.Module:
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(192, 12), nn.LayerNorm(12), nn.ReLU()),
        *(nn.Linear(12, 10), nn.RMSNorm(10), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4)),
    )


def _norm_maps() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.LayerNorm(24), nn.Linear(24, 4)),
    )


INEXACT: dict[str, tuple[Callable[[], nn.Module], dict[str, int]]] = {  # units of inexact groups
    "LayerNorm": (_norm_chain, {"1": 12, "4": 10}),
    "GroupNorm": (_norm_maps, {"0": 4, "3": 6}),  # four of each half
    "dense": (DenseNorm, {"conv1": 3}),
}


def network(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """In eval mode, with batch norms whose every number matters."""
    torch.manual_seed(0)
    make = NETS[name] if name in NETS else INEXACT[name][0]
    return randomized(make()).to(dtype)


def randomized(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)):
                module.weight.uniform_(0.5, 2)
            elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.weight.uniform_(0.5, 2)
                for tensor in (module.bias, module.running_mean):
                    tensor.normal_()  # type: ignore[union-attr, operator]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    return model.eval()


def images(n: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(dtype)


def chain(*sizes: int) -> nn.Sequential:
    """Linear layers of these sizes with ReLU between them; the same weights each time."""
    torch.manual_seed(0)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())))[:-1]


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def widths(model: nn.Module) -> dict[str, int]:
    return {name: group.units for name, group in groups(model).items()}
