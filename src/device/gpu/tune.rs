//! Finds the fastest of several ways to compute the same thing on this GPU, and checks that they
//! agree.
//!
//! A contest runs its candidates on random values. Slow ones drop out after a short trial, the rest
//! take turns, and one that beats the default, the first candidate, by more than noise must
//! reproduce the default's values, and beat it once more, in a direct comparison, before it wins.
//! On a software adapter one run may take seconds, so there the turns run only a part of a kernel's
//! workgroups.

use std::collections::BTreeSet;
use std::time::Instant;

use super::prepare::{self, Dispatch};
use super::profile::Clock;
use super::{Gpu, GpuBuffer};
use crate::device::ScriptStep;
use crate::error::{Error, Result};
use crate::rng::Stream;
use crate::tensor::{DType, padded_bytes};

/// One way to compute the output from the inputs.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Its dispatches. They bind the inputs as buffers `0..inputs`, then the output, then scratch.
    pub steps: Vec<ScriptStep>,
    /// The same on tensors as the program stores them, if in fewer bits: they are timed, and the
    /// others compute the values to compare.
    pub kept: Vec<ScriptStep>,
    /// Bytes of each scratch buffer.
    pub scratch: Vec<u64>,
}

/// The inputs, the output and the candidates.
#[derive(Clone, Debug)]
pub struct Contest {
    /// Number of elements and element type of each input.
    pub inputs: Vec<(usize, DType)>,
    /// The same of the output.
    pub output: (usize, DType),
    /// Floating-point operations in total.
    pub flops: u64,
    /// The candidates; the first one is the default.
    pub candidates: Vec<Candidate>,
}

/// The result of a contest.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The winning candidate.
    pub winner: usize,
    /// Seconds that each candidate takes for the whole work, if measured; `None` for those that
    /// were rejected.
    pub seconds: Vec<Option<f64>>,
    /// Candidates that do not compile or compute something else, and the reason.
    pub rejected: Vec<(usize, String)>,
}

/// The maximum share of the default's time for a candidate to beat it: clocks differ by a few
/// hundredths from run to run.
const BETTER: f64 = 0.97;
/// Maximum time of a candidate relative to the best so far, in a short trial and after its first
/// turn.
const GLIMPSE: f64 = 2.0;
const TURN: f64 = 1.3;
/// Turns of a candidate: for long and short kernels in a quick contest, and in a thorough one.
const TURNS: [usize; 3] = [3, 9, 11];
/// Seconds from which on a turn is long: other load on the machine matters less then.
const LONG: f64 = 3e-3;
/// Target duration of a turn, in seconds, if a device is as fast as [`RATE`]; shorter kernels run
/// several times.
const LASTS: f64 = 0.015;
/// Minimum duration of a turn: clocks have ticks.
const LEAST: f64 = 0.5e-3;
/// Operations per second expected of a software adapter and of a weak GPU.
const RATE: [f64; 2] = [20e9, 500e9];
/// Workgroups that keep either of them busy.
const BUSY: [u32; 2] = [16, 4096];
/// Length after which the inputs' random values repeat: a prime, so that no shape falls in step.
const NUMBERS: usize = 65_537;

/// A candidate that was prepared successfully.
struct Entrant {
    at: usize,
    /// The dispatches that compute its values.
    dispatches: Vec<Dispatch>,
    /// The timed ones, if different. The values that they compute do not matter.
    kept: Option<Vec<Dispatch>>,
    /// Seconds of the whole work: the minimum over its turns.
    seconds: f64,
}

impl Entrant {
    fn timed(&self) -> &[Dispatch] {
        self.kept.as_ref().unwrap_or(&self.dispatches)
    }
}

/// The device's side of a contest.
struct Arena<'a> {
    gpu: &'a Gpu,
    contest: &'a Contest,
    buffers: Vec<GpuBuffer>,
    clock: Option<Clock>,
    /// The share of the workgroups that a turn runs.
    cut: f64,
    /// Seconds of an empty submission, without a clock.
    empty: f64,
}

