#!/usr/bin/env python3
"""Reference vectors made by PyTorch in float64, for the project's tests.

To make them again, in this folder:

    pip install torch numpy safetensors
    python make_reference.py            # writes *.safetensors and *.json beside this script
    python make_reference.py --check    # compares with the files that are there, writes nothing

This script writes and compares; what is in the files is made by its neighbours, one for each
subject. The kept files were made with Python 3.11, torch 2.15.0 (on the CPU), numpy 2.4.6 and
safetensors 0.8.0. Everything drawn comes from numpy's RandomState, whose streams are frozen, seeded
by the name of the file or case: adding a case changes no other. On another machine or version the
last digit may differ; `--check` allows for that.

Every input and every initial weight is a float32 number, so a float32 program starts from exactly
what PyTorch started from. Results are computed in float64 and stored as float32; losses and
penalties stand in the .json beside each file, with all their digits. The .json also says what each
tensor's case is (`"conv2d/3": {"kernel": [4, 3], ...}`, whose tensors are `conv2d/3/x` and so on).

Layouts. Activations are NHWC, pictures in [-1, 1]. Weights are PyTorch's, under PyTorch's names:
    Conv2d           [out, in, kh, kw]  = [small, large, kh, kw]
    ConvTranspose2d  [in, out, kh, kw]  = [small, large, kh, kw]
    Linear           [out, in]
PyTorch's own activations are NCHW, which shows at the two Linear layers of the paper's networks:
    generator's      [C*4*4, nz], row c*16 + y*4 + x makes channel c of pixel (y, x)
    discriminator's  [1, C*4*4],  column c*16 + y*4 + x weighs channel c of pixel (y, x)

Numbering. Names are those of an nn.Sequential called `main`, in which layers without parameters
count too. At size 16, where "->" is a layer without parameters:
    training_pytorch, G: 0 ConvT, 1 BN, 2 ->ReLU, 3 ConvT, 4 BN, 5 ->ReLU, 6 ConvT, 7 ->tanh
                      D: 0 Conv, 1 ->LReLU, 2 Conv, 3 BN, 4 ->LReLU, 5 Conv
    training_paper,   G: 0 Linear, 1 ->view [C, 4, 4], 2 BN, 3 ->ReLU, 4 ConvT, 5 BN, 6 ->ReLU,
                         7 ConvT, 8 ->tanh
                      D: 0 Conv, 1 ->LReLU, 2 Conv, 3 BN, 4 ->LReLU, 5 ->flatten, 6 Linear
Each doubling more adds (ConvT, BN, ReLU) to G and (Conv, BN, LReLU) to D. Networks that are told
classes have one layer more, without parameters, before each that has weights. `num_batches_tracked` is
left out: nothing is computed from it when momentum is set.

The tensors of a family file: as those of a training file, but reals [batches, n, h, w, c] are seen
again and again, z is [20, updates of D + 1, n, nz], mix [20, updates of D, n], and last.* are the
vectors of spectral norm after the last step.

family_vae* have reals and z as these, epsilon [20, n, nz], and step1.reconstructed; their losses also
say what was updated, and a and b of which that follows.

The tensors of a training file:
    reals [10, n, h, w, c], z [10, n, nz]    the batches of ten steps; reals are exactly
                                             float32(byte / 127.5 - 1)
    labels [10, n]                           where the networks are told classes: those of the
                                             reals and of the generated pictures
    generator.main.*, discriminator.main.*   weights and running statistics before step 1
    step1.fake, step1.logits_*               what the networks give in step 1: D on reals, D on
                                             fakes, the updated D on the same fakes (logits_g)
    grad.generator.*, grad.discriminator.*   gradients of step 1, as each Adam step used them
    after1.generator.*, after1.*             weights and running statistics after step 1
    eval1.fake, eval1.logits                 after step 1, in evaluation mode: G(first row of
                                             z[0]), D(reals[0])
"""

import argparse
import json
import math
import pathlib
import re
import sys

sys.dont_write_bytecode = True  # no __pycache__ among the assets

import torch  # noqa: E402
from safetensors.torch import load_file, save  # noqa: E402

