//! CPU time of a process, and who runs on which CPU meanwhile.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How often to look whether a process has come to rest, and for how long at most.
const LOOK: Duration = Duration::from_millis(3);
const LOOKS: u32 = 1_000;

/// CPU time that all threads of a process have used so far, to the nanosecond. The kernel brings it up to date when a
/// thread stops running (`schedstat` in the kernel's documentation of the scheduler; the better known `utime` and
/// `stime` count in ticks of 10 ms). Threads that have ended are missing: this is for processes that keep theirs.
///
/// # Errors
/// When the process has ended, or the kernel keeps no scheduler statistics.
pub fn used(pid: u32) -> Result<Duration> {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let mut total = Duration::ZERO;
    for task in fs::read_dir(&tasks).with_context(|| format!("no process has the id {pid}"))? {
        match used_in(&task?.path()) {
            Err(error) if is_gone(&error) => {}
            thread => total += thread?,
        }
    }
    Ok(total)
}

/// Whether a thread ended after it was listed, or after its file was opened.
fn is_gone(error: &anyhow::Error) -> bool {
    let Some(error) = error.downcast_ref::<io::Error>() else {
        return false;
    };
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// [`used`] of one thread of the process.
///
/// # Errors
/// As [`used`].
pub fn used_by(pid: u32, thread: u32) -> Result<Duration> {
    used_in(Path::new(&format!("/proc/{pid}/task/{thread}")))
}

fn used_in(task: &Path) -> Result<Duration> {
    let path = task.join("schedstat");
    let text =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let nanoseconds = text.split(' ').next().unwrap_or_default();
    let nanoseconds = nanoseconds
        .parse()
        .with_context(|| format!("{} reads '{text}'", path.display()))?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// [`used`] once it stands still: a proxy has something to do after its last answer.
///
/// # Errors
/// As [`used`], and when the process is still busy after seconds.
pub async fn used_at_rest(pid: u32) -> Result<Duration> {
    let mut last = used(pid)?;
    for _ in 0..LOOKS {
        tokio::time::sleep(LOOK).await;
        let now = used(pid)?;
        if now == last {
            return Ok(now);
        }
        last = now;
    }
    bail!("process {pid} does not come to rest: is something else calling it?")
}

/// The CPUs of this machine in two parts, one for what is measured and the rest for what drives it: a process that is
/// moved between CPUs, or shares one with its driver, loses its caches by chance, which is most of the noise.
#[derive(Debug)]
pub struct Cpus {
    driver: CpuSet,
    measured: CpuSet,
}

impl Cpus {
    /// None where there is one CPU only.
    ///
    /// # Errors
    /// When the kernel does not tell which there are.
    pub fn split() -> Result<Option<Cpus>> {
        let all = sched_getaffinity(None).context("failed to ask for the CPUs")?;
        let Some(last) = (0..CpuSet::MAX_CPU).rfind(|&cpu| all.is_set(cpu)) else {
            return Ok(None);
        };
        let mut driver = all;
        driver.unset(last);
        if driver.count() == 0 {
            return Ok(None);
        }
        let mut measured = CpuSet::new();
        measured.set(last);
        Ok(Some(Cpus { driver, measured }))
    }

    /// Puts the calling thread on the CPU for what is measured; a child that it starts stays there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn measure(&self) -> Result<()> {
        sched_setaffinity(None, &self.measured).context("failed to choose a CPU")
    }

    /// Puts the calling thread on the CPUs for what drives; threads that it starts stay there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drive(&self) -> Result<()> {
        sched_setaffinity(None, &self.driver).context("failed to choose a CPU")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn work_is_seen() {
        let pid = std::process::id();
        let thread = rustix::thread::gettid().as_raw_pid().unsigned_abs();
        let before = used_by(pid, thread).unwrap();
        let mut sum = 0_u64;
        // The kernel writes it down at the next tick.
        while used_by(pid, thread).unwrap() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(used(pid).unwrap() > before);
    }

    #[test]
    fn a_thread_that_ends_meanwhile_is_no_error() {
        let ended = Arc::new(AtomicBool::new(false));
        let threads = std::thread::spawn({
            let ended = Arc::clone(&ended);
            move || {
                while !ended.load(Ordering::Relaxed) {
                    std::thread::spawn(|| ()).join().unwrap();
                }
            }
        });
        let pid = std::process::id();
        let read: Result<Vec<_>> = (0..2_000).map(|_| used(pid)).collect();
        ended.store(true, Ordering::Relaxed);
        threads.join().unwrap();
        read.unwrap();
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        let error = used(u32::MAX).unwrap_err();
        assert_eq!(error.to_string(), "no process has the id 4294967295");
    }

    #[test]
    fn driver_and_measured_share_no_cpu() {
        // A thread of its own: the affinity of the test's is not ours to change.
        std::thread::spawn(|| {
            let Some(cpus) = Cpus::split().unwrap() else {
                return;
            };
            cpus.measure().unwrap();
            let measured = sched_getaffinity(None).unwrap();
            cpus.drive().unwrap();
            let driver = sched_getaffinity(None).unwrap();
            assert_eq!(measured.count(), 1);
            assert!((0..CpuSet::MAX_CPU).all(|cpu| !(measured.is_set(cpu) && driver.is_set(cpu))));
        })
        .join()
        .unwrap();
    }
}
