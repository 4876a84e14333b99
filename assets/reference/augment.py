"""Augmentations of pictures for given draws, and what flows back through them.

The formulas of DiffAugment (Zhao et al., arXiv 2006.10738), in the paper's order; u are numbers in
[0, 1), n of them for each of brightness, saturation and contrast, [n, 2] (down, to the right) for
translation and cutout. Integers are made of them as the authors' code draws them: a shift of -r to r
pixels with r = int(side / 8 + .5); a rectangle of s = int(side / 2 + .5) whose centre is 0 to
side - 1, and side too where s is even.
"""

import math

import torch

from common import File, exact, leaf, normal, stream
from training import pictures


def colours(x):
    """All channels but alpha, [n, h, w, c]."""
    return x[..., :3] if x.shape[-1] == 4 else x


def with_colours(x, new):
    return torch.cat([new, x[..., new.shape[-1] :]], dim=-1)


def brightness(x, u):
    return with_colours(x, colours(x) + (u.view(-1, 1, 1, 1) - 0.5))


def saturation(x, u):
    rgb = colours(x)
    mean = rgb.mean(-1, keepdim=True)
    return with_colours(x, (rgb - mean) * (2 * u.view(-1, 1, 1, 1)) + mean)


def contrast(x, u):
    rgb = colours(x)
    mean = rgb.mean((1, 2, 3), keepdim=True)
    return with_colours(x, (rgb - mean) * (u.view(-1, 1, 1, 1) + 0.5) + mean)


def whole(u, least, count):
    """One of `count` whole numbers from `least` on."""
    return least + math.floor(float(u) * count)


def translation(x, u):
    _, h, w, _ = x.shape
    rh, rw = (int(side / 8 + 0.5) for side in (h, w))
    moved = []
    for picture, (down, right) in zip(x, u, strict=True):
        a, b = whole(down, -rh, 2 * rh + 1), whole(right, -rw, 2 * rw + 1)
        wide = torch.nn.functional.pad(picture, (0, 0, rw, rw, rh, rh))
        moved.append(wide[rh - a : rh - a + h, rw - b : rw - b + w])
    return torch.stack(moved)


def cutout(x, u):
    _, h, w, _ = x.shape
    sh, sw = (int(side / 2 + 0.5) for side in (h, w))
    mask = torch.ones_like(x)
    for picture, (down, right) in zip(mask, u, strict=True):
        i = whole(down, 0, h + 1 - sh % 2)
        j = whole(right, 0, w + 1 - sw % 2)
        top, left = i - sh // 2, j - sw // 2
        picture[max(top, 0) : top + sh, max(left, 0) : left + sw] = 0
    return x * mask


# In the paper's order; how many numbers each takes of a picture.
KINDS = {
    "brightness": (brightness, 1),
    "saturation": (saturation, 1),
    "contrast": (contrast, 1),
    "translation": (translation, 2),
    "cutout": (cutout, 2),
}

# n, h, w, c: even sides, odd ones, ones that differ, grey, and with alpha.
SHAPES = [(3, 8, 8, 3), (3, 7, 7, 3), (2, 20, 13, 3), (3, 9, 8, 1), (3, 8, 5, 4)]

PROBABILITY = 0.5


def kinds_of(name):
    return list(KINDS) if name == "all" else [name]


def draw(rand, kinds, n):
    def of(k):
        return exact(rand.uniform(0, 1, (n, k) if k > 1 else n).tolist())

    return {kind: of(KINDS[kind][1]) for kind in kinds}


def augment(x, draws, gates=None):
    for kind, u in draws.items():
        if kind == "saturation" and x.shape[-1] == 1:
            continue
        y = KINDS[kind][0](x, u)
        if gates is not None:
            y = torch.where((gates[kind] < PROBABILITY).view(-1, 1, 1, 1), y, x)
        x = y
    return x


def case(out, name, kinds, shape, gated):
    n, h, w, c = shape
    rand = stream(name)
    # Cut from a square: what the other cases' pictures are made of.
    square = pictures(rand, 1, n, max(h, w), c)[0].double()
    x = leaf(square[:, :h, :w])
    draws = draw(rand, kinds, n)
    gates = {k: exact(rand.uniform(0, 1, n).tolist()) for k in kinds} if gated else None
    y = augment(x, draws, gates)
    g = normal(rand, *shape)
    (gx,) = torch.autograd.grad((y * g).sum(), x)
    tensors = dict(x=x, y=y, g=g, gx=gx) | {f"u.{k}": u for k, u in draws.items()}
    if gated:
        tensors |= {f"gate.{k}": u for k, u in gates.items()}
    out.case(name, dict(kinds=kinds, shape=list(shape), gated=gated), tensors)


def penalty(out):
    """R1 of scores sum(w * tanh(augmented x)), by x and by w."""
    shape = n, h, w, c = (3, 8, 7, 3)
    rand = stream("augment/penalty")
    kinds = list(KINDS)
    x = leaf(pictures(rand, 1, n, max(h, w), c)[0].double()[:, :h, :w])
    weights = leaf(normal(rand, h, w, c))
    draws = draw(rand, kinds, n)
    scores = (weights * torch.tanh(augment(x, draws))).sum((1, 2, 3))
    (gx,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    value = 5 * gx.pow(2).sum((1, 2, 3)).mean()
    by_x, by_w = torch.autograd.grad(value, (x, weights))
    tensors = dict(x=x, w=weights, scores=scores, gx=gx) | {f"u.{k}": u for k, u in draws.items()}
    tensors |= {"grad.x": by_x, "grad.w": by_w}
    settings = dict(kinds=kinds, shape=list(shape), gated=False, value=value.item())
    out.case("penalty/0", settings, tensors)


def augment_file():
    out = File(
        "Augmentations for given draws u.* (see augment.py). y is the augmented x, gx the gradient of "
        "the sum of g * y by x. Where gated, a picture is changed only where its gate.* is below the "
        "probability. penalty/0: scores are sums of w * tanh(y) over each picture, gx the gradient of "
        "their sum by x, value 10 / 2 * mean of its squared length, grad.* the gradients of value",
        probability=PROBABILITY,
    )
    for shape in SHAPES:
        size = "x".join(map(str, shape[1:]))
        for kind in [*KINDS, "all"]:
            # What is done to colours does not depend on the sides, nor the rest on the channels.
            moves = kind in ("translation", "cutout")
            if kind == "all" or (shape[-1] == 3 and (shape[1] < 20 or moves)):
                case(out, f"{kind}/{size}", kinds_of(kind), shape, False)
    for shape in SHAPES[2:]:
        size = "x".join(map(str, shape[1:]))
        case(out, f"gated/{size}", list(KINDS), shape, True)
    penalty(out)
    return out
