"""Twenty steps of both levels of a Laplacian pyramid of GANs (arXiv 1506.05751) of 16x16 pixels and two
classes, without dropout, by SGD with a momentum that rises.

Tensors: reals [4, n, h, w, c], exactly float32(byte / 127.5 - 1), and labels [4, n], seen again and
again; <level>/z [4, n / 2, width] and <level>/z.g [4, n, width], uniform in [-1, 1]; weights before step 1;
<level>/grad.<parameter>, gradients of step 1; <level>/fake, what the generator makes of the first z.g."""

import torch
import torch.nn.functional as F
from torch import nn

from common import File, Net, exact, initialise, named, nchw, nhwc, stored, stream
from training import pictures

STEPS = 20
BATCHES = 4
OPTIONS = dict(size=16, nz=5, ngf=2, ndf=2, nc=3, batch=4, classes=2)
METHOD = dict(lr=0.02, momentum=[0.5, 0.7], momentum_rise=40)
LEVELS = [8, 16]


def reduced(x):
    return F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)


def enlarged(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class Plane(nn.Module):
    """A plane made of the class."""

    def __init__(self, classes, side):
        super().__init__()
        self.side = side
        self.join = nn.Sequential(nn.Linear(classes, side * side), nn.ReLU())

    def forward(self, y):
        return self.join(y).unflatten(1, (1, self.side, self.side))


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)


class Generator(nn.Module):
    """Of a level above the base, from images of half its side."""

    def __init__(self, side, ngf, nc, classes):
        super().__init__()
        self.side = side
        residual = Residual(
            nn.Identity(), Plane(classes, side), nn.Conv2d(nc + 2, ngf, 7, padding=3), nn.ReLU(),
            nn.Conv2d(ngf, ngf, 7, padding=3), nn.ReLU(), nn.Conv2d(ngf, nc, 5, padding=2),
        )  # fmt: skip
        self.main = nn.Sequential(nn.Identity(), residual)

    def forward(self, small, z, y):
        low = enlarged(small)
        layers = self.main[1].main
        noise = z.unflatten(1, (1, self.side, self.side))
        return low + layers[2:](torch.cat([low, noise, layers[1](y)], 1))


class Discriminator(nn.Module):
    """Of a level above the base: of its low-pass image and the residual, which are added first."""

    def __init__(self, side, ndf, nc, classes):
        super().__init__()
        cells = (side - 8) // 2
        self.main = nn.Sequential(
            Plane(classes, side), nn.Conv2d(nc + 1, ndf, 5), nn.ReLU(),
            nn.Conv2d(ndf, ndf, 5, stride=2), nn.ReLU(), nn.Identity(), nn.Flatten(),
            nn.Linear(ndf * cells * cells, 1),
        )  # fmt: skip

    def forward(self, low, high, y):
        x = low + high
        return self.main[1:](torch.cat([x, self.main[0](y)], 1))[:, 0]


class Base(nn.Module):
    def __init__(self, net, is_generator, nc):
        super().__init__()
        self.main, self.is_generator, self.nc = net.main, is_generator, nc

    def forward(self, x, y):
        if self.is_generator:
            return self.main(torch.cat([x, y], 1)).unflatten(1, (self.nc, LEVELS[0], LEVELS[0]))
        return self.main(torch.cat([nhwc(x).flatten(1), y], 1))[:, 0]


