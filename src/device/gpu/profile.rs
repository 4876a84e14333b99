//! Times each dispatch of a program.

use std::time::Instant;

use wgpu::BufferUsages as Usage;

use super::prepare::{Dispatch, Step};
use super::{Gpu, GpuBuffer, GpuProgram};
use crate::error::Result;

/// Dispatches per query set, which holds 4096 timestamps.
const TIMED: usize = 2048;

/// The time of one dispatch.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The op (or ops) it computes.
    pub label: String,
    /// Its kernel: the file stem in `shaders/`.
    pub kernel: &'static str,
    /// Seconds: the median of all repeats.
    pub seconds: f64,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes read and written, at least.
    pub bytes: u64,
}

/// Timestamps around dispatches, and their readback.
#[derive(Debug)]
pub(super) struct Clock {
    queries: wgpu::QuerySet,
    resolved: GpuBuffer,
    seconds_per_tick: f64,
}

impl Clock {
    /// A clock for `spans` time spans in one submission.
    pub(super) fn new(gpu: &Gpu, spans: usize) -> Result<Self> {
        let queries = gpu.inner.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count: 2 * spans as u32,
        });
        gpu.created();
        let usage = Usage::QUERY_RESOLVE | Usage::COPY_SRC;
        let resolved = gpu.create_buffer_for(16 * spans as u64, "timestamps", usage)?;
        let seconds_per_tick = f64::from(gpu.inner.queue.get_timestamp_period()) * 1e-9;
        Ok(Self { queries, resolved, seconds_per_tick })
    }

    /// Makes a pass record its start and end as span `i`.
    pub(super) fn span(&self, i: u32) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(2 * i),
            end_of_pass_write_index: Some(2 * i + 1),
        }
    }

    /// Submits the encoded work and returns the seconds of its first `spans` spans.
    pub(super) fn submit(
        &self,
        gpu: &Gpu,
        mut encoder: wgpu::CommandEncoder,
        spans: usize,
    ) -> Result<Vec<f64>> {
        let count = 2 * spans as u32;
        encoder.resolve_query_set(&self.queries, 0..count, self.resolved.raw(), 0);
        let submission = gpu.inner.queue.submit([encoder.finish()]);
        gpu.wait(&submission)?;
        let bytes = gpu.read(&self.resolved, 0, 8 * u64::from(count))?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        let seconds = |t: &[u64]| t[1].saturating_sub(t[0]) as f64 * self.seconds_per_tick;
        Ok(ticks.chunks_exact(2).map(seconds).collect())
    }
}

impl GpuProgram {
    /// Runs the program `repeats` times and times every dispatch: by the device's clock where it
    /// has one, else by submitting each dispatch alone. States change as they do in a run.
    ///
    /// # Errors
    /// Errors of [`Self::run`].
    pub fn profile(&mut self, feeds: &[&[u8]], repeats: usize) -> Result<Vec<Timing>> {
        self.pack(feeds)?;
        self.drain()?;
        let clock = if self.gpu.inner.timestamps { Some(self.clock()?) } else { None };
        let mut seconds: Vec<Vec<f64>> = vec![Vec::new(); self.steps.len()];
        // One more run first, in which memory is cleared and clocks rise.
        for repeat in 0..=repeats.max(1) {
            self.upload();
            let mut encoder = self.gpu.inner.device.create_command_encoder(&Default::default());
            self.encode_feeds(&mut encoder);
            let submission = self.gpu.inner.queue.submit([encoder.finish()]);
            self.gpu.wait(&submission)?;
            let times = match &clock {
                Some(clock) => self.time_by_clock(clock)?,
                None => self.time_by_submission()?,
            };
            if repeat > 0 {
                for (all, one) in seconds.iter_mut().zip(times) {
                    all.push(one);
                }
            }
        }
        let mut timings = Vec::new();
        for (step, seconds) in self.steps.iter().zip(&mut seconds) {
            if let Step::Dispatch(Dispatch { stem, label, flops, bytes, .. }) = step {
                seconds.sort_by(f64::total_cmp);
                timings.push(Timing {
                    label: label.clone(),
                    kernel: stem,
                    seconds: seconds[seconds.len() / 2],
                    flops: *flops,
                    bytes: *bytes,
                });
            }
        }
        Ok(timings)
    }

