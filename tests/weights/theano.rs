//! The files of DCGAN's authors, in small: written here as Theano keeps them, and computed here by
//! plain loops.

use super::*;

use npyz::WriterBuilder as _;

use crate::cli::Place;

/// Numbers that are no pattern.
fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    (0..len).map(|_| f64::from(next() as f32)).collect()
}

fn put(folder: &Path, name: &str, shape: &[u64], numbers: &[f64]) {
    let file = fs::File::create(folder.join(name)).unwrap();
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(file).begin_nd().unwrap();
    writer.extend(numbers.iter().map(|&x| x as f32)).unwrap();
    writer.finish().unwrap();
}

/// Batch norm of `x` `[n, c, pixels]` over n and pixels, as the authors' `batchnorm`.
fn norm(x: &mut [f64], n: usize, c: usize, pixels: usize, gain: &[f64], shift: &[f64]) {
    for at in 0..c {
        let places: Vec<usize> =
            (0..n).flat_map(|i| (0..pixels).map(move |p| (i * c + at) * pixels + p)).collect();
        let mean = places.iter().map(|&p| x[p]).sum::<f64>() / places.len() as f64;
        let var = places.iter().map(|&p| (x[p] - mean).powi(2)).sum::<f64>() / places.len() as f64;
        for p in places {
            x[p] = (x[p] - mean) / (var + 1e-8).sqrt() * gain[at] + shift[at];
        }
    }
}

/// The authors' `deconv`: the gradient, to its input, of Theano's true convolution of stride 2 and
/// padding 2 by 5x5 kernels `w` `[from, to, 5, 5]`. `x` is `[n, from, s, s]`.
fn deconv(x: &[f64], n: usize, [from, to]: [usize; 2], s: usize, w: &[f64]) -> Vec<f64> {
    let big = 2 * s;
    let mut y = vec![0.0; n * to * big * big];
    for (i, f, oy, ox) in indices([n, from, s, s]) {
        for (t, ky, kx, _) in indices([to, 5, 5, 1]) {
            // A true convolution runs over its kernel backwards.
            let (py, px) = (2 * oy + 4 - ky, 2 * ox + 4 - kx);
            if (2..big + 2).contains(&py) && (2..big + 2).contains(&px) {
                y[((i * to + t) * big + py - 2) * big + px - 2] +=
                    x[((i * from + f) * s + oy) * s + ox] * w[((f * to + t) * 5 + ky) * 5 + kx];
            }
        }
    }
    y
}

/// The convolution itself: `x` `[n, from, 2 s, 2 s]`, `w` `[to, from, 5, 5]`.
fn conv(x: &[f64], n: usize, [from, to]: [usize; 2], s: usize, w: &[f64]) -> Vec<f64> {
    let big = 2 * s;
    let mut y = vec![0.0; n * to * s * s];
    for (i, t, oy, ox) in indices([n, to, s, s]) {
        for (f, ky, kx, _) in indices([from, 5, 5, 1]) {
            let (py, px) = (2 * oy + 4 - ky, 2 * ox + 4 - kx);
            if (2..big + 2).contains(&py) && (2..big + 2).contains(&px) {
                y[((i * to + t) * s + oy) * s + ox] += x
                    [((i * from + f) * big + py - 2) * big + px - 2]
                    * w[((t * from + f) * 5 + ky) * 5 + kx];
            }
        }
    }
    y
}

fn indices([a, b, c, d]: [usize; 4]) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / (b * c * d), i / (c * d) % b, i / d % c, i % d))
}

/// `[n, c, h, w]` as `[n, h, w, c]`.
fn channels_last(x: &[f64], [n, c, h, w]: [usize; 4]) -> Tensor {
    let at = |(i, y, x_at, f)| x[((i * c + f) * h + y) * w + x_at] as f32;
    Tensor::new([n, h, w, c], indices([n, h, w, c]).map(at).collect()).unwrap()
}

/// A generator of 8x8 images, 7 → 4 x 4 x 4 → 1 x 8 x 8.
fn small_generator(folder: &Path) {
    fs::create_dir(folder).unwrap();
    put(folder, "gen_1.npy", &[7, 64], &numbers(448, 1));
    put(folder, "gen_2.npy", &[64], &numbers(64, 2));
    put(folder, "gen_3.npy", &[64], &numbers(64, 3));
    put(folder, "gen_4.npy", &[4, 1, 5, 5], &numbers(100, 4));
}