from ali import SIZES, ali_file  # noqa: E402
from augment import augment_file  # noqa: E402
from bigan import bigan_file  # noqa: E402
from family import family_file  # noqa: E402
from int_cls import int_cls_file  # noqa: E402
from lapgan import lapgan_file  # noqa: E402
from layers import layers_file  # noqa: E402
from mrgan import mrgan_file  # noqa: E402
from objectives import objectives_file  # noqa: E402
from parts import parts_file  # noqa: E402
from second_order import second_order_file  # noqa: E402
from ss_gan import ss_gan_file  # noqa: E402
from stacked import stacked_file  # noqa: E402
from stackgan import stackgan_file  # noqa: E402
from training import (  # noqa: E402
    conditional_mnist,
    conditional_pytorch,
    networks_paper,
    networks_pytorch,
    training_file,
)
from vae_gan import vae_gan_file  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def as_json(index):
    """Indented JSON, with lists of plain numbers on one line."""
    text = json.dumps(index, indent=1)
    return re.sub(r"\[[^][{}\"]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text) + "\n"


def numbers(value, path=""):
    """All numbers in nested JSON, by path; float32 runs depend on the machine and are left out."""
    if isinstance(value, dict):
        for k, v in value.items():
            if not k.startswith(("losses_float32", "float32_drift")):
                yield from numbers(v, f"{path}/{k}")
    elif isinstance(value, (list, tuple)):
        for i, v in enumerate(value):
            yield from numbers(v, f"{path}/{i}")
    elif isinstance(value, (int, float)):
        yield path, value


def differences(name, file):
    """What differs from the files that are there, beyond the last digits."""
    kept = load_file(HERE / f"{name}.safetensors")
    if kept.keys() != file.tensors.keys():
        yield f"{name}: other tensors: {sorted(kept.keys() ^ file.tensors.keys())}"
    for key in kept.keys() & file.tensors.keys():
        a, b = kept[key], file.tensors[key]
        if a.shape != b.shape or not torch.allclose(a, b, rtol=1e-6, atol=1e-6 * b.abs().max()):
            yield f"{name}: {key}"
    kept = dict(numbers(json.loads((HERE / f"{name}.json").read_text())))
    made = dict(numbers(file.index))
    for key in sorted(kept.keys() | made.keys()):
        if not math.isclose(kept.get(key, math.nan), made.get(key, math.nan), rel_tol=1e-9):
            yield f"{name}.json: {key}: {kept.get(key)} is kept, {made.get(key)} was made"


def main():
    parser = argparse.ArgumentParser(description="PyTorch's reference vectors")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    plain, paper = networks_pytorch, networks_paper
    files = {
        "training_pytorch": dict(build=plain, latents="normal", size=16, nz=8, ngf=6, ndf=5, n=4),
        "training_pytorch_32": dict(
            build=plain, latents="normal", size=32, nz=16, ngf=8, ndf=8, n=3
        ),
        "training_paper": dict(build=paper, latents="uniform", size=16, nz=6, ngf=4, ndf=6, n=4),
        "training_conditional": dict(
            build=conditional_pytorch, latents="normal", size=16, nz=6, ngf=4, ndf=4, n=5, classes=3
        ),
        "training_mnist": dict(
            build=conditional_mnist, latents="uniform", size=8, nz=6, ngf=3, ndf=2, n=6, nc=1,
            classes=4, unit=True,
        ),
    }
    files = {name: training_file(name, **settings) for name, settings in files.items()}
    files |= {"layers": layers_file(), "second_order": second_order_file()}
    files |= {"objectives": objectives_file(), "parts": parts_file(), "augment": augment_file()}
    family = {
        "family_wgan_gp": dict(norm_d="none", gp=10, n_critic=2),
        "family_wgan_gp_layer": dict(norm_d="layer", gp=10),
        "family_sngan": dict(norm_d="none", spectral=True, loss="hinge"),
        "family_acgan": dict(
            classes=3, loss="non-saturating", lr=2e-4, betas=(0.5, 0.999)
        ),
    }
    family |= {
        "family_infogan": dict(norm_d="none", loss="non-saturating", codes=(3, 2)),
        "family_semi": dict(
            norm_d="none", classes=3, loss="non-saturating", semi=True, matching=True
        ),
    }
    files |= {name: family_file(name, **settings) for name, settings in family.items()}
    files |= {"family_bigan": bigan_file()}
    files |= {f"family_ali_{kind.replace('-', '_')}": ali_file(kind) for kind in SIZES}
    encoders = {
        "family_vae": dict(seed="family_vae", gan=False),
        "family_vae_gan": dict(seed="family_vae_gan", gan=True),
        # Some updates of each network are skipped, and some are made as both would be.
        "family_vae_gan_non_saturating": dict(
            seed="family_vae_gan_14", gan=True, loss="non-saturating"
        ),
    }
    files |= {name: vae_gan_file(**settings) for name, settings in encoders.items()}
    files |= {"family_mrgan": mrgan_file("mrgan", distance_weight=0.2, mode_weight=0.4)}
    files |= {"family_mdgan": mrgan_file("mdgan", distance_weight=1, mode_weight=0.01)}
    files |= {"family_stacked": stacked_file()}
    files |= {"family_ss_gan": ss_gan_file()}
    files |= {"family_int_cls": int_cls_file(mismatch=0.4)}
    files |= {"family_stackgan": stackgan_file()}
    files |= {"family_lapgan": lapgan_file()}

    wrong = []
    for name, file in files.items():
        if check:
            wrong += differences(name, file)
        else:
            made_by = {"made_by": "assets/reference/make_reference.py"}
            (HERE / f"{name}.safetensors").write_bytes(save(file.tensors, made_by))
            (HERE / f"{name}.json").write_text(as_json(file.index))
    print("\n".join(wrong) or ("all as kept" if check else f"{len(files)} files written"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
