"""Twenty steps of each stage of a stacked GAN (arXiv 1612.04357) with networks as in its authors' MNIST
code, at 16x16: the encoder alone, a level alone, and both.

Tensors: reals [4, n, h, w, 1], exactly float32(byte / 255), and labels [4, n], seen again and again;
z and z.g [20, n, nz], uniform in [-1, 1]; weights and running statistics before step 1 of every stage;
<stage>/grad.<parameter>, gradients of step 1; <stage>/fake and <stage>/features, what the generators
make of the first z.g."""

import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, Net, exact, initialise, named, nchw, nhwc, stored, stream
from training import pictures

STEPS = 20
BATCHES = 4
OPTIONS = dict(size=16, nz=6, ngf=2, ndf=2, nc=1, batch=6, classes=3)
METHOD = dict(lr=2e-4, betas=[0.5, 0.999], condition_weight=0.7, entropy_weight=3.0)
PREDICTION = 10
STAGES = {"encoder": [], "g1": [1], "g0": [0], "joint": [1, 0]}


class Join(nn.Module):
    """The features beside a layer of the noise."""

    def __init__(self, noise, width):
        super().__init__()
        self.join = nn.Sequential(
            nn.Linear(noise, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()
        )


class Image(nn.Module):
    def forward(self, x):
        return x.unflatten(1, (-1, 1, 1))


class Generator(nn.Module):
    def __init__(self, half, features, ngf, nc):
        super().__init__()
        up = dict(kernel_size=5, stride=2, padding=2, output_padding=1, bias=False)
        self.main = nn.Sequential(
            Join(half, 2 * ngf), nn.Linear(features + 2 * ngf, 2 * ngf, bias=False), nn.Identity(),
            nn.BatchNorm1d(2 * ngf), nn.Sequential(nn.ReLU(), Image()),
            nn.ConvTranspose2d(2 * ngf, 2 * ngf, **up), nn.BatchNorm2d(2 * ngf), nn.ReLU(),
            nn.ConvTranspose2d(2 * ngf, ngf, 5, bias=False), nn.BatchNorm2d(ngf), nn.ReLU(),
            nn.ConvTranspose2d(ngf, ngf, **up), nn.BatchNorm2d(ngf), nn.ReLU(),
            nn.ConvTranspose2d(ngf, nc, 5), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, h, z):
        join, *layers = self.main
        x = torch.cat([h, join.join(z)], 1)
        for layer in layers:
            x = layer(x)
        return x


def networks(nz, ngf, ndf, nc, classes):
    half, features = nz // 2, 8 * ndf
    leaky = nn.LeakyReLU(SLOPE)
    classifier = Net(
        nn.Conv2d(nc, ndf, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(ndf, ndf, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(ndf, features), nn.ReLU(),
        nn.Linear(features, classes),
    )  # fmt: skip
    wide = 8 * ngf
    g1 = Net(
        nn.Identity(), nn.Linear(half + classes, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(),
        nn.Linear(wide, wide, bias=False), nn.BatchNorm1d(wide), nn.ReLU(),
        nn.Linear(wide, features), nn.ReLU(),
    )  # fmt: skip
    d1 = Net(
        nn.Linear(features, features), leaky, nn.Linear(features, features), leaky,
        nn.Linear(features, 1 + half),
    )  # fmt: skip
    down = dict(kernel_size=5, stride=2, padding=2)
    d0 = Net(
        nn.Conv2d(nc, ndf, **down), leaky, nn.Conv2d(ndf, 2 * ndf, **down), leaky,
        nn.Conv2d(2 * ndf, 4 * ndf, **down), leaky, nn.Flatten(), nn.Linear(16 * ndf, 8 * ndf), leaky,
        nn.Linear(8 * ndf, 1 + half),
    )  # fmt: skip
    return dict(
        classifier=classifier, feature_generator=g1, feature_discriminator=d1,
        generator=Generator(half, features, ngf, nc), discriminator=d0,
    )  # fmt: skip


def start():
    rand = stream("family_stacked")
    options = {k: v for k, v in OPTIONS.items() if k not in ("size", "batch")}
    nets = networks(**options)
    for net in nets.values():
        initialise(net.double(), rand)
    return nets


GENERATORS = {1: "feature_generator", 0: "generator"}
DISCRIMINATORS = {1: "feature_discriminator", 0: "discriminator"}
METRICS = {
    1: ("loss_d1", "d1_real", "d1_fake", "loss_g1", "condition_1", "z_error_1"),
    0: ("loss_d", "d_real", "d_fake", "loss_g", "condition_0", "z_error_0"),
}


def train(stage, data):
    nets = {name: net.train() for name, net in start().items()}
    reals, labels, z, z_g = data
    levels = STAGES[stage]
    adam = {
        name: torch.optim.Adam(
            net.parameters(), lr=METHOD["lr"], betas=METHOD["betas"], eps=1e-8
        )
        for name, net in nets.items()
    }
    e = nets["classifier"].main
    losses, first = [], {}

    def update(terms, keep):
        grads = {}
        for name, loss in terms.items():
            params = list(nets[name].parameters())
            grads[name] = torch.autograd.grad(loss, params, retain_graph=True)
        for name, each in grads.items():
            for (key, param), grad in zip(nets[name].named_parameters(), each, strict=True):
                param.grad = grad
                if keep:
                    first[f"grad.{name}.{key}"] = stored(grad)
            adam[name].step()

    def generate(h, y, noise):
        z1, z0 = noise.chunk(2, 1)
        made = {}
        if 1 in levels:
            h = nets["feature_generator"](torch.cat([z1, y], 1))
            made[1] = (h, z1, None)
        if 0 in levels:
            made[0] = (nets["generator"](h, z0), z0, h)
        return made

    def judged(level, value):
        output = nets[DISCRIMINATORS[level]](value)
        return output[:, 0], output[:, 1:]

    def error(predicted, noise):
        return ((torch.sigmoid(predicted) - (noise + 1) / 2) ** 2).mean()

    for step in range(STEPS):
        keep = step == 0
        x = nchw(reals[step % BATCHES].double())
        label = labels[step % BATCHES]
        y = F.one_hot(label, OPTIONS["classes"]).double()
        numbers = {}
        if stage == "encoder":
            logits = e(x)
            loss = F.cross_entropy(logits, label)
            numbers["loss_class"] = loss.item()
            numbers["accuracy"] = (logits.argmax(1) == label).double().mean().item()
            update(dict(classifier=loss), keep)
            losses.append(numbers)
            continue
        real = {1: e[:9](x), 0: x}
        terms = {}
        for level, (value, noise, _) in generate(real[1], y, z[step].double()).items():
            r, _ = judged(level, real[level])
            f, predicted = judged(level, value)
            loss = 0.5 * F.softplus(-r).mean() + 0.5 * F.softplus(f).mean()
            loss = loss + PREDICTION * error(predicted, noise)
            terms[DISCRIMINATORS[level]] = loss
            each = (loss, torch.sigmoid(r).mean(), torch.sigmoid(f).mean())
            numbers |= dict(zip(METRICS[level], (v.item() for v in each)))
        update(terms, keep)
        terms = {}
        for level, (value, noise, h) in generate(real[1], y, z_g[step].double()).items():
            f, predicted = judged(level, value)
            if level == 1:
                condition = F.cross_entropy(e[9:](value), label)
            else:
                condition = ((e[:9](value) - h) ** 2).mean()
                numbers["h1_variance"] = ((h - h.mean(0)) ** 2).mean().item()
            off = error(predicted, noise)
            loss = F.softplus(-f).mean() + METHOD["condition_weight"] * condition
            loss = loss + METHOD["entropy_weight"] * off
            terms[GENERATORS[level]] = loss
            each = (loss, condition, off)
            numbers |= dict(zip(METRICS[level][3:], (v.item() for v in each)))
            if keep:
                name = "features" if level == 1 else "fake"
                first[name] = stored(value if level == 1 else nhwc(value))
        update(terms, keep)
        losses.append(numbers)
    return losses, first


def stacked_file():
    rand = stream("family_stacked/data")
    n, size, nz = (OPTIONS[key] for key in ("batch", "size", "nz"))
    level = pictures(rand, BATCHES, n, size, 1)
    reals = exact(torch.round((level + 1) * 127.5).double().numpy() / 255).float()
    labels = torch.from_numpy(rand.randint(0, OPTIONS["classes"], (BATCHES, n)))
    z, z_g = (exact(rand.uniform(-1, 1, (STEPS, n, nz))).float() for _ in range(2))
    before = {f"{name}.{k}": v for name, net in start().items() for k, v in named(net).items()}
    stages = {stage: train(stage, (reals, labels, z, z_g)) for stage in STAGES}
    out = File(
        "Training steps of the stages of a stacked GAN",
        options=OPTIONS,
        method=METHOD,
        losses={stage: losses for stage, (losses, _) in stages.items()},
    )
    out.put("reals", reals)
    out.put("labels", labels)
    out.put("z", z)
    out.put("z.g", z_g)
    for key, value in before.items():
        out.put(key, value)
    for stage, (_, first) in stages.items():
        for key, value in first.items():
            out.put(f"{stage}/{key}", value)
    return out
