#!/usr/bin/env python3
"""Files as PyTorch's users have them, with what their networks compute, for the tests of import.

    pip install torch numpy safetensors onnx
    python torch_files.py            # writes the folder torch/ beside this script
    python torch_files.py --check    # compares with the files that are there, writes nothing
    python torch_files.py --real /tmp/real   # PyTorch's example at its own size, for an ignored test:
                                             # DCGAN_REAL_FILES=/tmp/real cargo test real -- --ignored

One file, or a few, for each way in which weights are kept; `expected.safetensors` holds for each
case what the networks give in evaluation mode, computed in float64 from the very numbers in the
file: `<case>/z [n, nz]`, `<case>/fake [n, h, w, c]` (in [-1, 1]), `<case>/x [n, h, w, c]` and
`<case>/logits [n]`. The kept files were made with torch 2.15.0 on the CPU. Everything drawn comes
from generators seeded by the name of the case.
"""

import argparse
import pathlib
import sys
import tempfile
import zlib

sys.dont_write_bytecode = True  # no __pycache__ among the assets

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import nn  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent / "torch"
MADE_BY = {"made_by": "assets/reference/torch_files.py"}


def named(name, module):
    """A module whose one child has this name."""
    outer = nn.Sequential()
    outer.add_module(name, module)
    return outer


