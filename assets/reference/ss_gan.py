"""Twenty steps of each stage of SS-GAN (arXiv 1603.05631) at 16x16, without dropout: normals, the network
that reads normals, images of normals, and both generators.

Tensors: reals and normals [4, n, h, w, 3], exactly float32(byte / 127.5 - 1), seen again and again; z and
z.g [20, n, nz], uniform in [-1, 1]; weights and running statistics before step 1 of every stage;
<stage>/grad.<parameter>, gradients of step 1; <stage>/fake and <stage>/fake_normals, what the generators
make of the first z.g."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common import SLOPE, File, Net, exact, initialise, named, nchw, nhwc, norm, stored, stream
from training import pictures

STEPS = 20
BATCHES = 4
CODES = 40
OPTIONS = dict(size=16, nz=8, ngf=2, ndf=2, nc=3, batch=6)
METHOD = dict(lr=1e-3, betas=[0.5, 0.999], normals_weight=0.6)
STYLE_WEIGHT = 0.1
SLOWER = 0.1
LIMITS = (0.3, 0.7)
STAGES = {"structure": ["n"], "fcn": [], "style": ["s"], "joint": ["n", "s"]}
NETWORKS = {
    "n": ("structure_generator", "structure_discriminator"),
    "s": ("generator", "discriminator"),
}
METRICS = {
    "n": ("loss_dn", "dn_real", "dn_fake", "updated_dn", "loss_gn", "updated_gn"),
    "s": ("loss_d", "d_real", "d_fake", "updated_d", "loss_g", "updated_g"),
}


def unit(x):
    return x / torch.sqrt((x**2).sum(1, keepdim=True) + 1e-12)


class Unit(nn.Module):
    def forward(self, x):
        return unit(x)


class Codebook(nn.Module):
    """The mean of a Fibonacci lattice's unit vectors on the hemisphere z > 0 under a softmax."""

    def __init__(self, count):
        super().__init__()
        k = np.arange(count)
        z = 1 - (k + 0.5) / count
        angle = k * math.pi * (3 - math.sqrt(5))
        radius = np.sqrt(1 - z**2)
        codes = np.stack([radius * np.cos(angle), radius * np.sin(angle), z])
        self.register_buffer("codes", exact(codes))

    def forward(self, x):
        return unit(torch.einsum("nkhw,ck->nchw", torch.softmax(x, 1), self.codes))


def project(nz, to, side):
    return nn.ConvTranspose2d(nz, to, side, bias=False)


def conv(a, b, k, stride=1, bias=False):
    return nn.Conv2d(a, b, k, stride=stride, padding=k // 2, bias=bias)


def double(a, b):
    return nn.ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False)


