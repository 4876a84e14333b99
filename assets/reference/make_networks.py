#!/usr/bin/env python3
"""Reference vectors for `dcgan evaluate`: feature networks, resizing, and scores of features.

To make them again, in this folder:

    pip install torch torchvision numpy scipy pillow safetensors
    pip install torch-fidelity==0.4.0 pytorch-fid==0.3.0 efficientnet-lite-pytorch==0.1.0
    python make_networks.py            # writes networks.safetensors and networks.json beside this script

Weights, images and features are not stored: `drawn` makes them from a name, here and in
`tests/networks.rs`. Networks are computed in float64. Inception is computed by the network of
torch-fidelity and by that of pytorch-fid, which must agree.

    inception/features, logits       every 8th number of two images, resized by torch-fidelity
    efficientnet/features, logits    the same, resized by Pillow (bicubic, floats)
    resize/KIND/HxW                  one image [H, W, 3] at 20 x 20 (at 299 x 299: every 7th row and column)
    scores (in the .json)            Frechet distances by eigenvalues and scipy's sqrtm, KID by torch-fidelity with all
                                     images in the one subset, IS by torch-fidelity in one part
"""

import json
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True

import numpy as np  # noqa: E402
import scipy.linalg  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from PIL import Image  # noqa: E402
from pytorch_fid import inception as pytorch_fid  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # noqa: E402
from torch_fidelity.interpolate_compat_tensorflow import (  # noqa: E402
    interpolate_bilinear_2d_like_tensorflow1x as tf1,
)
from torch_fidelity.metric_isc import isc_features_to_metric  # noqa: E402
from torch_fidelity.metric_kid import kid_features_to_metric  # noqa: E402
import torch_fidelity.feature_extractor_inceptionv3 as fidelity_inception  # noqa: E402

from efficientnet_lite_pytorch import EfficientNet  # noqa: E402


def bits(name, count):
    """`count` integers of 32 bits that belong to a name: FNV-1a, and the mixing of Murmur 3."""
    h = 0x811C9DC5
    for byte in name.encode():
        h = ((h ^ byte) * 0x01000193) & 0xFFFFFFFF
    x = (np.arange(count, dtype=np.uint64) * 0x9E3779B9 + h) & 0xFFFFFFFF
    x ^= x >> np.uint64(16)
    x = (x * 0x85EBCA6B) & 0xFFFFFFFF
    x ^= x >> np.uint64(13)
    x = (x * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> np.uint64(16))


def drawn(name, shape, scale=1.0, shift=0.0):
    """Numbers of `shape` between shift - scale and shift + scale, as float32."""
    unit = (bits(name, int(np.prod(shape))) >> np.uint64(8)).astype(np.float64) / 2**23 - 1.0
    return torch.from_numpy((unit * scale + shift).astype(np.float32)).reshape(shape)


def images(name, count, height, width):
    """Bytes [count, height, width, 3]."""
    x = (bits(name, count * height * width * 3) >> np.uint64(24)).astype(np.uint8)
    return x.reshape(count, height, width, 3)


def weights(net):
    """A state dict of drawn numbers that keep activations at one size."""
    state = {}
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = tensor
        elif tensor.dim() == 4:
            state[name] = drawn(name, tuple(tensor.shape), (6.0 / tensor[0].numel()) ** 0.5)
        elif tensor.dim() == 2:
            state[name] = drawn(name, tuple(tensor.shape), (3.0 / tensor.shape[1]) ** 0.5)
        elif name.endswith("running_var"):
            state[name] = drawn(name, tuple(tensor.shape), 0.2, 1.0)
        elif name.endswith("weight"):
            state[name] = drawn(name, tuple(tensor.shape), 0.1, 1.0)
        else:
            state[name] = drawn(name, tuple(tensor.shape), 0.1)
    return state


