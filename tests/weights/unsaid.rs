//! What shapes and names do not say: spelled out by the user, assumed and said to be, or refused with
//! the flag that says it.

use super::*;

use dcgan::weights::{Said, Spelled};

fn spelled(text: &str) -> Vec<Spelled> {
    text.split(',').map(|word| word.parse().unwrap()).collect()
}

/// What import says to a file.
fn refused(name: &str, assumptions: &Assumptions) -> String {
    import(&[file(name)], &[], assumptions).expect_err(name).to_string()
}

/// The source of the most copied small DCGAN.
const UPSAMPLE: &str = "linear,reshape,norm:1e-5,upsample,conv,norm:0.8,leaky:0.2,upsample,conv,\
                        norm:0.8,leaky:0.2,conv,tanh";

#[test]
fn a_generator_that_repeats_pixels_is_spelled_out() {
    for assumptions in [
        Assumptions::default(),
        Assumptions { eps: Some(0.8), g_slope: 0.2, ..Assumptions::default() },
    ] {
        let text = refused("upsample_g.pth", &assumptions);
        let words =
            "conv_blocks.2 takes 4 channels and outputs as many, so that its shape does not show";
        assert!(text.contains(words) && text.contains("--g-layers"), "{text}");
    }
    let given = Assumptions { g_layers: spelled(UPSAMPLE), ..Assumptions::default() };
    let imported = import_files(&["upsample_g.pth"], &[], &given);
    assert_eq!(imported.assumed, Vec::<String>::new());
    agrees(&folder(), "upsample", &imported);
    // Both networks, only one of which needs it.
    let given = Assumptions { eps: Some(0.8), ..given };
    agrees(
        &folder(),
        "upsample",
        &import_files(&["upsample_g.pth", "upsample_d.pth"], &[], &given),
    );

    let wrong = |layers: &str| {
        let given = Assumptions { g_layers: spelled(layers), ..Assumptions::default() };
        refused("upsample_g.pth", &given)
    };
    for (layers, words) in [
        ("linear,conv,conv,tanh", "has the norm conv_blocks.0, which --g-layers does not name"),
        (
            "linear,norm,conv,norm,conv,norm,conv,conv,tanh",
            "has fewer convolutions than --g-layers names",
        ),
        (
            "linear,norm=conv_blocks.2,conv,norm,conv,norm,conv",
            "conv_blocks.2 is a convolution, not a norm",
        ),
        ("linear,norm=bn,conv,norm,conv,norm,conv", "has no layer \"bn\", which --g-layers names"),
        (
            "linear,norm,upsample,deconv:1:1,norm,upsample,deconv:1:1,norm,conv,tanh",
            "conv_blocks.2 gives 4 channels, and conv_blocks.6, which follows, takes 2",
        ),
        ("norm,conv,linear,norm,conv,norm,conv,tanh", "has a linear layer in the middle"),
    ] {
        let text = wrong(layers);
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
}

#[test]
fn a_norm_behind_the_activation_is_found_in_several_sequentials() {
    let given = Assumptions { eps: Some(0.8), ..Assumptions::default() };
    // By the numbers in `model`, the last of which the file lists; else by those of its tensors.
    for (name, unsure) in
        [("upsample_d.pth", false), ("unlisted_d.pth", true), ("upsample_d.safetensors", true)]
    {
        let imported = import_files(&[name], &[], &given);
        let network = imported.networks.discriminator().unwrap();
        let kinds: Vec<&str> = network.layers.iter().map(Layer::kind).collect();
        let norms = kinds.windows(2).filter(|pair| pair[1] == "a batch norm");
        assert!(norms.clone().count() == 2, "{name}: {kinds:?}");
        assert!(norms.clone().all(|pair| pair[0] != "a convolution"), "{name}: {kinds:?}");
        agrees(&folder(), "upsample", &imported);
        let said = imported.assumed.join("; ");
        let words = "model.10 normalizes the output of an activation (--d-layers)";
        assert_eq!(said.contains(words), unsure, "{name}: {said}");
        assert!(said.contains("other layers without tensors are dropout (--d-layers)"), "{said}");
    }
    let layers = "conv:2:1,leaky:0.2,dropout,conv:2:1,leaky:0.2,dropout,norm:0.8,conv:2:1,leaky:0.2,\
                  dropout,norm:0.8,linear";
    let given = Assumptions { d_layers: spelled(layers), ..Assumptions::default() };
    let imported = import_files(&["upsample_d.pth"], &[], &given);
    agrees(&folder(), "upsample", &imported);
    assert_eq!(imported.assumed, Vec::<String>::new());
    // With the norms where they are usual, it would be another network.
    let usual = spelled(
        "conv:2:1,leaky:0.2,conv:2:1,norm:0.8,leaky:0.2,conv:2:1,norm:0.8,leaky:0.2,linear",
    );
    let given = Assumptions { d_layers: usual, ..Assumptions::default() };
    let other = model(&import_files(&["upsample_d.pth"], &[], &given));
    let expected = expected(&folder());
    let logits = judged(&other, &Device::Cpu, &expected["upsample/x"]).pop().unwrap();
    let wanted = &expected["upsample/logits"];
    assert!(logits.f32s().iter().zip(wanted.f32s()).any(|(a, b)| (a - b).abs() > 0.01));
}

#[test]
fn extra_layers_are_what_their_names_say() {
    let usual = Assumptions::default();
    for names in [&["extra_g.pth", "extra_d.pth"][..], &["extra_g.pth"], &["extra_d.pth"]] {
        let imported = import_files(names, &[], &usual);
        agrees(&folder(), "extra", &imported);
        let said = imported.assumed.join("; ");
        let words = "main.extra-layers-1:4:conv is a convolution, by its name (--g-layers)";
        assert_eq!(said.contains(words), names[0] == "extra_g.pth", "{said}");
    }
    // Sorted by their names, layers stand in no order.
    let text = refused("extra_g.safetensors", &usual);
    assert!(text.contains("--g-layers"), "{text}");
    let named = "deconv:1:0=main.initial:6-8:convt,norm=main.initial:8:batchnorm,relu,\
                 deconv:2:1=main.pyramid:8-4:convt,norm=main.pyramid:4:batchnorm,relu,\
                 conv:1:1=main.extra-layers-0:4:conv,norm=main.extra-layers-0:4:batchnorm,relu,\
                 conv:1:1=main.extra-layers-1:4:conv,norm=main.extra-layers-1:4:batchnorm,relu,\
                 deconv:2:1=main.final:4-3:convt,tanh";
    let given = Assumptions { g_layers: spelled(named), ..usual };
    agrees(&folder(), "extra", &import_files(&["extra_g.safetensors"], &[], &given));
}

#[test]
fn strides_that_shapes_do_not_say_are_asked_for() {
    let text = refused("strides_g.pth", &Assumptions::default());
    for words in [
        "2.0 is a transposed",
        "kernel of 3",
        "keep the size of its images as well as double it",
        "--g-sides",
    ] {
        assert!(text.contains(words), "no {words:?} in: {text}");
    }
    let sides = vec![[3; 2], [6; 2], [13; 2], [28; 2]];
    let text = refused("strides_g.pth", &Assumptions { g_sides: sides, ..Assumptions::default() });
    let words = "1.0: a kernel of 4 goes from 3 to 6 pixels with stride 1 and padding 0 as well as \
                 with stride 2 and padding 1: --g-layers says which, as deconv:1:0";
    assert!(text.contains(words), "{text}");
    let layers = "deconv:2:0,norm,relu,deconv:1:0,norm,relu,deconv:2:0,norm,relu,deconv:2:0,tanh";
    let given = Assumptions { g_layers: spelled(layers), ..Assumptions::default() };
    agrees(&folder(), "strides", &import_files(&["strides_g.pth"], &[], &given));
}

#[test]
fn tensors_beside_networks_are_left_out_and_said_to_be() {
    let usual = Assumptions::default();
    for keys in [&[][..], &[(Role::Generator, "netG")]] {
        let imported = import_files(&["beside.pth"], keys, &usual);
        assert_eq!(imported.left_out, ["fixed_noise [4, 6, 1, 1]", "epoch, whole numbers"]);
        agrees(&folder(), "beside", &imported);
    }
}

/// A graph says every layer, whoever wrote it.
#[test]
fn graphs_of_pytorch_give_what_pytorch_gives() {
    let usual = Assumptions::default();
    for (case, names) in [
        ("upsample", &["upsample_g.onnx", "upsample_d.onnx"][..]),
        ("upsample", &["upsample_d.onnx"]),
        ("extra", &["extra_g.onnx", "extra_d.onnx"]),
        ("strides", &["strides_g.onnx"]),
    ] {
        let imported = import_files(names, &[], &usual);
        assert_eq!((imported.said, imported.assumed.len()), (Said::Layers, 0), "{names:?}");
        agrees(&folder(), case, &imported);
    }
    let text = import(&[file("extra_g.onnx"), file("extra_d.pth")], &[], &usual);
    let text = text.unwrap_err().to_string();
    assert!(text.contains("extra_d.pth: is not an ONNX graph like the other file"), "{text}");
    let text = import(&[file("extra_g.onnx"), file("upsample_g.onnx")], &[], &usual);
    assert!(text.unwrap_err().to_string().contains("is a second generator"));
}
