"""Drawing, storing, and what all networks here are made of."""

import zlib

import numpy as np
import torch
from torch import nn

SLOPE = 0.2  # of LeakyReLU


def stream(name):
    """The random stream that belongs to a name."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def normal(rand, *shape, scale=1.0, mean=0.0):
    """Normal numbers, rounded to float32, held as float64."""
    values = np.asarray(rand.standard_normal(shape) * scale + mean).astype(np.float32)
    return torch.from_numpy(values).double()


def exact(values):
    """A list of numbers, rounded to float32, held as float64."""
    return torch.tensor(values, dtype=torch.float32).double()


def nchw(x):
    return x.permute(0, 3, 1, 2)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


def stored(x):
    return x.detach().to(torch.float32).contiguous().clone()


def leaf(x):
    """A copy with a gradient of its own."""
    return x.detach().clone().requires_grad_(True)


class File:
    """One .safetensors file and the .json that describes it."""

    def __init__(self, about, **head):
        self.tensors = {}
        self.index = {"about": about, "torch": torch.__version__.split("+")[0], **head}

    def case(self, name, settings, tensors):
        self.index.setdefault("cases", {})[name] = settings
        for key, value in tensors.items():
            self.put(f"{name}/{key}", value)

    def put(self, name, value):
        assert name not in self.tensors, name
        value = stored(value)
        assert torch.isfinite(value).all(), name
        self.tensors[name] = value


class Net(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x):
        return self.main(x)


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)


def initialise(net, rand):
    """Weights of a size that gives logits and gradients worth comparing, in every layer.

    Not N(0, 0.02): in networks this narrow it would leave the logits at zero and the losses at
    log 2. The norms' scales and shifts are random too, so that a swap of the two shows.
    """
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm)):
                layer.weight.copy_(normal(rand, *layer.weight.shape, scale=0.1, mean=1.0))
                layer.bias.copy_(normal(rand, *layer.bias.shape, scale=0.1))
            elif isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                fan = layer.weight[0].numel()
                if isinstance(layer, nn.ConvTranspose2d):
                    taps = layer.weight[0, 0].numel() // (layer.stride[0] * layer.stride[1])
                    fan = layer.in_channels * taps
                layer.weight.copy_(normal(rand, *layer.weight.shape, scale=fan**-0.5))
                if layer.bias is not None:
                    layer.bias.copy_(normal(rand, *layer.bias.shape, scale=0.2))


def named(net):
    """Weights and running statistics by name, as stored."""
    return {k: stored(v) for k, v in net.state_dict().items() if not k.endswith("batches_tracked")}
