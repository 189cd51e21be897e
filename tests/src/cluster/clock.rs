//! A clock that jumps, for one process alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::world::World;

/// The time of day of the processes that are started with its [`variables`](Clock::variables).
#[derive(Debug)]
pub struct Clock {
    library: String,
    ahead: String,
    _world: World,
}

impl Clock {
    /// One that is right, so far. It is made here, by the C compiler that Rust links with.
    ///
    /// # Errors
    /// When there is no C compiler, or it fails.
    pub fn new() -> Result<Clock> {
        let world = World::new("clock")?;
        let library = world.file("clock.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cluster/clock.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]);
        let made = compiler.arg(&library).arg(source).status();
        let made = made.context("failed to start the C compiler 'cc'")?;
        ensure!(made.success(), "failed to compile the clock: see above");
        let text = |path: PathBuf| path.into_os_string().into_string();
        let text = |path| text(path).map_err(|path| anyhow::anyhow!("{path:?} is no text"));
        let clock = Clock {
            library: text(library)?,
            ahead: text(world.file("ahead"))?,
            _world: world,
        };
        clock.jump(0)?;
        Ok(clock)
    }

    /// What a process must be started with.
    #[must_use]
    pub fn variables(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("CLOCK_AHEAD", &self.ahead)]
    }

    /// From now on it is so many seconds ahead of the right time.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn jump(&self, ahead: i64) -> Result<()> {
        // Renamed, so that nobody reads half a number.
        let new = format!("{}.new", self.ahead);
        std::fs::write(&new, ahead.to_string())?;
        std::fs::rename(new, &self.ahead).context("failed to set the clock")
    }
}
