//! Processes that train one model together, each on a device of its own: data parallelism.
//!
//! A batch is a number of micro-batches. Every rank records the same step for its own share of them, and
//! whatever depends on all is exchanged: gradients are added up ([`crate::ops::ranks::AllReduce`]), and the
//! small values that states follow one after another are handed to all
//! ([`crate::ops::ranks::AllGather`]). Both go by the order of micro-batches, whichever rank has them, so
//! that any number of ranks computes what one process does, bit for bit, on devices of one kind. A library's
//! own sum over ranks does not promise that: it adds in an order that depends on their number.

use std::fmt::Debug;

#[cfg(feature = "mpi")]
pub mod mpi;
mod threads;

pub use threads::Threads;

/// The processes of a training, seen from one of them. A call is collective: all ranks make the same ones in
/// the same order, and each waits for the others. An implementation that cannot go on ends its process.
pub trait World: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes.
    fn size(&self) -> usize;

    /// `all` = the values `own` of every rank, in order; all have equally many.
    fn all_gather(&self, own: &[f32], all: &mut [f32]);

    /// Sends the `r`-th of equal parts of `own` to rank `r`; `all` = what this rank is sent, in order.
    fn all_to_all(&self, own: &[f32], all: &mut [f32]);

    /// Ends all processes, with this exit code.
    fn abort(&self, code: i32) -> !;
}

impl dyn World + '_ {
    /// Whether there is only this process.
    #[must_use]
    pub fn is_solo(&self) -> bool {
        self.size() == 1
    }

    /// `sum` = the sum of the rows of every rank, one after another in order; `rows` are those of this
    /// rank, of the length of `sum` each.
    ///
    /// Each rank adds up one part of the sum, of which all send it theirs: about the traffic of a ring.
    pub fn sum_in_order(&self, rows: &[f32], sum: &mut [f32]) {
        let (ranks, len) = (self.size(), sum.len());
        if len == 0 {
            return;
        }
        if ranks == 1 {
            add_in_order(rows, len, sum);
            return;
        }
        let count = rows.len() / len;
        let part = len.div_ceil(ranks);
        let mut sent = vec![0.0; ranks * count * part];
        for (rank, sent) in sent.chunks_exact_mut(count * part).enumerate() {
            let start = (rank * part).min(len);
            let end = ((rank + 1) * part).min(len);
            for (row, sent) in rows.chunks_exact(len).zip(sent.chunks_exact_mut(part)) {
                sent[..end - start].copy_from_slice(&row[start..end]);
            }
        }
        let mut got = vec![0.0; sent.len()];
        self.all_to_all(&sent, &mut got);
        let mut own = vec![0.0; part];
        add_in_order(&got, part, &mut own);
        let mut all = vec![0.0; ranks * part];
        self.all_gather(&own, &mut all);
        sum.copy_from_slice(&all[..len]);
    }

    /// The largest number that a rank gives.
    #[must_use]
    pub fn largest(&self, own: u16) -> u16 {
        self.numbers([own]).map(|[number]| number).max().unwrap_or(own)
    }

    /// Whether all ranks give the same.
    #[must_use]
    pub fn agree(&self, own: u64) -> bool {
        // In parts that floats hold exactly.
        let own = std::array::from_fn::<_, 4, _>(|i| (own >> (16 * i)) as u16);
        self.numbers(own).all(|other| other == own)
    }

    /// The numbers that the ranks give.
    fn numbers<const N: usize>(&self, own: [u16; N]) -> impl Iterator<Item = [u16; N]> + use<N> {
        let mut all = vec![0.0; N * self.size()];
        self.all_gather(&own.map(f32::from), &mut all);
        (0..self.size()).map(move |rank| std::array::from_fn(|i| all[N * rank + i] as u16))
    }
}

/// `sum` = the sum of rows of this length, one after another.
fn add_in_order(rows: &[f32], len: usize, sum: &mut [f32]) {
    let mut rows = rows.chunks_exact(len);
    match rows.next() {
        Some(first) => sum.copy_from_slice(first),
        None => sum.fill(0.0),
    }
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

/// One process alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl World for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) {
        all.copy_from_slice(own);
    }

    fn all_to_all(&self, own: &[f32], all: &mut [f32]) {
        all.copy_from_slice(own);
    }

    fn abort(&self, code: i32) -> ! {
        std::process::exit(code)
    }
}

/// The number of processes that a launcher says it started with this one: `mpirun` of Open MPI and MPICH, or
/// `srun`; 1 without a launcher.
#[must_use]
pub fn launched() -> usize {
    largest_of(&["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
}

/// How many of them it says are on this machine; 1 if it does not say.
#[must_use]
pub fn launched_here() -> usize {
    match launched() {
        1 => 1,
        _ => {
            largest_of(&["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_NTASKS_PER_NODE"])
        }
    }
}

/// The largest number that the environment has under these names, or 1.
fn largest_of(names: &[&str]) -> usize {
    let number = |name: &&str| std::env::var(name).ok()?.parse().ok();
    names.iter().filter_map(number).max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn any_number_of_ranks_adds_in_the_same_order() {
        // Numbers whose sum depends on the order.
        let rows: Vec<f32> = (0..8 * 7).map(|i| ((i * 37 % 101) as f32).exp2() * 1e-8).collect();
        let mut wanted = vec![0.0; 7];
        add_in_order(&rows, 7, &mut wanted);
        let mut other = wanted.clone();
        let backwards: Vec<f32> = rows.chunks(7).rev().flatten().copied().collect();
        add_in_order(&backwards, 7, &mut other);
        assert_ne!(wanted, other);
        for ranks in [1, 2, 4, 8] {
            let sums = Threads::run(ranks, |world: Arc<dyn World>| {
                let share = rows.len() / ranks;
                let mut sum = vec![0.0; 7];
                world.sum_in_order(&rows[world.rank() * share..][..share], &mut sum);
                sum
            });
            assert!(sums.iter().all(|sum| *sum == wanted), "{ranks}");
        }
    }

    #[test]
    fn ranks_tell_one_another_numbers() {
        let largest = Threads::run(3, |world| world.largest(world.rank() as u16 * 300));
        assert_eq!(largest, [600; 3]);
        let hash = 0x1234_5678_9abc_def0_u64;
        assert_eq!(Threads::run(3, |world| world.agree(hash)), [true; 3]);
        for bit in [0, 20, 40, 63] {
            let other = |world: Arc<dyn World>| hash ^ (u64::from(world.rank() == 1) << bit);
            assert_eq!(Threads::run(3, |world| world.agree(other(Arc::clone(&world)))), [false; 3]);
        }
    }
}
