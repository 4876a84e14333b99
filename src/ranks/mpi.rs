//! Ranks of an MPI job: `mpirun -n 4 dcgan train …`.

use std::fmt;
use std::sync::Arc;

use ferrompi::{Communicator, ThreadLevel};

use super::World;
use crate::error::{Error, Result};

/// MPI in this process, until it is dropped.
pub struct Mpi {
    _mpi: ferrompi::Mpi,
}

/// All processes of the job.
struct Job {
    all: Communicator,
}

impl fmt::Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mpi")
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl Mpi {
    /// Starts MPI; returns the job's processes, and the number of this one among those of its host.
    ///
    /// # Errors
    /// [`Error::Device`] if MPI cannot start.
    pub fn start() -> Result<(Self, Arc<dyn World>, usize)> {
        let failed = |error: ferrompi::Error| Error::Device(format!("MPI cannot start: {error}"));
        let mpi = ferrompi::Mpi::init_thread(ThreadLevel::Serialized).map_err(failed)?;
        let all = mpi.world();
        let on_host = all.split_shared().map_err(failed)?.rank() as usize;
        Ok((Self { _mpi: mpi }, Arc::new(Job { all }), on_host))
    }
}

impl Job {
    /// Ends the job if an exchange failed: the others wait for it.
    fn check(&self, result: ferrompi::Result<()>) {
        if let Err(error) = result {
            eprintln!("error: rank {} cannot exchange data: {error}", self.rank());
            self.abort(1);
        }
    }
}

impl World for Job {
    fn rank(&self) -> usize {
        self.all.rank() as usize
    }

    fn size(&self) -> usize {
        self.all.size() as usize
    }

    fn all_gather(&self, own: &[f32], all: &mut [f32]) {
        self.check(self.all.allgather(own, all));
    }

    fn all_to_all(&self, own: &[f32], all: &mut [f32]) {
        self.check(self.all.alltoall(own, all));
    }

    fn abort(&self, code: i32) -> ! {
        self.all.abort(code)
    }
}
