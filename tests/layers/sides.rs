//! Side inputs, taps and heads.

use dcgan::error::Error;
use dcgan::nn::{Gaussian, Heads, Join, LABELS, Label, Layer, Mode, Pass, Residual, Sequential};
use dcgan::tape::Tape;
use dcgan::tensor::DType;

use super::checked::check;
use super::conv;

fn join(input: &str, layers: Vec<Layer>) -> Layer {
    Layer::Join(Join { input: input.into(), layers })
}

/// A discriminator of pairs: images `x` of 4×4 with a vector `z` on every pixel, and with images `s`.
fn of_pairs() -> Sequential {
    let layers = vec![
        join("z", vec![Layer::linear(2, 3, true), Layer::Tanh]),
        join("s", vec![conv(1, 2), join("z", Vec::new())]),
    ];
    Sequential { layers }
}

const SIDES: [(&str, [usize; 3]); 2] = [("z", [1, 1, 2]), ("s", [4, 4, 1])];

#[test]
fn side_inputs_are_appended_to_every_pixel_by_way_of_their_layers() {
    let network = of_pairs();
    let names: Vec<String> = network.params("n").into_iter().map(|p| p.name).collect();
    let wanted = ["0.join.0.weight", "0.join.0.bias", "1.join.0.weight", "1.join.0.bias"];
    assert_eq!(names, wanted.map(|name| format!("n.main.{name}")));
    assert_eq!(network.side_inputs(), ["z", "s"]);

    let n = 2;
    let inputs: [(&str, &[usize]); 3] =
        [("x", &[n, 4, 4, 3]), ("z", &[n, 2]), ("s", &[n, 4, 4, 1])];
    check(&network, Mode::Train, &inputs, |sources| {
        let of = |name: &str| &sources[name];
        let (x, z, s) = (of("x"), of("z"), of("s"));
        let (w, b) = (of("n.main.0.join.0.weight"), of("n.main.0.join.0.bias"));
        let (k, c) = (of("n.main.1.join.0.weight"), of("n.main.1.join.0.bias"));
        let mut y = Vec::new();
        for (i, row, column) in places(n, 4, 4) {
            let pixel = (i * 4 + row) * 4 + column;
            y.extend(&x[pixel * 3..][..3]);
            for j in 0..3 {
                let sum = (0..2).map(|d| z[i * 2 + d] * w[d * 3 + j]).sum::<f64>();
                y.push((sum + b[j]).tanh());
            }
            for j in 0..2 {
                let mut sum = c[j];
                for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                    let (r, q) = ((row + dy).wrapping_sub(1), (column + dx).wrapping_sub(1));
                    if r < 4 && q < 4 {
                        sum += s[(i * 4 + r) * 4 + q] * k[(dy * 3 + dx) * 2 + j];
                    }
                }
                y.push(sum);
            }
            y.extend(&z[i * 2..][..2]);
        }
        y
    });
}

fn places(n: usize, h: usize, w: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..n).flat_map(move |i| (0..h).flat_map(move |y| (0..w).map(move |x| (i, y, x))))
}

/// A label is a join of the labels: the same nodes.
#[test]
fn a_label_is_the_simplest_join() {
    let tape = |layer: Layer| {
        let mut t = Tape::new();
        let x = t.feed("x", &[2, 4, 4, 3], DType::F32).unwrap();
        let labels = t.feed("labels", &[2, 5], DType::F32).unwrap();
        let pass = Pass::new(Mode::Train).labels(Some(labels));
        let network = Sequential { layers: vec![layer] };
        assert_eq!(network.side_inputs(), [LABELS]);
        network.record(&mut t, "n", x, &pass).unwrap();
        format!("{:?}", t.nodes())
    };
    assert_eq!(tape(Layer::Label(Label { classes: 5 })), tape(join(LABELS, Vec::new())));
}

/// A network, the sizes of its side inputs, and what is said of them.
type Case<'a> = (&'a Sequential, &'a [(&'a str, [usize; 3])], &'a str);