#[test]
fn a_batch_that_is_not_full_has_always_the_same_company() {
    let place = Place::new();
    small_generator(&place.path("npy"));
    let said = place.dcgan(&[&["import", "npy", "--out", "m.safetensors"]]).ok().stdout;
    for words in [
        "generator      7 → 4x4x4 → 8x8x1; kernels 4, 5, batch norm by each batch's own statistics;",
        "batch norm's epsilon 1e-8 (--eps)",
        "source         generator from gen_1.npy",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let sample = |seeds: &str, out: &str| {
        let words = ["sample", "m.safetensors", "--seeds", seeds, "--out", out];
        let outcome = place.dcgan(&[&words, &["--device", "cpu"]]).ok();
        assert!(outcome.stderr.contains("also depends on the others"), "{}", outcome.stderr);
        fs::read(place.path(out).join("seed0003.png")).unwrap()
    };
    let three = sample("3", "a");
    assert!(three == sample("3", "b"), "the same command, other images");
    assert!(three != sample("3,4-9", "c"), "the statistics are not those of the batch");
    // One latent alone would be normalized to nothing but the shifts, whatever it is.
    let words = ["sample", "m.safetensors", "--seeds", "4", "--out", "d", "--device", "cpu"];
    place.dcgan(&[&words]).ok();
    assert!(three != fs::read(place.path("d/seed0004.png")).unwrap());
}

#[test]
fn the_authors_files_give_what_their_code_gives() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let (n, nz) = (5, 7);
    // G: 7 → 6 x 4 x 4 → 4 x 8 x 8 → 3 x 16 x 16; files are numbered beyond 9, as the authors'.
    let (w1, g1, b1) = (numbers(nz * 96, 1), numbers(96, 2), numbers(96, 3));
    let (w2, g2, b2) = (numbers(6 * 4 * 25, 4), numbers(4, 5), numbers(4, 6));
    let w3 = numbers(4 * 3 * 25, 7);
    let files: [(&str, &[u64], &[f64]); 7] = [
        ("200_gen_params_1.npy", &[nz as u64, 96], &w1),
        ("200_gen_params_2.npy", &[96], &g1),
        ("200_gen_params_3.npy", &[96], &b1),
        ("200_gen_params_9.npy", &[6, 4, 5, 5], &w2),
        ("200_gen_params_10.npy", &[4], &g2),
        ("200_gen_params_11.npy", &[4], &b2),
        ("200_gen_params_12.npy", &[4, 3, 5, 5], &w3),
    ];
    // D: 3 x 16 x 16 → 4 → 8 x 4 x 4 → 1
    let (v1, v2) = (numbers(4 * 3 * 25, 8), numbers(8 * 4 * 25, 9));
    let (g4, b4, v3) = (numbers(8, 10), numbers(8, 11), numbers(128, 12));
    let judge: [(&str, &[u64], &[f64]); 5] = [
        ("200_discrim_params_01.npy", &[4, 3, 5, 5], &v1),
        ("200_discrim_params_02.npy", &[8, 4, 5, 5], &v2),
        ("200_discrim_params_03.npy", &[8], &g4),
        ("200_discrim_params_04.npy", &[8], &b4),
        ("200_discrim_params_05.npy", &[128, 1], &v3),
    ];
    for (name, shape, numbers) in files.iter().chain(&judge) {
        put(folder, name, shape, numbers);
    }
    let imported = import(&[folder.to_owned()], &[], &Assumptions::default()).unwrap();
    let model = model(&imported);

    let z: Vec<f64> = numbers(n * nz, 13).iter().map(|x| 3.0 * x).collect();
    let mut h = vec![0.0; n * 96];
    for (i, j, k, _) in indices([n, 96, nz, 1]) {
        h[i * 96 + j] += z[i * nz + k] * w1[k * 96 + j];
    }
    norm(&mut h, n, 96, 1, &g1, &b1);
    h.iter_mut().for_each(|x| *x = x.max(0.0));
    let mut h = deconv(&h, n, [6, 4], 4, &w2);
    norm(&mut h, n, 4, 64, &g2, &b2);
    h.iter_mut().for_each(|x| *x = x.max(0.0));
    let fake: Vec<f64> = deconv(&h, n, [4, 3], 8, &w3).iter().map(|x| x.tanh()).collect();

    let leaky = |x: &mut Vec<f64>| x.iter_mut().for_each(|x| *x = x.max(0.2 * *x));
    let mut h = conv(&fake, n, [3, 4], 8, &v1);
    leaky(&mut h);
    let mut h = conv(&h, n, [4, 8], 4, &v2);
    norm(&mut h, n, 8, 16, &g4, &b4);
    leaky(&mut h);
    let logits = h.chunks(128).map(|h| h.iter().zip(&v3).map(|(a, b)| (a * b) as f32).sum());
    let logits = Tensor::new([n, 1, 1, 1], logits.collect()).unwrap();

    let z = Tensor::new([n, nz], z.iter().map(|&x| x as f32).collect()).unwrap();
    let fake = channels_last(&fake, [n, 3, 16, 16]);
    for device in support::devices() {
        let far = distance(&images(&model, &device, &z, false), &fake);
        assert!(far <= NEAR, "the generator on {} is off by {far}", device.name());
        let got = judged(&model, &device, &fake).pop().unwrap();
        let far = distance(&got, &logits);
        assert!(far <= 3e-5, "the discriminator on {} is off by {far}", device.name());
    }
}

#[test]
fn files_that_are_not_the_authors_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |files: &[(&str, &[u64])]| {
        let folder = dir.path().join("npy");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (name, shape) in files {
            put(&folder, name, shape, &numbers(shape.iter().product::<u64>() as usize, 1));
        }
        import(&[folder], &[], &Assumptions::default()).unwrap_err().to_string()
    };
    let text = refused(&[("gen_1.npy", &[5, 5, 3, 64])]);
    assert!(text.contains("as TensorFlow orders a kernel"), "{text}");
    let text = refused(&[("gen_1.npy", &[6, 32]), ("gen_2.npy", &[32]), ("gen_3.npy", &[31])]);
    assert!(text.contains("gen_2.npy: holds the scale of a batch norm"), "{text}");
    let text = refused(&[("gen_1.npy", &[2, 3, 4])]);
    assert!(text.contains("has shape [2, 3, 4]; a layer has one, two or four axes"), "{text}");
    let text = refused(&[]);
    assert!(text.contains("a folder without .npy files"), "{text}");
    let whole = dir.path().join("whole.npy");
    put(dir.path(), "whole.npy", &[8, 3, 4, 4], &numbers(384, 1));
    let bytes = fs::read(&whole).unwrap();
    for len in [0, 5, 40, 127, 200, bytes.len() - 1] {
        fs::write(&whole, &bytes[..len]).unwrap();
        let text = import(std::slice::from_ref(&whole), &[], &Assumptions::default())
            .unwrap_err()
            .to_string();
        assert!(text.contains("cut short") || text.contains("not a NumPy file"), "{len}: {text}");
    }
}