impl Gpu {
    /// Runs a contest; kernels are compiled on `threads` threads. A `thorough` one runs all of each
    /// kernel in more turns, and checks the values of every candidate.
    ///
    /// # Errors
    /// [`Error::Memory`] where the tensors do not fit the device; [`Error::Shader`] where the
    /// default does not compile; [`Error::Lost`] where the device fails.
    pub fn contest(&self, contest: &Contest, thorough: bool, threads: usize) -> Result<Verdict> {
        let mut sources: Vec<BTreeSet<String>> = Vec::new();
        let mut jobs = Vec::new();
        for candidate in &contest.candidates {
            let mut own = prepare::jobs(&candidate.steps)?;
            own.extend(prepare::jobs(&candidate.kept)?);
            sources.push(own.iter().map(|job| job.source.clone()).collect());
            jobs.extend(own);
        }
        jobs.sort_by(|a, b| a.source.cmp(&b.source));
        jobs.dedup_by(|a, b| a.source == b.source);
        let new: Vec<String> = jobs.iter().map(|job| job.source.clone()).collect();
        let new: Vec<String> = new.into_iter().filter(|s| !self.has_kernel(s)).collect();
        // All at once, on all cores. Those that fail do so again below, each for its candidate.
        let _ = self.compile(&jobs, threads);
        let verdict = Arena::new(self, contest, thorough).and_then(|arena| arena.hold(thorough));
        let winner = verdict.as_ref().map_or(0, |verdict| verdict.winner);
        for source in new.iter().filter(|source| !sources[winner].contains(*source)) {
            self.forget_kernel(source);
        }
        verdict
    }
}

impl<'a> Arena<'a> {
    /// Fills the inputs with random values.
    fn new(gpu: &'a Gpu, contest: &'a Contest, thorough: bool) -> Result<Self> {
        let mut buffers = Vec::new();
        for (i, &(len, dtype)) in contest.inputs.iter().enumerate() {
            let buffer = gpu.create_buffer(padded_bytes(len, dtype), "tuning: input")?;
            gpu.write(&buffer, 0, &numbers(i, buffer.bytes() as usize, dtype))?;
            buffers.push(buffer);
        }
        let (len, dtype) = contest.output;
        buffers.push(gpu.create_buffer(padded_bytes(len, dtype), "tuning: output")?);
        // Candidates share their scratch: no candidate finds its own earlier contents.
        let most = contest.candidates.iter().map(|c| c.scratch.len()).max().unwrap_or(0);
        for i in 0..most {
            let bytes = contest.candidates.iter().filter_map(|c| c.scratch.get(i)).max();
            let bytes = bytes.copied().unwrap_or(0);
            buffers.push(gpu.create_buffer(bytes, "tuning: scratch")?);
        }
        let clock = if gpu.inner.timestamps { Some(Clock::new(gpu, 1)?) } else { None };
        let rate = RATE[usize::from(!gpu.caps().software)];
        let cut = if thorough { 1.0 } else { LASTS * rate / contest.flops.max(1) as f64 };
        let mut arena = Self { gpu, contest, buffers, clock, cut: cut.min(1.0), empty: 0.0 };
        if arena.clock.is_none() {
            arena.empty = arena.time(&[], 1.0, 1)?.min(arena.time(&[], 1.0, 1)?);
        }
        Ok(arena)
    }

    fn hold(&self, thorough: bool) -> Result<Verdict> {
        let mut verdict = Verdict {
            winner: 0,
            seconds: vec![None; self.contest.candidates.len()],
            rejected: Vec::new(),
        };
        // A rejected candidate may have eliminated good ones: they get another chance.
        loop {
            let mut entrants = self.glimpse(&mut verdict, thorough)?;
            self.turns(&mut entrants, thorough)?;
            for entrant in &entrants {
                verdict.seconds[entrant.at] = Some(entrant.seconds);
            }
            let compiled = verdict.rejected.len();
            let best = self.judge(&entrants, &mut verdict, thorough)?;
            if thorough || verdict.rejected.len() == compiled {
                verdict.winner = self.duel(entrants, best, thorough)?;
                return Ok(verdict);
            }
        }
    }

    /// The candidate `best` if it beats the default in a direct comparison, else the default: the
    /// best of many may have been the luckiest.
    fn duel(&self, mut entrants: Vec<Entrant>, best: usize, thorough: bool) -> Result<usize> {
        entrants.retain(|e| e.at == 0 || e.at == best);
        if best != 0 {
            self.turns(&mut entrants, thorough)?;
        }
        let wins = |e: &Entrant| e.seconds < BETTER * entrants[0].seconds;
        Ok(entrants.iter().find(|e| wins(e)).map_or(0, |e| e.at))
    }