#[test]
fn side_inputs_that_do_not_fit_are_refused_before_anything_is_recorded() {
    let network = of_pairs();
    let sizes = network.sizes_beside([4, 4, 3], &SIDES).unwrap();
    assert_eq!(sizes, [[4, 4, 6], [4, 4, 10]]);
    let label = Sequential { layers: vec![Layer::Label(Label { classes: 5 })] };
    assert_eq!(label.sizes([4, 4, 3]), Ok(vec![[4, 4, 8]]));
    let reference =
        Layer::Reference(dcgan::nn::Reference { count: 2, size: [4, 4, 3], uniform: false });
    let behind = Sequential { layers: vec![reference, join("z", Vec::new())] };
    let wide = Sequential { layers: vec![join("z", vec![Layer::linear(2, 1 << 17, false)])] };
    let cases: [Case<'_>; 7] = [
        (&network, &[], "layer main.0: takes the side input \"z\"; those of the network are: none"),
        (
            &network,
            &[SIDES[0], ("t", [4, 4, 1])],
            "layer main.1: takes the side input \"s\"; those of the network are: z, t",
        ),
        (
            &network,
            &[("z", [1, 1, 3]), SIDES[1]],
            "layer main.0.join.0: takes images of [1, 1, 2] (height, width, channels) and gets",
        ),
        (
            &Sequential { layers: vec![join("s", Vec::new())] },
            &[("s", [2, 4, 1])],
            "layer main.0: appends images of [2, 4, 1] (height, width, channels) to those of",
        ),
        (
            &label,
            &[(LABELS, [1, 1, 4])],
            "layer main.0: is conditioned on 5 classes, and labels are of 4",
        ),
        (&behind, &SIDES, "layer main.1: a network with a reference batch cannot have side inputs"),
        (&wide, &SIDES, "layer main.0.join.0: there would be images of [1, 1, 131072]"),
    ];
    for (network, sides, wanted) in cases {
        let error = network.sizes_beside([4, 4, 3], sides).expect_err(wanted);
        assert!(error.starts_with(wanted), "{error}, not {wanted}");
    }

    let mut t = Tape::new();
    let x = t.feed("x", &[2, 4, 4, 3], DType::F32).unwrap();
    let z = t.feed("z", &[2, 2], DType::F32).unwrap();
    let row = t.feed("row", &[2], DType::F32).unwrap();
    let few = t.feed("few", &[1, 2], DType::F32).unwrap();
    let pass = Pass::new(Mode::Eval).with("z", z);
    match network.record(&mut t, "d", x, &pass) {
        Err(Error::Tensor { name, what }) => {
            assert_eq!(name, "d.main.1");
            assert!(what.starts_with("takes the side input \"s\""), "{what}");
        }
        other => panic!("{other:?}"),
    }
    // Neither vectors nor images; and of fewer images.
    for side in [row, few] {
        let pass = pass.clone().with("z", side);
        assert!(matches!(network.record(&mut t, "d", x, &pass), Err(Error::Shape { .. })));
    }
}

#[test]
fn outputs_are_found_by_the_names_of_their_layers() {
    let residual = Residual { main: vec![conv(3, 3), Layer::Tanh], shortcut: vec![conv(3, 3)] };
    let layers = vec![Layer::Residual(residual), of_pairs().layers[1].clone(), Layer::relu()];
    let network = Sequential { layers };
    let mut t = Tape::new();
    let x = t.feed("x", &[2, 4, 4, 3], DType::F32).unwrap();
    let z = t.feed("z", &[2, 2], DType::F32).unwrap();
    let s = t.feed("s", &[2, 4, 4, 1], DType::F32).unwrap();
    let pass = Pass::new(Mode::Eval).with("z", z).with("s", s);
    let outputs = network.record(&mut t, "ema.d", x, &pass).unwrap();
    for (name, _) in network.each() {
        outputs.tap(&name).unwrap();
    }
    let tap = |name: &str| outputs.tap(name).unwrap();
    assert_eq!((tap("main.2"), tap("main.1")), (outputs.last(), outputs.before(2)));
    assert_eq!([tap("main.0"), tap("main.1"), tap("main.2")], outputs.each());
    assert_eq!((outputs.before(0), outputs.before(3)), (x, outputs.last()));
    assert_eq!(t.node(tap("main.0")).inputs, [tap("main.0.main.1"), tap("main.0.shortcut.0")]);
    assert_eq!(t.shape(tap("main.1.join.0")), [2, 4, 4, 2]);
    let error = outputs.tap("main.3").expect_err("there are three");
    assert!(error.to_string().contains("main.0 to main.2"), "{error}");
    let none = Sequential::default().record(&mut t, "d", x, &pass).unwrap();
    assert!((none.last(), none.before(0)) == (x, x) && none.tap("main.0").is_err());
}

