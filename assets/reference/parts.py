"""The layers of the GAN family, one at a time and in critics under a gradient penalty."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import spectral_norm, weight_norm

from common import SLOPE, File, Net, leaf, nchw, nhwc, normal, stored, stream


# Layers as PyTorch programs have them. Names of parameters are those of the description.


class Project(nn.Linear):
    """A linear layer whose output is a picture [c, h, w]."""

    def __init__(self, size, to, start, **kwargs):
        super().__init__(start, to * size[0] * size[1], **kwargs)
        self.picture = (to, *size)

    def forward(self, x):
        return super().forward(x.flatten(1)).view(-1, *self.picture)


class Flat(nn.Linear):
    """A linear layer on a flattened picture [c, h, w]."""

    def forward(self, x):
        return super().forward(x.flatten(1))[:, :, None, None]


class PixelNorm(nn.Module):
    """As ProGAN's code: x * rsqrt(mean(square(x), channels) + eps)."""

    def forward(self, x):
        return x * torch.rsqrt((x**2).mean(1, keepdim=True) + 1e-8)


class ConditionalBatchNorm(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.gamma, self.beta = (nn.Embedding(classes, channels) for _ in range(2))

    def forward(self, x, label):
        y = F.batch_norm(
            x, self.running_mean, self.running_var, training=self.training, momentum=0.1, eps=1e-5
        )
        return self.gamma(label)[:, :, None, None] * y + self.beta(label)[:, :, None, None]


class Reference(nn.Module):
    """A fixed batch, kept as [count, h, w, c], in front of the one at hand."""

    def __init__(self, count, h, w, c):
        super().__init__()
        self.register_buffer("reference", torch.zeros(count, h, w, c))

    def forward(self, x):
        return torch.cat([nchw(self.reference), x])


class VirtualBatchNorm(nn.Module):
    """As openai/improved-gan, imagenet/ops.py: means and mean squares are mixed."""

    def __init__(self, count, channels):
        super().__init__()
        self.count = count
        self.weight, self.bias = (nn.Parameter(torch.zeros(channels)) for _ in range(2))

    def normalise(self, x, mean, mean_sq):
        scale, shift = (p[None, :, None, None] for p in (self.weight, self.bias))
        return (x - mean) / torch.sqrt(1e-5 + mean_sq - mean**2) * scale + shift

    def forward(self, x):
        reference, live = x[: self.count], x[self.count :]
        mean = reference.mean((0, 2, 3), keepdim=True)
        mean_sq = (reference**2).mean((0, 2, 3), keepdim=True)
        new = 1 / (self.count + 1)
        live_mean = new * live.mean((2, 3), keepdim=True) + (1 - new) * mean
        live_sq = new * (live**2).mean((2, 3), keepdim=True) + (1 - new) * mean_sq
        return torch.cat(
            [self.normalise(reference, mean, mean_sq), self.normalise(live, live_mean, live_sq)]
        )


class MinibatchDiscrimination(nn.Module):
    def __init__(self, features, kernels, dims):
        super().__init__()
        self.T = nn.Parameter(torch.zeros(features, kernels, dims))

    def forward(self, x):
        m = torch.einsum("nf,fkd->nkd", x.flatten(1), self.T)
        apart = (m[:, None] - m[None, :]).abs().sum(3)
        o = torch.exp(-apart).sum(1) - 1
        return torch.cat([x, o[:, :, None, None]], 1)


class MinibatchStd(nn.Module):
    """As ProGAN's code, minibatch_stddev_layer."""

    def __init__(self, group):
        super().__init__()
        self.group = group

    def forward(self, x):
        n, _, h, w = x.shape
        group = min(self.group, n) if self.group else n
        y = x.reshape(group, -1, *x.shape[1:])
        y = y - y.mean(0, keepdim=True)
        y = torch.sqrt((y**2).mean(0) + 1e-8)
        y = y.mean((1, 2, 3), keepdim=True)
        return torch.cat([x, y.repeat(group, 1, h, w)], 1)


class Attention(nn.Module):
    """SAGAN's block as its authors' non_local.py has it."""

    def __init__(self, c, wrap):
        super().__init__()
        self.theta, self.phi = (wrap(nn.Conv2d(c, c // 8, 1, bias=False)) for _ in range(2))
        self.g = wrap(nn.Conv2d(c, c // 2, 1, bias=False))
        self.o = wrap(nn.Conv2d(c // 2, c, 1, bias=False))
        self.gamma = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        n, c, h, w = x.shape
        theta = self.theta(x).view(n, c // 8, h * w)
        phi = F.max_pool2d(self.phi(x), 2).view(n, c // 8, h * w // 4)
        g = F.max_pool2d(self.g(x), 2).view(n, c // 2, h * w // 4)
        beta = F.softmax(theta.transpose(1, 2) @ phi, -1)
        o = self.o((g @ beta.transpose(1, 2)).view(n, c // 2, h, w))
        return x + self.gamma * o


class Residual(nn.Module):
    def __init__(self, main, shortcut):
        super().__init__()
        self.main, self.shortcut = nn.Sequential(*main), nn.Sequential(*shortcut)

    def forward(self, x):
        return self.main(x) + self.shortcut(x)


class SumPool(nn.Module):
    def forward(self, x):
        return x.sum((2, 3), keepdim=True)


class Projection(nn.Module):
    """As crcrpar/pytorch.sngan_projection: l6 and l_y."""

    def __init__(self, features, classes, wrap):
        super().__init__()
        self.linear = wrap(nn.Linear(features, 1))
        self.embed = wrap(nn.Embedding(classes, features))

    def forward(self, x, label):
        h = x.flatten(1)
        y = self.linear(h) + (self.embed(label) * h).sum(1, keepdim=True)
        return y[:, :, None, None]


# Descriptions beside modules: what the program reads, and what PyTorch computes.

WRAPS = {"plain": lambda m: m, "spectral": spectral_norm}


def weighted(module, weight):
    if weight == "norm":
        return weight_norm(module, dim=1 if isinstance(module, nn.ConvTranspose2d) else 0)
    return WRAPS[weight](module)


def marked(description, weight):
    return description if weight == "plain" else {**description, "weight": weight}


def geometry(kernel, stride, pad, large, small):
    return dict(kernel=kernel, stride=stride, pad=pad, large=large, small=small)


def conv(large, small, kernel, stride, pad, size, weight="plain", bias=True):
    """From pictures of `size`; with the size of the result."""
    to = [(s + 2 * pad - kernel) // stride + 1 for s in size]
    spec = geometry([kernel] * 2, [stride] * 2, [pad] * 2, size, to)
    about = dict(layer="conv", spec=spec, large=large, small=small, layout="conv", bias=bias)
    module = nn.Conv2d(large, small, kernel, stride, pad, bias=bias)
    return marked(about, weight), weighted(module, weight)


def conv_transpose(small, large, kernel, stride, pad, size, weight="plain"):
    to = [(s - 1) * stride - 2 * pad + kernel for s in size]
    spec = geometry([kernel] * 2, [stride] * 2, [pad] * 2, to, size)
    about = dict(layer="conv_transpose", spec=spec, large=large, small=small, layout="conv",
                 bias=True)  # fmt: skip
    module = nn.ConvTranspose2d(small, large, kernel, stride, pad)
    return marked(about, weight), weighted(module, weight)


def project(start, to, size, weight="plain"):
    spec = geometry(size, [1, 1], [0, 0], size, [1, 1])
    about = dict(layer="conv_transpose", spec=spec, large=to, small=start, layout="project",
                 bias=True)  # fmt: skip
    return marked(about, weight), weighted(Project(size, to, start), weight)


def flat(channels, to, size, weight="plain"):
    spec = geometry(size, [1, 1], [0, 0], size, [1, 1])
    about = dict(layer="conv", spec=spec, large=channels, small=to, layout="flatten", bias=True)
    return marked(about, weight), weighted(Flat(channels * size[0] * size[1], to), weight)


def group_norm(groups, channels):
    about = dict(layer="group_norm", groups=groups, channels=channels, eps=1e-5)
    return about, nn.GroupNorm(groups, channels, eps=1e-5)


def attention(channels, weight="plain"):
    about = dict(layer="attention", channels=channels)
    return marked(about, weight), Attention(channels, WRAPS[weight])


def residual(main, shortcut):
    about = dict(layer="residual", main=[a for a, _ in main], shortcut=[a for a, _ in shortcut])
    return about, Residual([m for _, m in main], [m for _, m in shortcut])


def projection(features, classes, weight="plain"):
    about = dict(layer="projection", features=features, classes=classes)
    return marked(about, weight), Projection(features, classes, WRAPS[weight])


def virtual(count, channels):
    about = dict(layer="virtual_batch_norm", channels=channels, eps=1e-5)
    return about, VirtualBatchNorm(count, channels)


def reference(count, h, w, c):
    about = dict(layer="reference", count=count, size=[h, w, c], uniform=False)
    return about, Reference(count, h, w, c)


LEAKY = (dict(layer="leaky_relu", slope=SLOPE), nn.LeakyReLU(SLOPE))
TANH = (dict(layer="tanh"), nn.Tanh())
SOFTPLUS = (dict(layer="softplus"), nn.Softplus(threshold=300))
UPSAMPLE = (dict(layer="upsample"), nn.Upsample(scale_factor=2, mode="nearest"))
AVERAGE = (dict(layer="average_pool"), nn.AvgPool2d(2))
SUM = (dict(layer="sum_pool"), SumPool())
PIXEL = (dict(layer="pixel_norm", eps=1e-8), PixelNorm())


class Told(Net):
    """A network whose last layer may be told labels, and which may drop a reference batch."""

    def forward(self, x, label=None):
        n = len(x)
        for layer in self.main:
            told = isinstance(layer, (ConditionalBatchNorm, Projection))
            x = layer(x, label) if told else layer(x)
        return x[-n:]


def begin(net, rand):
    """Random float32 numbers in all parameters and states; vectors of spectral norm that nearly fit,
    as in training."""
    net.double()
    with torch.no_grad():
        for name, tensor in sorted(net.state_dict(keep_vars=True).items()):
            own = name.rsplit(".", 1)[-1]
            if own in ("weight_u", "num_batches_tracked"):
                continue
            if own == "weight_v" and name.replace("_v", "_orig") in net.state_dict():
                continue
            scale, mean = 0.6, 0.0
            if own == "running_var" or own == "weight_g":
                tensor.copy_(normal(rand, *tensor.shape, scale=0.1, mean=1.0))
                continue
            if tensor.dim() == 1 and own == "weight" or own == "gamma":
                scale, mean = 0.2, 1.0
            elif tensor.dim() > 1 and own != "reference":
                scale = tensor[0].numel() ** -0.5
            elif own == "bias":
                scale = 0.3
            tensor.copy_(normal(rand, *tensor.shape, scale=scale, mean=mean))
        for module in net.modules():
            if hasattr(module, "weight_u"):
                dim = 1 if isinstance(module, nn.ConvTranspose2d) else 0
                w = module.weight_orig.movedim(dim, 0).flatten(1)
                u = normal(rand, w.shape[0])
                for _ in range(3):
                    v = F.normalize(w.T @ u, dim=0)
                    u = F.normalize(w @ v, dim=0)
                module.weight_u.copy_(u.float().double())
                module.weight_v.copy_(v.float().double())


def states(net):
    """All tensors by name, as stored."""
    return {k: stored(v) for k, v in net.state_dict().items() if "batches_tracked" not in k}


def build(layers):
    return [about for about, _ in layers], Told(*(module for _, module in layers))


def single(out, name, layers, shape, classes=0, training=False):
    """One case: y of x, and gradients by x and by all parameters for a random gradient g of y."""
    about, net = build(layers)
    rand = stream(f"parts/{name}")
    begin(net, rand)
    net.train(training)
    before = {f"before.{k}": v for k, v in states(net).items()}
    x = leaf(normal(rand, *shape))
    label = torch.from_numpy(rand.randint(0, classes, shape[0])) if classes else None
    y = nhwc(net(nchw(x), label))
    g = normal(rand, *y.shape)
    names, parameters = zip(("x", x), *net.named_parameters(), strict=True)
    grads = torch.autograd.grad(y, parameters, g)
    tensors = dict(x=x, y=y, g=g) | before
    tensors |= {f"grad.{k}": v for k, v in zip(names, grads, strict=True)}
    if training:
        tensors |= {f"after.{k}": v for k, v in states(net).items() if "running" in k}
    settings = dict(layers=about, training=training, x=list(shape))
    if classes:
        settings |= dict(classes=classes, labels=label.tolist())
    out.case(f"single/{name}", settings, tensors)


def singles(out):
    for weight in ("spectral", "norm"):
        single(out, f"conv_{weight}", [conv(3, 5, 3, 2, 1, [5, 4], weight)], (2, 5, 4, 3))
        up = conv_transpose(4, 3, 4, 2, 1, [3, 2], weight)
        single(out, f"conv_transpose_{weight}", [up], (2, 3, 2, 4))
        single(out, f"project_{weight}", [project(4, 3, [2, 3], weight)], (3, 1, 1, 4))
        single(out, f"flatten_{weight}", [flat(3, 4, [2, 3], weight)], (3, 2, 3, 3))
    for groups in (1, 2, 6):
        single(out, f"group_norm_{groups}", [group_norm(groups, 6)], (3, 4, 5, 6))
    single(out, "pixel_norm", [PIXEL], (2, 3, 2, 5))
    for training in (True, False):
        about = dict(layer="conditional_batch_norm", channels=5, classes=3, eps=1e-5)
        layers = [(about, ConditionalBatchNorm(5, 3))]
        mode = "train" if training else "eval"
        single(out, f"conditional_{mode}", layers, (6, 3, 2, 5), classes=3, training=training)
    layers = [reference(3, 1, 1, 4), project(4, 5, [2, 3]), virtual(3, 5), LEAKY,
              conv_transpose(5, 3, 4, 2, 1, [2, 3]), virtual(3, 3), TANH]  # fmt: skip
    single(out, "virtual_batch_norm", layers, (4, 1, 1, 4))
    single(out, "softplus", [SOFTPLUS], (2, 3, 2, 4))
    single(out, "upsample", [UPSAMPLE], (2, 3, 2, 4))
    single(out, "average_pool", [AVERAGE], (2, 4, 6, 3))
    single(out, "sum_pool", [SUM], (2, 4, 3, 5))
    about = dict(layer="minibatch_discrimination", features=5, kernels=4, dims=3)
    single(out, "minibatch_discrimination", [(about, MinibatchDiscrimination(5, 4, 3))],
           (5, 1, 1, 5))  # fmt: skip
    for group in (0, 2, 4):
        about = dict(layer="minibatch_std", group=group)
        single(out, f"minibatch_std_{group}", [(about, MinibatchStd(group))], (4, 3, 2, 3))
    for weight in ("plain", "spectral"):
        channels = 8 if weight == "plain" else 16
        single(out, f"attention_{weight}", [attention(channels, weight)], (2, 4, 2, channels))
        single(out, f"projection_{weight}", [projection(6, 3, weight)], (5, 1, 1, 6), classes=3)
    main = [group_norm(2, 4), LEAKY, conv(4, 6, 3, 1, 1, [4, 4]), AVERAGE]
    short = [AVERAGE, conv(4, 6, 1, 1, 0, [2, 2], "spectral")]
    single(out, "residual", [residual(main, short), residual([TANH], []), LEAKY], (2, 4, 4, 4))


def power_steps(out):
    """u, v and sigma over four steps of weights that change; one iteration a step, as a pass of
    PyTorch's module in training makes it."""
    table = {
        "conv": (conv(3, 5, 3, 2, 1, [5, 4], "spectral"), (2, 5, 4, 3)),
        "conv_transpose": (conv_transpose(4, 3, 4, 2, 1, [3, 2], "spectral"), (2, 3, 2, 4)),
        "project": (project(4, 3, [2, 3], "spectral"), (3, 1, 1, 4)),
        "flatten": (flat(3, 4, [2, 3], "spectral"), (3, 2, 3, 3)),
    }
    for name, (layer, shape) in table.items():
        about, net = build([layer])
        rand = stream(f"parts/power/{name}")
        begin(net, rand)
        module = net.main[0]
        with torch.no_grad():  # far from fitting
            for own in (module.weight_u, module.weight_v):
                own.copy_(F.normalize(normal(rand, *own.shape), dim=0).float().double())
        before = {f"before.{k}": v for k, v in states(net).items()}
        x = normal(rand, *shape)
        net.train()
        rows = {k: [] for k in ("weight", "u", "v", "sigma", "y")}
        for _ in range(4):
            with torch.no_grad():
                step = normal(rand, *module.weight_orig.shape, scale=0.1)
                module.weight_orig.copy_((module.weight_orig + step).float().double())
                y = nhwc(net(nchw(x)))
            dim = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            w = module.weight_orig.movedim(dim, 0).flatten(1)
            values = (module.weight_orig, module.weight_u, module.weight_v)
            values += (module.weight_u @ w @ module.weight_v, y)
            for row, value in zip(rows.values(), values, strict=True):
                row.append(value.detach().clone())
        tensors = dict(x=x) | before | {k: torch.stack(v) for k, v in rows.items()}
        out.case(f"power/{name}", dict(layers=about), tensors)


def penalties(out):
    """Gradients of 10 * mean (|gradient by x| - 1)^2 by x and by all parameters."""
    first, second = conv(2, 4, 4, 2, 1, [8, 8]), flat(4, 1, [4, 4])
    down = conv(2, 8, 4, 2, 1, [8, 8], "spectral")
    main = [SOFTPLUS, conv(2, 4, 3, 1, 1, [8, 8]), SOFTPLUS, conv(4, 4, 3, 1, 1, [8, 8]), AVERAGE]
    short = [AVERAGE, conv(2, 4, 1, 1, 0, [4, 4])]
    table = {
        "linear": [first, LEAKY, flat(4, 5, [4, 4]), TANH, flat(5, 1, [1, 1])],
        "layer_norm": [first, group_norm(1, 4), LEAKY, second],
        "group_norm": [first, group_norm(2, 4), TANH, second],
        "instance_norm": [first, group_norm(4, 4), LEAKY, second],
        "pixel_norm": [first, PIXEL, LEAKY, second],
        "spectral": [down, TANH, flat(8, 1, [4, 4], "spectral")],
        "weight_norm": [conv(2, 4, 4, 2, 1, [8, 8], "norm"), TANH, flat(4, 1, [4, 4], "norm")],
        "attention": [down, attention(8), TANH, flat(8, 1, [4, 4])],
        "attention_spectral": [down, TANH, attention(8, "spectral"), LEAKY, flat(8, 1, [4, 4])],
        "residual": [residual(main, short), SOFTPLUS, SUM, flat(4, 1, [1, 1])],
    }
    for name, layers in table.items():
        about, net = build(layers)
        rand = stream(f"parts/penalty/{name}")
        begin(net, rand)
        net.eval()
        before = {f"before.{k}": v for k, v in states(net).items()}
        x = leaf(normal(rand, 2, 8, 8, 2, scale=0.5))
        scores = net(nchw(x)).flatten()
        (gx,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
        norms = gx.flatten(1).norm(dim=1)
        penalty = 10 * ((norms - 1) ** 2).mean()
        # Without the last bias, on which no gradient by x depends.
        names, parameters = zip(("x", x), *net.named_parameters(), strict=True)
        grads = torch.autograd.grad(penalty, parameters, allow_unused=True)
        tensors = dict(x=x, scores=scores, norms=norms) | before
        found = zip(names, grads, parameters, strict=True)
        tensors |= {f"grad.{k}": torch.zeros_like(p) if g is None else g for k, g, p in found}
        out.case(f"penalty/{name}", dict(layers=about, penalty=penalty.item()), tensors)


def parts_file():
    out = File(
        "Layers of the GAN family. Every case has its network as a model file describes it, its "
        "tensors by PyTorch's names (before.*), and gradients (grad.*). single: of y for a random "
        "gradient g, by x and all parameters. power: weights that change over four steps, and u, v "
        "and sigma after one iteration of the power method in each. penalty: of "
        "10 * mean_n (norms_n - 1)^2, norms the length of the gradient of the scores by x"
    )
    singles(out)
    power_steps(out)
    penalties(out)
    return out
