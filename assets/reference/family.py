"""Training steps of DCGAN's family: other losses, penalties, normalisations and heads."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm

from common import SLOPE, File, Net, exact, initialise, nchw, nhwc, norm, normal, stored, stream
from objectives import LOSSES
from training import Label, doublings, drift, pictures

STEPS = 20
BATCHES = 4  # of real pictures, seen again and again


def named(net):
    """Weights, statistics and vectors by name, as stored."""
    return {k: stored(v) for k, v in net.state_dict().items() if not k.endswith("batches_tracked")}


class Codes(nn.Module):
    """InfoGAN's codes of the last numbers of a normal latent."""

    def __init__(self, told, categories, numbers):
        super().__init__()
        self.told, self.categories, self.numbers = told, categories, numbers

    def forward(self, x):
        rest = x.shape[1] - self.categories - self.numbers
        noise, category, number = x.flatten(1).split([rest, self.categories, self.numbers], 1)
        category = F.one_hot(category.argmax(1), self.categories).to(x.dtype)
        number = torch.tanh((2 / torch.pi) ** 0.5 * number)
        self.told["codes"] = torch.cat([category, number], 1)
        return torch.cat([noise, self.told["codes"]], 1)[:, :, None, None]


def networks(size, nz, ngf, ndf, nc, norm_d, spectral, classes, told, semi=False, codes=(0, 0)):
    """networks_pytorch with another norm in D, or none and biases in its stead; with spectral norm
    in D; with classes, G told them at its first layer and D saying them behind its score, or, where
    training is semi-supervised, G told nothing and D saying nothing else; with codes, D saying what
    it takes for them."""
    k = doublings(size)
    up = dict(kernel_size=4, stride=2, padding=1)
    c = ngf << (k - 1)
    heads = classes if semi else 1 + classes + sum(codes)
    if semi:
        classes = 0
    g = [Label(told)] if classes else []
    g += [Codes(told, *codes)] if sum(codes) else []
    g += [nn.ConvTranspose2d(nz + classes, c, 4, 1, 0, bias=False), norm(c), nn.ReLU()]
    for _ in range(k - 1):
        g += [nn.ConvTranspose2d(c, c // 2, **up, bias=False), norm(c // 2), nn.ReLU()]
        c //= 2
    g += [nn.ConvTranspose2d(c, nc, **up, bias=False), nn.Tanh()]

    norms = {
        "batch": norm,
        "layer": lambda c: nn.GroupNorm(1, c, eps=1e-5),
        "none": None,
    }
    kind = norms[norm_d]
    d = [nn.Conv2d(nc, ndf, **up, bias=False), nn.LeakyReLU(SLOPE)]
    c = ndf
    for _ in range(k - 1):
        d += [nn.Conv2d(c, c * 2, **up, bias=kind is None)]
        d += [kind(c * 2)] if kind else []
        d += [nn.LeakyReLU(SLOPE)]
        c *= 2
    d += [nn.Conv2d(c, heads, 4, 1, 0, bias=False)]
    g, d = Net(*g), Net(*d)
    return g, d, spectral


def draw(name, options, n_critic, classes):
    """All that a training is given: pictures, latents, places between pictures, labels."""
    rand = stream(name + "/data")
    n, nz = options["batch"], options["nz"]
    reals = pictures(rand, BATCHES * n_critic, n, options["size"], options["nc"])
    # Latents of every update of D, then of G's.
    z = normal(rand, STEPS, n_critic + 1, n, nz).float()
    mix = exact(rand.uniform(0, 1, (STEPS, n_critic, n)).tolist()).float()
    labels = torch.from_numpy(rand.randint(0, max(classes, 1), (BATCHES * n_critic, n)))
    return reals, z, mix, labels


def train(
    nets, data, told, dtype, *, loss, gp, n_critic, classes, lr, betas, semi, codes, matching
):  # fmt: skip
    """STEPS steps, each of n_critic updates of D and one of G, which takes new latents where
    n_critic is above 1, and else those of D's update."""
    g, d = (net.to(dtype).train() for net in nets)
    reals, z, mix, labels = data
    of_d, of_g = LOSSES[loss]
    opt_g = torch.optim.Adam(g.parameters(), lr=lr, betas=betas, eps=1e-8)
    opt_d = torch.optim.Adam(d.parameters(), lr=lr, betas=betas, eps=1e-8)
    losses, first = [], {}

    def tell(batch):
        told["now"] = F.one_hot(labels[batch], max(classes, 1))

    def class_loss(said, batch):
        if not classes or semi:
            return 0
        return F.cross_entropy(said[:, 1:], labels[batch])

    def score(said):
        return said.logsumexp(1) if semi else said[:, 0]

    def code_loss(said):
        categories, numbers = codes
        if not categories:
            return 0
        is_ = told["codes"].detach()
        entropy = F.cross_entropy(said[:, 1 : 1 + categories], is_[:, :categories])
        off = said[:, 1 + categories :] - is_[:, categories:]
        return entropy + 0.1 * (off**2).mean()

    for step in range(STEPS):
        for k in range(n_critic):
            batch = (step * n_critic + k) % len(reals)
            tell(batch)
            real = nchw(reals[batch].to(dtype))
            n = len(real)
            fake = g(z[step, k].to(dtype).reshape(n, -1, 1, 1))
            opt_d.zero_grad()
            if classes and not semi:
                # Batch norm: each half by itself.
                on_real, on_fake = d(real).flatten(1), d(fake.detach()).flatten(1)
            else:
                # One pass, as spectral norm takes a step of its power method in every one.
                on_real, on_fake = d(torch.cat([real, fake.detach()])).flatten(1).chunk(2)
            loss_real, loss_fake = of_d(score(on_real), score(on_fake))
            loss_d = loss_real + loss_fake
            numbers = dict(loss_real=loss_real.item(), loss_fake=loss_fake.item())
            total = loss_d + class_loss(on_real, batch) + class_loss(on_fake, batch)
            total = total + code_loss(on_fake)
            if semi:
                # Of the batch before, whose labels are known.
                entropy = F.cross_entropy(
                    d(nchw(reals[batch - 1].to(dtype))).flatten(1), labels[batch - 1]
                )
                total = total + entropy
                numbers["loss_class"] = entropy.item()
            if gp:
                u = mix[step, k].to(dtype).reshape(-1, 1, 1, 1)
                x = (u * real + (1 - u) * fake.detach()).requires_grad_(True)
                (gx,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
                lengths = gx.flatten(1).norm(dim=1)
                penalty = gp * ((lengths - 1) ** 2).mean()
                total = total + penalty
                loss_d = loss_d + penalty
                numbers |= dict(penalty=penalty.item(), slope=lengths.mean().item())
            numbers["loss_d"] = loss_d.item()
            total.backward()
            if step == 0 and k == n_critic - 1:
                first |= {f"grad.discriminator.{k}": p.grad for k, p in d.named_parameters()}
                first = {k: stored(v) for k, v in first.items()}
            opt_d.step()
        if n_critic > 1:
            fake = g(z[step, n_critic].to(dtype).reshape(n, -1, 1, 1))
        opt_g.zero_grad()
        said = d(fake).flatten(1)
        loss_g = of_g(None, score(said)) + class_loss(said, batch) + code_loss(said)
        if matching:
            features = [d.main[:-1](x).mean(0) for x in (real, fake)]
            loss_g = ((features[0] - features[1]) ** 2).mean()
        numbers["loss_g"] = loss_g.item()
        loss_g.backward()
        if step == 0:
            first |= {f"grad.generator.{k}": stored(p.grad) for k, p in g.named_parameters()}
            first["step1.fake"] = stored(nhwc(fake))
        opt_g.step()
        losses.append(numbers)
    vectors = {
        f"last.discriminator.{k}": v
        for k, v in named(d).items()
        if k.endswith(("weight_u", "weight_v"))
    }
    return losses, first | vectors


def family_file(
    name, norm_d="batch", spectral=False, classes=0, loss="wasserstein", gp=0, n_critic=1,
    lr=1e-4, betas=(0.0, 0.9), semi=False, codes=(0, 0), matching=False,
):  # fmt: skip
    options = dict(size=16, nz=6, ngf=5, ndf=4, nc=3, batch=4)
    method = dict(loss=loss, gp=gp, n_critic=n_critic, classes=classes, lr=lr, betas=list(betas))
    method |= dict(semi=semi, codes=list(codes), matching=matching)
    sizes = [options[k] for k in ("size", "nz", "ngf", "ndf", "nc")]

    def start():
        rand, told = stream(name), {"now": None}
        g, d, _ = networks(*sizes, norm_d, spectral, classes, told, semi, codes)
        for net in (g, d):
            initialise(net.double(), rand)
        if spectral:
            for layer in d.modules():
                if isinstance(layer, nn.Conv2d):
                    layer = spectral_norm(layer, n_power_iterations=1)
                    # Exact in float32, and not far from where the method ends.
                    d.train()
                    for key in ("weight_u", "weight_v"):
                        setattr(layer, key, getattr(layer, key).float().double())
        return (g, d), told

    torch.manual_seed(1)  # for the vectors of spectral norm
    nets, told = start()
    data = draw(name, options, n_critic, classes)
    before = {f"generator.{k}": v for k, v in named(nets[0]).items()}
    before |= {f"discriminator.{k}": v for k, v in named(nets[1]).items()}
    losses, first = train(nets, data, told, torch.float64, **method)
    torch.manual_seed(1)
    nets, told = start()
    losses32, first32 = train(nets, data, told, torch.float32, **method)

    out = File(
        "Training steps of DCGAN's family",
        options=options | dict(norm_d=norm_d, spectral=spectral),
        method=method,
        losses=losses,
        losses_float32=losses32,
        float32_drift={
            "about": "PyTorch's own float32 run against float64, as a share of the larger of 1 and "
            "each loss; gradients of step 1 as a share of each tensor's largest magnitude",
            "losses": [
                max(abs(a[k] - b[k]) / max(1, abs(a[k])) for k in a)
                for a, b in zip(losses, losses32, strict=True)
            ],
            "grad.": drift(first32, first, "grad."),
        },
    )
    reals, z, mix, labels = data
    out.put("reals", reals)
    out.put("z", z)
    if gp:
        out.put("mix", mix)
    if classes:
        out.put("labels", labels)
    for key, value in (before | first).items():
        out.put(key, value)
    return out
