#!/usr/bin/env python3
"""Loads what `dcgan export` writes into PyTorch, and compares what both make of it.

    pip install torch numpy safetensors onnx onnxruntime
    python load_exports.py path/to/dcgan [--size 64 --ngf 64 --ndf 64 --nz 100]

Networks of PyTorch's DCGAN example with drawn numbers go the whole round: PyTorch's files →
`dcgan import` → `dcgan sample` and `dcgan export` → `load_state_dict(strict=True)` and onnxruntime.
Prints the largest differences; fails where one is above 1e-5 or an exported number is not the one
that was imported.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # no __pycache__ among the assets

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import torch_files  # noqa: E402

NEAR = 1e-5
COUNT = 64


def main():
    parser = argparse.ArgumentParser(description="exports, loaded into PyTorch and onnxruntime")
    parser.add_argument("dcgan")
    for flag, value in [("size", 64), ("ngf", 64), ("ndf", 64), ("nz", 100)]:
        parser.add_argument(f"--{flag}", type=int, default=value)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    wrong = []

    def check(what, difference):
        print(f"{what:<60} {difference:.2e}")
        if not difference <= NEAR:
            wrong.append(what)

    g, d = torch_files.real_networks(args.size, args.ngf, args.ndf, args.nz)
    z = torch.randn(COUNT, args.nz, generator=torch.Generator().manual_seed(4))
    fake = g(z[:, :, None, None])
    logits = torch.logit(d.double()(fake.double())).flatten()
    d.float()
    print(
        f"pictures from {fake.min():.2f} to {fake.max():.2f}, deviation {fake.std():.3f}; "
        f"logits from {logits.min():.2f} to {logits.max():.2f}"
    )

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def dcgan(*words):
            subprocess.run(
                [args.dcgan, *map(str, words)], cwd=folder, check=True, stdout=subprocess.DEVNULL
            )

        np.save(folder / "z.npy", z.numpy())
        for name, network in [("g", g), ("d", d)]:
            torch.save(network.state_dict(), folder / f"{name}.pth")
            state = {k: v.contiguous() for k, v in network.state_dict().items()}
            save_file(state, folder / f"{name}.safetensors")
        for kind in ["pth", "safetensors"]:
            dcgan("import", f"g.{kind}", f"d.{kind}", "--out", f"model-{kind}.safetensors")
            dcgan(
                "sample",
                f"model-{kind}.safetensors",
                "--latents",
                "z.npy",
                "--format",
                "npy",
                "--out",
                kind,
                "--device",
                "cpu",
            )
            ours = torch.from_numpy(np.load(folder / kind / "samples.npy")).permute(0, 3, 1, 2)
            check(f"pictures of G imported from .{kind}", (ours - fake).abs().max())
        for network, module in [("generator", g), ("discriminator", d)]:
            for kind, load in [("pth", torch.load), ("safetensors", load_file)]:
                out = folder / f"out-{network}.{kind}"
                dcgan(
                    "export",
                    "model-pth.safetensors",
                    "--network",
                    network,
                    "--to",
                    kind,
                    "--out",
                    out,
                )
                state = load(out)
                kept = module.state_dict()
                module.load_state_dict(state, strict=True)
                same = all(
                    torch.equal(state[key].float(), kept[key].float())
                    for key in kept
                    if "num_batches" not in key
                )
                print(
                    f"{network} from .{kind}: load_state_dict(strict=True), "
                    f"{'the same bits' if same else 'OTHER NUMBERS'}"
                )
                if not same:
                    wrong.append(f"{network}.{kind}")
            dcgan(
                "export",
                "model-pth.safetensors",
                "--network",
                network,
                "--to",
                "onnx",
                "--out",
                f"{network}.onnx",
            )
        check("G after export", (g(z[:, :, None, None]) - fake).abs().max())

        import onnx
        import onnxruntime

        def run(name, feeds):
            onnx.checker.check_model(str(folder / f"{name}.onnx"), full_check=True)
            session = onnxruntime.InferenceSession(str(folder / f"{name}.onnx"))
            return [torch.from_numpy(x) for x in session.run(None, feeds)]

        (ours,) = run("generator", {"z": z.numpy()})
        check("pictures of G by onnxruntime", (ours - fake).abs().max())
        ours, features = run("discriminator", {"pictures": fake.numpy()})
        check("logits of D by onnxruntime", (ours.flatten() - logits).abs().max())
        wanted, x, layers = [], fake, list(d.main)
        for layer, after in zip(layers, layers[1:] + [None]):
            x = layer(x)
            if isinstance(after, torch.nn.Conv2d):
                wanted.append(torch.nn.functional.adaptive_max_pool2d(x, 4).flatten(1))
        check("features of D by onnxruntime", (features - torch.cat(wanted, 1)).abs().max())
    print("\n".join(f"WRONG: {what}" for what in wrong) or "all as it should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
