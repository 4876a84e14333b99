//! What a GPU does wrong ends in an error that says what to do: no panic, no hang.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dcgan::device::gpu::GpuProgram;
use dcgan::error::Error;
use dcgan::testing;

use super::{counting, random, word};
use crate::support::gpu;

#[test]
fn too_much_memory_is_an_error() {
    let gpu = gpu_or_return!();
    let most = gpu.caps().max_buffer;
    let error = gpu.create_buffer(most.saturating_add(16), "activations").unwrap_err();
    assert!(matches!(error, Error::Memory(_)), "{error}");
    assert!(error.to_string().contains("activations"), "{error}");
    assert!(error.to_string().contains("`batch`"), "{error}");
    // The device is as good as before.
    gpu.check().unwrap();
    let (mut program, _) = counting(&gpu);
    let ticket = program.run(&[&word(1)]).unwrap();
    program.take(ticket).unwrap();
}

#[test]
fn unfinished_work_is_noticed() {
    let gpu = gpu_or_return!();
    for take in [true, false] {
        let gpu = if take { gpu.clone() } else { crate::support::gpu().unwrap() };
        let (mut program, _) = counting(&gpu);
        let ticket = program.run(&[&word(1)]).unwrap();
        program.take(ticket).unwrap();
        testing::skip_canary_once(&mut program);
        let ticket = program.run(&[&word(2)]).unwrap();
        // Results that nobody takes are checked when they are dropped.
        let error = if take {
            program.take(ticket).unwrap_err()
        } else {
            (3..9).find_map(|run| program.run(&[&word(run)]).err()).unwrap()
        };
        assert!(matches!(error, Error::Lost(_)), "{error}");
        for part in ["did not finish", "`batch`", "`device`", "checkpoint is intact"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // From now on the device is not trusted.
        assert!(matches!(program.run(&[&word(9)]), Err(Error::Lost(_))));
    }
}

#[test]
fn a_lost_device_is_an_error() {
    let gpu = gpu_or_return!();
    let start = Instant::now();
    let (mut program, count) = counting(&gpu);
    let ticket = program.run(&[&word(1)]).unwrap();
    gpu.close();
    let lost = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Lost(_)), "{error}");
        assert!(error.to_string().contains("checkpoint is intact"), "{error}");
    };
    // Run 1 was done before, and may still be taken; whatever comes next may not.
    let _ = program.take(ticket);
    let result = (0..3).find_map(|_| program.run(&[&word(2)]).and_then(|t| program.take(t)).err());
    lost(result.map_or(Ok(()), Err));
    lost(program.run(&[&word(2)]).map(|_| ()));
    lost(gpu.read(&count, 0, 16).map(|_| ()));
    lost(gpu.write(&count, 0, &[0; 16]));
    lost(gpu.create_buffer(16, "more").map(|_| ()));
    lost(program.profile(&[&word(2)], 1).map(|_| ()));
    lost(GpuProgram::new(&gpu, random("bits", 4, [1; 3]), &BTreeMap::new(), 2).map(|_| ()));
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_device_is_dropped_while_its_thread_panics() {
    let gpu = gpu_or_return!();
    for close in [false, true] {
        let gpu = if close { crate::support::gpu().unwrap() } else { gpu.clone() };
        let thread = std::thread::spawn(move || {
            let (mut program, _) = counting(&gpu);
            let _ticket = program.run(&[&word(1)]).unwrap();
            if close {
                gpu.close();
            }
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        // A second panic in a destructor would have ended the process.
        assert_eq!(thread.join().unwrap_err().downcast_ref(), Some(&"on purpose"));
    }
}

#[test]
fn a_device_lost_while_reading_is_an_error() {
    let gpu = gpu_or_return!();
    let count = gpu.create_buffer(16, "count").unwrap();
    gpu.close();
    let read = (0..2).find_map(|_| gpu.read(&count, 0, 16).err()).unwrap();
    assert!(matches!(read, Error::Lost(_)), "{read}");
}
