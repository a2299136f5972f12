"""Networks of the literature for the replay: LeNet-5 and residual networks in the CIFAR style."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LeNet5", "ResNet"]

#: Channels a group of the normalisation.
_GROUP = 8


class LeNet5(nn.Module):
    """Two 5x5 convolutions with pooling and three dense layers (LeCun et al. 1998), with ReLU.

    Images of 32 pixels and more are convolved without padding first, smaller ones with two pixels
    of it, as is usual for MNIST.

    Parameters
    ----------
    shape : (channels, height, width) of one image, at least 12 pixels a side
    num_classes : int
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, width = shape
        padding = 0 if min(height, width) >= 32 else 2
        self.first = nn.Conv2d(channels, 6, 5, padding=padding)
        self.second = nn.Conv2d(6, 16, 5)
        sides = [((side + 2 * padding - 4) // 2 - 4) // 2 for side in (height, width)]
        self.third = nn.Linear(16 * sides[0] * sides[1], 120)
        self.fourth = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes), of images (batch, channels, height, width)."""
        x = F.relu(F.max_pool2d(self.first(inputs), 2))
        x = F.relu(F.max_pool2d(self.second(x), 2)).flatten(1)
        x = F.relu(self.fourth(F.relu(self.third(x))))
        return self.output(x)  # type: ignore[no-any-return]


class _Block(nn.Module):
    """Two 3x3 convolutions around a short cut; a stride of 2 doubles the channels."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(out // _GROUP, out)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(out // _GROUP, out)
        self.stride, self.more = stride, out - channels

    def forward(self, inputs: Tensor) -> Tensor:
        x = F.relu(self.first_norm(self.first(inputs)))
        x = self.second_norm(self.second(x))
        # Option A of He et al.: a short cut without parameters, new channels are zero.
        short = inputs[:, :, :: self.stride, :: self.stride]
        return F.relu(x + F.pad(short, (0, 0, 0, 0, 0, self.more)))


class ResNet(nn.Module):
    """Residual network of 6n + 2 layers for small images (He et al. 2016, section 4.2).

    Group instead of batch normalisation: batch statistics of devices with other classes do not fit
    together, and belong to no parameter that is sent.

    Parameters
    ----------
    shape : (channels, height, width) of one image
    num_classes : int
    blocks : int
        Blocks n of each of the three stages; 1 is ResNet-8, 3 is ResNet-20.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, *, blocks: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(shape[0], 16, 3, padding=1, bias=False)
        self.first_norm = nn.GroupNorm(16 // _GROUP, 16)
        layers: list[nn.Module] = []
        channels = 16
        for out in (16, 32, 64):
            for _ in range(blocks):
                layers.append(_Block(channels, out, 1 if out == channels else 2))
                channels = out
        self.blocks = nn.Sequential(*layers)
        self.output = nn.Linear(channels, num_classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, num_classes), of images (batch, channels, height, width)."""
        x = self.blocks(F.relu(self.first_norm(self.first(inputs))))
        return self.output(torch.mean(x, dim=(2, 3)))  # type: ignore[no-any-return]
