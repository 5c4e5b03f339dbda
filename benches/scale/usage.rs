//! Processor time and memory of a process, and the load of the machine, as the kernel counts them.

use std::fs;
use std::time::Duration;

use crate::error::Error;

/// Processor time of all threads of a process. Threads that have ended are missing, so a difference
/// of two readings is short of what those ran.
pub(crate) fn processor_time(process: u32) -> Result<Duration, Error> {
    let folder = format!("/proc/{process}/task");
    let threads = fs::read_dir(&folder).map_err(Error::io(format!("read {folder}")))?;
    let nanoseconds = threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_nanos(nanoseconds))
}

/// Memory of a process, in kilobytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now (`VmRSS`).
    pub(crate) resident: u64,
    /// The most that was ever resident (`VmHWM`).
    pub(crate) peak: u64,
}

/// Memory of a process.
pub(crate) fn memory(process: u32) -> Result<Memory, Error> {
    let file = format!("/proc/{process}/status");
    let status = fs::read_to_string(&file).map_err(Error::io(format!("read {file}")))?;
    let line = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    match (line("VmRSS:"), line("VmHWM:")) {
        (Some(resident), Some(peak)) => Ok(Memory { resident, peak }),
        _ => Err(Error::Worthless(format!("{file} names no memory"))),
    }
}

/// The load average of the last minute.
pub(crate) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next();
    first.and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}
