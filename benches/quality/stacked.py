#!/usr/bin/env python3
"""What a stacked GAN's samples of MNIST show, by a judge that was not trained with it.

    python stacked.py MNIST_FOLDER DCGAN RUN...

The judge is a small CNN, trained here on the 60,000 digits with random shifts and kept in stacked_judge.pt;
its accuracy on the 10,000 test digits is printed first. For each run: the share of 1,000 samples that it
reads as the class they were made for; the standard deviation of pixels over samples of one class, over
those that share y and z1, and over real digits of one class; and, from the run's log, how well the
discriminators recover the noise (mean squared error; 1/12 = .083 by chance) and the features of images
match those they were made from, as a share of their variance."""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

SEEDS = 100


def idx(path):
    data = path.read_bytes() if path.exists() else gzip.open(f"{path}.gz").read()
    dims = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)


def digits(folder, part):
    images = idx(folder / f"{part}-images-idx3-ubyte")
    return images, torch.from_numpy(idx(folder / f"{part}-labels-idx1-ubyte").astype(np.int64))


def inputs(images):
    return torch.from_numpy(np.asarray(images, np.float32) / 255)[:, None]


def judge(folder):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 24, 5), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(24, 48, 5), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(768, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.4),
        nn.Linear(128, 10),
    )  # fmt: skip
    kept = pathlib.Path("stacked_judge.pt")
    if kept.exists():
        net.load_state_dict(torch.load(kept))
    else:
        images, labels = digits(folder, "train")
        images, epochs, batch = inputs(images), 4, 100
        steps = epochs * len(images) // batch
        adam = torch.optim.Adam(net.parameters(), 2e-3)
        fall = torch.optim.lr_scheduler.LinearLR(adam, 1, 0.01, steps)
        for step in range(steps):
            if step % (len(images) // batch) == 0:
                order = torch.randperm(len(images))
            some = order[step * batch % len(images) :][:batch]
            x = torch.roll(images[some], tuple(np.random.randint(-2, 3, 2)), (2, 3))
            loss = F.cross_entropy(net(x), labels[some])
            adam.zero_grad()
            loss.backward()
            adam.step()
            fall.step()
        torch.save(net.state_dict(), kept)
    return net.eval()


@torch.no_grad()
def read(net, images):
    return torch.cat([net(inputs(some)).argmax(1) for some in np.array_split(images, 20)])


def sampled(dcgan, run, latents, place):
    """Bytes [10, n, 28, 28] of these latents in every class."""
    made = []
    for digit in range(10):
        out = pathlib.Path(place) / str(digit)
        words = ["--latents", latents, "--class", str(digit), "--format", "npy", "--out", out]
        command = [dcgan, "sample", run, *words, "--device", "cpu"]
        subprocess.run(command, check=True, capture_output=True)
        images = np.load(out / "samples.npy")
        made.append(np.clip((images.reshape(-1, 28, 28) + 1) * 127.5, 0, 255))
    return np.stack(made)


def spread(images):
    """The standard deviation of pixels over axis 1, in 0..255, averaged like variances."""
    return float(np.sqrt(np.asarray(images, np.float64).var(1).mean()))


def logged(run):
    lines = [json.loads(line) for line in (pathlib.Path(run) / "log.jsonl").open()]
    found = {}
    for name in ("accuracy", "z_error_1", "z_error_0", "condition_1", "condition_0", "h1_variance"):
        values = [line[name] for line in lines if line.get(name) is not None]
        if values:
            found[name] = round(float(np.mean(values[-20:])), 5)
    if "condition_0" in found:
        found["condition_0/h1_variance"] = round(found["condition_0"] / found["h1_variance"], 3)
    return found


def main():
    folder, dcgan, *runs = sys.argv[1:]
    folder = pathlib.Path(folder)
    net = judge(folder)
    images, labels = digits(folder, "t10k")
    right = (read(net, images) == labels).double().mean().item()
    print(f"judge: {100 * right:.2f} % of 10,000 test digits")
    alike = np.stack([images[labels.numpy() == digit][:SEEDS] for digit in range(10)])
    print(f"real digits of one class: standard deviation of pixels {spread(alike):.1f}")
    rand = np.random.RandomState(0)
    for run in runs:
        with tempfile.TemporaryDirectory() as place:
            latents = pathlib.Path(place) / "latents.npy"
            z = rand.uniform(-1, 1, (SEEDS, 100)).astype(np.float32)
            np.save(latents, z)
            made = sampled(dcgan, run, latents, place)
            z[:, :50] = z[0, :50]
            np.save(latents, z)
            same = sampled(dcgan, run, latents, place)
        said = read(net, made.reshape(-1, 28, 28)).reshape(10, -1)
        right = (said == torch.arange(10)[:, None]).double().mean().item()
        print(f"{run}: {100 * right:.1f} % read as their class; standard deviation of pixels "
              f"{spread(made):.1f}, with the same y and z1 {spread(same):.1f}; {logged(run)}")  # fmt: skip


if __name__ == "__main__":
    main()
