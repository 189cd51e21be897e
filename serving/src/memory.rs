//! How much memory the process may take before it refuses requests.
//!
//! A container that takes more than its limit is killed, with all requests in flight. Below that limit there is a ceiling,
//! above which no new request is taken: those in flight end, and give back what they have.

use std::{
    fs, io,
    path::{Component, Path},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytesize::ByteSize;
use tokio::time::{MissedTickBehavior, interval};

use crate::{cache::Cache, inference::App};

/// How often it is read; requests look at what was found.
const LOOK: Duration = Duration::from_millis(100);

/// Looks between two times that the allocator is asked to give back what it holds.
const TRIM: u32 = 10;

/// Where the kernel has the groups that bound processes.
const CGROUPS: &str = "/sys/fs/cgroup";

/// How the ceiling is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ceiling {
    /// There is none.
    #[default]
    Off,
    /// Nine tenths of the limit of the process's cgroup (version 2), if it has one.
    Cgroup,
    /// So many bytes.
    Bytes(u64),
}

/// Whether the process takes too much. Requests read one flag of it.
#[derive(Debug)]
pub struct Memory {
    ceiling: Option<u64>,
    high: AtomicBool,
    give_back: fn(),
}

impl Ceiling {
    /// In bytes.
    #[must_use]
    pub fn find(self) -> Option<u64> {
        match self {
            Self::Off => None,
            Self::Bytes(bytes) => Some(bytes),
            Self::Cgroup => {
                let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
                limit(Path::new(CGROUPS), &own).map(|it| it / 10 * 9)
            }
        }
    }
}

impl Memory {
    /// Of a process that may take so many bytes, and gives back by `give_back` what is free; that may block.
    #[must_use]
    pub fn new(ceiling: Option<u64>, give_back: fn()) -> Self {
        Self {
            ceiling,
            high: AtomicBool::new(false),
            give_back,
        }
    }

    /// Whether it takes too much at the moment.
    #[must_use]
    pub fn is_high(&self) -> bool {
        self.high.load(Ordering::Relaxed)
    }
}

/// Reads the memory of the process again and again, if there is a ceiling. Never ends.
pub async fn follow(app: Arc<App>) {
    let memory = &app.memory;
    let Some(ceiling) = memory.ceiling else {
        return std::future::pending().await;
    };
    let allowed = ByteSize(ceiling);
    tracing::info!("requests are refused above {allowed} of memory");
    let idle = resident().unwrap_or_default();
    if is_high(true, idle, ceiling) {
        tracing::error!(
            "the process takes {} of memory before its first request, and {allowed} are allowed: requests are refused for \
             good once they are above that; allow more, or serve less",
            ByteSize(idle)
        );
    }
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trim = 0;
    loop {
        ticks.tick().await;
        let resident = match resident() {
            Ok(resident) => resident,
            Err(error) => {
                tracing::error!(%error, "failed to read the memory of the process: nothing is refused because of it");
                memory.high.store(false, Ordering::Relaxed);
                return std::future::pending().await;
            }
        };
        app.metrics.memory(resident, ceiling);
        let was = memory.is_high();
        let high = is_high(was, resident, ceiling);
        memory.high.store(high, Ordering::Relaxed);
        let taken = ByteSize(resident);
        match (was, high) {
            (false, true) => {
                tracing::warn!(
                    "the process takes {taken} of memory, and {allowed} are allowed: requests are refused, and what the caches \
                     of models hold is forgotten"
                );
                let models = app.registry.current();
                let caches = models.iter().filter_map(|it| it.cache.as_ref());
                caches.for_each(Cache::clear);
                trim = 0;
            }
            (true, false) => {
                tracing::info!("the process takes {taken} of memory: requests are taken again");
            }
            _ => {}
        }
        if high {
            if trim == 0 {
                // What requests have given back may still be held, and nothing else would bring it down.
                drop(tokio::task::spawn_blocking(memory.give_back).await);
            }
            trim = (trim + 1) % TRIM;
        }
    }
}

/// Once it is high it has to fall by a twentieth: otherwise it would go up and down with each request.
fn is_high(was: bool, resident: u64, ceiling: u64) -> bool {
    let least = if was { ceiling - ceiling / 20 } else { ceiling };
    resident >= least
}

/// Bytes of the process that are in memory.
fn resident() -> io::Result<u64> {
    // Not statm, which counts pages of a size that it does not tell.
    let status = fs::read_to_string("/proc/self/status")?;
    parse_resident(&status).ok_or_else(|| io::Error::other("/proc/self/status has no line VmRSS"))
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The lowest limit of the group that `own` names (proc_pid_cgroup(5)), and of those that it is in.
fn limit(root: &Path, own: &str) -> Option<u64> {
    let path = own.lines().find_map(|it| it.strip_prefix("0::"))?;
    let path = Path::new(path.strip_prefix('/')?);
    // A container may see its own group under the name that the host has for it, above its root.
    let inside = path
        .components()
        .all(|it| matches!(it, Component::Normal(_)));
    let path = if inside { path } else { Path::new("") };
    let limits = path.ancestors().filter_map(|group| {
        let limit = fs::read_to_string(root.join(group).join("memory.max")).ok()?;
        limit.trim().parse().ok()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_high_from_the_ceiling_on_until_it_has_fallen_by_a_twentieth() {
        let mut high = false;
        let seen = [99, 100, 99, 96, 95, 94, 99, 101].map(|resident| {
            high = is_high(high, resident, 100);
            high
        });
        let wanted = [false, true, true, true, true, false, false, true];
        assert_eq!(seen, wanted);
        assert!(is_high(false, 0, 0) && !is_high(false, 0, 1));
    }

    #[test]
    fn what_is_resident_is_read_in_bytes() {
        let text = "Name:\tserin-serve\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n";
        assert_eq!(parse_resident(text), Some(100 << 20));
        for text in [
            "",
            "VmRSS:\t 1 MB\n",
            "VmRSS: kB\n",
            "VmRSS: 18446744073709551615 kB\n",
        ] {
            assert_eq!(parse_resident(text), None, "{text}");
        }
        assert!(resident().unwrap() > 1 << 20, "of this process");
    }

    #[test]
    fn the_lowest_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, limit: &str| {
            let folder = root.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), limit).unwrap();
        };
        let found = |own: &str| limit(root.path(), own);
        assert_eq!(found("0::/pods/one\n"), None, "no group has any");
        write("pods", "2000000\n");
        write("pods/one", "max\n");
        write("pods/two", "1000000\n");
        assert_eq!(found("0::/pods/one\n"), Some(2_000_000));
        assert_eq!(found("1:cpu:/x\n0::/pods/two\n"), Some(1_000_000));
        assert_eq!(found("0::/\n"), None, "the root of the host has none");
        write("", "500000\n");
        assert_eq!(found("0::/\n"), Some(500_000), "a container's own root");
        assert_eq!(found("0::/../../pods/two\n"), Some(500_000));
        assert_eq!(found("1:memory:/pods/two\n"), None, "version 1");
    }

    #[test]
    fn the_ceiling_is_what_is_said() {
        assert_eq!(Ceiling::Off.find(), None);
        assert_eq!(Ceiling::Bytes(7).find(), Some(7));
    }
}
