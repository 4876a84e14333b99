"""Training steps of small DCGANs."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, Net, initialise, named, nchw, nhwc, norm, normal, stored, stream

STEPS = 10


def doublings(size):
    k = int(math.log2(size // 4))
    assert size == 4 << k and k >= 1
    return k


def networks_pytorch(size, nz, ngf, ndf, nc):
    """The networks of pytorch/examples dcgan, for any size = 4 * 2^k; no sigmoid at D's end."""
    k = doublings(size)
    up = dict(kernel_size=4, stride=2, padding=1, bias=False)
    c = ngf << (k - 1)
    g = [nn.ConvTranspose2d(nz, c, 4, 1, 0, bias=False), norm(c), nn.ReLU()]
    for _ in range(k - 1):
        g += [nn.ConvTranspose2d(c, c // 2, **up), norm(c // 2), nn.ReLU()]
        c //= 2
    g += [nn.ConvTranspose2d(c, nc, **up), nn.Tanh()]
    d = [nn.Conv2d(nc, ndf, **up), nn.LeakyReLU(SLOPE)]
    c = ndf
    for _ in range(k - 1):
        d += [nn.Conv2d(c, c * 2, **up), norm(c * 2), nn.LeakyReLU(SLOPE)]
        c *= 2
    d += [nn.Conv2d(c, 1, 4, 1, 0, bias=False)]
    return Net(*g), Net(*d), (nz, 1, 1)


def networks_paper(size, nz, ngf, ndf, nc):
    """The DCGAN paper's networks (arXiv 1511.06434), 5x5 kernels, for any size = 4 * 2^k."""
    k = doublings(size)
    down = dict(kernel_size=5, stride=2, padding=2, bias=False)
    up = dict(down, output_padding=1)
    c = ngf << (k - 1)
    g = [nn.Linear(nz, c * 16, bias=False), nn.Unflatten(1, (c, 4, 4)), norm(c), nn.ReLU()]
    for _ in range(k - 1):
        g += [nn.ConvTranspose2d(c, c // 2, **up), norm(c // 2), nn.ReLU()]
        c //= 2
    g += [nn.ConvTranspose2d(c, nc, **up), nn.Tanh()]
    d = [nn.Conv2d(nc, ndf, **down), nn.LeakyReLU(SLOPE)]
    c = ndf
    for _ in range(k - 1):
        d += [nn.Conv2d(c, c * 2, **down), norm(c * 2), nn.LeakyReLU(SLOPE)]
        c *= 2
    d += [nn.Flatten(), nn.Linear(c * 16, 1, bias=False)]
    return Net(*g), Net(*d), (nz,)


class Label(nn.Module):
    """The class behind the channels of every pixel: one-hot planes, or numbers."""

    def __init__(self, told):
        super().__init__()
        self.told = told  # shared by all layers: {"now": one-hot rows [n, classes]}

    def forward(self, x):
        label = self.told["now"].to(x.dtype)
        if x.dim() == 4:
            label = label[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return torch.cat([x, label], 1)


class Rows(nn.Module):
    """A picture as one pixel, its channels in the order row, column, channel."""

    def forward(self, x):
        return nhwc(x).reshape(len(x), -1, 1, 1)


def conditional_pytorch(size, nz, ngf, ndf, nc, classes, told):
    """networks_pytorch with the class at the input of every layer that has weights."""
    k = doublings(size)
    up = dict(kernel_size=4, stride=2, padding=1, bias=False)
    c = ngf << (k - 1)
    dense = nn.ConvTranspose2d(nz + classes, c, 4, 1, 0, bias=False)
    g = [Label(told), dense, norm(c), nn.ReLU()]
    for _ in range(k - 1):
        deconv = nn.ConvTranspose2d(c + classes, c // 2, **up)
        g += [Label(told), deconv, norm(c // 2), nn.ReLU()]
        c //= 2
    g += [Label(told), nn.ConvTranspose2d(c + classes, nc, **up), nn.Tanh()]
    d = [Label(told), nn.Conv2d(nc + classes, ndf, **up), nn.LeakyReLU(SLOPE)]
    c = ndf
    for _ in range(k - 1):
        conv = nn.Conv2d(c + classes, c * 2, **up)
        d += [Label(told), conv, norm(c * 2), nn.LeakyReLU(SLOPE)]
        c *= 2
    d += [Label(told), nn.Conv2d(c + classes, 1, 4, 1, 0, bias=False)]
    return Net(*g), Net(*d), (nz, 1, 1)


def conditional_mnist(size, nz, ngf, ndf, nc, classes, told):
    """The networks of mnist/train_cond_dcgan.py of the authors' code, for any size = 4 * 2^k;
    batch norm as everywhere here, and no sigmoid at D's end."""
    k = doublings(size)
    down = dict(kernel_size=5, stride=2, padding=2, bias=False)
    up = dict(down, output_padding=1)
    c, dense = ngf << (k - 1), 16 * ngf
    batch_norm = dict(eps=1e-5, momentum=0.1)
    g = [Label(told), nn.Linear(nz + classes, dense, bias=False)]
    g += [nn.BatchNorm1d(dense, **batch_norm), nn.ReLU()]
    g += [Label(told), nn.Linear(dense + classes, c * 16, bias=False)]
    g += [nn.Unflatten(1, (c, 4, 4)), norm(c), nn.ReLU()]
    for _ in range(k - 1):
        deconv = nn.ConvTranspose2d(c + classes, c // 2, **up)
        g += [Label(told), deconv, norm(c // 2), nn.ReLU()]
        c //= 2
    g += [Label(told), nn.ConvTranspose2d(c + classes, nc, **up), nn.Sigmoid()]
    d = [Label(told), nn.Conv2d(nc + classes, ndf, **down), nn.LeakyReLU(SLOPE)]
    c, dense = ndf, 16 * ndf
    for _ in range(k - 1):
        conv = nn.Conv2d(c + classes, c * 2, **down)
        d += [Label(told), conv, norm(c * 2), nn.LeakyReLU(SLOPE)]
        c *= 2
    d += [Rows(), Label(told), nn.Conv2d(c * 16 + classes, dense, 1, bias=False)]
    d += [norm(dense), nn.LeakyReLU(SLOPE)]
    d += [Label(told), nn.Conv2d(dense + classes, 1, 1, bias=False)]
    return Net(*g), Net(*d), (nz,)


def pictures(rand, steps, n, size, nc):
    """Bytes of noisy colour ramps, as float32 numbers in [-1, 1]."""
    ramp = np.linspace(-1, 1, size)
    level, across, down = (rand.uniform(-90, 90, (steps, n, 1, 1, nc)) for _ in range(3))
    values = 127.5 + level + across * ramp[:, None] + down * ramp[:, None, None]
    values = values + rand.normal(0, 25, values.shape[:2] + (size, size, nc))
    byte = np.clip(np.rint(values), 0, 255)
    return torch.from_numpy((byte / 127.5 - 1).astype(np.float32))


def train(nets, reals, z, latent, dtype, steps, target_real=1.0, tell=None):
    """Training steps as in pytorch/examples dcgan/main.py; gives the losses and what step 1 made.

    D sees the reals, then the fakes; the two gradients add up and one Adam step is taken. Then the
    updated D sees the same fakes once more, and G takes its step. D is in training mode throughout,
    so its running statistics move three times a step, G's once. Where networks are told classes,
    `tell(step, n)` tells them those of a step's first n pictures, real and generated ones alike.
    """
    tell = tell or (lambda step, n: None)
    g, d = (net.to(dtype).train() for net in nets)
    adam = dict(lr=2e-4, betas=(0.5, 0.999), eps=1e-8)
    opt_g = torch.optim.Adam(g.parameters(), **adam)
    opt_d = torch.optim.Adam(d.parameters(), **adam)
    losses, first = [], {}

    def bce(logits, target):
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))

    for step in range(steps):
        tell(step, len(z[step]))
        real = nchw(reals[step].to(dtype))
        opt_d.zero_grad()
        logits_real = d(real).flatten()
        loss_real = bce(logits_real, target_real)
        loss_real.backward()
        fake = g(z[step].to(dtype).reshape(-1, *latent))
        logits_fake = d(fake.detach()).flatten()
        loss_fake = bce(logits_fake, 0.0)
        loss_fake.backward()
        grads_d = {k: stored(p.grad) for k, p in d.named_parameters()}
        opt_d.step()

        opt_g.zero_grad()
        logits_g = d(fake).flatten()
        loss_g = bce(logits_g, 1.0)
        loss_g.backward()
        opt_g.step()

        loss_d = loss_real + loss_fake
        losses.append(
            {
                "loss_d": loss_d.item(),
                "loss_real": loss_real.item(),
                "loss_fake": loss_fake.item(),
                "loss_g": loss_g.item(),
            }
        )
        if step == 0:
            first = {
                "step1.fake": nhwc(fake),
                "step1.logits_real": logits_real,
                "step1.logits_fake": logits_fake,
                "step1.logits_g": logits_g,
            }
            first |= {f"grad.generator.{k}": p.grad for k, p in g.named_parameters()}
            first |= {f"grad.discriminator.{k}": v for k, v in grads_d.items()}
            first |= {f"after1.generator.{k}": v for k, v in named(g).items()}
            first |= {f"after1.discriminator.{k}": v for k, v in named(d).items()}
            with torch.no_grad():
                g.eval(), d.eval()
                tell(0, 1)
                first["eval1.fake"] = nhwc(g(z[0, :1].to(dtype).reshape(-1, *latent)))
                tell(0, len(reals[0]))
                first["eval1.logits"] = d(nchw(reals[0].to(dtype))).flatten()
                g.train(), d.train()
            first = {k: stored(v) for k, v in first.items()}
    return losses, first


def drift(of, to, prefix):
    """Largest difference in any tensor, in units of that tensor's largest magnitude."""
    names = [k for k in to if k.startswith(prefix)]
    return max(((of[k] - to[k]).abs().max() / to[k].abs().max()).item() for k in names)


def training_file(name, build, latents, size, nz, ngf, ndf, n, nc=3, classes=0, unit=False):
    """`unit`: the networks' pixels go from 0 to 1."""
    labels = torch.zeros(STEPS, n, dtype=torch.int64)
    told = {}
    options = dict(size=size, nz=nz, ngf=ngf, ndf=ndf, nc=nc, batch=n, latents=latents)
    more = ()
    tell = None
    if classes:
        options["classes"], more = classes, (classes, told)

        def tell(step, count):
            told["now"] = F.one_hot(labels[step, :count], classes)

    def start():
        rand = stream(name)
        *nets, latent = build(size, nz, ngf, ndf, nc, *more)
        for net in nets:
            initialise(net.double(), rand)
        return nets, latent, rand

    nets, latent, rand = start()
    reals = pictures(rand, STEPS, n, size, nc)
    if latents == "normal":
        z = normal(rand, STEPS, n, nz).float()
    else:
        z = torch.from_numpy(rand.uniform(-1, 1, (STEPS, n, nz)).astype(np.float32))
    if classes:
        labels = torch.from_numpy(rand.randint(0, classes, (STEPS, n)))
    seen = reals * 0.5 + 0.5 if unit else reals
    before = {f"generator.{k}": v for k, v in named(nets[0]).items()}
    before |= {f"discriminator.{k}": v for k, v in named(nets[1]).items()}

    losses, first = train(nets, seen, z, latent, torch.float64, STEPS, tell=tell)
    losses32, first32 = train(start()[0], seen, z, latent, torch.float32, STEPS, tell=tell)
    smooth, _ = train(
        start()[0], seen, z, latent, torch.float64, 1, target_real=0.9, tell=tell
    )

    out = File(
        "DCGAN training steps",
        architecture=build.__name__.removeprefix("networks_"),
        options=options,
        batch_norm=dict(eps=1e-5, momentum=0.1, running_var="unbiased"),
        batch_norm_updates_per_step=dict(generator=1, discriminator=3),
        leaky_slope=SLOPE,
        adam=dict(lr=2e-4, betas=[0.5, 0.999], eps=1e-8),
        losses=losses,
        losses_label_0_9=smooth[:1],
        losses_float32=losses32,
        smallest_gradient=min(
            v[v != 0].abs().min().item() for k, v in first.items() if k.startswith("grad.")
        ),
        float32_drift={
            "about": "PyTorch's own float32 run against float64: losses as the largest difference "
            "in each step, tensors of step 1 as a share of each tensor's largest magnitude",
            "losses": [
                max(abs(a[k] - b[k]) for k in a) for a, b in zip(losses, losses32, strict=True)
            ],
            **{k: drift(first32, first, k) for k in ("step1.", "grad.", "after1.", "eval1.")},
        },
    )
    out.put("reals", reals)
    out.put("z", z)
    if classes:
        out.put("labels", labels)
    for key, value in (before | first).items():
        out.put(key, value)
    return out
