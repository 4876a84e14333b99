"""Single layers, losses and optimisers."""

import torch
import torch.nn.functional as F

from common import SLOPE, File, exact, leaf, nchw, nhwc, normal, stream

# kernel, stride, padding, [n, h, w], channels in and out
CONV2D = [
    ((1, 1), (1, 1), (0, 0), (2, 4, 5), 3, 5),
    ((1, 1), (2, 2), (0, 0), (1, 6, 5), 5, 3),
    ((2, 2), (1, 1), (0, 0), (1, 4, 3), 8, 1),
    ((2, 2), (2, 2), (0, 0), (2, 5, 6), 3, 5),
    ((3, 3), (1, 1), (1, 1), (2, 5, 4), 5, 8),
    ((3, 3), (2, 2), (1, 1), (1, 7, 8), 1, 3),
    ((3, 3), (3, 3), (2, 2), (1, 8, 6), 3, 5),
    ((4, 4), (2, 2), (1, 1), (3, 6, 8), 3, 5),
    ((4, 4), (2, 2), (1, 1), (1, 7, 9), 8, 3),
    ((4, 4), (1, 1), (0, 0), (4, 4, 4), 5, 1),
    ((4, 3), (2, 1), (1, 1), (2, 6, 5), 3, 5),
    ((4, 3), (1, 3), (2, 0), (1, 5, 8), 5, 3),
    ((3, 4), (3, 2), (0, 2), (1, 8, 5), 1, 8),
    ((5, 5), (2, 2), (2, 2), (2, 8, 6), 3, 5),
    ((5, 5), (3, 3), (2, 2), (1, 9, 10), 1, 5),
    ((5, 5), (1, 1), (2, 2), (1, 4, 3), 5, 8),
    ((5, 2), (1, 2), (1, 1), (1, 6, 6), 5, 1),
    ((3, 3), (2, 3), (1, 2), (1, 2, 2), 3, 3),
]

# kernel, stride, padding, output padding, [n, h, w] of the input, channels in and out
CONV_TRANSPOSE2D = [
    ((1, 1), (1, 1), (0, 0), (0, 0), (2, 4, 3), 3, 5),
    ((1, 1), (2, 2), (0, 0), (1, 1), (1, 3, 4), 5, 3),
    ((2, 2), (2, 2), (0, 0), (0, 0), (2, 3, 2), 3, 5),
    ((3, 3), (1, 1), (1, 1), (0, 0), (1, 4, 5), 8, 8),
    ((3, 3), (2, 2), (1, 1), (1, 1), (2, 3, 4), 3, 1),
    ((3, 3), (2, 2), (1, 1), (0, 0), (1, 3, 4), 1, 3),
    ((3, 3), (3, 3), (0, 0), (2, 1), (1, 2, 3), 5, 3),
    ((4, 4), (1, 1), (0, 0), (0, 0), (3, 1, 1), 8, 5),
    ((4, 4), (2, 2), (1, 1), (0, 0), (2, 4, 3), 5, 3),
    ((4, 4), (2, 2), (1, 1), (1, 0), (1, 3, 4), 3, 8),
    ((4, 4), (3, 3), (2, 2), (2, 2), (1, 3, 3), 1, 5),
    ((4, 3), (2, 1), (1, 1), (0, 0), (1, 3, 4), 5, 3),
    ((4, 3), (1, 3), (2, 0), (0, 2), (1, 4, 2), 3, 5),
    ((5, 5), (2, 2), (2, 2), (1, 1), (2, 4, 3), 5, 3),
    ((5, 5), (3, 3), (2, 2), (0, 2), (1, 2, 3), 3, 1),
    ((5, 5), (1, 1), (2, 2), (0, 0), (1, 3, 4), 8, 5),
    ((5, 2), (3, 2), (1, 0), (1, 1), (1, 2, 3), 1, 8),
]

