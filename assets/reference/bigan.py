"""Twenty steps of BiGAN (arXiv 1605.09782) with dense networks as in its authors' MNIST code: all
three networks are updated at once, from gradients of the same weights.

Tensors: reals [5, n, h, w, 1], exactly float32(byte / 255), seen again and again; z [20, n, nz];
weights and running statistics before step 1; gradients of step 1; step1.fake, step1.encoded."""

import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, exact, initialise, named, normal, stored, stream

STEPS = 20
BATCHES = 5
OPTIONS = dict(size=8, nz=5, ngf=7, ndf=6, nc=1, batch=6)
METHOD = dict(lr=2e-4, betas=[0.5, 0.999], weight_decay=0.01)


class Beside(nn.Module):
    """Layers one after another; `at` is where the latent is appended."""

    def __init__(self, at, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)
        self.at = at

    def forward(self, x, z=None):
        for i, layer in enumerate(self.main):
            x = torch.cat([x, z], 1) if i == self.at else layer(x)
        return x


def dense(a, b):
    return nn.Linear(a, b, bias=False)


def normed(width):
    return nn.BatchNorm1d(width, affine=False)


def networks(size, nz, ngf, ndf, nc):
    pixels = size * size * nc
    g = Beside(
        3, dense(nz, ngf), normed(ngf), nn.ReLU(), nn.Identity(), dense(ngf + nz, ngf), normed(ngf),
        nn.ReLU(), dense(ngf, pixels), nn.Identity(), nn.Sigmoid(),
    )  # fmt: skip
    e = Beside(
        None, nn.Identity(), dense(pixels, ndf), nn.LeakyReLU(SLOPE), dense(ndf, ndf), normed(ndf),
        nn.LeakyReLU(SLOPE), dense(ndf, nz), nn.Tanh(),
    )  # fmt: skip
    d = Beside(
        3, nn.Identity(), dense(pixels, ndf), nn.LeakyReLU(SLOPE), nn.Identity(),
        dense(ndf + nz, ndf), normed(ndf), nn.LeakyReLU(SLOPE), dense(ndf, 1),
    )  # fmt: skip
    return dict(generator=g, encoder=e, discriminator=d)


def start(rand, net):
    """As [`initialise`], which asks norms for scales that these do not have."""
    for layer in net.main:
        if isinstance(layer, nn.Linear):
            initialise(layer, rand)


def train(nets, data, dtype):
    nets = {name: net.to(dtype).train() for name, net in nets.items()}
    g, e, d = (nets[name] for name in ("generator", "encoder", "discriminator"))
    reals, z = (x.to(dtype) for x in data)
    optimizers = {
        name: torch.optim.Adam(net.parameters(), lr=METHOD["lr"], betas=METHOD["betas"],
                               eps=1e-8, weight_decay=METHOD["weight_decay"])
        for name, net in nets.items()
    }  # fmt: skip
    losses, first = [], {}
    for step in range(STEPS):
        x, latent = reals[step % BATCHES].flatten(1), z[step]
        encoded, fake = e(x), g(latent, latent)
        r, f = d(x, encoded), d(fake, latent)
        loss_d = 0.5 * (F.softplus(-r).mean() + F.softplus(f).mean())
        loss_e, loss_g = F.softplus(r).mean(), F.softplus(-f).mean()
        grads = {}
        for name, loss in (
            ("discriminator", loss_d), ("encoder", 0.5 * loss_e), ("generator", 0.5 * loss_g)
        ):  # fmt: skip
            params = dict(nets[name].named_parameters())
            each = torch.autograd.grad(loss, list(params.values()), retain_graph=True)
            grads[name] = dict(zip(params, each, strict=True))
        if step == 0:
            first["step1.fake"] = stored(fake.reshape(reals[0].shape))
            first["step1.encoded"] = stored(encoded)
        for name, of in grads.items():
            for key, param in nets[name].named_parameters():
                param.grad = of[key]
                if step == 0:
                    first[f"grad.{name}.{key}"] = stored(of[key])
        for optimizer in optimizers.values():
            optimizer.step()
        losses.append(dict(loss_d=loss_d.item(), loss_e=loss_e.item(), loss_g=loss_g.item()))
    return losses, first


def bigan_file():
    rand = stream("family_bigan")
    nets = networks(*(OPTIONS[key] for key in ("size", "nz", "ngf", "ndf", "nc")))
    for net in nets.values():
        start(rand, net.double())
    n, nz, size = OPTIONS["batch"], OPTIONS["nz"], OPTIONS["size"]
    reals = rand.randint(0, 256, (BATCHES, n, size, size, 1)) / 255
    data = exact(reals.tolist()), normal(rand, STEPS, n, nz).clamp(-1, 1)
    before = {f"{name}.{k}": v for name, net in nets.items() for k, v in named(net).items()}
    losses, first = train(nets, data, torch.float64)
    out = File("Training steps of BiGAN", options=OPTIONS, method=METHOD, losses=losses)
    out.put("reals", data[0])
    out.put("z", data[1])
    for key, value in (before | first).items():
        out.put(key, value)
    return out