#[test]
fn heads_are_channels_in_order() {
    let heads = Heads::new([("mean", 3), ("none", 0), ("log_std", 2)]);
    assert_eq!((heads.width(), heads.range("log_std"), heads.range("none")), (5, Some(3..5), None));
    let json = serde_json::to_string(&heads).unwrap();
    assert_eq!(json, r#"[["mean",3],["log_std",2]]"#);
    assert_eq!(serde_json::from_str::<Heads>(&json).unwrap(), heads);
    let mut t = Tape::new();
    for (shape, wanted) in [
        ([7, 1, 1, 5], [vec![7, 3], vec![7, 2]]),
        ([7, 2, 3, 5], [vec![7, 2, 3, 3], vec![7, 2, 3, 2]]),
    ] {
        let y = t.feed(&format!("{shape:?}"), &shape, DType::F32).unwrap();
        let split = heads.split(&mut t, y).unwrap();
        let names: Vec<&str> = split.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["mean", "log_std"]);
        for ((_, head), wanted) in split.iter().zip(wanted) {
            assert_eq!(t.shape(*head), wanted);
        }
    }
    let other = t.feed("other", &[7, 1, 1, 6], DType::F32).unwrap();
    assert!(matches!(heads.split(&mut t, other), Err(Error::Shape { .. })));
}

/// A text drawn from its distribution: with noise 0 it is the mean.
#[test]
fn draws_from_a_distribution_are_its_mean_and_noise_times_its_deviation() {
    let gaussian = || Layer::Gaussian(Gaussian { noise: "e".into() });
    let network =
        Sequential { layers: vec![join("t", vec![Layer::linear(3, 4, true), gaussian()])] };
    assert_eq!(network.side_inputs(), ["t", "e"]);
    let n = 2;
    let inputs: [(&str, &[usize]); 3] = [("x", &[n, 2, 2, 1]), ("t", &[n, 3]), ("e", &[n, 2])];
    for mode in [Mode::Train, Mode::Eval] {
        check(&network, mode, &inputs, |sources| {
            let of = |name: &str| &sources[name];
            let (x, text, e) = (of("x"), of("t"), of("e"));
            let (w, b) = (of("n.main.0.join.0.weight"), of("n.main.0.join.0.bias"));
            let output = |i: usize, j: usize| {
                (0..3).map(|d| text[i * 3 + d] * w[d * 4 + j]).sum::<f64>() + b[j]
            };
            let mut y = Vec::new();
            for (i, row, column) in places(n, 2, 2) {
                y.push(x[(i * 2 + row) * 2 + column]);
                y.extend((0..2).map(|j| output(i, j) + output(i, 2 + j).exp() * e[i * 2 + j]));
            }
            y
        });
    }
    let sizes = |width| {
        let sides = [("t", [1, 1, 3]), ("e", [1, 1, width])];
        network.sizes_beside([2, 2, 1], &sides)
    };
    assert_eq!(sizes(2), Ok(vec![[2, 2, 3]]));
    assert!(sizes(3).unwrap_err().contains("two channels for each of the noise"));
}
