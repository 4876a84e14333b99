//! Free memory, checked before a file's claim of how much it needs is believed.

/// Bytes of memory that are free; no limit where the system does not say.
pub(crate) fn free() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    match system.available_memory() {
        0 => u64::MAX,
        free => free,
    }
}

/// Whether `needed` bytes fit into `free`.
///
/// # Errors
/// The end of a sentence that begins with the file.
pub(crate) fn check(needed: u64, free: u64) -> Result<(), String> {
    if needed <= free {
        return Ok(());
    }
    let [needed, free] = [needed, free].map(crate::human::bytes);
    Err(format!(
        "unpacks to {needed}, and {free} of memory are free; close other programs, or give a part of it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_said_with_both_numbers() {
        assert!(free() > 1 << 20);
        assert_eq!(check(5, 5), Ok(()));
        let what = check(3 << 30, 1 << 30);
        assert!(what.is_err_and(|what| what.contains("3.0 GiB") && what.contains("1.0 GiB")));
    }
}
