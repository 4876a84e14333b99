use clap::ValueEnum;
use dcgan::augment::Augment;
use dcgan::device::{Device, State};
use dcgan::models::{Codes, Conditioning, Design, Minibatch, Network, Norm, Size};
use dcgan::nn::Weight;
use dcgan::objectives::{Loss, Penalty};
use dcgan::program::{Options, Program};
use dcgan::rng::Stream;
use dcgan::tape::Tape;
use dcgan::tensor::{DType, Data, Tensor};
use dcgan::train::method::{Method, Rule};
use dcgan::train::step::{Schedule, StepOptions, initial_state, record};
use std::collections::BTreeMap;
struct Dice(Stream);
impl Dice {
    fn roll(&mut self, n: u32) -> usize {
        self.0.below(n) as usize
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len() as u32)]
    }
    fn maybe(&mut self, n: u32) -> bool {
        self.roll(n) == 0
    }
}

fn options(seed: u64) -> (StepOptions, String) {
    let mut d = Dice(Stream::new(seed, "audit", 0));
    let network = d.pick(&[
        Network::Dcgan,
        Network::Paper,
        Network::Mnist,
        Network::Cnn,
        Network::Resnet,
        Network::Mlp,
    ]);
    let side = |d: &mut Dice| d.pick(&[8usize, 10, 12, 14, 16]);
    let h = side(&mut d);
    let w = if d.maybe(3) { side(&mut d) } else { h };
    let classes = d.pick(&[0usize, 0, 3, 5]);
    let conditioning = d.pick(&[
        Conditioning::Concat,
        Conditioning::Auxiliary,
        Conditioning::Projection,
        Conditioning::Semi,
    ]);
    let norm_g = d.pick(&[
        Norm::Batch,
        Norm::Batch,
        Norm::Layer,
        Norm::Instance,
        Norm::Group,
        Norm::Pixel,
        Norm::Virtual,
        Norm::Conditional,
        Norm::None,
    ]);
    let norm_d = d.pick(&[
        Norm::Batch,
        Norm::Layer,
        Norm::Instance,
        Norm::Group,
        Norm::Pixel,
        Norm::None,
        Norm::None,
    ]);
    let wk = [Weight::Plain, Weight::Plain, Weight::Spectral, Weight::Norm, Weight::NormFixed];
    let model = Design {
        network,
        size: Size { height: h, width: w },
        channels: d.pick(&[1usize, 3, 4]),
        nz: d.pick(&[7usize, 12, 16]),
        ngf: d.pick(&[4usize, 5, 8, 16]),
        ndf: d.pick(&[4usize, 6, 8, 16]),
        classes,
        conditioning,
        norm_g,
        norm_d,
        weight_g: d.pick(&wk),
        weight_d: d.pick(&wk),
        attention: if d.maybe(4) { d.pick(&[4usize, 8]) } else { 0 },
        codes: if d.maybe(4) {
            Codes { categories: d.pick(&[0usize, 3]), numbers: d.pick(&[1usize, 2]) }
        } else {
            Codes::default()
        },
        minibatch: d.pick(&[
            Minibatch::None,
            Minibatch::None,
            Minibatch::Discrimination,
            Minibatch::Deviation,
        ]),
    };
    let loss = d.pick(Loss::value_variants());
    let penalty = d.pick(&[
        Penalty::None,
        Penalty::None,
        Penalty::Gp,
        Penalty::GpOneSided,
        Penalty::GpZero,
        Penalty::Dragan,
        Penalty::R1,
        Penalty::R2,
    ]);
    let augment: Augment = if d.maybe(3) {
        d.pick(&["color,translation,cutout", "translation", "saturation,cutout"]).parse().unwrap()
    } else {
        Augment::default()
    };
    let ada = if !augment.is_none() && d.maybe(2) { 0.6 } else { 0.0 };
    let micro_batch = if d.maybe(4) { 2 } else { 0 };
    let method = Method {
        loss,
        smooth: if loss.has_labels() && d.maybe(2) { 0.1 } else { 0.0 },
        feature_matching: d.maybe(6),
        penalty,
        penalty_weight: if penalty == Penalty::None { 0.0 } else { 5.0 },
        augment,
        augment_p: if ada == 0.0 && !augment.is_none() && d.maybe(2) { 0.5 } else { 1.0 },
        ada,
        clip_weights: if d.maybe(6) { 0.05 } else { 0.0 },
        orthogonal: if d.maybe(6) { 1e-3 } else { 0.0 },
        historical: if d.maybe(6) { 1e-2 } else { 0.0 },
        weight_decay: if d.maybe(6) { 1e-2 } else { 0.0 },
        clip_gradients: if d.maybe(6) { 0.5 } else { 0.0 },
        n_critic: d.pick(&[1usize, 1, 2]),
        micro_batch,
        optimizer: d.pick(&[Rule::Adam, Rule::Adam, Rule::Rmsprop]),
        ..Method::default()
    };
    let options = StepOptions {
        model,
        batch: d.pick(&[4usize, 6]),
        method,
        average: d.maybe(2),
        feed_draws: false,
        fetch_gradients: false,
        scaled: false,
    };
    let text = format!("{options:?}");
    (options, text)
}

