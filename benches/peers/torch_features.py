"""A discriminator's features of a folder of images in PyTorch, as `dcgan features` gives them.

    torch_features.py CHECKPOINT.safetensors FOLDER [--out FILE.npy] [--against FILE.npy]

Reads a checkpoint of `dcgan train --preset pytorch`, decodes the images (which must have the
model's size) on as many threads as PyTorch computes on, 64 at a time and ahead of the network, runs
the hidden convolutions eagerly, pools each to 4x4, joins them and writes one array. Prints one line
of JSON: images per second, and the largest difference from another array, such as that of `dcgan
features`, also relative to the largest feature.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

BATCH = 64


def discriminator(path):
    """The layers up to the logit, in evaluation mode."""
    prefix = "discriminator.main."
    tensors = {k[len(prefix) :]: v for k, v in load_file(path).items() if k.startswith(prefix)}
    last = max(int(k.split(".")[0]) for k in tensors)
    layers = []
    for i in range(last):
        weight = tensors.get(f"{i}.weight")
        if weight is None:
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        elif weight.ndim == 4:
            layers.append(nn.Conv2d(weight.shape[1], weight.shape[0], 4, 2, 1, bias=False))
        else:
            layers.append(nn.BatchNorm2d(len(weight)))
    network = nn.Sequential(*layers)
    hidden = {k: v for k, v in tensors.items() if int(k.split(".")[0]) < last}
    network.load_state_dict(hidden, strict=False)
    return network.eval()


def features(network, x):
    found = []
    for layer in network:
        x = layer(x)
        if isinstance(layer, nn.LeakyReLU):
            found.append(nn.functional.adaptive_max_pool2d(x, 4).flatten(1))
    return torch.cat(found, 1)


def decode(path):
    return numpy.asarray(Image.open(path).convert("RGB"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", default="torch-features.npy")
    parser.add_argument("--against")
    options = parser.parse_args()

    start = time.perf_counter()
    network = discriminator(options.checkpoint)
    files = sorted(
        (p for p in options.folder.rglob("*") if p.suffix in {".png", ".jpg", ".jpeg"}),
        key=lambda p: p.relative_to(options.folder).as_posix(),
    )
    batches = [files[i : i + BATCH] for i in range(0, len(files), BATCH)]
    pool = ThreadPoolExecutor(torch.get_num_threads())
    ahead = [[pool.submit(decode, f) for f in batch] for batch in batches[:2]]
    out, at = None, 0
    with torch.inference_mode():
        for i in range(len(batches)):
            images = numpy.stack([f.result() for f in ahead.pop(0)])
            if i + 2 < len(batches):
                ahead.append([pool.submit(decode, f) for f in batches[i + 2]])
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
            rows = features(network, x.contiguous()).numpy()
            if out is None:
                shape = (len(files), rows.shape[1])
                out = numpy.lib.format.open_memmap(options.out, "w+", numpy.float32, shape)
            out[at : at + len(rows)] = rows
            at += len(rows)
    out.flush()
    seconds = time.perf_counter() - start
    result = {"images": len(files), "width": out.shape[1], "per_second": len(files) / seconds}
    result["threads"] = torch.get_num_threads()
    if options.against:
        other = numpy.load(options.against, mmap_mode="r")
        result["difference"] = float(numpy.abs(other - out).max())
        result["largest"] = float(numpy.abs(out).max())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
