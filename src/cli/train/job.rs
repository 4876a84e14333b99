//! The processes of a training that `mpirun` or `srun` started.

use std::process::ExitCode;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ranks::{self, Solo, World};
use crate::terminal::{mute, tell};

use super::super::{code_of, fail};

/// The processes of this training.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) world: Arc<dyn World>,
    /// The number of this process among those of its machine.
    pub(super) on_host: usize,
    #[cfg(feature = "mpi")]
    _mpi: Option<ranks::mpi::Mpi>,
}

impl Job {
    /// Joins the other processes, if there are any. All but the first one are silent from here on.
    ///
    /// # Errors
    /// [`Error::Device`] if there are others, and this program or the system cannot reach them.
    pub(super) fn start() -> Result<Self> {
        match ranks::launched() {
            0 | 1 => Ok(Self {
                world: Arc::new(Solo),
                on_host: 0,
                #[cfg(feature = "mpi")]
                _mpi: None,
            }),
            count => Self::join(count),
        }
    }

    #[cfg(feature = "mpi")]
    fn join(count: usize) -> Result<Self> {
        let (mpi, world, on_host) = ranks::mpi::Mpi::start()?;
        if world.size() != count {
            let what = format!(
                "the launcher started {count} processes, and MPI connects {} of them: start them with the \
                 launcher of the MPI that this dcgan was built with",
                world.size()
            );
            return Err(Error::Device(what));
        }
        if world.rank() > 0 {
            mute(true);
        }
        Ok(Self { world, on_host, _mpi: Some(mpi) })
    }

    #[cfg(not(feature = "mpi"))]
    fn join(count: usize) -> Result<Self> {
        Err(Error::Device(format!(
            "a launcher started {count} processes, and this dcgan was built without MPI: build it with \
             `cargo install --features mpi --path .`, or start it without the launcher"
        )))
    }

    /// Whether this process speaks for all.
    pub(super) fn is_first(&self) -> bool {
        self.world.rank() == 0
    }

    /// Waits until all processes are ready. If any is not, the first of those says why, and all get the
    /// exit code.
    ///
    /// # Errors
    /// That of `ready`, if there is only this process.
    pub(super) fn all<T>(&self, ready: Result<T>) -> Result<Result<T, ExitCode>> {
        if self.world.is_solo() {
            return ready.map(Ok);
        }
        // The largest number is that of the first process that failed.
        let own = (self.world.size() - self.world.rank()) as u16;
        let first = self.world.largest(if ready.is_err() { own } else { 0 });
        let mut code = 0;
        if let (Err(error), true) = (&ready, first == own) {
            mute(false);
            fail(error);
            code = u16::from(code_of(error));
        }
        // The launcher ends all as soon as one has ended: only now may they.
        let code = self.world.largest(code);
        match ready {
            Ok(ready) if first == 0 => Ok(Ok(ready)),
            _ => Ok(Err(ExitCode::from(code as u8))),
        }
    }

    /// Ends the other processes too if this one failed.
    pub(super) fn end(&self, result: Result<ExitCode>) -> Result<ExitCode> {
        match result {
            Err(error) if !self.world.is_solo() => {
                mute(false);
                if !self.is_first() {
                    tell!("process {}:", self.world.rank());
                }
                fail(&error);
                self.world.abort(1)
            }
            result => result,
        }
    }
}
