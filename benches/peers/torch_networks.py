"""The networks of four of dcgan's presets in PyTorch, layer by layer as `dcgan` builds them.

`PRESETS` defines by name what is trained and how; `networks` builds a generator and a discriminator.
Images are [n, 3, side, side] in [-1, 1], latents [n, nz, 1, 1], scores [n].
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

WIDTH = 64  # of DCGAN's networks; the residual ones have 256 and 128
RESIDUAL_G, RESIDUAL_D = 256, 128


@dataclass(frozen=True)
class Preset:
    """What `dcgan presets NAME` prints."""

    side: int = 64
    nz: int = 100
    residual: bool = False
    # Neither of the two: batch norm in D.
    layer_norm: bool = False
    no_norm: bool = False
    attention: bool = False
    spectral_g: bool = False
    spectral_d: bool = False
    loss: str = "non-saturating"
    penalty: float = 0.0
    n_critic: int = 1
    rate_g: float = 2e-4
    rate_d: float = 2e-4
    betas: tuple = (0.5, 0.999)

    @property
    def batch_norm_d(self):
        return not (self.layer_norm or self.no_norm)


PRESETS = {
    "dcgan": Preset(),
    "wgan-gp": Preset(
        layer_norm=True,
        loss="wasserstein",
        penalty=10.0,
        n_critic=5,
        rate_g=1e-4,
        rate_d=1e-4,
        betas=(0.0, 0.9),
    ),
    "sngan-resnet": Preset(
        side=32,
        nz=128,
        residual=True,
        no_norm=True,
        spectral_d=True,
        loss="hinge",
        n_critic=5,
        betas=(0.0, 0.9),
    ),
    "sagan": Preset(
        no_norm=True,
        attention=True,
        spectral_g=True,
        spectral_d=True,
        loss="hinge",
        rate_g=1e-4,
        rate_d=4e-4,
        betas=(0.0, 0.9),
    ),
}


class Attention(nn.Module):
    """y = x + gamma o(softmax(theta(x) pool(phi(x))^T) pool(g(x))), no convolution with a bias."""

    def __init__(self, channels):
        super().__init__()
        keys, values = channels // 8, channels // 2
        self.theta, self.phi, self.g, self.o = (
            nn.Conv2d(a, b, 1, bias=False)
            for a, b in [(channels, keys), (channels, keys), (channels, values), (values, channels)]
        )
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        n, _, h, w = x.shape
        rows = lambda x: x.flatten(2).transpose(1, 2).unsqueeze(1)
        queries, keys = rows(self.theta(x)), rows(F.max_pool2d(self.phi(x), 2))
        values = rows(F.max_pool2d(self.g(x), 2))
        # Zeros change no product, and only heads of one width get the fused kernel: twice as fast.
        lacks = (0, values.shape[-1] - keys.shape[-1])
        queries, keys = F.pad(queries, lacks), F.pad(keys, lacks)
        seen = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        seen = seen.squeeze(1).transpose(1, 2).reshape(n, -1, h, w)
        return x + self.gamma * self.o(seen)


def dcgan_generator(preset):
    channels = [preset.nz, 8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH, 3]
    layers = []
    for i in range(5):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers.append(
            nn.ConvTranspose2d(channels[i], channels[i + 1], 4, stride, padding, bias=False)
        )
        if i < 4:
            layers += [nn.BatchNorm2d(channels[i + 1]), nn.ReLU(True)]
    if preset.attention:
        layers.insert(-1, Attention(WIDTH))  # behind the 32x32 image
    return nn.Sequential(*layers, nn.Tanh())


def dcgan_discriminator(preset):
    channels = [3, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH, 1]
    layers = []
    for i in range(5):
        stride, padding = (1, 0) if i == 4 else (2, 1)
        hidden = 0 < i < 4
        bias = hidden and preset.no_norm
        layers.append(nn.Conv2d(channels[i], channels[i + 1], 4, stride, padding, bias=bias))
        if hidden and preset.layer_norm:
            layers.append(nn.GroupNorm(1, channels[i + 1]))
        elif hidden and not preset.no_norm:
            layers.append(nn.BatchNorm2d(channels[i + 1]))
        if i < 4:
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        if i == 0 and preset.attention:
            layers.append(Attention(WIDTH))
    return nn.Sequential(*layers, nn.Flatten(0))


class Residual(nn.Module):
    """main(x) + shortcut(x)."""

    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut = nn.Sequential(*main), nn.Sequential(*shortcut)

    def forward(self, x):
        return self.main(x) + self.shortcut(x)


def residual_generator(preset):
    width = RESIDUAL_G
    layers = [nn.Flatten(), nn.Linear(preset.nz, 16 * width), nn.Unflatten(1, (width, 4, 4))]
    for _ in range(3):
        main = [nn.BatchNorm2d(width), nn.ReLU(True), nn.UpsamplingNearest2d(scale_factor=2)]
        main += [nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(True)]
        main += [nn.Conv2d(width, width, 3, 1, 1)]
        shortcut = [nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(width, width, 1)]
        layers.append(Residual(main, shortcut))
    layers += [nn.BatchNorm2d(width), nn.ReLU(True), nn.Conv2d(width, 3, 3, 1, 1), nn.Tanh()]
    return nn.Sequential(*layers)


class SumOfPixels(nn.Module):
    def forward(self, x):
        return x.sum((2, 3))


def residual_discriminator(preset):
    width = RESIDUAL_D
    pool = lambda: nn.AvgPool2d(2)
    wide = lambda: nn.Conv2d(width, width, 3, 1, 1)
    # A ReLU in place would change what the shortcut reads.
    layers = [
        Residual(
            [nn.Conv2d(3, width, 3, 1, 1), nn.ReLU(True), wide(), pool()],
            [pool(), nn.Conv2d(3, width, 1)],
        ),
        Residual(
            [nn.ReLU(), wide(), nn.ReLU(True), wide(), pool()],
            [nn.Conv2d(width, width, 1), pool()],
        ),
        *(Residual([nn.ReLU(), wide(), nn.ReLU(True), wide()], []) for _ in range(2)),
    ]
    layers += [nn.ReLU(True), SumOfPixels(), nn.Linear(width, 1), nn.Flatten(0)]
    return nn.Sequential(*layers)


def start(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def start_residual(module):
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.xavier_uniform_(module.weight)


def finished(network, residual, spectral):
    network.apply(start_residual if residual else start)
    if spectral:
        for module in list(network.modules()):
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                spectral_norm(module)
    return network


def generator(preset):
    network = (residual_generator if preset.residual else dcgan_generator)(preset)
    return finished(network, preset.residual, preset.spectral_g)


def discriminator(preset):
    network = (residual_discriminator if preset.residual else dcgan_discriminator)(preset)
    return finished(network, preset.residual, preset.spectral_d)