    /// The fastest candidate with the default's values, if it beats the default, else the default.
    /// Wrong ones are rejected; unless all are checked, the first wrong one ends the search.
    fn judge(&self, entrants: &[Entrant], verdict: &mut Verdict, thorough: bool) -> Result<usize> {
        let default = &entrants[0];
        let mut reference = None;
        let mut winner = 0;
        let mut order: Vec<&Entrant> = entrants[1..].iter().collect();
        order.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        for entrant in order {
            let wins = winner == 0 && entrant.seconds < BETTER * default.seconds;
            if !wins && !thorough {
                break;
            }
            if reference.is_none() {
                reference = Some(self.output(default)?);
            }
            let (seconds, output) = self.output(entrant)?;
            let (of_default, wanted) = reference.as_ref().expect("it was computed above");
            if let Err(why) = self.agree(wanted, &output) {
                verdict.rejected.push((entrant.at, why));
                verdict.seconds[entrant.at] = None;
                if !thorough {
                    break;
                }
            } else if wins && (self.cut >= 1.0 || seconds < *of_default) {
                winner = entrant.at;
            }
        }
        Ok(winner)
    }

    /// Prepares the candidates and drops those that are much slower than others. The default always
    /// stays, as the first.
    fn glimpse(&self, verdict: &mut Verdict, thorough: bool) -> Result<Vec<Entrant>> {
        let mut entrants: Vec<Entrant> = Vec::new();
        let mut best = f64::INFINITY;
        for (at, candidate) in self.contest.candidates.iter().enumerate() {
            if verdict.rejected.iter().any(|(rejected, _)| *rejected == at) {
                continue;
            }
            let prepare =
                |steps: &[ScriptStep]| prepare::dispatches(self.gpu, steps, &self.buffers);
            let both = prepare(&candidate.steps).and_then(|d| Ok((d, prepare(&candidate.kept)?)));
            let (dispatches, kept) = match both {
                Ok((dispatches, kept)) => (dispatches, (!kept.is_empty()).then_some(kept)),
                Err(Error::Shader { what, .. }) if at > 0 => {
                    verdict.rejected.push((at, what));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut entrant = Entrant { at, dispatches, kept, seconds: f64::INFINITY };
            // The first run is slower: memory is cleared, and software adapters compile only now.
            self.time(entrant.timed(), self.cut / 4.0, 1)?;
            let mut seconds = self.time(entrant.timed(), self.cut / 4.0, 1)?;
            for _ in 1..TURNS[0] {
                // A short time may be an accident.
                if seconds * self.cut < LONG {
                    seconds = seconds.min(self.time(entrant.timed(), self.cut / 4.0, 1)?);
                }
            }
            verdict.seconds[at] = Some(seconds);
            best = best.min(seconds);
            if at == 0 || thorough || seconds < GLIMPSE * best {
                entrant.seconds = seconds;
                entrants.push(entrant);
            }
        }
        entrants.retain(|e| e.at == 0 || thorough || e.seconds < GLIMPSE * best);
        Ok(entrants)
    }

    /// Times the candidates in turns, so that temporary load on the machine slows all.
    fn turns(&self, entrants: &mut Vec<Entrant>, thorough: bool) -> Result<()> {
        let lasts = |e: &Entrant| e.seconds * self.cut;
        let is_long = entrants.iter().map(lasts).fold(f64::INFINITY, f64::min) > LONG;
        let runs = |e: &Entrant| (LEAST / lasts(e).max(1e-7)).clamp(1.0, 20.0) as u32;
        let counts: Vec<(usize, u32)> = entrants.iter().map(|e| (e.at, runs(e))).collect();
        let runs = |at: usize| counts.iter().find(|c| c.0 == at).map_or(1, |c| c.1);
        let turns = TURNS[if thorough { 2 } else { usize::from(!is_long) }];
        for turn in 0..turns {
            for entrant in entrants.iter_mut() {
                let seconds = self.time(entrant.timed(), self.cut, runs(entrant.at))?;
                // A short trial is too short to count.
                let known = if turn == 0 { f64::INFINITY } else { entrant.seconds };
                entrant.seconds = seconds.min(known);
            }
            if !thorough && (is_long || turn + 1 >= TURNS[0]) {
                let best = entrants.iter().map(|e| e.seconds).fold(f64::INFINITY, f64::min);
                entrants.retain(|e| e.at == 0 || e.seconds < TURN * best);
            }
        }
        Ok(())
    }

    /// Seconds for all of some dispatches, estimated from `cut` of their workgroups and the mean of
    /// `runs` runs.
    fn time(&self, dispatches: &[Dispatch], cut: f64, runs: u32) -> Result<f64> {
        let busy = BUSY[usize::from(!self.gpu.caps().software)];
        let parts: Vec<([u32; 3], f64)> =
            dispatches.iter().map(|d| part(d.groups, cut, busy)).collect();
        let work = |d: &Dispatch| (d.flops + d.bytes + 1) as f64;
        let all: f64 = dispatches.iter().map(work).sum();
        let done: f64 = dispatches.iter().zip(&parts).map(|(d, part)| work(d) * part.1).sum();
        let share = if all > 0.0 { done / all } else { 1.0 };

        let mut encoder = self.gpu.inner.device.create_command_encoder(&Default::default());
        let timestamp_writes = self.clock.as_ref().map(|clock| clock.span(0));
        let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes };
        let mut pass = encoder.begin_compute_pass(&descriptor);
        for _ in 0..runs {
            for (dispatch, (groups, _)) in dispatches.iter().zip(&parts) {
                dispatch.encode_groups(*groups, &mut pass);
            }
        }
        drop(pass);
        let seconds = match &self.clock {
            Some(clock) => clock.submit(self.gpu, encoder, 1)?[0],
            None => {
                let commands = encoder.finish();
                let start = Instant::now();
                let submission = self.gpu.inner.queue.submit([commands]);
                self.gpu.wait(&submission)?;
                (start.elapsed().as_secs_f64() - self.empty).max(0.0)
            }
        };
        Ok(seconds / share / f64::from(runs))
    }

    /// Runs a candidate whole: its seconds, and the output's bytes.
    fn output(&self, entrant: &Entrant) -> Result<(f64, Vec<u8>)> {
        let output = &self.buffers[self.contest.inputs.len()];
        let mut encoder = self.gpu.inner.device.create_command_encoder(&Default::default());
        // Values that a candidate fails to write must not be found from the one before.
        encoder.clear_buffer(output.raw(), 0, None);
        self.gpu.inner.queue.submit([encoder.finish()]);
        let mut seconds = self.time(&entrant.dispatches, 1.0, 1)?;
        let (len, dtype) = self.contest.output;
        let bytes = self.gpu.read(output, 0, (len * dtype.size()) as u64)?;
        if let Some(kept) = &entrant.kept {
            seconds = self.time(kept, 1.0, 1)?;
        }
        Ok((seconds, bytes))
    }

    /// Whether two outputs are the same up to rounding; else, how far apart they are.
    fn agree(&self, wanted: &[u8], got: &[u8]) -> Result<(), String> {
        if self.contest.output.1 != DType::F32 {
            return if wanted == got { Ok(()) } else { Err("its integers differ".into()) };
        }
        let floats = |bytes: &[u8]| -> Vec<f32> { bytemuck::pod_collect_to_vec(bytes) };
        // One output value takes two operations per term of its sum.
        let terms = self.contest.flops as f64 / 2.0 / self.contest.output.0.max(1) as f64;
        let error = distance(&floats(wanted), &floats(got));
        let allowed = allowed(terms);
        // NaN fails every comparison.
        if error <= allowed {
            return Ok(());
        }
        Err(format!("its values are off by {error:.1e}; rounding explains {allowed:.1e}"))
    }
}

/// The random values of input `i`. Integers are zeros, a valid index in any table.
fn numbers(i: usize, bytes: usize, dtype: DType) -> Vec<u8> {
    let pool: Vec<u8> = match dtype {
        DType::F32 => {
            let mut pool = vec![0.0_f32; NUMBERS];
            Stream::new(i as u64, "tuning", 0).fill_normal(&mut pool);
            bytemuck::cast_slice(&pool).to_vec()
        }
        DType::U8 => {
            let mut stream = Stream::new(i as u64, "tuning", 0);
            (0..NUMBERS).map(|_| stream.next_u32() as u8).collect()
        }
        DType::U32 => vec![0; 4],
    };
    pool.into_iter().cycle().take(bytes).collect()
}

/// About `cut` of the workgroups `groups`, but at least `busy`, and the resulting share.
fn part(groups: [u32; 3], cut: f64, busy: u32) -> ([u32; 3], f64) {
    let all: f64 = groups.iter().map(|&g| f64::from(g)).product();
    let wanted = (all * cut).max(f64::from(busy));
    if wanted >= all {
        return (groups, 1.0);
    }
    let longest = (0..3).max_by_key(|&i| groups[i]).unwrap_or(0);
    let length = f64::from(groups[longest]);
    let kept = (wanted / all * length).ceil();
    let mut part = groups;
    part[longest] = kept as u32;
    (part, kept / length)
}

/// The largest difference of two results, as a share of the root mean square of the first. Infinite
/// if one has a non-finite value.
fn distance(wanted: &[f32], got: &[f32]) -> f64 {
    let mut squares = 0.0_f64;
    let mut most = 0.0_f64;
    for (&wanted, &got) in wanted.iter().zip(got) {
        squares += f64::from(wanted) * f64::from(wanted);
        let difference = (f64::from(wanted) - f64::from(got)).abs();
        most = most.max(if difference.is_nan() { f64::INFINITY } else { difference });
    }
    let size = (squares / wanted.len().max(1) as f64).sqrt();
    if most == 0.0 { 0.0 } else { most / size }
}

/// How far two ways to add up `terms` random values may be apart, as a share of a typical sum: the
/// error of a plain sum grows as √terms. One missing term is detected up to a few ten thousand
/// terms.
fn allowed(terms: f64) -> f64 {
    32.0 * f64::from(f32::EPSILON) * terms.max(1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_keeps_the_device_busy() {
        assert_eq!(part([100, 1, 4], 1.0, 16), ([100, 1, 4], 1.0));
        assert_eq!(part([100, 1, 4], 0.1, 16), ([10, 1, 4], 0.1));
        assert_eq!(part([100, 1, 4], 0.001, 16), ([4, 1, 4], 0.04));
        assert_eq!(part([3, 1, 4], 0.001, 16), ([3, 1, 4], 1.0));
        assert_eq!(part([2, 65_535, 1], 0.5, 16), ([2, 32_768, 1], 32_768.0 / 65_535.0));
    }

    #[test]
    fn one_term_too_few_is_seen_and_rounding_is_not() {
        let mut a = vec![0.0; 4096];
        let mut b = vec![0.0; 4096];
        Stream::new(1, "a", 0).fill_normal(&mut a);
        Stream::new(1, "b", 0).fill_normal(&mut b);
        let product = |i: usize| a[i] * b[(i * 7) % 4096];
        let forward: f32 = (0..4096).map(product).sum();
        let pairs: f32 = (0..2048).map(|i| product(i) + product(4095 - i)).sum();
        let size = 4096_f32.sqrt();
        // It is among sums of this size.
        let wanted = [size, -size, forward];
        let of = |last: f32| distance(&wanted, &[size, -size, last]);
        assert!(of(pairs) <= allowed(4096.0), "{} of {}", of(pairs), allowed(4096.0));
        assert!(of(forward - 1.0) > allowed(4096.0));
        for wrong in [f32::NAN, f32::INFINITY] {
            assert!(of(wrong).is_infinite());
            let from_wrong = distance(&[1.0, wrong], &[1.0, 2.0]);
            assert!(from_wrong.is_nan() || from_wrong > allowed(4096.0), "{from_wrong}");
        }
        assert_eq!(distance(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert!(distance(&[0.0, 0.0], &[0.0, 1e-9]).is_infinite());
    }

    #[test]
    fn inputs_differ_and_fill_their_buffers() {
        let [one, two] = [0, 1].map(|i| numbers(i, 400_000, DType::F32));
        assert_eq!((one.len(), two.len()), (400_000, 400_000));
        assert_ne!(one, two);
        assert!(numbers(0, 16, DType::U32).iter().all(|&byte| byte == 0));
        assert!(numbers(0, 160, DType::U8).iter().any(|&byte| byte > 200));
    }
}
