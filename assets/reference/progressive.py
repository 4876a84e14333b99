"""Twenty steps in the middle of each fade-in of networks that grow to 16x16 pixels (arXiv 1710.10196),
by WGAN-GP with drift.

Tensors: <stage>/reals [4, n, h, w, c], exactly float32(byte / 127.5 - 1), seen again and again;
<stage>/z [4, n, nz] and <stage>/mix [4, n], places between images; weights before step 1;
<stage>/grad.<parameter>, gradients of step 1, without those that are 0 because a layer's share is;
<stage>/fake, what the generator makes of the first z."""

import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, Net, exact, named, nchw, nhwc, normal, stored, stream
from parts import MinibatchStd, PixelNorm
from training import pictures

STEPS = 20
BATCHES = 4
SIDES = [4, 8, 16]
# Two groups of the minibatch deviation.
OPTIONS = dict(size=16, nz=6, ngf=3, ndf=3, nc=3, batch=8)
METHOD = dict(lr=1e-3, betas=[0.0, 0.99], gp=10, drift=1e-3, fade=320, seen=96)
GAIN = 2**0.5


class Equalized(nn.Module):
    """Weights of N(0, 1), times gain / sqrt(inputs of each output)."""

    def __init__(self, kind, shape, gain, inputs, **how):
        super().__init__()
        self.kind, self.how, self.scale = kind, how, gain / inputs**0.5
        self.weight = nn.Parameter(torch.zeros(*shape))
        outputs = shape[1] if kind is F.conv_transpose2d else shape[0]
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return self.kind(x, self.scale * self.weight, self.bias, **self.how)


def conv(start, to, kernel, gain=GAIN, padding=None):
    padding = kernel // 2 if padding is None else padding
    return Equalized(
        F.conv2d, (to, start, kernel, kernel), gain, start * kernel**2, padding=padding
    )


def leaky():
    return nn.LeakyReLU(SLOPE)


