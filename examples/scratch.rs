use dcgan::models::dcgan::Size;
use dcgan::models::{Dcgan, Preset};
use dcgan::tensor::*;
use dcgan::train::step::*;
use dcgan::*;
fn main() {
    let batch: usize = std::env::args().nth(1).map_or(64, |s| s.parse().unwrap());
    let model = Dcgan {
        preset: Preset::Pytorch,
        size: Size { height: 64, width: 64 },
        channels: 3,
        nz: 100,
        ngf: 64,
        ndf: 64,
    };
    let options = StepOptions {
        model,
        batch,
        adam: optim::Adam { beta1: 0.5, beta2: 0.999, eps: 1e-8 },
        smooth: 0.0,
        average: true,
        feed_latents: false,
        fetch_gradients: false,
    };
    let t0 = std::time::Instant::now();
    let mut t = tape::Tape::new();
    record(&mut t, &options).unwrap();
    println!("nodes {} {:?}", t.nodes().len(), t0.elapsed());
    let dev = device::Device::Cpu;
    let mut st = device::State::new(&dev);
    for (n, v) in initial_state(&model, true, 0).unwrap() {
        st.set(&n, &v).unwrap();
    }
    let mut p = program::Program::compile(&t, &st, &Default::default()).unwrap();
    println!("compiled {:?}\n{}", t0.elapsed(), p.memory());
    let pics = Tensor::with_data(
        [batch, 64, 64, 3],
        Data::U8((0..batch * 64 * 64 * 3).map(|i| (i * 7919 % 251) as u8).collect()),
    )
    .unwrap();
    for s in 1..=6u64 {
        let t1 = std::time::Instant::now();
        let [r, root] = options.adam.schedule(2e-4, s);
        let sch = Schedule { rate_d: r, rate_g: r, root, average: 0.01 }.tensor();
        let f = p.call(&mut st, &[("pictures", &pics), ("schedule", &sch)]).unwrap();
        let e = t1.elapsed().as_secs_f64();
        println!(
            "step {s} {:.3}s {:.1} img/s loss_d {} loss_g {} gn {} {}",
            e,
            batch as f64 / e,
            f["loss_d"].f32s()[0],
            f["loss_g"].f32s()[0],
            f["grad_norm_d"].f32s()[0],
            f["grad_norm_g"].f32s()[0]
        );
    }
    let sch = Schedule { rate_d: 1e-4, rate_g: 1e-4, root: 1.0, average: 0.01 }.tensor();
    let mut times = p.profile(&mut st, &[("pictures", &pics), ("schedule", &sch)], 3).unwrap();
    times.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let total: f64 = times.iter().map(|t| t.seconds).sum();
    println!("total {total}");
    for t in times.iter().take(45) {
        println!(
            "{:8.2}ms {:6.1} GF/s {:6.1} GB/s {} {}",
            t.seconds * 1e3,
            t.flops as f64 / t.seconds / 1e9,
            t.bytes as f64 / t.seconds / 1e9,
            t.shape,
            t.label
        );
    }
}
