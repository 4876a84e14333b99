"""Twenty steps of GAN-INT-CLS (arXiv 1605.05396) with DCGAN's networks.

The generator's latent has the embedding of the text behind it, a dense layer and a leaky ReLU; the
discriminator's smallest feature map has one with batch norm, followed by a convolution of single
pixels.

Tensors: reals, wrong [3, n, h, w, c] and text [3, n, width], seen again and again; z [20, n, nz] and
z.g [20, n + n / 2, nz]; weights and running statistics before step 1; the gradients of step 1; step1.fake,
what G makes of z.g."""

import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, Net, initialise, named, nchw, nhwc, norm, normal, stored, stream
from training import networks_pytorch, pictures

STEPS = 20
BATCHES = 3
OPTIONS = dict(size=16, nz=5, ngf=4, ndf=3, nc=3, batch=4)
WIDTH = 11
EMBEDDING = 128


class Join(nn.Module):
    """The embedding of the text behind the channels of every pixel."""

    def __init__(self, text, *layers):
        super().__init__()
        self.text = text  # shared: {"now": vectors [n, width]}
        self.join = nn.Sequential(*layers, nn.LeakyReLU(SLOPE))

    def forward(self, x):
        side = self.join(self.text["now"])[:, :, None, None]
        return torch.cat([x, side.expand(-1, -1, *x.shape[2:])], 1)


def networks(text):
    size, nz, ngf, ndf, nc, _ = OPTIONS.values()
    g, _, _ = networks_pytorch(size, nz + EMBEDDING, ngf, ndf, nc)
    g = Net(Join(text, nn.Linear(WIDTH, EMBEDDING)), *g.main)
    return g, matching(text, size, nz, ngf, ndf, nc)


def matching(text, size, nz, ngf, ndf, nc):
    """A discriminator of images and texts."""
    _, d, _ = networks_pytorch(size, nz, ngf, ndf, nc)
    *layers, last = d.main
    deepest = last.in_channels
    join = Join(text, nn.Linear(WIDTH, EMBEDDING, bias=False), nn.BatchNorm1d(EMBEDDING))
    both = nn.Conv2d(deepest + EMBEDDING, deepest, 1, bias=False)
    return Net(*layers, join, both, norm(deepest), nn.LeakyReLU(SLOPE), last)


def int_cls_file(mismatch):
    rand = stream("family_int_cls")
    now = {}
    g, d = networks(now)
    for net in (g, d):
        initialise(net.double(), rand)
        net.train()
    n, nz = OPTIONS["batch"], OPTIONS["nz"]
    reals, wrong = (pictures(rand, BATCHES, n, OPTIONS["size"], OPTIONS["nc"]) for _ in range(2))
    text = normal(rand, BATCHES, n, WIDTH)
    z, z_g = normal(rand, STEPS, n, nz), normal(rand, STEPS, n + n // 2, nz)
    nets = dict(generator=g, discriminator=d)
    before = {f"{name}.{k}": v for name, net in nets.items() for k, v in named(net).items()}
    method = dict(mismatch=mismatch, lr=2e-4, betas=[0.5, 0.999])
    adam = {
        name: torch.optim.Adam(net.parameters(), lr=method["lr"], betas=method["betas"], eps=1e-8)
        for name, net in nets.items()
    }
    losses, first = [], {}

    def score(x, of):
        now["now"] = of
        return d(x)

    def generate(latents, of):
        now["now"] = of
        return g(latents.reshape(-1, nz, 1, 1))

    for step in range(STEPS):
        x, w = (nchw(images[step % BATCHES].double()) for images in (reals, wrong))
        own = text[step % BATCHES]

        def update(name, loss):
            params = dict(nets[name].named_parameters())
            grads = torch.autograd.grad(loss, list(params.values()))
            for (key, param), grad in zip(params.items(), grads, strict=True):
                param.grad = grad
                if step == 0:
                    first[f"grad.{name}.{key}"] = stored(grad)
            adam[name].step()

        real = F.softplus(-score(x, own)).mean()
        unmatched = F.softplus(score(w, own)).mean()
        fake = F.softplus(score(generate(z[step], own), own)).mean()
        loss_d = real + mismatch * unmatched + (1 - mismatch) * fake
        update("discriminator", loss_d)

        half = n // 2
        texts = torch.cat([own, (own[:half] + own[half:]) / 2])
        made = generate(z_g[step], texts)
        loss_g = F.softplus(-score(made, texts)).mean()
        if step == 0:
            first["step1.fake"] = stored(nhwc(made))
        update("generator", loss_g)
        losses.append(dict(loss_d=loss_d.item(), loss_g=loss_g.item()))
    out = File("Training steps of GAN-INT-CLS", options=OPTIONS, method=method, losses=losses)
    for key, value in dict(reals=reals, wrong=wrong, text=text, z=z).items():
        out.put(key, value)
    out.put("z.g", z_g)
    for key, value in (before | first).items():
        out.put(key, value)
    return out