class Image(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.image = nn.Sequential(*layers)


class Features(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.features = nn.Sequential(*layers)


class Grow(Image):
    def __init__(self, block, image):
        super().__init__(image)
        self.block = nn.Sequential(*block)
        # Set in every step.
        self.register_buffer("share", torch.tensor(0.25))


class Shrink(Features):
    def __init__(self, block, features):
        super().__init__(*features)
        self.block = nn.Sequential(*block)
        self.register_buffer("share", torch.tensor(0.25))


def generator(nz, ngf, nc):
    widths = [ngf * min(SIDES[-1] // side, 4) for side in SIDES]
    c = widths[0]
    first = Equalized(F.conv_transpose2d, (nz, c, 4, 4), GAIN / 4, nz)
    layers = [PixelNorm(), first, leaky(), PixelNorm(), conv(c, c, 3), leaky(), PixelNorm()]
    layers += [Image(conv(c, nc, 1, gain=1))]
    for to in widths[1:]:
        block = [nn.Upsample(scale_factor=2), conv(c, to, 3), leaky(), PixelNorm()]
        block += [conv(to, to, 3), leaky(), PixelNorm()]
        layers += [Grow(block, conv(to, nc, 1, gain=1))]
        c = to
    return Net(*layers)


def discriminator(ndf, nc):
    widths = [ndf * min(SIDES[-1] // side, 4) for side in SIDES]

    def seen(c):
        return conv(nc, c, 1), leaky()

    layers = [Features(*seen(widths[-1]))]
    for c, to in zip(widths[:0:-1], widths[-2::-1], strict=True):
        block = [conv(c, c, 3), leaky(), conv(c, to, 3), leaky(), nn.AvgPool2d(2)]
        layers += [Shrink(block, seen(to))]
    c = widths[0]
    layers += [nn.Identity(), MinibatchStd(4), conv(c + 1, c, 3), leaky()]
    layers += [conv(c, c, 4, padding=0), leaky(), Equalized(F.linear, (1, c), 1, c)]
    return Net(*layers)


def generate(g, z, level, share):
    """Images of the side SIDES[level], whose layers have the share `share`."""
    layers = list(g.main)
    at = next(i for i, layer in enumerate(layers) if isinstance(layer, Image))
    features = nn.Sequential(*layers[:at])(z[:, :, None, None])
    image = layers[at].image(features)
    for i, layer in enumerate(layers[at + 1 :][:level]):
        features = layer.block(features)
        part = share if i + 1 == level else 1
        image = (1 - part) * F.interpolate(image, scale_factor=2) + part * layer.image(features)
    return image


def score(d, x, level, share):
    layers = list(d.main)
    shrinks = [layer for layer in layers if isinstance(layer, Shrink)]
    unused = len(shrinks) - level
    features = (layers[0] if unused == 0 else shrinks[unused - 1]).features(x)
    for i, layer in enumerate(shrinks[unused:]):
        x = F.avg_pool2d(x, 2)
        part = share if i == 0 else 1
        features = (1 - part) * layer.features(x) + part * layer.block(features)
    *rest, last = layers[1 + len(shrinks) :]
    return last(nn.Sequential(*rest)(features).flatten(1))[:, 0]


def start():
    rand = stream("family_progressive")
    nz, ngf, ndf, nc = (OPTIONS[key] for key in ("nz", "ngf", "ndf", "nc"))
    nets = dict(generator=generator(nz, ngf, nc), discriminator=discriminator(ndf, nc))
    with torch.no_grad():
        for net in nets.values():
            net.double()
            for layer in net.modules():
                if isinstance(layer, Equalized):
                    layer.weight.copy_(normal(rand, *layer.weight.shape))
                    layer.bias.copy_(normal(rand, *layer.bias.shape, scale=0.2))
    return nets


def train(level, reals, z, mix):
    nets = start()
    g, d = nets["generator"], nets["discriminator"]
    adam = dict(lr=METHOD["lr"], betas=METHOD["betas"], eps=1e-8)
    optimizers = {name: torch.optim.Adam(net.parameters(), **adam) for name, net in nets.items()}
    losses, first = [], {}

    def update(name, loss, keep):
        params = dict(nets[name].named_parameters())
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        for (key, param), grad in zip(params.items(), grads, strict=True):
            param.grad = grad
            if keep and grad is not None and grad.any():
                first[f"grad.{name}.{key}"] = stored(grad)
        optimizers[name].step()

    for step in range(STEPS):
        row = step % BATCHES
        seen = METHOD["seen"] + step * OPTIONS["batch"]
        share = exact([seen / METHOD["fade"]])[0]
        x = nchw(reals[row].double())
        x = share * x + (1 - share) * F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)
        fake = generate(g, z[row].double(), level, share)
        r, f = score(d, x, level, share), score(d, fake.detach(), level, share)
        u = mix[row].double().reshape(-1, 1, 1, 1)
        between = (u * x + (1 - u) * fake.detach()).requires_grad_(True)
        total = score(d, between, level, share).sum()
        (slope,) = torch.autograd.grad(total, between, create_graph=True)
        slope = slope.flatten(1).norm(dim=1)
        penalty = METHOD["gp"] * ((slope - 1) ** 2).mean()
        drift = METHOD["drift"] * (r**2).mean()
        loss = f.mean() - r.mean() + penalty + drift
        numbers = dict(
            loss_d=loss.item(), penalty=penalty.item(), slope=slope.mean().item(),
            drift=drift.item(), share=share.item(),
        )  # fmt: skip
        update("discriminator", loss, step == 0)
        loss = -score(d, fake, level, share).mean()
        numbers["loss_g"] = loss.item()
        if step == 0:
            first["fake"] = stored(nhwc(fake))
        update("generator", loss, step == 0)
        losses.append(numbers)
    return losses, first


def progressive_file():
    rand = stream("family_progressive/data")
    n, nz, nc = (OPTIONS[key] for key in ("batch", "nz", "nc"))
    out = File(
        "Training steps of networks that grow", options=OPTIONS, method=METHOD, losses={}
    )
    for name, net in start().items():
        for key, value in named(net).items():
            out.put(f"{name}.{key}", value)
    for level, side in enumerate(SIDES[1:], 1):
        reals = pictures(rand, BATCHES, n, side, nc)
        z = normal(rand, BATCHES, n, nz).float()
        mix = exact(rand.uniform(0, 1, (BATCHES, n)).tolist()).float()
        losses, first = train(level, reals, z, mix)
        out.index["losses"][str(side)] = losses
        for key, value in (dict(reals=reals, z=z, mix=mix) | first).items():
            out.put(f"{side}/{key}", value)
    return out
