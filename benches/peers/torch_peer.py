"""Trains or samples a preset's networks in PyTorch on random data, prints one line of JSON.

What `benches/peers/run` compares; see the README beside it, and torch_networks.py for the networks.
Uses everything that saves time without changing results: D is frozen during G's step (else its
weight gradients are computed and discarded), Adam is the fused one, gradients are set to None, a
D without batch norm sees real and generated images at once.
"""

import time

STARTED = time.perf_counter()

import argparse
import json
import sys
from contextlib import nullcontext

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from torch_networks import PRESETS, discriminator, generator

WARM_UP = 2
# Seconds that a timed block of steps takes at least, so that waiting for a GPU after each block
# costs nothing.
BLOCK = 0.2


def loss_on_reals(kind, scores):
    if kind == "non-saturating":
        return F.softplus(-scores).mean()
    return F.relu(1 - scores).mean() if kind == "hinge" else -scores.mean()


def loss_on_fakes(kind, scores):
    if kind == "non-saturating":
        return F.softplus(scores).mean()
    return F.relu(1 + scores).mean() if kind == "hinge" else scores.mean()


def loss_of_g(kind, scores):
    return F.softplus(-scores).mean() if kind == "non-saturating" else -scores.mean()


class Training:
    """A step is `n_critic` updates of D, each on images of its own, then one of G."""

    def __init__(self, preset, batch, device, layout, amp, compiled):
        self.preset, self.batch, self.device, self.amp = preset, batch, device, amp
        self.g, self.d = (
            net(preset).to(device, memory_format=layout).train() for net in (generator, discriminator)
        )
        self.adam_g, self.adam_d = (
            torch.optim.Adam(net.parameters(), lr=rate, betas=preset.betas, fused=True)
            for net, rate in ((self.g, preset.rate_g), (self.d, preset.rate_d))
        )
        self.scaler_g, self.scaler_d = (torch.amp.GradScaler(device, enabled=amp) for _ in "gd")
        # What is called: the networks or their compiled versions.
        self.make, self.judge, self.slopes = self.g, self.d, self.slopes_of
        if compiled:
            self.make, self.judge = torch.compile(self.g), torch.compile(self.d)
            self.slopes = torch.compile(self.slopes_of, fullgraph=True)
        shape = (preset.n_critic, batch, 3, preset.side, preset.side)
        reals = torch.rand(shape, device=device) * 2 - 1
        self.reals = [part.contiguous(memory_format=layout) for part in reals]

    def autocast(self):
        return torch.autocast(self.device, dtype=torch.float16, enabled=self.amp)

    def latents(self):
        return torch.randn(self.batch, self.preset.nz, 1, 1, device=self.device)

    def slopes_of(self, x, scale):
        """The norm of D's gradient at every image."""

        def total(x):
            with self.autocast():
                scores = self.d(x)
            return scores.float().sum() * scale

        # Not autograd.grad: this can be compiled, and its derivative with it.
        slopes = torch.func.grad(total)(x) / scale
        return (slopes.flatten(1).square().sum(1) + 1e-12).sqrt()

    def penalty(self, reals, fakes):
        mix = torch.rand(self.batch, 1, 1, 1, device=self.device)
        scale = self.scaler_d.scale(torch.ones((), device=self.device))
        lengths = self.slopes(torch.lerp(fakes.float(), reals, mix), scale)
        return self.preset.penalty * (lengths - 1).square().mean()

    def update_d(self, reals):
        """Returns the generated images, on which G is trained, too, if once per step."""
        preset, backward = self.preset, lambda loss: self.scaler_d.scale(loss).backward()
        self.adam_d.zero_grad(set_to_none=True)
        with self.autocast(), torch.set_grad_enabled(preset.n_critic == 1):
            fakes = self.make(self.latents())
        detached = fakes.detach()
        if preset.batch_norm_d:
            with self.autocast():
                loss = loss_on_reals(preset.loss, self.judge(reals))
            backward(loss)
            with self.autocast():
                on_fakes = loss_on_fakes(preset.loss, self.judge(detached))
            backward(on_fakes)
            self.loss_d = (loss + on_fakes).detach()
        else:
            with self.autocast():
                scores = self.judge(torch.cat([reals, detached]))
                loss = loss_on_reals(preset.loss, scores[: self.batch])
                loss = loss + loss_on_fakes(preset.loss, scores[self.batch :])
            backward(loss)
            self.loss_d = loss.detach()
        if preset.penalty:
            loss = self.penalty(reals, detached)
            backward(loss)
            self.loss_d = self.loss_d + loss.detach()
        self.scaler_d.step(self.adam_d)
        self.scaler_d.update()
        return fakes

    def step(self):
        for reals in self.reals:
            fakes = self.update_d(reals)
        self.d.requires_grad_(False)
        self.adam_g.zero_grad(set_to_none=True)
        with self.autocast():
            if self.preset.n_critic > 1:
                fakes = self.make(self.latents())
            loss_g = loss_of_g(self.preset.loss, self.judge(fakes))
        self.scaler_g.scale(loss_g).backward()
        self.scaler_g.step(self.adam_g)
        self.scaler_g.update()
        self.d.requires_grad_(True)
        self.losses = self.loss_d, loss_g.detach()

    def flops_per_image(self):
        """Operations of one more step's products and convolutions, by PyTorch's own count."""
        counter = FlopCounterMode(display=False)
        # Its hooks on modules do not support gradients of gradients.
        counter.mod_tracker = nullcontext()
        counter.mod_tracker.parents = {"Global"}
        with counter:
            self.step()
        return counter.get_total_flops() / (self.preset.n_critic * self.batch)


def timed(steps, max_seconds, step, wait):
    """The seconds per step of every block of steps, at least three blocks."""
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
    parser.add_argument("--preset", choices=PRESETS, default="dcgan")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--max-seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="use torch.compile")
    parser.add_argument("--count", action="store_true", help="also count operations")
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
    # AMP keeps in fp32 what is not safe in half precision; TF32 there as PyTorch users use it.
    tf32 = options.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    device = options.device
    layout = torch.channels_last if options.channels_last else torch.contiguous_format

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    amp, preset = options.precision == "amp", PRESETS[options.preset]
    if options.work == "train":
        training = Training(preset, options.batch, device, layout, amp, options.compile)
        params = [sum(p.numel() for p in net.parameters()) for net in (training.g, training.d)]
        step = training.step
    else:
        g = generator(preset).to(device, memory_format=layout).eval()
        params = [sum(p.numel() for p in g.parameters()), 0]
        make = torch.compile(g) if options.compile else g
        latents = torch.randn(options.batch, preset.nz, 1, 1, device=device)
        images = None

        def step():
            nonlocal images
            with torch.inference_mode():
                with torch.autocast(device, dtype=torch.float16, enabled=amp):
                    made = make(latents)
                images = made.float().cpu()

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
        assert list(images.shape) == [options.batch, 3, preset.side, preset.side], images.shape
        check = [images.mean().item(), images.abs().max().item()]
    images, flops = options.batch, None
    if options.work == "train":
        images *= preset.n_critic
        flops = training.flops_per_image() if options.count else None
    report = {
        "version": f"PyTorch {torch.__version__}",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "images": images,
        "params_g": params[0],
        "params_d": params[1],
        "first_step_seconds": first,
        "seconds": times,
        "check": check,
        "flops_per_image": flops,
        "device_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    sys.exit(main())