# Where float32 functions go wrong: exp overflows at 88.7, tanh by exp(2x) at 44.4.
AWKWARD = [0.0, 1e-6, 1e-3, 0.1, 0.5, 1, 2, 5, 8, 10, 15, 17, 20, 30, 44, 45, 60, 88, 89, 100, 150]
AWKWARD = sorted([-v for v in AWKWARD[1:]] + AWKWARD)


def convolutions(out):
    for i, (kernel, stride, pad, (n, h, w), cin, cout) in enumerate(CONV2D):
        rand = stream(f"conv2d/{i}")
        x, wt = leaf(normal(rand, n, h, w, cin)), leaf(normal(rand, cout, cin, *kernel))
        y = nhwc(F.conv2d(nchw(x), wt, stride=stride, padding=pad))
        g = normal(rand, *y.shape)
        gx, gw = torch.autograd.grad(y, (x, wt), g)
        settings = dict(kernel=kernel, stride=stride, pad=pad, x=list(x.shape), y=list(y.shape))
        out.case(f"conv2d/{i}", settings, dict(x=x, w=wt, y=y, g=g, gx=gx, gw=gw))
    for i, (kernel, stride, pad, extra, (n, h, w), cin, cout) in enumerate(CONV_TRANSPOSE2D):
        rand = stream(f"conv_transpose2d/{i}")
        x, wt = leaf(normal(rand, n, h, w, cin)), leaf(normal(rand, cin, cout, *kernel))
        y = nhwc(F.conv_transpose2d(nchw(x), wt, stride=stride, padding=pad, output_padding=extra))
        g = normal(rand, *y.shape)
        gx, gw = torch.autograd.grad(y, (x, wt), g)
        settings = dict(
            kernel=kernel,
            stride=stride,
            pad=pad,
            output_padding=extra,
            x=list(x.shape),
            y=list(y.shape),
        )
        out.case(f"conv_transpose2d/{i}", settings, dict(x=x, w=wt, y=y, g=g, gx=gx, gw=gw))


def linears(out):
    for i, (n, cin, cout) in enumerate([(1, 1, 1), (3, 5, 7), (4, 16, 1), (2, 7, 9)]):
        rand = stream(f"linear/{i}")
        x, wt, b = (leaf(normal(rand, *s)) for s in ((n, cin), (cout, cin), (cout,)))
        y = F.linear(x, wt, b)
        g = normal(rand, *y.shape)
        gx, gw, gb = torch.autograd.grad(y, (x, wt, b), g)
        settings = dict(x=[n, cin], y=[n, cout])
        out.case(f"linear/{i}", settings, dict(x=x, w=wt, b=b, y=y, g=g, gx=gx, gw=gw, gb=gb))


def batch_norms(out):
    # shape, mean and deviation of x, whether channel 0 is constant
    table = [
        ((4, 3, 5, 5), 0.0, 1.0, False),
        ((2, 1, 1, 3), 0.5, 2.0, False),
        ((7, 2, 3, 1), -3.0, 0.5, False),
        ((3, 4, 4, 8), 50.0, 0.5, False),
        ((2, 3, 3, 3), 1.0, 1.0, True),
    ]
    for i, (shape, mean, scale, constant) in enumerate(table):
        for training in (True, False):
            mode = "train" if training else "eval"
            rand = stream(f"batch_norm/{i}")
            x = normal(rand, *shape, scale=scale, mean=mean)
            if constant:
                x[..., 0] = 1.25
            x = leaf(x)
            gamma = leaf(normal(rand, shape[3], scale=0.5, mean=1.0))
            beta = leaf(normal(rand, shape[3]))
            mean0 = normal(rand, shape[3], scale=0.3, mean=mean)
            var0 = exact((1 + rand.uniform(-0.5, 0.5, shape[3])).tolist())
            mean1, var1 = mean0.clone(), var0.clone()
            y = nhwc(F.batch_norm(nchw(x), mean1, var1, gamma, beta, training, 0.1, 1e-5))
            g = normal(rand, *shape)
            gx, gg, gb = torch.autograd.grad(y, (x, gamma, beta), g)
            tensors = dict(x=x, gamma=gamma, beta=beta, running_mean=mean0, running_var=var0)
            tensors |= dict(y=y, g=g, gx=gx, ggamma=gg, gbeta=gb)
            tensors |= dict(running_mean_after=mean1, running_var_after=var1)
            settings = dict(training=training, eps=1e-5, momentum=0.1, x=shape)
            out.case(f"batch_norm/{i}/{mode}", settings, tensors)


