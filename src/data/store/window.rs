//! A file that many threads read, each at its own place.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the bytes of an archive are.
#[derive(Clone, Debug)]
pub(super) enum Blob {
    File(Arc<Mutex<File>>),
    Static(&'static [u8]),
}

/// A reader with its own position over bytes that others read too. It reads ahead a little: a
/// zip's directory and a small image are many short reads.
#[derive(Debug)]
pub(super) struct Window {
    blob: Blob,
    length: u64,
    position: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
}

const WINDOW: usize = 16 << 10;

impl Window {
    pub(super) fn new(blob: Blob, length: u64) -> Self {
        Self { blob, length, position: 0, buffer: Vec::new(), buffer_start: 0 }
    }
}

impl Clone for Window {
    fn clone(&self) -> Self {
        Self::new(self.blob.clone(), self.length)
    }
}

impl Read for Window {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let file = match &self.blob {
            Blob::Static(bytes) => {
                let from = self.position.min(self.length) as usize;
                let n = (&bytes[from..]).read(out)?;
                self.position += n as u64;
                return Ok(n);
            }
            Blob::File(file) => file,
        };
        let buffered = self.buffer_start..self.buffer_start + self.buffer.len() as u64;
        if !buffered.contains(&self.position) {
            // A panic while the lock was held leaves no harm: every reader seeks first.
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(self.position))?;
            if out.len() >= WINDOW {
                let n = file.read(out)?;
                self.position += n as u64;
                return Ok(n);
            }
            self.buffer.clear();
            self.buffer_start = self.position;
            (&*file).take(WINDOW as u64).read_to_end(&mut self.buffer)?;
        }
        let from = (self.position - self.buffer_start) as usize;
        let n = (&self.buffer[from..]).read(out)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
