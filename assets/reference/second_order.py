"""Gradients of gradient penalties."""

import torch
from torch import nn

from common import SLOPE, File, Net, exact, initialise, leaf, named, nchw, norm, stream
from training import pictures


def critic(activation, normalise, bias):
    """8x8x3 pictures to one number each."""
    layers = [nn.Conv2d(3, 5, 4, 2, 1, bias=bias), activation()]
    layers += [nn.Conv2d(5, 6, 4, 2, 1, bias=bias)]
    if normalise:
        layers += [normalise(6)]
    return Net(*layers, activation(), nn.Conv2d(6, 1, 2, 1, 0, bias=False)).double()


ACTIVATIONS = {
    "leaky_relu": lambda: nn.LeakyReLU(SLOPE),
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
}

NORMS = {
    "none": None,
    "batch_norm": norm,
    # One group: mean and variance over h, w and c of each picture; scale and shift by channel.
    "layer_norm": lambda c: nn.GroupNorm(1, c, eps=1e-5),
}

# activation, norm, biases of the first two convolutions, penalty
CASES = [
    ("leaky_relu", "none", False, "gradient_penalty"),
    ("leaky_relu", "none", False, "r1"),
    ("tanh", "none", True, "gradient_penalty"),
    ("softplus", "none", False, "gradient_penalty"),
    ("leaky_relu", "batch_norm", False, "gradient_penalty"),
    ("tanh", "batch_norm", False, "gradient_penalty"),
    ("leaky_relu", "layer_norm", False, "gradient_penalty"),
]

PENALTIES = {
    "gradient_penalty": lambda norms: 10 * ((norms - 1) ** 2).mean(),
    "r1": lambda norms: 10 / 2 * (norms**2).mean(),
}


def second_order_file():
    out = File(
        "Gradients of gradient penalties. main: conv k4 s2 p1 3->5, activation, conv k4 s2 p1 "
        "5->6, [norm in training mode], activation, conv k2 s1 p0 6->1, on 8x8 pictures. gx is "
        "the gradient of the sum of all scores by x, norms its length for each picture; grad.* "
        "and grad.x are gradients of the penalty. Running statistics are those before",
        penalties={
            "gradient_penalty": "10 * mean_n (norms_n - 1)^2, at x_hat",
            "r1": "10 / 2 * mean_n norms_n^2, at real",
        },
        x_hat="u_n * real_n + (1 - u_n) * fake_n, rounded to float32",
        eps=1e-5,
        slope=SLOPE,
    )
    rand = stream("second_order")
    real, fake = (pictures(rand, 1, 2, 8, 3)[0].double() for _ in range(2))
    u = exact(rand.uniform(0, 1, 2).tolist())
    mix = u.reshape(-1, 1, 1, 1)
    x_hat = (mix * real + (1 - mix) * fake).float().double()
    for name, value in dict(real=real, fake=fake, u=u, x_hat=x_hat).items():
        out.put(name, value)

    for i, (activation, normalise, bias, penalty) in enumerate(CASES):
        net = critic(ACTIVATIONS[activation], NORMS[normalise], bias).train()
        initialise(net, stream(f"second_order/{i}"))
        before = named(net)
        x = leaf(real if penalty == "r1" else x_hat)
        scores = net(nchw(x)).flatten()
        (gx,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        norms = gx.flatten(1).norm(dim=1)
        value = PENALTIES[penalty](norms)
        names, parameters = zip(*net.named_parameters(), strict=True)
        grads = torch.autograd.grad(value, (x, *parameters))
        settings = dict(
            activation=activation, norm=normalise, bias=bias, penalty=penalty, value=value.item()
        )
        tensors = {"scores": scores, "gx": gx, "norms": norms, **before}
        tensors |= {f"grad.{k}": v for k, v in zip(("x", *names), grads, strict=True)}
        out.case(f"critic/{i}", settings, tensors)
    return out
