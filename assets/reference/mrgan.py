"""Twenty steps of the mode regularized GANs (arXiv 1612.02136), Reg-GAN and manifold-diffusion GAN,
with DCGAN's networks and an encoder of the discriminator's layers.

Tensors: reals [3, n, h, w, c], seen again and again; z [20, n, nz]; weights and running statistics
before step 1; the gradients of step 1 as each Adam step used them, of networks with several the
last; step1.fake and step1.near, what G makes of z and of E(x) where G's gradients are taken."""

import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, Net, initialise, named, nchw, nhwc, normal, stored, stream
from training import networks_pytorch, pictures

STEPS = 20
BATCHES = 3
OPTIONS = dict(size=16, nz=5, ngf=4, ndf=3, nc=3, batch=4)
ORDER = ("generator", "discriminator", "encoder", "diffusion_discriminator")


def networks(family):
    size, nz, ngf, ndf, nc, _ = OPTIONS.values()
    g, d, _ = networks_pytorch(size, nz, ngf, ndf, nc)
    deepest = d.main[-1].in_channels
    *layers, _ = networks_pytorch(size, nz, ngf, ndf, nc)[1].main
    e = Net(*layers, nn.Conv2d(deepest, nz, 4, 1, 0, bias=False))
    nets = dict(generator=g, discriminator=d, encoder=e)
    if family == "mdgan":
        nets["diffusion_discriminator"] = networks_pytorch(size, nz, ngf, ndf, nc)[1]
    assert all(m.negative_slope == SLOPE for m in e.modules() if isinstance(m, nn.LeakyReLU))
    return nets


def as_real(logits):
    return F.softplus(-logits).mean()


def as_fake(logits):
    return F.softplus(logits).mean()


class Training:
    def __init__(self, nets, method, dtype):
        self.nets = {name: net.to(dtype).train() for name, net in nets.items()}
        self.adam = {
            name: torch.optim.Adam(
                net.parameters(), lr=method["lr"], betas=method["betas"], eps=1e-8
            )
            for name, net in self.nets.items()
        }
        self.method = method
        self.first = {}

    def group(self, losses, keep):
        """One group of updates: all gradients, then all Adam steps."""
        grads = {}
        for name, loss in losses.items():
            params = dict(self.nets[name].named_parameters())
            each = torch.autograd.grad(loss, list(params.values()), retain_graph=True)
            grads[name] = dict(zip(params, each, strict=True))
        for name, of in grads.items():
            for key, param in self.nets[name].named_parameters():
                param.grad = of[key]
                if keep:
                    self.first[f"grad.{name}.{key}"] = stored(of[key])
            self.adam[name].step()

    def term(self, x, near, logits):
        distance = ((x - near) ** 2).mean()
        term = self.method["distance_weight"] * distance
        return term + self.method["mode_weight"] * as_real(logits), distance

    def seen(self, keep, fake, near):
        if keep:
            self.first |= {"step1.fake": stored(nhwc(fake)), "step1.near": stored(nhwc(near))}

    def mrgan(self, x, z, keep):
        g, d, e = (self.nets[name] for name in ORDER[:3])
        fake = g(z)
        loss_d = as_real(d(x)) + as_fake(d(fake))
        self.group(dict(discriminator=loss_d), keep)
        loss_g = as_real(d(fake))
        near = g(e(x))
        term, distance = self.term(x, near, d(near))
        self.seen(keep, fake, near)
        self.group(dict(encoder=term, generator=loss_g + term), keep)
        return dict(loss_d=loss_d, loss_g=loss_g, loss_e=term, distance=distance)

    def mdgan(self, x, z, keep):
        g, d1, e, d2 = (self.nets[name] for name in ORDER)
        near = g(e(x))
        loss_d = as_real(d1(x)) + as_fake(d1(near))
        self.group(dict(discriminator=loss_d), keep)
        term, distance = self.term(x, near, d1(near))
        self.group(dict(encoder=term, generator=term), keep)
        fake = g(z)
        self.seen(keep, fake, near)
        loss_diffusion = as_real(d2(g(e(x)).detach())) + as_fake(d2(fake))
        self.group(dict(diffusion_discriminator=loss_diffusion), keep)
        loss_g = as_real(d2(fake))
        self.group(dict(generator=loss_g), keep)
        return dict(
            loss_d=loss_d, loss_e=term, distance=distance, loss_diffusion=loss_diffusion,
            loss_g=loss_g,
        )  # fmt: skip


def mrgan_file(family, distance_weight, mode_weight):
    rand = stream(f"family_{family}")
    nets = networks(family)
    for net in nets.values():
        initialise(net.double(), rand)
    n, nz = OPTIONS["batch"], OPTIONS["nz"]
    reals = pictures(rand, BATCHES, n, OPTIONS["size"], OPTIONS["nc"])
    z = normal(rand, STEPS, n, nz)
    before = {f"{name}.{k}": v for name, net in nets.items() for k, v in named(net).items()}
    method = dict(
        family=family, distance_weight=distance_weight, mode_weight=mode_weight, lr=2e-4,
        betas=[0.5, 0.999],
    )  # fmt: skip
    training = Training(nets, method, torch.float64)
    losses = []
    for step in range(STEPS):
        x = nchw(reals[step % BATCHES].double())
        of_step = getattr(training, family)(x, z[step].reshape(n, nz, 1, 1), step == 0)
        losses.append({name: loss.item() for name, loss in of_step.items()})
    about = "Training steps of a mode regularized GAN"
    out = File(about, options=OPTIONS, method=method, losses=losses)
    out.put("reals", reals)
    out.put("z", z)
    for key, value in (before | training.first).items():
        out.put(key, value)
    return out
