"""Losses, penalties, and terms of the weights."""

import math

import torch
import torch.nn.functional as F

from common import File, exact, initialise, leaf, named, nchw, normal, stream
from second_order import ACTIVATIONS, NORMS, critic
from training import pictures


def mean(x):
    return x.mean()


# The f-GANs by tables 2 and 6 of Nowozin et al. (arXiv 1606.00709): output activation g, conjugate
# f*. D maximises E g(r) - E f*(g(f)); G maximises E g(f) (section 3.2).
F_GANS = {
    "kl": (lambda v: v, lambda t: torch.exp(t - 1)),
    "reverse-kl": (lambda v: -torch.exp(-v), lambda t: -1 - torch.log(-t)),
    "pearson": (lambda v: v, lambda t: t**2 / 4 + t),
    "hellinger": (lambda v: 1 - torch.exp(-v), lambda t: t / (1 - t)),
    "jensen-shannon": (
        lambda v: math.log(2) - torch.log(1 + torch.exp(-v)),
        lambda t: -torch.log(2 - torch.exp(t)),
    ),
}


def bce(x, target):
    return F.binary_cross_entropy_with_logits(x, torch.full_like(x, target))


# D's two terms and G's loss, of the scores of real and of generated pictures.
LOSSES = {
    "non-saturating": (lambda r, f: (bce(r, 1.0), bce(f, 0.0)), lambda r, f: bce(f, 1.0)),
    "saturating": (
        lambda r, f: (bce(r, 1.0), bce(f, 0.0)),
        lambda r, f: mean(torch.log(1 - torch.sigmoid(f))),
    ),
    "least-squares": (
        lambda r, f: (0.5 * mean((r - 1) ** 2), 0.5 * mean(f**2)),
        lambda r, f: 0.5 * mean((f - 1) ** 2),
    ),
    "hinge": (
        lambda r, f: (mean(F.relu(1 - r)), mean(F.relu(1 + f))),
        lambda r, f: -mean(f),
    ),
    "wasserstein": (lambda r, f: (-mean(r), mean(f)), lambda r, f: -mean(f)),
    "relativistic": (
        lambda r, f: (bce(r - mean(f), 1.0), bce(f - mean(r), 0.0)),
        lambda r, f: bce(f - mean(r), 1.0) + bce(r - mean(f), 0.0),
    ),
    "relativistic-least-squares": (
        lambda r, f: (mean((r - mean(f) - 1) ** 2), mean((f - mean(r) + 1) ** 2)),
        lambda r, f: mean((f - mean(r) - 1) ** 2) + mean((r - mean(f) + 1) ** 2),
    ),
    "relativistic-hinge": (
        lambda r, f: (mean(F.relu(1 - (r - mean(f)))), mean(F.relu(1 + (f - mean(r))))),
        lambda r, f: mean(F.relu(1 - (f - mean(r)))) + mean(F.relu(1 + (r - mean(f)))),
    ),
} | {
    name: (
        lambda r, f, g=g, conjugate=conjugate: (-mean(g(r)), mean(conjugate(g(f)))),
        lambda r, f, g=g: -mean(g(f)),
    )
    for name, (g, conjugate) in F_GANS.items()
}


def losses(out):
    rand = stream("losses")
    scores = [normal(rand, 7, scale=1.5) for _ in range(2)]
    for name, (of_d, of_g) in LOSSES.items():
        r, f = (leaf(s) for s in scores)
        real, fake = of_d(r, f)
        loss_g = of_g(r, f)
        gr, gf = torch.autograd.grad(real + fake, (r, f))
        (gf_g,) = torch.autograd.grad(loss_g, f)
        settings = dict(real=real.item(), fake=fake.item(), loss_g=loss_g.item())
        tensors = dict(real=r, fake=f, g_real=gr, g_fake=gf, g_fake_of_loss_g=gf_g)
        out.case(f"loss/{name}", settings, tensors)


WEIGHT = 7.5

# Where, and what of the gradient's length; u is one number a picture, v one a pixel.
PENALTIES = {
    "gp": (lambda r, f, u, v: u * r + (1 - u) * f, lambda n: WEIGHT * (n - 1) ** 2),
    "gp-one-sided": (
        lambda r, f, u, v: u * r + (1 - u) * f,
        lambda n: WEIGHT * F.relu(n - 1) ** 2,
    ),
    "gp-zero": (lambda r, f, u, v: u * r + (1 - u) * f, lambda n: WEIGHT * n**2),
    "dragan": (
        lambda r, f, u, v: r + u * 0.5 * r.std(correction=0) * v,
        lambda n: WEIGHT * (n - 1) ** 2,
    ),
    "r1": (lambda r, f, u, v: r, lambda n: WEIGHT / 2 * n**2),
    "r2": (lambda r, f, u, v: f, lambda n: WEIGHT / 2 * n**2),
}


