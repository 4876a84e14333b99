//! A script on a GPU: prepared once, run many times.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::time::Instant;

use wgpu::BufferUsages as Usage;

use super::pace::{Cost, Pace};
use super::prepare::{self, Dispatch, Step};
use super::ring::{CANARY, Ring};
use super::{Gpu, GpuBuffer};
use crate::device::{BufferKind, Readback, Script};
use crate::error::{Error, Result};

/// Maximum number of queued submissions.
const IN_FLIGHT: usize = 3;
/// Feeds start at multiples of this in the upload.
const ALIGN: usize = 16;

/// A handle to the results of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "results that are not taken are dropped after some more runs"]
pub struct Ticket(u64);

/// A script prepared for a GPU. [`Self::new`] creates its pipelines, buffers and bind groups; a run
/// creates nothing.
pub struct GpuProgram {
    pub(super) gpu: Gpu,
    pub(super) steps: Vec<Step>,
    canary_step: Dispatch,
    /// The number of the run, read by the canary's dispatch.
    run_number: GpuBuffer,
    /// The last value written by the canary's dispatch.
    canary: GpuBuffer,
    /// All feeds of a run, after its number.
    upload: GpuBuffer,
    packed: Vec<u8>,
    feeds: Vec<Feed>,
    fetches: Vec<(GpuBuffer, Readback)>,
    /// All buffers that bind groups refer to: they count as in use while the program lives, and
    /// states among them are not moved.
    _buffers: Vec<GpuBuffer>,
    ring: Ring,
    pub(super) pace: Pace,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    runs: u64,
    submissions: u32,
    skip_canary: bool,
}

/// A feed's offset in the upload and its target.
#[derive(Debug)]
struct Feed {
    buffer: GpuBuffer,
    place: Range<usize>,
}

impl fmt::Debug for GpuProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GpuProgram")
            .field("gpu", &self.gpu.caps().name)
            .field("steps", &self.steps.len())
            .field("runs", &self.runs)
            .finish_non_exhaustive()
    }
}

impl GpuProgram {
    /// Prepares a script: renders and compiles its kernels on `threads` threads, creates its
    /// buffers, and gets those of its states from `states`.
    ///
    /// # Errors
    /// [`Error::Shader`] where a kernel does not compile or its bindings do not match the script;
    /// [`Error::Memory`] where a buffer does not fit; [`Error::Tensor`] where a state is missing;
    /// [`Error::Lost`] where the GPU failed.
    pub fn new(
        gpu: &Gpu,
        script: Script,
        states: &BTreeMap<String, GpuBuffer>,
        threads: usize,
    ) -> Result<Self> {
        let buffers = prepare::buffers(gpu, &script, states)?;
        let run_number = gpu.create_buffer(ALIGN as u64, "run number")?;
        let canary = gpu.create_buffer(CANARY, "canary")?;
        let (steps, canary_step) =
            prepare::steps(gpu, &script, &buffers, (&run_number, &canary), threads)?;

        let mut end = ALIGN;
        let mut feeds = Vec::with_capacity(script.feeds.len());
        for &index in &script.feeds {
            assert_eq!(script.buffers[index].kind, BufferKind::Feed, "feed of another kind");
            let buffer = buffers[index].clone();
            let place = end..end + buffer.bytes() as usize;
            end = place.end.next_multiple_of(ALIGN);
            feeds.push(Feed { buffer, place });
        }
        let upload =
            gpu.create_buffer_for(end as u64, "feeds", Usage::COPY_DST | Usage::COPY_SRC)?;
        let fetch = |fetch: &Readback| {
            let buffer = buffers[fetch.buffer].clone();
            let end = fetch.offset + fetch.bytes.next_multiple_of(4);
            assert!(fetch.offset.is_multiple_of(4) && end <= buffer.bytes(), "{fetch:?}");
            (buffer, fetch.clone())
        };
        let cost = |step: &Step| match step {
            Step::Dispatch(dispatch) => Cost::of(dispatch.flops, dispatch.bytes),
            Step::Copy { bytes, .. } => Cost::of(0, 2 * bytes),
            Step::Exchange(_) => Cost::EXCHANGE,
        };
        Ok(Self {
            gpu: gpu.clone(),
            pace: Pace::new(steps.iter().map(cost), gpu.caps().software),
            steps,
            canary_step,
            run_number,
            canary,
            upload,
            packed: vec![0; end],
            feeds,
            fetches: script.fetches.iter().map(fetch).collect(),
            _buffers: buffers,
            ring: Ring::new(gpu, &script.fetches)?,
            in_flight: VecDeque::with_capacity(IN_FLIGHT),
            runs: 0,
            submissions: 0,
            skip_canary: false,
        })
    }