def inception(tensors):
    x = torch.from_numpy(images("inception", 2, 32, 24)).permute(0, 3, 1, 2)
    blank = pytorch_fid._inception_v3(num_classes=1008, aux_logits=False, weights=None)
    state = weights(blank)
    # Both download their weights; here they get these.
    pytorch_fid.load_state_dict_from_url = lambda *_, **__: state
    fidelity_inception.load_state_dict_from_url = lambda *_, **__: state
    features = ["2048", "logits_unbiased", "logits"]
    net = FeatureExtractorInceptionV3(
        "inception-v3-compat", features, feature_extractor_internal_dtype="float64"
    )
    with torch.no_grad():
        features, logits, biased = net(x)
        resized = (tf1(x.double(), size=(299, 299), align_corners=False) - 128) / 128
        other = pytorch_fid.InceptionV3([3], resize_input=False, normalize_input=False)
        other = other.double().eval()(resized)[0][:, :, 0, 0]
    assert (other - features).abs().max() < 1e-6 * features.abs().max(), "the two disagree"
    assert torch.allclose(biased, logits + state["fc.bias"], atol=1e-5)
    tensors["inception/features"] = features[:, ::8]
    tensors["inception/logits"] = logits[:, ::8]


def clean(x, size):
    """One image of bytes as clean-fid resizes it."""
    def channel(c):
        image = Image.fromarray(x[:, :, c].astype(np.float32), mode="F")
        return np.asarray(image.resize((size, size), Image.BICUBIC)).clip(0, 255)

    return torch.from_numpy(np.stack([channel(c) for c in range(3)], axis=-1))


def efficientnet(tensors):
    net = EfficientNet.from_name("efficientnet-lite0").eval()
    net.load_state_dict(weights(net))
    net = net.double()
    x = torch.stack([clean(x, 224) for x in images("efficientnet", 2, 40, 32)])
    x = (x.double().permute(0, 3, 1, 2) - 127) / 128
    with torch.no_grad():
        features = net.extract_features(x).mean((2, 3))
        logits = features @ net._fc.weight.T
        assert torch.allclose(net(x), logits + net._fc.bias)
    tensors["efficientnet/features"] = features[:, ::8]
    tensors["efficientnet/logits"] = logits[:, ::8]


def resizes(tensors):
    for height, width in [(7, 33), (20, 9), (32, 32), (64, 48)]:
        x = images(f"resize {height}x{width}", 1, height, width)
        planes = torch.from_numpy(x).float().permute(0, 3, 1, 2)
        sides = [20, 299] if height == 32 else [20]
        for side in sides:
            step = 7 if side == 299 else 1
            made = {
                "tf1": tf1(planes, size=(side, side), align_corners=False)[0].permute(1, 2, 0),
                "pytorch": F.interpolate(
                    planes, size=(side, side), mode="bilinear", align_corners=False
                )[0].permute(1, 2, 0),
                "clean": clean(x[0], side),
            }
            for kind, y in made.items():
                tensors[f"resize/{kind}/{height}x{width}/{side}"] = y[::step, ::step]


def frechet(a, b):
    """By the eigenvalues, as torch-fidelity; by scipy's root too, which wants regular matrices."""
    a, b = a.double().numpy(), b.double().numpy()
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    apart = a.mean(0) - b.mean(0)
    rest = apart @ apart + np.trace(first) + np.trace(second)
    trace = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    if np.linalg.matrix_rank(first @ second) == len(first):
        assert abs(np.trace(scipy.linalg.sqrtm(first @ second)).real - trace) < 1e-9 * trace
    return float(rest - 2 * trace)


def scores():
    """Sets of more images than features, of fewer, and with a feature that follows from others."""
    made = {}
    for name, count, width in [("many", 60, 12), ("few", 10, 24), ("dependent", 60, 12)]:
        mix = drawn(f"{name} mix", (width, width)).double()
        a = (drawn(f"{name} a", (count, width)).double() @ mix).float()
        b = (drawn(f"{name} b", (count, width), 0.8, 0.1).double() @ mix).float()
        if name == "dependent":
            a[:, 3] = 0
            b[:, 5] = b[:, 6]
        kid = kid_features_to_metric(
            a, b, kid_subsets=3, kid_subset_size=count, kid_kernel="poly", verbose=False
        )
        made[name] = {
            "frechet": frechet(a, b),
            "kid": kid["kernel_inception_distance_mean"],
            "is": isc_features_to_metric(4 * a, splits=1)["inception_score_mean"],
        }
    return made


def main():
    folder = pathlib.Path(__file__).parent
    tensors = {}
    inception(tensors)
    efficientnet(tensors)
    resizes(tensors)
    tensors = {name: x.float().contiguous().clone() for name, x in tensors.items()}
    save_file(tensors, folder / "networks.safetensors")
    about = {"about": "made by make_networks.py", "scores": scores()}
    (folder / "networks.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
