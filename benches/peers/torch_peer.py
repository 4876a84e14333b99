"""The DCGAN-64 of PyTorch's tutorial: trains or samples on random data, prints one line of JSON.

What `benches/peers/run` compares; see the README beside it. With respect to the tutorial's code
everything that changes no result and saves time is taken: D is frozen during G's step (else its
weight gradients are computed and thrown away), Adam is the fused one, gradients are set to none.
"""

import time

STARTED = time.perf_counter()

import argparse
import json
import sys

import torch
from torch import nn

NZ, WIDTH, RATE = 100, 64, 2e-4
WARM_UP = 2
# Seconds that a timed block of steps takes at least, so that waiting for a GPU after each block
# costs nothing.
BLOCK = 0.2


def generator():
    """z [n, 100, 1, 1] to pictures [n, 3, 64, 64]."""
    channels = [NZ, 8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH, 3]
    layers = []
    for i in range(5):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers.append(
            nn.ConvTranspose2d(channels[i], channels[i + 1], 4, stride, padding, bias=False)
        )
        if i < 4:
            layers += [nn.BatchNorm2d(channels[i + 1]), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.Tanh())


def discriminator():
    """Pictures [n, 3, 64, 64] to logits [n, 1, 1, 1]."""
    channels = [3, WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH, 1]
    layers = []
    for i in range(5):
        stride, padding = (1, 0) if i == 4 else (2, 1)
        layers.append(nn.Conv2d(channels[i], channels[i + 1], 4, stride, padding, bias=False))
        if 0 < i < 4:
            layers.append(nn.BatchNorm2d(channels[i + 1]))
        if i < 4:
            layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers)


def initialise(module):
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Training:
    def __init__(self, batch, device, layout, amp):
        self.batch, self.device, self.layout, self.amp = batch, device, layout, amp
        self.g, self.d = (
            net.apply(initialise).to(device, memory_format=layout).train()
            for net in (generator(), discriminator())
        )
        self.adam_g, self.adam_d = (
            torch.optim.Adam(net.parameters(), lr=RATE, betas=(0.5, 0.999), fused=True)
            for net in (self.g, self.d)
        )
        self.scaler_g, self.scaler_d = (torch.amp.GradScaler(device, enabled=amp) for _ in "gd")
        self.bce = nn.BCEWithLogitsLoss()
        reals = torch.rand(batch, 3, 64, 64, device=device) * 2 - 1
        self.reals = reals.contiguous(memory_format=layout)
        self.real = torch.ones(batch, 1, 1, 1, device=device)
        self.fake = torch.zeros(batch, 1, 1, 1, device=device)

    def autocast(self):
        return torch.autocast(self.device, dtype=torch.float16, enabled=self.amp)

    def step(self):
        self.adam_d.zero_grad(set_to_none=True)
        with self.autocast():
            on_reals = self.bce(self.d(self.reals), self.real)
        self.scaler_d.scale(on_reals).backward()
        latents = torch.randn(self.batch, NZ, 1, 1, device=self.device)
        with self.autocast():
            fakes = self.g(latents)
            on_fakes = self.bce(self.d(fakes.detach()), self.fake)
        self.scaler_d.scale(on_fakes).backward()
        self.scaler_d.step(self.adam_d)
        self.scaler_d.update()

        self.d.requires_grad_(False)
        self.adam_g.zero_grad(set_to_none=True)
        with self.autocast():
            loss_g = self.bce(self.d(fakes), self.real)
        self.scaler_g.scale(loss_g).backward()
        self.scaler_g.step(self.adam_g)
        self.scaler_g.update()
        self.d.requires_grad_(True)
        self.losses = (on_reals + on_fakes).detach(), loss_g.detach()


def timed(steps, max_seconds, step, wait):
    """The seconds a step of every block of steps, at least three blocks of them."""
    block, done, times = 1, 0, []
    everything = time.perf_counter()
    while len(times) < 3 or (done < steps and time.perf_counter() - everything < max_seconds):
        start = time.perf_counter()
        for _ in range(block):
            step()
        wait()
        seconds = time.perf_counter() - start
        if seconds < BLOCK and done == 0 and block < 4096:
            block *= 2
            continue
        times.append(seconds / block)
        done += block
    return times


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--probe", action="store_true", help="print whether there is CUDA")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--work", choices=["train", "sample"], default="train")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--max-seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--precision", choices=["fp32", "tf32", "amp"], default="fp32")
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    if options.probe:
        name = torch.cuda.get_device_name() if cuda else None
        print(json.dumps({"version": torch.__version__, "cuda": name}))
        return
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    # AMP keeps in fp32 what is not safe in half precision; TF32 there as PyTorch users have it.
    tf32 = options.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    device = options.device
    layout = torch.channels_last if options.channels_last else torch.contiguous_format

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    amp = options.precision == "amp"
    if options.work == "train":
        training = Training(options.batch, device, layout, amp)
        params = [sum(p.numel() for p in net.parameters()) for net in (training.g, training.d)]
        step = training.step
    else:
        g = generator().apply(initialise).to(device, memory_format=layout).eval()
        params = [sum(p.numel() for p in g.parameters()), 0]
        latents = torch.randn(options.batch, NZ, 1, 1, device=device)
        pictures = None

        def step():
            nonlocal pictures
            with torch.inference_mode():
                with torch.autocast(device, dtype=torch.float16, enabled=amp):
                    made = g(latents)
                pictures = made.float().cpu()

    step()
    wait()
    first = time.perf_counter() - STARTED
    for _ in range(1, WARM_UP):
        step()
    wait()
    times = timed(options.steps, options.max_seconds, step, wait)
    if options.work == "train":
        check = [loss.item() for loss in training.losses]
    else:
        assert list(pictures.shape) == [options.batch, 3, 64, 64], pictures.shape
        check = [pictures.mean().item(), pictures.abs().max().item()]
    report = {
        "version": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "batch": options.batch,
        "params_g": params[0],
        "params_d": params[1],
        "first_step_seconds": first,
        "seconds": times,
        "check": check,
        "device_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