def example_generator(size=16, width=4, channels=3, nz=6):
    """netG of pytorch/examples, with fewer layers where pictures are smaller."""
    wide = width * size // 8
    layers = [nn.ConvTranspose2d(nz, wide, 4, 1, 0, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
    while wide > width:
        layers += [nn.ConvTranspose2d(wide, wide // 2, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(wide // 2), nn.ReLU()]
        wide //= 2
    layers += [nn.ConvTranspose2d(wide, channels, 4, 2, 1, bias=False), nn.Tanh()]
    return named("main", nn.Sequential(*layers))


def example_discriminator(size=16, width=4, channels=3):
    """netD of pytorch/examples."""
    layers = [nn.Conv2d(channels, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    while size > 8:
        layers += [nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)]
        layers += [nn.BatchNorm2d(2 * width), nn.LeakyReLU(0.2)]
        size, width = size // 2, 2 * width
    layers += [nn.Conv2d(width, 1, 4, 1, 0, bias=False), nn.Sigmoid()]
    return named("main", nn.Sequential(*layers))


class NamedGenerator(nn.Module):
    """Layers with names, biases, 5x5 kernels, and a linear layer whose norm comes before its
    picture."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(6, 8 * 12)
        self.norm0 = nn.BatchNorm1d(8 * 12)
        self.deconv1 = nn.ConvTranspose2d(8, 4, 5, 2, 2, output_padding=1)
        self.norm1 = nn.BatchNorm2d(4)
        self.deconv2 = nn.ConvTranspose2d(4, 1, 5, 2, 2, output_padding=1)

    def forward(self, z):
        x = torch.relu(self.norm0(self.project(z))).view(-1, 8, 4, 3)
        x = torch.relu(self.norm1(self.deconv1(x)))
        return torch.tanh(self.deconv2(x))


class NamedDiscriminator(nn.Module):
    """The same for D, whose one norm's name says which layer it is of; 16x12."""

    def __init__(self):
        super().__init__()
        self.bn2 = nn.BatchNorm2d(8)
        self.conv1 = nn.Conv2d(1, 4, 5, 2, 2)
        self.conv2 = nn.Conv2d(4, 8, 5, 2, 2)
        self.judge = nn.Linear(8 * 12, 1)

    def forward(self, x):
        x = nn.functional.leaky_relu(self.conv1(x), 0.2)
        x = nn.functional.leaky_relu(self.bn2(self.conv2(x)), 0.2)
        return torch.sigmoid(self.judge(x.flatten(1)))


def nested_generator():
    """Blocks in a Sequential, names such as net.0.1.weight; grey, 28x28 by way of 7x7."""
    block = nn.Sequential
    net = block(
        block(nn.ConvTranspose2d(6, 8, 7, 1, 0, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        block(nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        nn.ConvTranspose2d(4, 1, 4, 2, 1),
        nn.Tanh(),
    )
    return named("net", net)


def nested_discriminator():
    block = nn.Sequential
    net = block(
        nn.Conv2d(1, 4, 4, 2, 1),
        nn.LeakyReLU(0.2),
        block(nn.Conv2d(4, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2)),
        nn.Conv2d(8, 1, 7),
        nn.Sigmoid(),
    )
    return named("disc", net)


def late_generator():
    """A linear layer and a reshape, eps 0.8, slope 0.1, a 3x3 convolution and a sigmoid at the
    end."""
    net = nn.Sequential(
        nn.Linear(6, 8 * 4 * 4),
        nn.Unflatten(1, (8, 4, 4)),
        nn.BatchNorm2d(8, 0.8),
        nn.LeakyReLU(0.1),
        nn.ConvTranspose2d(8, 4, 4, 2, 1),
        nn.BatchNorm2d(4, 0.8),
        nn.LeakyReLU(0.1),
        nn.Conv2d(4, 3, 3, 1, 1),
        nn.Sigmoid(),
    )
    return named("model", net)


def late_discriminator():
    """Activation and dropout before the norm; 3x3 kernels that halve."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),
        nn.LeakyReLU(0.1),
        nn.Dropout2d(0.25),
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.LeakyReLU(0.1),
        nn.Dropout2d(0.25),
        nn.BatchNorm2d(8, 0.8),
        nn.Flatten(),
        nn.Linear(8 * 2 * 2, 1),
        nn.Sigmoid(),
    )
    return named("model", net)


class UpsampleGenerator(nn.Module):
    """That of the most copied small DCGAN (PyTorch-GAN): it enlarges by repeating pixels, its first norm
    has another eps than the others and no activation."""

    def __init__(self, channels=1, width=4, size=16, nz=6):
        super().__init__()
        self.side = size // 4
        self.l1 = nn.Sequential(nn.Linear(nz, width * self.side**2))
        self.conv_blocks = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, stride=1, padding=1),
            nn.BatchNorm2d(width, 0.8),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width // 2, 3, stride=1, padding=1),
            nn.BatchNorm2d(width // 2, 0.8),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width // 2, channels, 3, stride=1, padding=1),
            nn.Tanh(),
        )

    def forward(self, z):
        x = self.l1(z)
        return self.conv_blocks(x.view(x.shape[0], -1, self.side, self.side))


class TwoPartDiscriminator(nn.Module):
    """The discriminator beside it: norms behind activation and dropout, its head in a Sequential of its
    own."""

    def __init__(self, channels=1):
        super().__init__()

        def block(into, out, norm=True):
            layers = [nn.Conv2d(into, out, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout2d(0.25)]
            return layers + [nn.BatchNorm2d(out, 0.8)] * norm

        self.model = nn.Sequential(*block(channels, 2, False), *block(2, 4), *block(4, 8))
        self.adv_layer = nn.Sequential(nn.Linear(8 * 2 * 2, 1), nn.Sigmoid())

    def forward(self, x):
        return self.adv_layer(self.model(x).flatten(1))


def extra_generator(size=16, width=4, nz=6, channels=3):
    """DCGAN_G of the code of WGAN's authors, with extra layers that keep the size."""
    net = nn.Sequential()
    net.add_module("initial:6-8:convt", nn.ConvTranspose2d(nz, 8, 4, 1, 0, bias=False))
    net.add_module("initial:8:batchnorm", nn.BatchNorm2d(8))
    net.add_module("initial:8:relu", nn.ReLU(True))
    net.add_module("pyramid:8-4:convt", nn.ConvTranspose2d(8, 4, 4, 2, 1, bias=False))
    net.add_module("pyramid:4:batchnorm", nn.BatchNorm2d(4))
    net.add_module("pyramid:4:relu", nn.ReLU(True))
    for i in range(2):
        net.add_module(f"extra-layers-{i}:4:conv", nn.Conv2d(4, 4, 3, 1, 1, bias=False))
        net.add_module(f"extra-layers-{i}:4:batchnorm", nn.BatchNorm2d(4))
        net.add_module(f"extra-layers-{i}:4:relu", nn.ReLU(True))
    net.add_module("final:4-3:convt", nn.ConvTranspose2d(4, channels, 4, 2, 1, bias=False))
    net.add_module("final:3:tanh", nn.Tanh())
    return named("main", net)


def extra_discriminator():
    """DCGAN_D of the same, which gives a score."""
    net = nn.Sequential()
    net.add_module("initial:3-4:conv", nn.Conv2d(3, 4, 4, 2, 1, bias=False))
    net.add_module("initial:4:relu", nn.LeakyReLU(0.2, inplace=True))
    net.add_module("extra-layers-0:4:conv", nn.Conv2d(4, 4, 3, 1, 1, bias=False))
    net.add_module("extra-layers-0:4:batchnorm", nn.BatchNorm2d(4))
    net.add_module("extra-layers-0:4:relu", nn.LeakyReLU(0.2, inplace=True))
    net.add_module("pyramid:4-8:conv", nn.Conv2d(4, 8, 4, 2, 1, bias=False))
    net.add_module("pyramid:8:batchnorm", nn.BatchNorm2d(8))
    net.add_module("pyramid:8:relu", nn.LeakyReLU(0.2, inplace=True))
    net.add_module("final:8-1:conv", nn.Conv2d(8, 1, 4, 1, 0, bias=False))
    net.add_module("probability", nn.Sigmoid())
    return named("main", net)


def strides_generator(nz=6, width=2):
    """1, 3, 6, 13, 28 pixels: a course's generator of MNIST, whose kernels of 4 have other strides."""

    def block(into, out, kernel, stride):
        return nn.Sequential(
            nn.ConvTranspose2d(into, out, kernel, stride), nn.BatchNorm2d(out), nn.ReLU()
        )

    gen = nn.Sequential(
        block(nz, 4 * width, 3, 2),
        block(4 * width, 2 * width, 4, 1),
        block(2 * width, width, 3, 2),
        nn.Sequential(nn.ConvTranspose2d(width, 1, 4, 2), nn.Tanh()),
    )
    return named("gen", gen)


def graph(module, path, inputs):
    """An ONNX graph as torch.onnx.export writes it."""
    names = {"input_names": ["in"], "output_names": ["out"]}
    dynamic = {"in": {0: "n"}, "out": {0: "n"}}
    torch.onnx.export(
        module.float(), (inputs,), path, dynamo=False, dynamic_axes=dynamic, opset_version=17, **names
    )


def filled(name, module, dtype=torch.float32):
    """The module in evaluation mode, with drawn numbers that keep activations near one."""
    draw = np.random.RandomState(zlib.crc32(name.encode()))
    for layer in module.modules():
        own = list(layer.named_parameters(recurse=False)) + list(layer.named_buffers(recurse=False))
        for key, tensor in own:
            if tensor.dtype == torch.int64:
                tensor.fill_(1000)
                continue
            numbers = draw.standard_normal(tuple(tensor.shape))
            if key == "running_var":
                numbers = 0.5 + np.abs(numbers)
            elif tensor.dim() == 1:
                numbers = 0.1 * numbers + (key == "weight")
            elif tensor.dim() == 2:
                numbers *= 1.4 / tensor.shape[1] ** 0.5
            else:
                taps = float(layer.kernel_size[0] ** 2)
                if isinstance(layer, nn.ConvTranspose2d):
                    taps /= layer.stride[0] ** 2 if layer.padding[0] else taps
                numbers *= 1.4 / (layer.in_channels * taps) ** 0.5
            tensor.data.copy_(torch.from_numpy(numbers))
    return module.to(dtype).eval()


def nhwc(x):
    return x.permute(0, 2, 3, 1).contiguous().float()


@torch.no_grad()
def expect(
    expected, case, generator=None, discriminator=None, picture=(16, 16, 3), unit=False, nz=6
):
    """Runs the networks in float64 on drawn inputs."""
    draw = np.random.RandomState(zlib.crc32(f"inputs of {case}".encode()))
    if generator is not None:
        z = torch.from_numpy(draw.standard_normal((3, nz)).astype("float32"))
        linear = any(isinstance(m, nn.Linear) for m in generator.modules())
        fake = generator.double()(z.double() if linear else z.double()[:, :, None, None])
        expected[f"{case}/z"] = z
        expected[f"{case}/fake"] = nhwc(2 * fake - 1 if unit else fake)
    if discriminator is not None:
        h, w, c = picture
        x = torch.from_numpy(draw.uniform(-1, 1, (3, h, w, c)).astype("float32"))
        seen = x.double().permute(0, 3, 1, 2)
        chance = discriminator.double()((seen + 1) / 2 if unit else seen).flatten()
        expected[f"{case}/x"] = x
        expected[f"{case}/logits"] = torch.logit(chance).float()


def tensors(module):
    """A state dict as safetensors takes it."""
    return {key: value.contiguous() for key, value in module.state_dict().items()}


def one_storage(state):
    """The same state dict, all of whose float tensors are views into one long one, turned round."""
    floats = {k: v for k, v in state.items() if v.dtype == torch.float32}
    long = torch.cat([v.movedim(0, -1).flatten() for v in floats.values()])
    at, views = 0, dict(state)
    for key, value in floats.items():
        turned = value.movedim(0, -1)
        view = long[at : at + value.numel()].view(turned.shape).movedim(-1, 0)
        assert torch.equal(view, value)
        views[key], at = view, at + value.numel()
    return views


def write(folder):
    """All files."""
    expected = {}
    folder.mkdir(exist_ok=True)

    g, d = filled("plain g", example_generator()), filled("plain d", example_discriminator())
    torch.save(g.state_dict(), folder / "plain_g.pth")
    torch.save(d.state_dict(), folder / "plain_d.pth")
    save_file(tensors(g), folder / "plain_g.safetensors")
    save_file(tensors(d), folder / "plain_d.safetensors")
    torch.save(g.state_dict(), folder / "legacy_g.pth", _use_new_zipfile_serialization=False)
    torch.save(one_storage(g.state_dict()), folder / "views_g.pth")
    last = {
        key: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for key, value in d.state_dict().items()
    }
    torch.save(last, folder / "channels_last_d.pth")
    torch.save({"generator": g}, folder / "module_g.pth")
    expect(expected, "plain", g, d)

    g, d = filled("plain g", example_generator()), filled("plain d", example_discriminator())
    optimiser = torch.optim.Adam(g.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for parameter in g.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()  # fills the optimiser's state, and changes the weights a little
    together = {
        "epoch": 24,
        "netG_state_dict": nn.DataParallel(g).state_dict(),
        "netD_state_dict": d.state_dict(),
        "optimizerG_state_dict": optimiser.state_dict(),
        "losses": [0.5, 1.25],
        "size": torch.Size([16, 16]),
        "finished": True,
        "note": None,
    }
    torch.save(together, folder / "together.tar")
    expect(expected, "together", g, d)

    for name, dtype in [
        ("half", torch.half),
        ("bfloat16", torch.bfloat16),
        ("double", torch.double),
    ]:
        g = filled(f"{name} g", example_generator(8), dtype)
        if name == "double":
            torch.save(g.state_dict(), folder / f"{name}_g.pth", pickle_protocol=4)
        else:
            kept = dict(g.named_parameters()) | dict(g.named_buffers())
            torch.save({"params": kept}, folder / f"{name}_g.pth")  # Parameters, not tensors
        save_file(tensors(g), folder / f"{name}_g.safetensors")
        expect(expected, name, g)

    g, d = filled("named g", NamedGenerator()), filled("named d", NamedDiscriminator())
    torch.save({"G": g.state_dict(), "D": d.state_dict()}, folder / "named.pth")
    save_file(tensors(g), folder / "named_g.safetensors")
    save_file(tensors(d), folder / "named_d.safetensors")
    expect(expected, "named", g, d, (16, 12, 1))

    g, d = filled("nested g", nested_generator()), filled("nested d", nested_discriminator())
    torch.save({"models": [g.state_dict(), d.state_dict()]}, folder / "nested.pth")
    save_file(tensors(d), folder / "nested_d.safetensors")
    expect(expected, "nested", g, d, (28, 28, 1))

    g, d = filled("late g", late_generator()), filled("late d", late_discriminator())
    torch.save(g.state_dict(), folder / "late_g.pth")
    torch.save(d.state_dict(), folder / "late_d.pth")
    expect(expected, "late", g, d, (8, 8, 3), unit=True)

    g, d = filled("upsample g", UpsampleGenerator()), filled("upsample d", TwoPartDiscriminator())
    torch.save(g.state_dict(), folder / "upsample_g.pth")
    torch.save(d.state_dict(), folder / "upsample_d.pth")
    torch.save({"net": dict(d.state_dict())}, folder / "unlisted_d.pth")  # without _metadata
    save_file(tensors(d), folder / "upsample_d.safetensors")
    graph(g, folder / "upsample_g.onnx", torch.zeros(1, 6))
    graph(d, folder / "upsample_d.onnx", torch.zeros(1, 1, 16, 16))
    expect(expected, "upsample", g, d, (16, 16, 1))

    g, d = filled("extra g", extra_generator()), filled("extra d", extra_discriminator())
    torch.save(g.state_dict(), folder / "extra_g.pth")
    torch.save(d.state_dict(), folder / "extra_d.pth")
    save_file(tensors(g), folder / "extra_g.safetensors")
    graph(g, folder / "extra_g.onnx", torch.zeros(1, 6, 1, 1))
    graph(d, folder / "extra_d.onnx", torch.zeros(1, 3, 16, 16))
    expect(expected, "extra", g, d, (16, 16, 3))

    g = filled("strides g", strides_generator())
    torch.save(g.state_dict(), folder / "strides_g.pth")
    graph(g, folder / "strides_g.onnx", torch.zeros(1, 6, 1, 1))
    expect(expected, "strides", g)

    g = filled("beside g", example_generator())
    draw = torch.from_numpy(np.random.RandomState(1).standard_normal((4, 6, 1, 1)).astype("float32"))
    beside = {"epoch": torch.tensor(3), "netG": g.state_dict(), "fixed_noise": draw}
    torch.save(beside, folder / "beside.pth")
    expect(expected, "beside", g)

    save_file(expected, folder / "expected.safetensors", MADE_BY)


def real_networks(size=64, ngf=64, ndf=64, nz=100):
    """The example's networks at its own size."""
    g = filled("real g", example_generator(size, ngf, nz=nz))
    return g, filled("real d", example_discriminator(size, ndf))


def write_real(folder):
    expected = {}
    folder.mkdir(exist_ok=True)
    g, d = real_networks()
    for name, network in [("g", g), ("d", d)]:
        torch.save(network.state_dict(), folder / f"plain_{name}.pth")
        save_file(tensors(network), folder / f"plain_{name}.safetensors")
    expect(expected, "plain", g, d, (64, 64, 3), nz=100)
    save_file(expected, folder / "expected.safetensors", MADE_BY)
    for key, value in expected.items():
        print(f"{key} {list(value.shape)} from {value.min():.2f} to {value.max():.2f}")


def compare():
    """What differs from the files that are there."""
    with tempfile.TemporaryDirectory() as made:
        made = pathlib.Path(made)
        write(made)
        names = {path.name for path in HERE.iterdir()} ^ {path.name for path in made.iterdir()}
        yield from (f"{name}: only on one side" for name in sorted(names))
        kept, new = (
            load_file(HERE / "expected.safetensors"),
            load_file(made / "expected.safetensors"),
        )
        for key in sorted(kept.keys() | new.keys()):
            if (
                key not in kept
                or key not in new
                or not torch.allclose(kept[key], new[key], atol=1e-6)
            ):
                yield key


def main():
    parser = argparse.ArgumentParser(description="files as PyTorch's users have them")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    parser.add_argument("--real", metavar="FOLDER", help="write networks of the real size there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.real:
        write_real(pathlib.Path(args.real))
    elif args.check:
        wrong = list(compare())
        print("\n".join(wrong) or "all as kept")
        return 1 if wrong else 0
    else:
        write(HERE)
        print(f"{len(list(HERE.iterdir()))} files written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