def networks(nz, ngf, ndf, nc, classes):
    wide, narrow = -(-1200 * ngf // 64), -(-600 * ndf // 64)
    pixels = LEVELS[0] ** 2 * nc
    g8 = Net(
        nn.Identity(), nn.Linear(nz + classes, wide), nn.ReLU(), nn.Linear(wide, wide), nn.Sigmoid(),
        nn.Linear(wide, pixels),
    )  # fmt: skip
    d8 = Net(
        nn.Identity(), nn.Identity(), nn.Linear(pixels + classes, narrow), nn.ReLU(), nn.Identity(),
        nn.Linear(narrow, narrow), nn.ReLU(), nn.Identity(), nn.Linear(narrow, 1),
    )  # fmt: skip
    return dict(
        generator_8=Base(g8, True, nc), discriminator_8=Base(d8, False, nc),
        generator=Generator(LEVELS[1], ngf, nc, classes),
        discriminator=Discriminator(LEVELS[1], ndf, nc, classes),
    )  # fmt: skip


def start():
    rand = stream("family_lapgan")
    options = {k: v for k, v in OPTIONS.items() if k not in ("size", "batch")}
    nets = networks(**options)
    for net in nets.values():
        initialise(net.double(), rand)
    return nets


def train(level, data):
    nets = start()
    is_base = level == LEVELS[0]
    names = [f"{role}_8" if is_base else role for role in ("generator", "discriminator")]
    g, d = (nets[name] for name in names)
    reals, labels, z, z_g = data
    half = OPTIONS["batch"] // 2
    low_rate, high_rate = METHOD["momentum"]
    optimizers = [torch.optim.SGD(net.parameters(), lr=METHOD["lr"], momentum=0.5) for net in (g, d)]
    losses, first = [], {}

    def update(which, loss, keep, momentum):
        net, optimizer = (g, d)[which], optimizers[which]
        grads = torch.autograd.grad(loss, list(net.parameters()))
        for (key, param), grad in zip(net.named_parameters(), grads, strict=True):
            param.grad = grad
            if keep:
                first[f"grad.{names[which]}.{key}"] = stored(grad)
        optimizer.param_groups[0]["momentum"] = momentum
        optimizer.step()

    def generate(small, noise, y):
        """Low-pass images and residuals; of the base the images are all residual."""
        if is_base:
            made = g(noise, y)
            return torch.zeros_like(made), made
        low = enlarged(small)
        return low, g(small, noise, y) - low

    def score(low, high, y):
        return d(high, y) if is_base else d(low, high, y)

    for step in range(STEPS):
        row = step % BATCHES
        share = min(step * OPTIONS["batch"] / METHOD["momentum_rise"], 1)
        momentum = low_rate + (high_rate - low_rate) * share
        x = nchw(reals[row].double())
        y = F.one_hot(labels[row], OPTIONS["classes"]).double()
        for _ in range(LEVELS.index(LEVELS[-1]) - LEVELS.index(level)):
            x = reduced(x)
        small = reduced(x)
        low = torch.zeros_like(x) if is_base else enlarged(small)
        r = score(low[:half], (x - low)[:half], y[:half])
        f = score(*generate(small[half:], z[row].double(), y[half:]), y[half:])
        loss = 0.5 * (F.softplus(-r).mean() + F.softplus(f).mean())
        numbers = dict(
            loss_d=loss.item(), d_real=torch.sigmoid(r).mean().item(),
            d_fake=torch.sigmoid(f).mean().item(),
        )  # fmt: skip
        update(1, loss, step == 0, momentum)
        made = generate(small, z_g[row].double(), y)
        f = score(*made, y)
        loss = F.softplus(-f).mean()
        numbers |= dict(loss_g=loss.item(), d_fake_g=torch.sigmoid(f).mean().item())
        if step == 0:
            first["fake"] = stored(nhwc(sum(made)))
        update(0, loss, step == 0, momentum)
        losses.append(numbers)
    return losses, first


def lapgan_file():
    rand = stream("family_lapgan/data")
    n, size, nz, nc = (OPTIONS[key] for key in ("batch", "size", "nz", "nc"))
    reals = pictures(rand, BATCHES, n, size, nc)
    labels = torch.from_numpy(rand.randint(0, OPTIONS["classes"], (BATCHES, n)))
    out = File(
        "Training steps of the levels of a Laplacian pyramid of GANs",
        options=OPTIONS,
        method=METHOD,
        losses={},
    )
    out.put("reals", reals)
    out.put("labels", labels)
    for name, net in start().items():
        for key, value in named(net).items():
            out.put(f"{name}.{key}", value)
    for level in LEVELS:
        width = nz if level == LEVELS[0] else level * level
        noise = [exact(rand.uniform(-1, 1, (BATCHES, m, width))).float() for m in (n // 2, n)]
        losses, first = train(level, (reals, labels, *noise))
        out.index["losses"][str(level)] = losses
        for name, value in zip(("z", "z.g"), noise):
            out.put(f"{level}/{name}", value)
        for key, value in first.items():
            out.put(f"{level}/{key}", value)
    return out