    /// Starts a run with these feeds, in the script's order, and returns before it is done. Waits
    /// only while three submissions are queued, and in the first three runs, which are timed to
    /// measure how long a submission takes.
    ///
    /// Results wait in a ring of four: a fifth run drops the oldest results not yet taken, after
    /// they have arrived and their canary was checked.
    ///
    /// # Errors
    /// [`Error::Tensor`] where a feed does not have the size of its buffer; [`Error::Lost`] or
    /// [`Error::Memory`] where the GPU failed, in this run or before.
    pub fn run(&mut self, feeds: &[&[u8]]) -> Result<Ticket> {
        self.gpu.check()?;
        self.pack(feeds)?;
        let slot = self.ring.claim(&self.gpu)?;
        self.runs += 1;
        self.upload();
        let measuring = self.pace.measuring();
        if measuring {
            self.drain()?;
        }
        let cuts = self.pace.cuts().to_vec();
        let mut measured = Vec::new();
        for (i, cut) in cuts.iter().enumerate() {
            if let [Step::Exchange(exchange), ..] = &self.steps[cut.clone()] {
                exchange.run(&self.gpu)?;
            }
            let mut encoder = self.gpu.inner.device.create_command_encoder(&Default::default());
            if i == 0 {
                self.encode_feeds(&mut encoder);
            }
            self.encode_steps(cut.clone(), &mut encoder);
            let last = i + 1 == cuts.len();
            if last {
                self.ring.encode(slot, &mut encoder, &self.canary, &self.fetches);
            }
            if self.in_flight.len() == IN_FLIGHT
                && let Some(oldest) = self.in_flight.pop_front()
            {
                self.gpu.wait(&oldest)?;
            }
            let start = Instant::now();
            let submission = self.gpu.inner.queue.submit([encoder.finish()]);
            self.submissions = self.submissions.wrapping_add(1);
            if measuring {
                self.gpu.wait(&submission)?;
                measured.push(start.elapsed().as_secs_f64());
            } else {
                self.in_flight.push_back(submission.clone());
            }
            if last {
                let canary = [self.runs as u32, self.submissions];
                self.ring.launch(slot, self.runs, canary, submission);
            }
        }
        if measuring {
            self.pace.learn(&measured);
        }
        self.skip_canary = false;
        self.gpu.check()?;
        Ok(Ticket(self.runs))
    }

    /// The results of a run, in the order of the script's fetches. Waits until it is done.
    ///
    /// # Errors
    /// [`Error::Lost`] where the GPU failed or did not finish its work, [`Error::Memory`] where it
    /// ran out of memory, [`Error::Device`] where the results were taken or dropped.
    pub fn take(&mut self, ticket: Ticket) -> Result<Vec<Vec<u8>>> {
        self.gpu.check()?;
        let slot = self.ring.find(ticket.0)?;
        self.ring.finish(&self.gpu, slot)
    }

    /// Whether [`Self::take`] returns at once, possibly with an error.
    #[must_use]
    pub fn ready(&self, ticket: Ticket) -> bool {
        match self.ring.find(ticket.0) {
            Ok(slot) => self.ring.ready(&self.gpu, slot),
            Err(_) => true,
        }
    }

    /// The number of submissions that a run is split into, to stay below the watchdog's limit.
    #[must_use]
    pub(crate) fn submissions_per_run(&self) -> usize {
        self.pace.cuts().len()
    }

    /// Omits the canary from the next run, as if the device had not reached it: for tests.
    pub(crate) fn skip_canary_once(&mut self) {
        self.skip_canary = true;
    }

    /// Waits until the device is idle.
    pub(super) fn drain(&mut self) -> Result<()> {
        while let Some(submission) = self.in_flight.pop_front() {
            self.gpu.wait(&submission)?;
        }
        Ok(())
    }

    /// Lays all feeds side by side.
    pub(super) fn pack(&mut self, feeds: &[&[u8]]) -> Result<()> {
        if feeds.len() != self.feeds.len() {
            return Err(Error::Tensor {
                name: "feeds".into(),
                what: format!(
                    "{} were given, and the program has {}",
                    feeds.len(),
                    self.feeds.len()
                ),
            });
        }
        for (feed, data) in self.feeds.iter().zip(feeds) {
            let size = feed.place.len();
            if data.len().next_multiple_of(ALIGN).max(ALIGN) != size {
                return Err(Error::Tensor {
                    name: feed.buffer.label().to_owned(),
                    what: format!("{} bytes were fed to a buffer of {size}", data.len()),
                });
            }
            let (whole, padding) = self.packed[feed.place.clone()].split_at_mut(data.len());
            whole.copy_from_slice(data);
            padding.fill(0);
        }
        Ok(())
    }

    /// Sends the number of this run and the packed feeds with the next submission.
    pub(super) fn upload(&mut self) {
        self.packed[..4].copy_from_slice(&(self.runs as u32).to_ne_bytes());
        self.gpu.upload(&self.upload, 0, &self.packed);
    }

    /// Copies the uploaded feeds to their buffers.
    pub(super) fn encode_feeds(&self, encoder: &mut wgpu::CommandEncoder) {
        self.upload.encode_copy(0, (&self.run_number, 0), ALIGN as u64, encoder);
        for feed in &self.feeds {
            let at = feed.place.start as u64;
            self.upload.encode_copy(at, (&feed.buffer, 0), feed.buffer.bytes(), encoder);
        }
    }

    /// Encodes a part of the steps followed by the canary, in one pass if nothing is copied. An exchange at
    /// its start was made before.
    fn encode_steps(&self, cut: Range<usize>, encoder: &mut wgpu::CommandEncoder) {
        let mut steps = &self.steps[cut];
        if let [Step::Exchange(_), rest @ ..] = steps {
            steps = rest;
        }
        loop {
            let is_copy = |step: &Step| matches!(step, Step::Copy { .. });
            let dispatches = steps.iter().position(is_copy).unwrap_or(steps.len());
            let ends = dispatches == steps.len();
            if dispatches > 0 || ends {
                let mut pass = encoder.begin_compute_pass(&Default::default());
                for step in &steps[..dispatches] {
                    if let Step::Dispatch(dispatch) = step {
                        dispatch.encode(&mut pass);
                    }
                }
                if ends && !self.skip_canary {
                    self.canary_step.encode(&mut pass);
                }
            }
            if ends {
                return;
            }
            if let Step::Copy { from, offset, to, bytes } = &steps[dispatches] {
                from.encode_copy(*offset, (to, 0), *bytes, encoder);
            }
            steps = &steps[dispatches + 1..];
        }
    }
}
