"""The scores that tests/evaluation.rs holds src/evaluation against: writes scores.json.

Needs numpy, scipy and torch. The images are integers by formulas that the test repeats; random numbers are
those of src/rng.rs. Everything else is by other means than the program's: whole matrices, scipy's filters,
torch's convolutions, numpy's Fourier transform.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage, stats
from scipy.spatial.distance import cdist

SEED = 5


def images(count, height, width, channels, kind):
    """Images by integers alone; kind 0 and 1 differ in contrast, frequencies and noise."""
    i, y, x, c = np.mgrid[:count, :height, :width, :channels]
    wave = ((3 + i % 5) * x + (2 + (i * 7 + c) % 4 + kind) * y + 11 * i * (c + 1)) % 97
    noise = (x * 37 + y * 101 + i * 13 + c * 59 + x * y * (3 + kind)) % (17 + 12 * kind)
    return (40 + 30 * kind + wave + noise + (i * 29) % 53).astype(np.uint8)


# Random numbers.


def philox(counter, key):
    counter, key = list(counter), list(key)
    for _ in range(10):
        a, b = counter[0] * 0xD2511F53, counter[2] * 0xCD9E8D57
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & 0xFFFFFFFF,
                   (a >> 32) ^ counter[3] ^ key[1], a & 0xFFFFFFFF]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def stream_id(name):
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def block(name, step, index):
    return philox([index & 0xFFFFFFFF, step, stream_id(name), index >> 32], [SEED, 0])


def normal(name, step, count):
    out = []
    for index in range(-(-count // 4)):
        bits = block(name, step, index)
        for a, b in (bits[:2], bits[2:]):
            radius = np.sqrt(-2 * np.log(1 - (a >> 8) / 2**24))
            turn = 2 * np.pi * (b >> 8) / 2**24
            out += [radius * np.cos(turn), radius * np.sin(turn)]
    return np.array(out[:count])


# Sliced Wasserstein distance.

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def nvidia_down(x):
    return ndimage.convolve(x, KERNEL[None, :, :, None], mode="mirror")[:, ::2, ::2]


def nvidia_up(x, shape):
    zeros = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    zeros[:, ::2, ::2] = x
    up = ndimage.convolve(zeros, 4 * KERNEL[None, :, :, None], mode="mirror")
    return up[:, : shape[1], : shape[2]]


def torch_filter(x, stride):
    planes = torch.from_numpy(x).permute(0, 3, 1, 2)
    weight = torch.from_numpy(KERNEL).expand(planes.shape[1], 1, 5, 5)
    y = F.conv2d(planes, weight, stride=stride, padding=2, groups=planes.shape[1])
    return y.permute(0, 2, 3, 1).numpy()


def mmgen_down(x):
    return torch_filter(x, 2)


def mmgen_up(x, shape):
    up = torch_filter(x.repeat(2, axis=1).repeat(2, axis=2), 1)
    return up[:, : shape[1], : shape[2]]


def pyramid(x, down, up, most):
    levels = [x]
    while len(levels) < most and min(-(-n // 2) for n in levels[-1].shape[1:3]) >= 16:
        levels.append(down(levels[-1]))
    return [a - up(b, a.shape) for a, b in zip(levels, levels[1:])] + levels[-1:]


def patches(level, number):
    out = []
    n, height, width, _ = level.shape
    for i in range(n):
        for p in range(128):
            bits = block("swd patches", number, i * 128 + p)
            y, x = bits[0] * (height - 6) >> 32, bits[1] * (width - 6) >> 32
            out.append(level[i, y : y + 7, x : x + 7])
    return np.stack(out)


def swd(variant, fakes, reals):
    mmgen = variant == "mmgen"
    scale = (lambda x: x / 127.5 - 1) if mmgen else (lambda x: x + 0.0)
    down, up, most = (mmgen_down, mmgen_up, 4) if mmgen else (nvidia_down, nvidia_up, 99)
    levels = [pyramid(scale(x.astype(np.float64)), down, up, most) for x in (fakes, reals)]
    out = []
    for number, pair in enumerate(zip(*levels)):
        sets = [patches(level, number) for level in pair]
        moments = [(s.mean((0, 1, 2)), s.std((0, 1, 2), ddof=int(mmgen))) for s in sets]
        if variant == "raw":
            moments[0] = moments[1]
        a, b = [((s - m) / d).reshape(len(s), -1) for s, (m, d) in zip(sets, moments)]
        distances = []
        for repeat in range(4):
            w = normal("swd directions", number * 4 + repeat, 128 * a.shape[1]).reshape(128, -1)
            w /= np.linalg.norm(w, axis=1, keepdims=True)
            distances.append(np.abs(np.sort(a @ w.T, 0) - np.sort(b @ w.T, 0)).mean())
        out.append(1e3 * np.mean(distances))
    return out


# MS-SSIM.


def gauss(size, sigma):
    offset, radius = (0.5, size // 2) if size % 2 == 0 else (0.0, size // 2)
    y, x = np.mgrid[offset - radius : radius + (size % 2), offset - radius : radius + (size % 2)]
    g = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return g / g.sum()


def valid(x, g):
    windows = np.lib.stride_tricks.sliding_window_view(x, g.shape, axis=(1, 2))
    return np.einsum("nyxcij,ij->nyxc", windows, g)


def ms_ssim(x):
    weights = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]
    a, b = x[0::2].astype(np.float64), x[1::2].astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = 1.0
    for scale, weight in enumerate(weights):
        size = min(11, *a.shape[1:3])
        g = gauss(size, 1.5 * size / 11)
        ma, mb = valid(a, g), valid(b, g)
        va, vb, vab = valid(a * a, g) - ma**2, valid(b * b, g) - mb**2, valid(a * b, g) - ma * mb
        v1, v2 = 2 * vab + c2, va + vb + c2
        ssim = ((2 * ma * mb + c1) * v1 / ((ma**2 + mb**2 + c1) * v2)).mean((1, 2, 3))
        cs = (v1 / v2).mean((1, 2, 3))
        product = product * np.clip(ssim if scale == 4 else cs, 0, None) ** weight
        box = np.ones((1, 2, 2, 1)) / 4
        a, b = [ndimage.convolve(z, box, mode="reflect")[:, ::2, ::2] for z in (a, b)]
    return product.mean()


# By thumbnails and features.


def area(n, side):
    """A matrix that takes n pixels to the means of `side` cells."""
    edges = np.arange(side + 1) * n / side
    p = np.arange(n)
    overlap = np.minimum(edges[1:, None], p + 1) - np.maximum(edges[:-1, None], p)
    return np.clip(overlap, 0, None) * side / n


def thumbnails(x, side):
    rows, columns = area(x.shape[1], min(side, x.shape[1])), area(x.shape[2], min(side, x.shape[2]))
    small = np.einsum("ay,bx,nyxc->nabc", rows, columns, x / 255.0)
    return small.reshape(len(x), -1)


def prdc(f, r, k_pr=3, k_dc=5):
    fr, ff, rr = cdist(f, r), cdist(f, f), cdist(r, r)
    radius = lambda d, k: np.sort(d, 1)[:, k]
    return {
        "precision": (fr <= radius(rr, k_pr)).any(1).mean(),
        "recall": (fr.T <= radius(ff, k_pr)).any(1).mean(),
        "density": (fr < radius(rr, k_dc)).sum() / (k_dc * len(f)),
        "coverage": (fr.min(0) < radius(rr, k_dc)).mean(),
    }


def one_nn(f, r):
    def accuracy(own, other):
        d = cdist(own, own)
        np.fill_diagonal(d, np.inf)
        a, b = d.min(1), cdist(own, other).min(1)
        return np.where(a == b, 0.5, a < b).mean()

    return {"fakes": accuracy(f, r), "reals": accuracy(r, f)}


def memorization(f, training, held_out):
    a, b = cdist(f, training).min(1), cdist(held_out, training).min(1)
    # The number of pairs with a > b, ties ½.
    u = stats.mannwhitneyu(a, b).statistic
    n = min(len(training), len(held_out))
    c, d = cdist(f, training[:n]).min(1), cdist(f, held_out[:n]).min(1)
    return {"nearer": 1 - u / (len(a) * len(b)), "copies": np.where(c == d, 0.5, c < d).mean()}


def duplicates(f, r):
    nearest = lambda x: np.sort(cdist(x, x), 1)[:, 1]
    threshold = np.sort(nearest(r))[int(0.01 * len(r))]
    return (nearest(f) <= threshold).mean()


def spectrum(f, r):
    def radial(x):
        n, h, w, _ = x.shape
        power = (np.abs(np.fft.fft2(x, axes=(1, 2))) ** 2 / (h * w)).mean((0, 3))
        u, v = np.meshgrid(np.fft.fftfreq(h), np.fft.fftfreq(w), indexing="ij")
        radius = np.floor(np.hypot(u, v) * min(h, w) + 0.5).astype(int)
        return np.array([power[radius == i].mean() for i in range(1, min(h, w) // 2 + 1)])

    return np.abs(10 * np.log10((radial(f) + 1 / 12) / (radial(r) + 1 / 12))).mean()


def colors(f, r):
    each = [stats.wasserstein_distance(f[..., c].ravel(), r[..., c].ravel()) for c in range(f.shape[-1])]
    return np.mean(each)


def scores(count, size):
    f, r = images(count, *size, 0), images(count, *size, 1)
    # Some of each are near the other set, so that no share is 0 or 1.
    f[::3], more = r[::3] ^ 3, images(3 * count, *size, 1)
    f[5] = f[4]
    small = [thumbnails(x, 8) for x in (f, r)]
    fine = [thumbnails(x, 16) for x in (f, more[:count], more[count : 2 * count + 3])]
    return {
        "count": count,
        "size": size,
        "swd-nvidia": swd("nvidia", f, r),
        "swd-mmgen": swd("mmgen", f, r),
        "swd-raw": swd("raw", f, r),
        "ms-ssim": ms_ssim(f),
        "ms-ssim-real": ms_ssim(r),
        "prdc": prdc(*small),
        "prdc-swapped": prdc(*small[::-1]),
        "1-nn": one_nn(*small),
        "duplicates": duplicates(*small),
        "memorization": memorization(*fine),
        "spectrum": spectrum(f, r),
        "colors": colors(f, r),
    }


if __name__ == "__main__":
    cases = [scores(24, (34, 32, 3)), scores(10, (64, 64, 1)), scores(18, (16, 21, 4))]
    about = "Made by make_scores.py with numpy, scipy and torch"
    text = json.dumps({"about": about, "seed": SEED, "cases": cases}, indent=1)
    Path(__file__).with_name("scores.json").write_text(text + "\n")