def penalties(out):
    rand = stream("penalties")
    real, fake = (pictures(rand, 1, 3, 8, 3)[0].double() for _ in range(2))
    u = exact(rand.uniform(0, 1, 3).tolist())
    v = exact(rand.uniform(0, 1, real.shape).tolist())
    for name, value in dict(real=real, fake=fake, u=u, v=v).items():
        out.put(name, value)
    for name, (where, of_length) in PENALTIES.items():
        net = critic(ACTIVATIONS["leaky_relu"], NORMS["none"], True)
        initialise(net, stream(f"penalty/{name}"))
        before = named(net)
        x = leaf(where(real, fake, u.reshape(-1, 1, 1, 1), v))
        scores = net(nchw(x))
        (gx,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        lengths = gx.flatten(1).norm(dim=1)
        value = of_length(lengths).mean()
        names, parameters = zip(*net.named_parameters(), strict=True)
        # Biases that no second derivative sees.
        grads = torch.autograd.grad(value, parameters, allow_unused=True)
        settings = dict(
            activation="leaky_relu", norm="none", bias=True, value=value.item(),
            slope=lengths.mean().item(),
        )  # fmt: skip
        tensors = {k: t for k, t in before.items()}
        tensors |= {
            f"grad.{k}": torch.zeros_like(p) if g is None else g
            for k, p, g in zip(names, parameters, grads, strict=True)
        }
        out.case(f"penalty/{name}", settings, tensors)


def weights(out):
    rand = stream("orthogonal")
    for name, shape in {"conv": (5, 3, 2, 4), "conv_transpose": (4, 3, 3, 2)}.items():
        w = leaf(normal(rand, *shape))
        # Rows: one for each output channel, which stands second in a transposed convolution.
        rows = (w if name == "conv" else w.transpose(0, 1)).flatten(1)
        products = rows @ rows.T
        value = (products * (1 - torch.eye(len(rows)))).pow(2).sum()
        (gw,) = torch.autograd.grad(value, w)
        out.case(f"orthogonal/{name}", dict(value=value.item()), dict(w=w, gw=gw))

    steps = 5
    rand = stream("historical")
    w, h, grads = normal(rand, 6), normal(rand, 6), normal(rand, steps, 6)
    out_h = []
    out_g = []
    past = []
    for step in range(steps):
        # The parameter moves as given here, whatever the gradient is.
        p = leaf(w + step * h)
        mean_of_past = torch.stack(past).mean(0) if past else p.detach()
        value = 0.3 * (p - mean_of_past).pow(2).sum()
        (pull,) = torch.autograd.grad(value, p)
        out_g.append(grads[step] + pull)
        past.append(p.detach())
        out_h.append(torch.stack(past).mean(0))
    tensors = dict(
        p=torch.stack(past), grads=grads, g=torch.stack(out_g), h=torch.stack(out_h)
    )
    out.case("historical/0", dict(weight=0.3, steps=steps), tensors)


def rmsprop(out):
    steps = 5
    rand = stream("rmsprop")
    w0 = normal(rand, 9)
    grads = normal(rand, steps, 9) * exact([0, 1e-9, 1e-3, 0.1, 1, 1, 10, 100, 1e4])
    grads = grads.float().double()
    for i, settings in enumerate(
        [dict(lr=5e-5, alpha=0.99, eps=1e-8), dict(lr=0.01, alpha=0.9, eps=1e-6)]
    ):
        w = leaf(w0)
        opt = torch.optim.RMSprop([w], **settings)
        after = []
        for g in grads:
            w.grad = g.clone()
            opt.step()
            after.append(w.detach().clone())
        tensors = dict(w=w0, grads=grads, after=torch.stack(after), v=opt.state[w]["square_avg"])
        out.case(f"rmsprop/{i}", dict(steps=steps, **settings), tensors)


def objectives_file():
    out = File(
        "Losses of scores, and penalties on the gradient of a critic. loss/*: real and fake are "
        "D's two terms, g_* the gradients of their sum, g_fake_of_loss_g that of G's loss. "
        "penalty/*: the critic of second_order without a norm, at pictures made of real, fake, u "
        "(a number for each picture) and v (one for each of its numbers); value is the penalty, "
        "slope the mean length of the gradient, grad.* the gradients of the penalty. orthogonal/*: "
        "the sum of squared products of two different output channels. historical/*: rows are "
        "steps; g is the gradient with the pull towards the mean of all past p, h that mean "
        "afterwards",
        penalty_weight=WEIGHT,
    )
    losses(out)
    penalties(out)
    weights(out)
    rmsprop(out)
    return out