def activations(out):
    table = {
        "relu": F.relu,
        "leaky_relu": lambda x: F.leaky_relu(x, SLOPE),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        # PyTorch goes over to y = x above a threshold; here never within the values tried.
        "softplus": lambda x: F.softplus(x, threshold=300.0),
    }
    for name, f in table.items():
        x = leaf(exact(AWKWARD))
        g = normal(stream(name), *x.shape)
        y = f(x)
        (gx,) = torch.autograd.grad(y, x, g)
        settings = dict(slope=SLOPE) if name == "leaky_relu" else {}
        out.case(f"activation/{name}", settings, dict(x=x, y=y, g=g, gx=gx))


def losses(out):
    for i, target in enumerate([1.0, 0.0, 0.9]):
        x = leaf(exact(AWKWARD))
        each = F.binary_cross_entropy_with_logits(x, torch.full_like(x, target), reduction="none")
        (gx,) = torch.autograd.grad(each.mean(), x)
        settings = dict(target=target, reduction="mean", loss=each.mean().item())
        out.case(f"bce_with_logits/{i}", settings, dict(x=x, each=each, gx=gx))


def optimisers(out):
    steps = 5
    table = {
        "adam/0": (torch.optim.Adam, dict(lr=2e-4, betas=(0.5, 0.999), eps=1e-8)),
        "adam/1": (torch.optim.Adam, dict(lr=0.05, betas=(0.0, 0.9), eps=1e-6)),
        "adam/2": (torch.optim.Adam, dict(lr=0.05, betas=(0.9, 0.999), eps=1e-8)),
        "sgd/0": (torch.optim.SGD, dict(lr=0.01, momentum=0.0)),
        "sgd/1": (torch.optim.SGD, dict(lr=0.01, momentum=0.9)),
    }
    rand = stream("optimiser")
    w0 = normal(rand, 9)
    # A gradient that stays zero, one that is lost against eps, one that is huge.
    grads = normal(rand, steps, 9)
    grads *= exact([0, 1e-9, 1e-3, 0.1, 1, 1, 10, 100, 1e4])
    grads = grads.float().double()
    for name, (kind, settings) in table.items():
        w = leaf(w0)
        opt = kind([w], **settings)
        after = []
        for g in grads:
            w.grad = g.clone()
            opt.step()
            after.append(w.detach().clone())
        tensors = dict(w=w0, grads=grads, after=torch.stack(after))
        if kind is torch.optim.Adam:
            tensors |= dict(m=opt.state[w]["exp_avg"], v=opt.state[w]["exp_avg_sq"])
        elif settings["momentum"]:
            tensors |= dict(m=opt.state[w]["momentum_buffer"])
        out.case(name, dict(steps=steps, **settings), tensors)

    for i, decay in enumerate([0.999, 0.5]):
        values, ema = normal(rand, steps, 9), w0.clone()
        after = []
        for w in values:
            ema = torch.optim.swa_utils.get_ema_avg_fn(decay)(ema, w, 0)
            after.append(ema)
        settings = dict(decay=decay, formula="ema = decay * ema + (1 - decay) * w", steps=steps)
        out.case(f"ema/{i}", settings, dict(ema=w0, w=values, after=torch.stack(after)))


def layers_file():
    out = File(
        "Single layers: y of x, and gradients for a random gradient g of y. For `after` of "
        "optimisers and EMA the first axis is the step; at 0 both rectifiers' slope is the left one"
    )
    convolutions(out)
    linears(out)
    batch_norms(out)
    activations(out)
    losses(out)
    optimisers(out)
    return out