fn feeds(o: &StepOptions, step: u64) -> Vec<(String, Tensor)> {
    let n = o.batch * o.method.n_critic;
    let m = &o.model;
    let shape = [n, m.size.height, m.size.width, m.channels];
    let mut noise = Stream::new(9, "pictures", step as u32);
    let mut bytes = || -> Vec<u8> {
        (0..shape.iter().product::<usize>()).map(|_| noise.next_u32() as u8).collect()
    };
    let mut f =
        vec![("pictures".to_string(), Tensor::with_data(shape, Data::U8(bytes())).unwrap())];

    let s =
        Schedule { discriminator: vec![2e-4; o.method.n_critic], generator: 2e-4, average: 0.3 };
    f.push(("schedule".into(), s.tensor()));
    if m.classes > 0 {
        let labels: Vec<u32> =
            (0..n).map(|i| ((i as u64 * 7 + step) % m.classes as u64) as u32).collect();
        f.push(("labels".into(), Tensor::one_hot(&labels, m.classes).unwrap()));
        if m.is_semi_supervised() {
            f.push(("labelled".into(), Tensor::with_data(shape, Data::U8(bytes())).unwrap()));
        }
    }
    f
}

#[test]
fn scratch() {
    let seed: u64 = std::env::var("SEED").unwrap().parse().unwrap();
    let (mut o, text) = options(seed);
    let off = std::env::var("OFF").unwrap_or_default();
    for what in off.split(',') {
        match what {
            "orth" => o.method.orthogonal = 0.0,
            "ada" => {
                o.method.ada = 0.0;
                o.method.augment_p = 0.5
            }
            "aug" => {
                o.method.ada = 0.0;
                o.method.augment = Augment::default();
            }
            "clip" => o.method.clip_weights = 0.0,
            "micro" => o.method.micro_batch = 0,
            "pen" => {
                o.method.penalty = Penalty::None;
                o.method.penalty_weight = 0.0;
            }
            "wn" => o.model.weight_d = Weight::Plain,
            "norm" => o.model.norm_d = Norm::None,
            "loss" => o.method.loss = Loss::NonSaturating,
            _ => {}
        }
    }
    println!("{text}");
    let mut tape = Tape::new();
    record(&mut tape, &o).unwrap();
    let start: Vec<(String, Tensor)> = initial_state(&o, seed).unwrap();
    let fs = feeds(&o, 1);
    let mut sources: BTreeMap<String, Vec<f64>> = super::support::sources(&fs);
    for (n, v) in &start {
        sources.insert(n.clone(), super::support::wide(v));
    }
    let names: Vec<String> = tape.fetches().keys().cloned().collect();
    let vars: Vec<_> = tape.fetches().values().copied().collect();
    let truth: Vec<Vec<f64>> = if off.is_empty() {
        super::naive::eval(&tape, &sources, &vars)
    } else {
        vec![vec![0.0]; vars.len()]
    };
    let run = |device: &Device, fuse: bool, start: &[(String, Tensor)]| {
        let mut s = State::new(device);
        for (n, v) in start {
            s.set(n, v).unwrap();
        }
        let mut p = Program::compile(&tape, &s, &Options { fuse, ..Options::default() }).unwrap();
        let f: Vec<(&str, &Tensor)> = fs.iter().map(|(n, t)| (n.as_str(), t)).collect();
        p.call(&mut s, &f).unwrap()
    };
    let gpu = super::support::gpu().map(Device::Gpu).unwrap();
    let cpu = run(&Device::Cpu, true, &start);
    let g = run(&gpu, true, &start);
    let u = run(&gpu, false, &start);
    let mut shakes = Vec::new();
    for round in 0..if off.is_empty() { 6 } else { 0 } {
        let mut noise = Stream::new(5, "shake", round);
        let sh: Vec<(String, Tensor)> = start
            .iter()
            .map(|(n, v)| {
                if v.dtype() != DType::F32 {
                    return (n.clone(), v.clone());
                }
                let x = v
                    .f32s()
                    .iter()
                    .map(|&x| match noise.next_u32() % 3 {
                        0 if x != 0.0 => f32::from_bits(x.to_bits() + 1),
                        1 if x != 0.0 => f32::from_bits(x.to_bits() - 1),
                        _ => x,
                    })
                    .collect();
                (n.clone(), Tensor::new(v.shape(), x).unwrap())
            })
            .collect();
        shakes.push(run(&Device::Cpu, true, &sh));
    }
    for (i, n) in names.iter().enumerate() {
        let s: Vec<f32> = shakes.iter().map(|s| s[n].f32s()[0]).collect();
        println!(
            "{n}: f64 {:.7} cpu {:.7} gpu {:.7} unfused {:.7} shaken {s:?}",
            truth[i][0],
            cpu[n].f32s()[0],
            g[n].f32s()[0],
            u[n].f32s()[0]
        );
    }
    if std::env::var("NODES").is_ok() {
        nodes(&tape, &sources, &start, &fs, &gpu);
    }
}

fn nodes(
    tape: &Tape,
    _s: &BTreeMap<String, Vec<f64>>,
    start: &[(String, Tensor)],
    fs: &[(String, Tensor)],
    gpu: &Device,
) {
    let run = |device: &Device, fuse: bool| {
        let mut s = State::new(device);
        for (n, v) in start {
            s.set(n, v).unwrap();
        }
        let mut p = Program::compile(tape, &s, &Options { fuse, ..Options::default() }).unwrap();
        let f: Vec<(&str, &Tensor)> = fs.iter().map(|(n, t)| (n.as_str(), t)).collect();
        p.call(&mut s, &f).unwrap();
        s.names().map(|n| (n.to_owned(), s.get(n).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let (a, b) = (run(gpu, true), run(gpu, false));
    for (n, x) in &a {
        if x.dtype() != DType::F32 {
            continue;
        }
        let m = b[n].f32s().iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let d = x.f32s().iter().zip(b[n].f32s()).fold(0.0f32, |m, (p, q)| m.max((p - q).abs()));
        if n.contains("discriminator.main.5.bias") {
            println!("{n}\n {:?}\n {:?}", x.f32s(), b[n].f32s());
        }
        let _ = (d, m);
    }
}