class Join(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.join = nn.Sequential(*layers)


class Style(Net):
    """With the style beside the third block of layers."""

    def forward(self, x, z):
        for layer in self.main:
            if isinstance(layer, Join):
                x = torch.cat([x, layer.join(z)], 1)
            else:
                x = layer(x)
        return x


class Pairs(Net):
    def forward(self, x, n):
        return self.main(torch.cat([x, n], 1))


def judge(kind, channels, w, side):
    leaky = nn.LeakyReLU(SLOPE)
    first = [nn.Identity()] if kind is Pairs else []
    return kind(
        *first, conv(channels, w, 5, 2, True), leaky, conv(w, 2 * w, 5, 1, True), leaky,
        conv(2 * w, 4 * w, 3, 2, True), leaky, nn.Identity(), conv(4 * w, 8 * w, 3, 2, True), leaky,
        nn.Identity(), conv(8 * w, 2 * w, 3, 1, True), leaky, nn.Identity(),
        nn.Conv2d(2 * w, 1, side // 8),
    )  # fmt: skip


def networks(size, nz, ngf, ndf, nc):
    half, base, g, d = nz // 2, size // 8, ngf, ndf
    relu, leaky = nn.ReLU(), nn.LeakyReLU(SLOPE)
    gn = Net(
        project(half, 2 * g, base), norm(2 * g), relu, double(2 * g, 2 * g), norm(2 * g), relu,
        conv(2 * g, 2 * g, 3), norm(2 * g), relu, conv(2 * g, 4 * g, 3), norm(4 * g), relu,
        conv(4 * g, 8 * g, 3), norm(8 * g), relu, conv(8 * g, 8 * g, 3), norm(8 * g), leaky,
        double(8 * g, 4 * g), norm(4 * g), leaky, conv(4 * g, 2 * g, 3), norm(2 * g), leaky,
        double(2 * g, g), norm(g), leaky, conv(g, 3, 5, bias=True), nn.Tanh(), Unit(),
    )  # fmt: skip
    style = Join(
        project(half, g, base), norm(g), relu, double(g, g), norm(g), relu, double(g, g), norm(g), relu
    )
    gs = Style(
        conv(3, g, 5), norm(g), relu, conv(g, 2 * g, 5, 2), norm(2 * g), relu, style,
        conv(3 * g, 4 * g, 3), norm(4 * g), relu, conv(4 * g, 8 * g, 3, 2), norm(8 * g), relu,
        conv(8 * g, 8 * g, 3), norm(8 * g), relu, double(8 * g, 4 * g), norm(4 * g), relu,
        double(4 * g, g), norm(g), relu, conv(g, nc, 5, bias=True), nn.Tanh(),
    )  # fmt: skip
    first = (d + 1) // 2
    fcn = Net(
        conv(nc, first, 3), norm(first), leaky, conv(first, d, 3, 2), norm(d), leaky,
        conv(d, 2 * d, 3), norm(2 * d), leaky, conv(2 * d, 2 * d, 3), norm(2 * d), leaky,
        conv(2 * d, CODES, 1, bias=True), Codebook(CODES),
    )  # fmt: skip
    return dict(
        structure_generator=gn, structure_discriminator=judge(Net, 3, d, size), generator=gs,
        discriminator=judge(Pairs, nc + 3, d, size), classifier=fcn,
    )  # fmt: skip


def start():
    rand = stream("family_ss_gan2")
    options = {k: v for k, v in OPTIONS.items() if k != "batch"}
    nets = networks(**options)
    for net in nets.values():
        initialise(net.double(), rand)
    return nets


def train(stage, data):
    nets = {name: net.train() for name, net in start().items()}
    reals, maps, z, z_g = data
    levels = STAGES[stage]
    fcn = nets["classifier"]
    if levels:
        fcn.eval()

    def rate(name):
        slow = stage == "joint" and name.startswith("structure")
        return METHOD["lr"] * (SLOWER if slow else 1)

    adam = {
        name: torch.optim.Adam(net.parameters(), lr=rate(name), betas=METHOD["betas"], eps=1e-8)
        for name, net in nets.items()
    }
    losses, first = [], {}

    def update(terms, masks, keep):
        grads = {}
        for name, loss in terms.items():
            params = list(nets[name].parameters())
            grads[name] = torch.autograd.grad(loss, params, retain_graph=True)
        for name, each in grads.items():
            for (key, param), grad in zip(nets[name].named_parameters(), each, strict=True):
                param.grad = grad
                if keep:
                    first[f"grad.{name}.{key}"] = stored(grad)
            if masks[name]:
                adam[name].step()

    def read(x, n):
        logits = fcn.main[:-1](x)
        codes = torch.einsum("nchw,ck->nkhw", F.avg_pool2d(n.detach(), 2), fcn.main[-1].codes)
        codes = codes.argmax(1)
        right = (logits.argmax(1) == codes).double().mean()
        return F.cross_entropy(logits, codes), right

    def generate(n, noise):
        a, b = (part[:, :, None, None] for part in noise.chunk(2, 1))
        made = {}
        n = n.roll(n.shape[0] // 2, 0)
        if "n" in levels:
            n = nets["structure_generator"](a)
            made["n"] = (n, n)
        if "s" in levels:
            made["s"] = (nets["generator"](n, b), n)
        return made

    def scores(level, x, n):
        d = nets[NETWORKS[level][1]]
        return (d(x, n.detach()) if level == "s" else d(x)).flatten()

    for step in range(STEPS):
        keep = step == 0
        x = nchw(reals[step % BATCHES].double())
        n = unit(nchw(maps[step % BATCHES].double()))
        numbers = {}
        if stage == "fcn":
            loss, right = read(x, n)
            numbers |= dict(loss_class=loss.item(), accuracy=right.item())
            update(dict(classifier=loss), dict(classifier=True), keep)
            losses.append(numbers)
            continue
        terms, masks = {}, {}
        for level, (value, normals) in generate(n, z[step].double()).items():
            g, d = NETWORKS[level]
            r = scores(level, x if level == "s" else n, n)
            f = scores(level, value, normals)
            a, b = F.softplus(-r).mean(), F.softplus(f).mean()
            terms[d] = a + b
            ahead = min(a.item(), b.item()) < LIMITS[0]
            behind = max(a.item(), b.item()) > LIMITS[1]
            neither = ahead and behind
            masks[d], masks[g] = not ahead or neither, not behind or neither
            each = (
                (a + b).item(), torch.sigmoid(r).mean().item(), torch.sigmoid(f).mean().item(),
                float(masks[d]),
            )  # fmt: skip
            numbers |= dict(zip(METRICS[level], each))
            numbers[METRICS[level][5]] = float(masks[g])
        update(terms, masks, keep)
        terms, adversarial = {}, {}
        all = generate(n, z_g[step].double())
        for level, (value, normals) in all.items():
            adversarial[level] = F.softplus(-scores(level, value, normals)).mean()
        for level, (value, normals) in all.items():
            loss = adversarial[level]
            if level == "n" and "s" in levels:
                loss = loss + STYLE_WEIGHT * adversarial["s"]
            if level == "s":
                entropy, right = read(value, normals)
                loss = loss + METHOD["normals_weight"] * entropy
                numbers |= dict(code_entropy=entropy.item(), code_accuracy=right.item())
            terms[NETWORKS[level][0]] = loss
            numbers[METRICS[level][4]] = loss.item()
            if keep:
                first["fake" if level == "s" else "fake_normals"] = stored(nhwc(value))
        update(terms, masks, keep)
        losses.append(numbers)
    return losses, first


def ss_gan_file():
    rand = stream("family_ss_gan/data2")
    n, size, nz, nc = (OPTIONS[key] for key in ("batch", "size", "nz", "nc"))
    reals = pictures(rand, BATCHES, n, size, nc)
    maps = rand.standard_normal((BATCHES, n, size, size, 3)) * 0.4 + [0, 0, 1]
    maps[..., 2] = abs(maps[..., 2])
    maps = maps / np.linalg.norm(maps, axis=-1, keepdims=True)
    maps = exact(np.round((maps + 1) * 127.5) / 127.5 - 1).float()
    z, z_g = (exact(rand.uniform(-1, 1, (STEPS, n, nz))).float() for _ in range(2))
    before = {f"{name}.{k}": v for name, net in start().items() for k, v in named(net).items()}
    stages = {stage: train(stage, (reals, maps, z, z_g)) for stage in STAGES}
    out = File(
        "Training steps of the stages of SS-GAN",
        options=OPTIONS,
        method=METHOD,
        losses={stage: losses for stage, (losses, _) in stages.items()},
    )
    out.put("reals", reals)
    out.put("normals", maps)
    out.put("z", z)
    out.put("z.g", z_g)
    for key, value in before.items():
        out.put(key, value)
    for stage, (_, first) in stages.items():
        for key, value in first.items():
            out.put(f"{stage}/{key}", value)
    return out
