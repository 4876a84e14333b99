#!/usr/bin/env python3
"""Trains lightweight-gan 1.2.1 (PyPI, MIT) with its defaults on the CPU and saves samples along the way.

    benches/quality/lightweight_gan_peer.py IMAGES OUT --cpu-seconds 900,1800,3600 --threads 2
    dcgan evaluate OUT/900 --real IMAGES --samples 1000 --metrics fid,prdc,swd-raw --features FILE

IMAGES is a folder. The package insists on CUDA; here its tensors stay on the CPU, and nothing else is changed: batches
of 10, four to an update, attention at 32x32, its automatic augmentation. Only training counts as CPU seconds. It needs
PyTorch, torchvision and the package with its dependencies.
"""

import argparse
import json
import random
import resource
from pathlib import Path

import numpy
import torch
import torchvision  # noqa: F401  before the package asks for CUDA
from PIL import Image


class OnCpu:
    """PyTorch as the package sees it: its CUDA devices are the CPU."""

    def __getattr__(self, name):
        return getattr(torch, name)

    @staticmethod
    def device(*_):
        return torch.device("cpu")


torch.cuda.is_available = lambda: True
from lightweight_gan import lightweight_gan  # noqa: E402

torch.cuda.is_available = lambda: False
lightweight_gan.torch = OnCpu()
for kind in (torch.Tensor, torch.nn.Module):
    kind.cuda = lambda self, *_, **__: self


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@torch.no_grad()
def sample(trainer, count, folder):
    """Saves images of the generator; its moving average begins at step 20,000 only."""
    folder.mkdir(parents=True)
    trainer.GAN.eval()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    for first in range(0, count, 20):
        images = trainer.GAN.G(torch.randn(20, trainer.GAN.latent_dim)).clamp(0, 1).mul(255).round().byte()
        for i, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{first + i:05}.png")
    torch.set_rng_state(state)
    trainer.GAN.train()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, metavar="IMAGES")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--cpu-seconds", default="225,450,900,1800,3600", help="when to sample")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    numpy.random.seed(args.seed)
    # The rest as `lightweight_gan --help` has it.
    trainer = lightweight_gan.Trainer(
        name="peer", results_dir=str(args.out / "results"), models_dir=str(args.out / "models"), image_size=args.size,
        batch_size=10, gradient_accumulate_every=4, attn_res_layers=[32], num_workers=0, num_image_tiles=2,
        evaluate_every=10**9, save_every=10**9, aug_types=["cutout", "translation"], disc_output_size=1, use_aim=False)
    trainer.evaluate = lambda *_, **__: None
    trainer.save = lambda *_, **__: None
    trainer.set_data_src(str(args.images))
    used = 0.0
    for goal in map(float, args.cpu_seconds.split(",")):
        while used < goal:
            before = cpu()
            trainer.train()
            used += cpu() - before
            if trainer.steps % 10 == 0:
                print(f"step {trainer.steps}, {used:.0f} CPU s, d {trainer.d_loss:.2f}, g {trainer.g_loss:.2f}", flush=True)
        sample(trainer, args.samples, args.out / f"{goal:g}")
        row = {"cpu_seconds": round(used, 1), "images": trainer.steps * 40, "threads": args.threads, "seed": args.seed}
        with open(args.out / "points.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
