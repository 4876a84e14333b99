"""Twenty steps of ALI (arXiv 1606.00704): its convolutional networks without dropout, and the dense
networks of BiGAN's MNIST code, whose batch norm in D sees real and generated pairs as one batch. All
three networks are updated at once, from gradients of the same weights.

Tensors: reals [4, n, h, w, 1], exactly float32(byte / 255), seen again and again; z and epsilon
[20, n, nz]; weights and running statistics before step 1; gradients of step 1; step1.fake,
step1.encoded."""

import torch
import torch.nn.functional as F
from torch import nn

import bigan
from common import File, exact, initialise, named, nhwc, norm, normal, stored, stream

STEPS = 20
BATCHES = 4
SIZES = {
    "ali": dict(size=12, nz=3, ngf=2, ndf=2, nc=1, batch=5),
    "bigan-mnist": dict(size=8, nz=4, ngf=7, ndf=6, nc=1, batch=6),
}
METHOD = dict(lr=1e-4, betas=[0.5, 0.999])


class Maxout(nn.Module):
    def forward(self, x):
        return torch.maximum(x[:, 0::2], x[:, 1::2])


class Dense(nn.Linear):
    def forward(self, x):
        return super().forward(x.flatten(1))


class PixelBias(nn.Module):
    def __init__(self, *size):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x):
        return x + self.bias


class Join(nn.Module):
    """What its layers make of the latent, behind the channels."""

    def __init__(self, *layers):
        super().__init__()
        self.join = nn.Sequential(*layers)

    def forward(self, x, z):
        return torch.cat([x.flatten(1), self.join(z)], 1)


class Net(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.main = nn.Sequential(*layers)

    def forward(self, x, z=None):
        for layer in self.main:
            x = layer(x, z) if isinstance(layer, Join) else layer(x)
        return x


def convolutional(size, nz, ngf, ndf, nc, batch):
    """For 12x12: convolutions to 8x8 and 3x3, and one that covers these."""
    assert size == 12

    def normed(layer, width, dense=False):
        return [layer, nn.BatchNorm1d(width) if dense else norm(width), nn.LeakyReLU(0.1)]

    def conv(a, b, kernel, stride=1, bias=False):
        return nn.Conv2d(a, b, kernel, stride, bias=bias)

    def back(a, b, kernel, stride=1):
        return nn.ConvTranspose2d(a, b, kernel, stride, bias=False)

    w = ndf
    e = Net(
        *normed(conv(nc, w, 5), w), *normed(conv(w, 2 * w, 4, 2), 2 * w),
        *normed(conv(2 * w, 16 * w, 3), 16 * w),
        *normed(Dense(16 * w, 16 * w, bias=False), 16 * w, dense=True), Dense(16 * w, 2 * nz),
    )  # fmt: skip
    no = nn.Identity  # dropout
    latent = Join(
        no(), Dense(nz, 16 * w, bias=False), Maxout(), no(), Dense(8 * w, 16 * w, bias=False),
        Maxout(),
    )  # fmt: skip
    d = Net(
        no(), conv(nc, w, 5, bias=True), Maxout(), no(), conv(w // 2, 2 * w, 4, 2), Maxout(),
        conv(w, 16 * w, 3), no(), Maxout(), latent, no(), Dense(16 * w, 32 * w), Maxout(), no(),
        Dense(16 * w, 32 * w), Maxout(), no(), Dense(16 * w, 1),
    )  # fmt: skip
    w = ngf
    g = Net(
        *normed(back(nz, 2 * w, 3), 2 * w), *normed(back(2 * w, w, 4, 2), w),
        *normed(back(w, w, 5), w), *normed(conv(w, w, 1), w), conv(w, nc, 1),
        PixelBias(nc, size, size), nn.Sigmoid(),
    )  # fmt: skip
    return dict(generator=g, encoder=e, discriminator=d)


def dense(size, nz, ngf, ndf, nc, batch):
    """BiGAN's, with an encoder that outputs a distribution."""
    nets = bigan.networks(size, nz, ngf, ndf, nc)
    nets["encoder"].main[-2] = bigan.dense(ndf, 2 * nz)
    nets["encoder"].main[-1] = nn.Identity()
    return nets


def train(kind, nets, data):
    g, e, d = (nets[name] for name in ("generator", "encoder", "discriminator"))
    reals, z, epsilon = data
    of_g, of_d = [*g.parameters(), *e.parameters()], list(d.parameters())
    optimizers = [
        torch.optim.Adam(params, lr=METHOD["lr"], betas=METHOD["betas"], eps=1e-8)
        for params in (of_g, of_d)
    ]
    losses, first = [], {}
    for step in range(STEPS):
        x, latent = reals[step % BATCHES], z[step]
        shape = x.shape
        x = x.permute(0, 3, 1, 2) if kind == "ali" else x.flatten(1)
        mean, log_std = e(x).chunk(2, 1)
        std = log_std.exp()
        encoded = mean + std * epsilon[step]
        fake = g(latent[:, :, None, None]) if kind == "ali" else g(latent, latent)
        scores = d(torch.cat([x, fake]), torch.cat([encoded, latent]))
        q, p = scores.chunk(2)
        loss_d = F.softplus(-q).mean() + F.softplus(p).mean()
        loss_g = F.softplus(q).mean() + F.softplus(-p).mean()
        for params, loss in ((of_g, loss_g), (of_d, loss_d)):
            grads = torch.autograd.grad(loss, params, retain_graph=True)
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
        if step == 0:
            fake = nhwc(fake) if kind == "ali" else fake.reshape(shape)
            first |= {"step1.fake": stored(fake), "step1.encoded": stored(encoded)}
            for name, net in nets.items():
                for key, param in net.named_parameters():
                    first[f"grad.{name}.{key}"] = stored(param.grad)
        for optimizer in optimizers:
            optimizer.step()
        numbers = dict(loss_d=loss_d, loss_g=loss_g, sigma=std.mean())
        numbers |= dict(d_real=q.sigmoid().mean(), d_fake=p.sigmoid().mean())
        losses.append({key: value.item() for key, value in numbers.items()})
    return losses, first


def ali_file(kind):
    rand = stream(f"family_ali_{kind}")
    options = SIZES[kind]
    nets = (convolutional if kind == "ali" else dense)(**options)
    for net in nets.values():
        net.double().train()
        if kind == "ali":
            initialise(net, rand)
        else:
            bigan.start(rand, net)
    with torch.no_grad():
        for layer in nets["generator"].main:
            if isinstance(layer, PixelBias):
                layer.bias.copy_(normal(rand, *layer.bias.shape, scale=0.2))
    n, nz, size = options["batch"], options["nz"], options["size"]
    reals = exact((rand.randint(0, 256, (BATCHES, n, size, size, 1)) / 255).tolist())
    data = reals, normal(rand, STEPS, n, nz), normal(rand, STEPS, n, nz)
    before = {f"{name}.{k}": v for name, net in nets.items() for k, v in named(net).items()}
    losses, first = train(kind, nets, data)
    out = File(
        "Training steps of ALI", network=kind, options=options, method=METHOD, losses=losses
    )
    for name, values in zip(("reals", "z", "epsilon"), data, strict=True):
        out.put(name, values)
    for key, value in (before | first).items():
        out.put(key, value)
    return out
