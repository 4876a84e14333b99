//! Readback of results: a ring of mapped buffers, so that a run's results are read while later runs
//! compute.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use wgpu::BufferUsages as Usage;

use super::{Gpu, GpuBuffer};
use crate::device::Readback;
use crate::error::{Error, Result};

/// Number of runs whose results may wait to be taken.
pub(super) const RING: usize = 4;
/// Bytes of the canary before the results.
pub(super) const CANARY: u64 = 16;

/// The device has not answered yet.
const WAITING: u8 = 0;
/// The results are in host memory.
const MAPPED: u8 = 1;
/// The readback failed.
const FAILED: u8 = 2;

/// The buffers, each free or with one run's results.
#[derive(Debug)]
pub(super) struct Ring {
    buffers: Vec<GpuBuffer>,
    flights: [Option<Flight>; RING],
    /// The offset of each fetch in a buffer, and its requested bytes.
    parts: Vec<(u64, u64)>,
}

/// The results of one run.
#[derive(Debug)]
struct Flight {
    run: u64,
    /// What the canary holds if every submission was done.
    canary: [u32; 2],
    submission: wgpu::SubmissionIndex,
    state: Arc<AtomicU8>,
}

impl Ring {
    /// Allocates buffers for these fetches.
    pub(super) fn new(gpu: &Gpu, fetches: &[Readback]) -> Result<Self> {
        let mut bytes = CANARY;
        let mut parts = Vec::with_capacity(fetches.len());
        for fetch in fetches {
            parts.push((bytes, fetch.bytes));
            bytes += fetch.bytes.next_multiple_of(16);
        }
        let usage = Usage::MAP_READ | Usage::COPY_DST;
        let buffer = |_| gpu.create_buffer_for(bytes, "fetches", usage);
        let buffers = (0..RING).map(buffer).collect::<Result<_>>()?;
        Ok(Self { buffers, flights: [const { None }; RING], parts })
    }

    /// A buffer for a run's results. If all hold results not yet taken, the oldest are awaited,
    /// checked and dropped.
    pub(super) fn claim(&mut self, gpu: &Gpu) -> Result<usize> {
        if let Some(free) = self.flights.iter().position(Option::is_none) {
            return Ok(free);
        }
        let oldest = (0..RING).min_by_key(|&i| self.flights[i].as_ref().map(|flight| flight.run));
        let oldest = oldest.expect("a ring is not empty");
        self.finish(gpu, oldest)?;
        Ok(oldest)
    }

    /// Encodes the copies of the canary and all fetches into buffer `slot`.
    pub(super) fn encode(
        &self,
        slot: usize,
        encoder: &mut wgpu::CommandEncoder,
        canary: &GpuBuffer,
        fetches: &[(GpuBuffer, Readback)],
    ) {
        let to = &self.buffers[slot];
        canary.encode_copy(0, (to, 0), CANARY, encoder);
        for ((from, fetch), part) in fetches.iter().zip(&self.parts) {
            let bytes = fetch.bytes.next_multiple_of(4);
            if bytes > 0 {
                from.encode_copy(fetch.offset, (to, part.0), bytes, encoder);
            }
        }
    }

    /// Maps buffer `slot` once `submission`, the last one of `run`, is done.
    pub(super) fn launch(
        &mut self,
        slot: usize,
        run: u64,
        canary: [u32; 2],
        submission: wgpu::SubmissionIndex,
    ) {
        let state = Arc::new(AtomicU8::new(WAITING));
        let outcome = Arc::clone(&state);
        self.buffers[slot].raw().map_async(wgpu::MapMode::Read, .., move |result| {
            outcome.store(if result.is_ok() { MAPPED } else { FAILED }, Ordering::Release);
        });
        self.flights[slot] = Some(Flight { run, canary, submission, state });
    }

    /// The buffer with the results of `run`.
    pub(super) fn find(&self, run: u64) -> Result<usize> {
        let here = |flight: &Option<Flight>| flight.as_ref().is_some_and(|f| f.run == run);
        self.flights.iter().position(here).ok_or_else(|| {
            Error::Device(format!(
                "the results of run {run} were taken, or dropped because {RING} later runs were \
                 started"
            ))
        })
    }

    /// Whether the results in buffer `slot` can be taken without waiting.
    pub(super) fn ready(&self, gpu: &Gpu, slot: usize) -> bool {
        let waiting = |flight: &Flight| flight.state.load(Ordering::Acquire) == WAITING;
        // A lost device can report so at once.
        gpu.turn().is_err() || !self.flights[slot].as_ref().is_some_and(waiting)
    }

    /// Waits for the results in buffer `slot`, checks the canary and frees the buffer.
    pub(super) fn finish(&mut self, gpu: &Gpu, slot: usize) -> Result<Vec<Vec<u8>>> {
        let Some(flight) = self.flights[slot].take() else { return Ok(Vec::new()) };
        let buffer = self.buffers[slot].raw();
        if flight.state.load(Ordering::Acquire) == WAITING {
            gpu.wait(&flight.submission)?;
        }
        let start = Instant::now();
        while flight.state.load(Ordering::Acquire) == WAITING {
            if start.elapsed() > gpu.inner.timeout {
                return Err(gpu.lose("its results did not arrive"));
            }
            gpu.turn()?;
            std::thread::sleep(Duration::from_micros(100));
        }
        gpu.check()?;
        if flight.state.load(Ordering::Acquire) != MAPPED {
            return Err(gpu.lose("its results could not be read back"));
        }
        let view = buffer.get_mapped_range(..).map_err(|error| gpu.lose(error.to_string()))?;
        let canary: Vec<u32> = bytemuck::pod_collect_to_vec(&view[..8]);
        let cut = |&(at, bytes): &(u64, u64)| view[at as usize..(at + bytes) as usize].to_vec();
        let results = self.parts.iter().map(cut).collect();
        drop(view);
        buffer.unmap();
        if canary != flight.canary {
            return Err(gpu.lose(format!(
                "it did not finish its work, as after a time-out of its driver (run {} shows {}, \
                 submission {} shows {})",
                flight.canary[0], canary[0], flight.canary[1], canary[1]
            )));
        }
        Ok(results)
    }
}
