//! A GPU's peak rates: the reference for kernels.

use std::time::Instant;

use minijinja::context;
use wgpu::BufferUsages as Usage;

use super::Gpu;
use super::kernel::Job;
use crate::device::Peak;
use crate::error::Result;
use crate::shaders;

/// Workgroup size of the arithmetic kernel.
const INVOCATIONS: u32 = 256;
/// Its workgroups: several per core of any GPU.
const GROUPS: u32 = 4096;
/// Operations per invocation and round; see `shaders/peak_fma.wgsl`.
const FLOPS: f64 = 12.0 * 8.0 * 2.0;
/// Bytes that are copied at a time.
const COPIED: u64 = 64 << 20;
/// Minimum duration of a measurement, in seconds: less would measure the submission, and much more
/// would trigger the driver's watchdog on a weak GPU.
const LONG: f64 = 0.05;
/// Number of measurements; the best counts.
const REPEATS: usize = 3;

/// Measures a GPU's peak rates; takes about a second.
///
/// # Errors
/// [`Error::Memory`](crate::error::Error::Memory) or [`Error::Lost`](crate::error::Error::Lost)
/// where the GPU fails.
pub(in crate::device) fn measure_peak(gpu: &Gpu) -> Result<Peak> {
    let by = "multiply-adds in registers";
    Ok(Peak { flops: arithmetic(gpu)?, by, bytes: copies(gpu)? })
}

/// The best rate of `work(n)`, which returns seconds, at a count that takes long enough.
fn best(mut work: impl FnMut(u32) -> Result<f64>) -> Result<f64> {
    let mut count = 1;
    // Twice, because the first use of memory clears it.
    work(count)?;
    let mut seconds = work(count)?;
    while seconds < LONG && count < 1 << 20 {
        // At most by 16: one short time may be an accident.
        let factor = (1.2 * LONG / seconds.max(1e-9)).clamp(2.0, 16.0);
        count = (f64::from(count) * factor).ceil() as u32;
        seconds = work(count)?;
    }
    for _ in 1..REPEATS {
        seconds = seconds.min(work(count)?);
    }
    Ok(f64::from(count) / seconds.max(1e-9))
}

fn arithmetic(gpu: &Gpu) -> Result<f64> {
    let source = shaders::render("peak_fma", &context! { invocations => INVOCATIONS })?;
    let job = Job { name: "peak_fma".into(), source };
    let kernel = gpu.compile(std::slice::from_ref(&job), 1)?.remove(0);
    let params = gpu.create_buffer(16, "params")?;
    let groups = if gpu.caps().software { GROUPS / 64 } else { GROUPS };
    let y = gpu.create_buffer(u64::from(groups * INVOCATIONS) * 4, "y")?;
    let device = &gpu.inner.device;
    let buffer_of = |name: &str| if name == "params" { &params } else { &y };
    let entries: Vec<wgpu::BindGroupEntry<'_>> = kernel
        .bindings
        .iter()
        .map(|binding| wgpu::BindGroupEntry {
            binding: binding.slot,
            resource: buffer_of(&binding.name).binding(),
        })
        .collect();
    gpu.created();
    let bind_group = device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some("peak_fma"),
        layout: &kernel.layout,
        entries: &entries,
    });
    let rounds_per_second = best(|rounds| {
        // Chains that neither grow nor become denormal.
        let words = [rounds, 0.5_f32.to_bits(), 1.0_f32.to_bits(), 0];
        gpu.write(&params, 0, bytemuck::cast_slice(&words))?;
        let ready = gpu.inner.queue.submit([]);
        gpu.wait(&ready)?;
        let mut encoder = device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, &bind_group, &[]);
            pass.dispatch_workgroups(groups, 1, 1);
        }
        time(gpu, encoder)
    })?;
    Ok(rounds_per_second * FLOPS * f64::from(groups) * f64::from(INVOCATIONS))
}

fn copies(gpu: &Gpu) -> Result<f64> {
    let bytes = COPIED.min(gpu.caps().max_buffer);
    let usage = Usage::COPY_SRC | Usage::COPY_DST;
    let from = gpu.create_buffer_for(bytes, "copied from", usage)?;
    let to = gpu.create_buffer_for(bytes, "copied to", usage)?;
    let copies_per_second = best(|count| {
        let mut encoder = gpu.inner.device.create_command_encoder(&Default::default());
        for i in 0..count {
            let (from, to) = if i % 2 == 0 { (&from, &to) } else { (&to, &from) };
            from.encode_copy(0, (to, 0), bytes, &mut encoder);
        }
        time(gpu, encoder)
    })?;
    Ok(copies_per_second * 2.0 * bytes as f64)
}

/// The seconds of a submission, measured on the host.
fn time(gpu: &Gpu, encoder: wgpu::CommandEncoder) -> Result<f64> {
    let commands = encoder.finish();
    let start = Instant::now();
    let submission = gpu.inner.queue.submit([commands]);
    gpu.wait(&submission)?;
    Ok(start.elapsed().as_secs_f64())
}
