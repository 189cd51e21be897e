//! What a process uses.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::bench::cpu;
use crate::process::Process;

/// What a process has used up to a moment.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    at: Instant,
    cpu: Duration,
    /// Resident memory now, in MiB.
    pub resident: f64,
    /// The most that it ever was.
    pub peak: f64,
}

impl Usage {
    /// Now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn of(process: &Process) -> Result<Usage> {
        let pid = process.id().context("the process has ended")?;
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        Ok(Usage {
            at: Instant::now(),
            cpu: cpu::used(pid)?,
            resident: mebibytes(&status, "VmRSS:")?,
            peak: mebibytes(&status, "VmHWM:")?,
        })
    }

    /// CPU time from an earlier look on.
    #[must_use]
    pub fn cpu_since(&self, before: &Usage) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }

    /// Time from an earlier look on.
    #[must_use]
    pub fn time_since(&self, before: &Usage) -> Duration {
        self.at.saturating_duration_since(before.at)
    }

    /// Share of one core from an earlier look on, in per cent.
    #[must_use]
    pub fn percent_since(&self, before: &Usage) -> f64 {
        100.0 * self.cpu_since(before).as_secs_f64() / self.time_since(before).as_secs_f64()
    }
}

fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: f64 = number
        .with_context(|| format!("the kernel does not say {field}"))?
        .parse()?;
    Ok(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_mebibytes() {
        let status = "VmPeak:\t  9 kB\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(mebibytes(status, "VmRSS:").unwrap(), 2.0);
        assert_eq!(mebibytes(status, "VmHWM:").unwrap(), 4.0);
        assert!(mebibytes(status, "VmSwap:").is_err());
    }
}
