//! What processes and threads take of the machine, as the kernel counts it (proc(5)).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of CPU times in `/proc`, which is the same on every Linux machine of today.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, behind a `stat` file of a process or a thread.
pub(crate) fn cpu_time(stat: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(stat).with_context(|| stat.display().to_string())?;
    // The name before may hold anything, parentheses too.
    let fields = text.rsplit_once(')').map(|(_, fields)| fields);
    let mut times = fields.into_iter().flat_map(str::split_whitespace).skip(11);
    let mut ticks = || times.next().and_then(|field| field.parse::<u32>().ok());
    let (user, system) = ticks().zip(ticks()).context("a stat file without times")?;
    Ok(TICK * (user + system))
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(process: u32) -> Result<u64> {
    let file = format!("/proc/{process}/status");
    let text = std::fs::read_to_string(&file).context(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kilobytes.context("a status file without VmRSS")? * 1024)
}
