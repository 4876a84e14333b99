"""Twenty steps of each stage of StackGAN (arXiv 1612.03242) with DCGAN's networks, at 16x16 and 32x32.

The generators draw from a distribution of the text, mean and log standard deviation from one dense layer;
the discriminators are those of int_cls.py. Stage 1 sees means of 2x2 pixels of the images; in stage 2 its
generator is in evaluation mode and stays as it is.

Tensors: reals, wrong [2, n, h, w, c] and text [2, n, width], seen again and again; z and z.g
[20, n, nz + 2 drawn]; weights and running statistics before step 1 of both stages;
<stage>/grad.<parameter>, gradients of step 1; <stage>/fake, what the generator makes of the first z.g."""

import torch
import torch.nn.functional as F
from torch import nn

from common import File, Net, initialise, named, nchw, nhwc, norm, normal, stored, stream
from int_cls import WIDTH, matching
from training import networks_pytorch, pictures

STEPS = 20
BATCHES = 2
OPTIONS = dict(size=32, nz=5, ngf=3, ndf=3, nc=1, batch=4, drawn=4)
METHOD = dict(lr=2e-4, betas=[0.5, 0.999], mismatch=0.4, kl_weight=1.5)
STAGES = {"stage1": ("stage1_generator", "stage1_discriminator")}
STAGES["stage2"] = ("generator", "discriminator")


class Drawn(nn.Module):
    """A draw from the distribution of the text behind the channels of every pixel."""

    def __init__(self, now, noise, drawn):
        super().__init__()
        self.now = now  # shared: {"now": vectors [n, width], "e1": [n, drawn], ...}
        self.noise = noise
        self.join = nn.Sequential(nn.Linear(WIDTH, 2 * drawn))

    def forward(self, x):
        mean, log_std = self.join(self.now["now"]).chunk(2, 1)
        self.kl = (-log_std + 0.5 * (torch.exp(2 * log_std) + mean**2 - 1)).mean()
        side = (mean + torch.exp(log_std) * self.now[self.noise])[:, :, None, None]
        return torch.cat([x, side.expand(-1, -1, *x.shape[2:])], 1)


class Residual(Net):
    def forward(self, x):
        return x + self.main(x)


def networks(now):
    size, nz, ngf, ndf, nc, _, drawn = OPTIONS.values()
    g1, _, _ = networks_pytorch(size // 2, nz + drawn, ngf, ndf, nc)
    g1 = Net(Drawn(now, "e1", drawn), *g1.main)
    wide = 2 * ngf
    strided = dict(kernel_size=4, stride=2, padding=1, bias=False)
    same = dict(kernel_size=3, padding=1, bias=False)

    def block():
        first = [nn.Conv2d(wide, wide, **same), norm(wide), nn.ReLU()]
        return Residual(*first, nn.Conv2d(wide, wide, **same), norm(wide))

    g2 = Net(
        nn.Conv2d(nc, ngf, 3, padding=1), nn.ReLU(),
        nn.Conv2d(ngf, wide, **strided), norm(wide), nn.ReLU(),
        Drawn(now, "e2", drawn), nn.Conv2d(wide + drawn, wide, **same), norm(wide), nn.ReLU(),
        block(), nn.ReLU(), block(), nn.ReLU(),
        nn.ConvTranspose2d(wide, ngf, **strided), norm(ngf), nn.ReLU(),
        nn.ConvTranspose2d(ngf, nc, **strided), nn.Tanh(),
    )  # fmt: skip
    d1, d2 = (matching(now, side, nz, ngf, ndf, nc) for side in (size // 2, size))
    return dict(stage1_generator=g1, stage1_discriminator=d1, generator=g2, discriminator=d2)


def start(now):
    rand = stream("family_stackgan")
    nets = networks(now)
    for net in nets.values():
        initialise(net.double(), rand)
    # Those of a generator in evaluation mode have to differ from the ones that it starts with.
    for layer in nets["stage1_generator"].modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.copy_(normal(rand, *layer.running_mean.shape, scale=0.2))
            layer.running_var.copy_(normal(rand, *layer.running_var.shape, scale=0.3).exp())
    return nets


def train(stage, data):
    now = {}
    nets = {name: net.train() for name, net in start(now).items()}
    names = STAGES[stage]
    g, d = (nets[name] for name in names)
    if stage == "stage2":
        nets["stage1_generator"].eval()
    reals, wrong, text, z, z_g = data
    adam = {
        name: torch.optim.Adam(
            nets[name].parameters(), lr=METHOD["lr"], betas=METHOD["betas"], eps=1e-8
        )
        for name in names
    }
    losses, first = [], {}
    nz, drawn = OPTIONS["nz"], OPTIONS["drawn"]

    def seen(images):
        images = nchw(images.double())
        return F.avg_pool2d(images, 2) if stage == "stage1" else images

    def score(x):
        return d(x)

    def generate(latents):
        noise, now["e1"], now["e2"] = latents.split([nz, drawn, drawn], 1)
        noise = noise.reshape(-1, nz, 1, 1)
        if stage == "stage1":
            return g(noise)
        with torch.no_grad():
            small = nets["stage1_generator"](noise)
        return g(small)

    def update(name, loss, keep):
        params = dict(nets[name].named_parameters())
        grads = torch.autograd.grad(loss, list(params.values()))
        for (key, param), grad in zip(params.items(), grads, strict=True):
            param.grad = grad
            if keep:
                first[f"grad.{name}.{key}"] = stored(grad)
        adam[name].step()

    for step in range(STEPS):
        keep = step == 0
        x, w = (seen(images[step % BATCHES]) for images in (reals, wrong))
        now["now"] = text[step % BATCHES]
        share = METHOD["mismatch"]
        real = F.softplus(-score(x)).mean()
        unmatched = F.softplus(score(w)).mean()
        fake = F.softplus(score(generate(z[step]))).mean()
        loss_d = real + share * unmatched + (1 - share) * fake
        update(names[1], loss_d, keep)

        made = generate(z_g[step])
        kl = next(layer.kl for layer in g.modules() if isinstance(layer, Drawn))
        loss_g = F.softplus(-score(made)).mean() + METHOD["kl_weight"] * kl
        if keep:
            first["fake"] = stored(nhwc(made))
        update(names[0], loss_g, keep)
        losses.append(dict(loss_d=loss_d.item(), loss_g=loss_g.item(), kl=kl.item()))
    return losses, first


def stackgan_file():
    rand = stream("family_stackgan/data")
    n, size, nc = (OPTIONS[key] for key in ("batch", "size", "nc"))
    reals, wrong = (pictures(rand, BATCHES, n, size, nc) for _ in range(2))
    text = normal(rand, BATCHES, n, WIDTH)
    latent = OPTIONS["nz"] + 2 * OPTIONS["drawn"]
    z, z_g = (normal(rand, STEPS, n, latent) for _ in range(2))
    before = {f"{name}.{k}": v for name, net in start({}).items() for k, v in named(net).items()}
    stages = {stage: train(stage, (reals, wrong, text, z, z_g)) for stage in STAGES}
    out = File(
        "Training steps of the stages of StackGAN",
        options=OPTIONS,
        method=METHOD,
        losses={stage: losses for stage, (losses, _) in stages.items()},
    )
    for key, value in dict(reals=reals, wrong=wrong, text=text, z=z).items():
        out.put(key, value)
    out.put("z.g", z_g)
    for key, value in before.items():
        out.put(key, value)
    for stage, (_, first) in stages.items():
        for key, value in first.items():
            out.put(f"{stage}/{key}", value)
    return out