    fn clock(&self) -> Result<Clock> {
        Clock::new(&self.gpu, TIMED)
    }

    /// Seconds of each step by timestamps; one pass per dispatch.
    fn time_by_clock(&self, clock: &Clock) -> Result<Vec<f64>> {
        let mut seconds = Vec::with_capacity(self.steps.len());
        for cut in self.pace.cuts() {
            for steps in self.steps[cut.clone()].chunks(TIMED) {
                let mut encoder = self.gpu.inner.device.create_command_encoder(&Default::default());
                for (i, step) in steps.iter().enumerate() {
                    self.encode_alone(step, &mut encoder, Some((clock, i as u32)));
                }
                let spans = clock.submit(&self.gpu, encoder, steps.len())?;
                for (step, span) in steps.iter().zip(spans) {
                    seconds.push(if matches!(step, Step::Dispatch(_)) { span } else { 0.0 });
                }
            }
        }
        Ok(seconds)
    }

    /// Seconds of each step, submitted alone, minus those of an empty submission.
    fn time_by_submission(&self) -> Result<Vec<f64>> {
        let time = |step: Option<&Step>| -> Result<f64> {
            let mut encoder = self.gpu.inner.device.create_command_encoder(&Default::default());
            if let Some(step) = step {
                self.encode_alone(step, &mut encoder, None);
            }
            let buffer = encoder.finish();
            let start = Instant::now();
            let submission = self.gpu.inner.queue.submit([buffer]);
            self.gpu.wait(&submission)?;
            Ok(start.elapsed().as_secs_f64())
        };
        let empty = time(None)?.min(time(None)?);
        let one = |step: &Step| Ok((time(Some(step))? - empty).max(0.0));
        self.steps.iter().map(one).collect()
    }

    /// Encodes a step in its own pass, timed as span `i`.
    fn encode_alone(
        &self,
        step: &Step,
        encoder: &mut wgpu::CommandEncoder,
        clock: Option<(&Clock, u32)>,
    ) {
        match step {
            Step::Dispatch(dispatch) => {
                let timestamp_writes = clock.map(|(clock, i)| clock.span(i));
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
                dispatch.encode(&mut encoder.begin_compute_pass(&descriptor));
            }
            Step::Copy { from, offset, to, bytes } => {
                from.encode_copy(*offset, (to, 0), *bytes, encoder);
            }
            // Not the GPU's work.
            Step::Exchange(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use minijinja::context;

    use crate::device::gpu::{Gpu, GpuOptions, GpuProgram};
    use crate::device::{BufferKind, BufferSpec, Script, ScriptStep};

    /// Both ways to time a dispatch agree, on the first adapter found; `tests/gpu.rs` reports a
    /// missing adapter.
    #[test]
    fn both_clocks_agree() {
        let Ok(gpu) = Gpu::open("0", GpuOptions::default()) else { return };
        let len = 1_u32 << 22;
        let buffer =
            |bytes, label: &str| BufferSpec { bytes, kind: BufferKind::Slot, label: label.into() };
        let step = ScriptStep::Dispatch {
            kernel: "random",
            context: context! { kind => "normal", len, stream => 1 },
            bind: vec![("key".into(), 0), ("y".into(), 1)],
            groups: [len / 256, 1, 1],
            flops: 0,
            bytes: 0,
            label: "random".into(),
        };
        let script = Script {
            buffers: vec![buffer(16, "key"), buffer(u64::from(len) * 4, "y")],
            steps: vec![step],
            ..Script::default()
        };
        let program = GpuProgram::new(&gpu, script, &BTreeMap::new(), 1).unwrap();
        let least =
            |time: &dyn Fn() -> Vec<f64>| (0..5).map(|_| time()[0]).fold(f64::INFINITY, f64::min);
        let by_submission = least(&|| program.time_by_submission().unwrap());
        assert!(by_submission > 1e-6, "{by_submission}");
        if !gpu.inner.timestamps {
            return;
        }
        let clock = program.clock().unwrap();
        let by_clock = least(&|| program.time_by_clock(&clock).unwrap());
        let ratio = by_submission / by_clock;
        eprintln!("{by_submission} s by submission, {by_clock} s by clock");
        assert!((0.3..10.0).contains(&ratio), "{by_submission} and {by_clock}");
    }
}
