"""Training steps of the VAE and of VAE/GAN (Larsen et al., arXiv 1512.09300)."""

import torch
from torch import nn

from common import File, Net, initialise, named, nchw, nhwc, normal, stored, stream
from training import drift, pictures

STEPS = 20
BATCHES = 4  # of real images, seen again and again
EPS = 1e-6
DELTA = 1e-3
SIDE = 16


class ReluThenImage(nn.Module):
    def forward(self, x):
        return torch.relu(x).unflatten(1, (-1, 4, 4))


def networks(nz, ngf, ndf, nc):
    """Those of the authors' `architectures.py`, for 16x16."""

    def norm(channels):
        return nn.BatchNorm2d(channels, eps=EPS)

    def dense(from_, to):
        return [nn.Linear(from_, to, bias=False), nn.BatchNorm1d(to, eps=EPS), nn.ReLU()]

    down = dict(kernel_size=5, stride=2, padding=2, bias=False)
    up = dict(down, output_padding=1)
    same = dict(kernel_size=5, padding=2)
    e = [nn.Conv2d(nc, ndf, **down), norm(ndf), nn.ReLU()]
    e += [nn.Conv2d(ndf, 2 * ndf, **down), norm(2 * ndf), nn.ReLU(), nn.Flatten()]
    e += [*dense(2 * ndf * 16, 16 * ndf), nn.Linear(16 * ndf, 2 * nz)]
    deep = 8 * ngf * 16
    g = [nn.Linear(nz, deep, bias=False), nn.Identity(), nn.BatchNorm1d(deep, eps=EPS)]
    g += [ReluThenImage()]
    g += [nn.ConvTranspose2d(8 * ngf, 4 * ngf, **up), norm(4 * ngf), nn.ReLU()]
    g += [nn.ConvTranspose2d(4 * ngf, ngf, **up), norm(ngf), nn.ReLU()]
    g += [nn.Conv2d(ngf, nc, **same), nn.Tanh()]
    d = [nn.Conv2d(nc, (ndf + 1) // 2, **same), nn.ReLU()]
    d += [nn.Conv2d((ndf + 1) // 2, 2 * ndf, **down), norm(2 * ndf), nn.ReLU()]
    d += [nn.Conv2d(2 * ndf, 3 * ndf, **down), norm(3 * ndf), nn.ReLU(), nn.Flatten()]
    d += [*dense(3 * ndf * 16, 8 * ndf), nn.Linear(8 * ndf, 1)]
    return {"encoder": Net(*e), "generator": Net(*g), "discriminator": Net(*d)}


FEATURES = 3  # layers of D up to the raw output of its first strided convolution, 8x8


def train(nets, data, dtype, *, gan, loss, gamma, lr, alpha, eps):
    """STEPS steps; whether D and G are updated follows from the losses before the step."""
    reals, z, noise = data
    nets = {name: net.to(dtype).train() for name, net in nets.items()}
    optimizers = {
        name: torch.optim.RMSprop(net.parameters(), lr=lr, alpha=alpha, eps=eps)
        for name, net in nets.items()
    }
    e, g, d = (nets.get(name) for name in ("encoder", "generator", "discriminator"))
    losses, first = [], {}
    for step in range(STEPS):
        x = nchw(reals[step % BATCHES].to(dtype))
        n = len(x)
        mean, log_variance = e(x).chunk(2, 1)
        z_q = mean + torch.exp(log_variance / 2) * noise[step].to(dtype)
        kl = -0.5 * (1 + log_variance - mean**2 - torch.exp(log_variance)).sum() / n
        x_q = g(z_q)
        if gan:
            x_p = g(z[step].to(dtype))
            q, own = d.main[:FEATURES](torch.cat([x_q, x])).chunk(2)
            distance = 0.5 * ((q - own) ** 2).sum() / n
            r, f = torch.sigmoid(d(torch.cat([x, x_p]))).chunk(2)
            a, b = -torch.log(r + DELTA).mean(), -torch.log(1 - f + DELTA).mean()
            adversarial = -b if loss == "saturating" else -torch.log(f).mean()
            loss_g = gamma * distance + (1 - gamma) * adversarial
            update_d = min(a.item(), b.item()) >= 0.33
            update_g = max(a.item(), b.item()) <= 1.03
            if not update_d and not update_g:
                update_d = update_g = True
        else:
            distance = 0.5 * ((x_q - x) ** 2).sum() / n
            loss_g, update_g = distance, True
        loss_e = kl + distance
        numbers = dict(loss_e=loss_e.item(), kl=kl.item(), reconstruction=distance.item())
        terms = {"encoder": (loss_e, True), "generator": (loss_g, update_g)}
        if gan:
            terms["discriminator"] = (a + b, update_d)
            numbers |= dict(loss_g=loss_g.item(), loss_d=(a + b).item())
            numbers |= dict(updated_d=int(update_d), updated_g=int(update_g))
            numbers |= dict(d_real=r.mean().item(), d_fake=f.mean().item(), a=a.item(), b=b.item())
        losses.append(numbers)
        grads = {
            name: torch.autograd.grad(term, list(nets[name].parameters()), retain_graph=True)
            for name, (term, _) in terms.items()
        }
        if step == 0:
            first["step1.reconstructed"] = stored(nhwc(x_q))
            for name, all_ in grads.items():
                for (key, _), grad in zip(nets[name].named_parameters(), all_, strict=True):
                    first[f"grad.{name}.{key}"] = stored(grad)
        for name, (_, made) in terms.items():
            for param, grad in zip(nets[name].parameters(), grads[name], strict=True):
                param.grad = grad
            if made:
                optimizers[name].step()
    return losses, first


def vae_gan_file(seed, gan, loss="saturating", gamma=0.01, lr=2e-3):
    options = dict(size=SIDE, nz=3, ngf=1, ndf=2, nc=1, batch=4)
    method = dict(gan=gan, loss=loss, gamma=gamma, lr=lr, alpha=0.9, eps=1e-4)

    def start():
        rand = stream(seed)
        nets = networks(*(options[key] for key in ("nz", "ngf", "ndf", "nc")))
        if not gan:
            del nets["discriminator"]
        for net in nets.values():
            initialise(net.double(), rand)
        return nets

    rand = stream(seed + "/data")
    reals = pictures(rand, BATCHES, options["batch"], SIDE, options["nc"])
    z, noise = (normal(rand, STEPS, options["batch"], options["nz"]).float() for _ in range(2))
    nets = start()
    before = {f"{net}.{k}": v for net in nets for k, v in named(nets[net]).items()}
    losses, first = train(nets, (reals, z, noise), torch.float64, **method)
    losses32, first32 = train(start(), (reals, z, noise), torch.float32, **method)
    out = File(
        "Training steps of the VAE and of VAE/GAN",
        options=options,
        method=method,
        losses=losses,
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
    out.put("reals", reals)
    out.put("epsilon", noise)
    if gan:
        out.put("z", z)
    for key, value in (before | first).items():
        out.put(key, value)
    return out
