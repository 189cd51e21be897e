//! Child processes that end with their owner and whose log is at hand when something goes wrong.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, Command};

use crate::wait::{self, Hopeless};
use crate::world::World;

/// How much of a log an error quotes.
const TAIL_LINES: usize = 20;

/// How long a polite end may take before it becomes a kill.
const GRACE: Duration = Duration::from_secs(10);

/// A running child, killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    // Keeps the folder until the child is gone.
    _world: World,
}

impl Process {
    /// Starts `program`; stdout and stderr are appended to `<name>.log` in the world's folder.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        world: &World,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Process> {
        Process::start_with(world, name, program, arguments, &[])
    }

    /// [`Process::start`] with further environment variables.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start_with<A: AsRef<OsStr>>(
        world: &World,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Result<Process> {
        let log = world.file(format!("{name}.log"));
        let out = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("failed to open {}", log.display()))?;
        let err = out
            .try_clone()
            .context("failed to share the log between stdout and stderr")?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // A Ctrl-C in the terminal is for us alone: we end the children, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start '{}'", program.display()))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            log,
            _world: world.clone(),
        })
    }

    /// The process id; none once the end was noticed.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether the child still runs; as an error it carries the end of the log and ends a [`wait::until`] at once.
    ///
    /// # Errors
    /// When the child has ended.
    pub fn alive(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .context("failed to ask for the state of a child")?
        {
            None => Ok(()),
            Some(status) => Err(Hopeless(self.obituary(status)).into()),
        }
    }

    /// Everything the child wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        // A log is for people: bytes that are no text are replaced, a missing file is an empty log.
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Waits for a line of the log that `pick` recognises.
    ///
    /// # Errors
    /// When the child ends first, or after `limit`.
    pub async fn line<T>(
        &mut self,
        limit: Duration,
        what: &str,
        pick: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        wait::until(limit, what, async || {
            // The log first: a child may say its line and end.
            if let Some(found) = self.log().lines().find_map(&pick) {
                return Ok(found);
            }
            self.alive()?;
            Err(anyhow!(
                "the log of '{}' ends with\n{}",
                self.name,
                self.log_tail()
            ))
        })
        .await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the child has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal)
            .with_context(|| format!("failed to send {signal:?} to '{}'", self.name))
    }

    /// Sends a signal to the child and to those that it has started, unless they have left its group.
    ///
    /// # Errors
    /// When the child has ended already.
    pub fn signal_group(&self, signal: Signal) -> Result<()> {
        kill_process_group(self.pid()?, signal)
            .with_context(|| format!("failed to send {signal:?} to the group of '{}'", self.name))
    }

    fn pid(&self) -> Result<Pid> {
        self.id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| anyhow!("'{}' has ended already", self.name))
    }

    /// Asks the child to end (SIGTERM), kills it after a grace period, and returns how it ended.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        if self.id().is_some() {
            self.signal(Signal::TERM)?;
        }
        match tokio::time::timeout(GRACE, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("failed to wait for '{}'", self.name)),
            Err(_) => self.kill().await,
        }
    }

    /// Ends the child as a crash would (SIGKILL).
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub async fn kill(mut self) -> Result<ExitStatus> {
        self.child
            .start_kill()
            .with_context(|| format!("failed to kill '{}'", self.name))?;
        self.child
            .wait()
            .await
            .with_context(|| format!("failed to wait for '{}'", self.name))
    }

    fn obituary(&self, status: ExitStatus) -> String {
        format!(
            "'{}' ended early ({status}); its log ends with\n{}",
            self.name,
            self.log_tail()
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only when the child is gone, which is what is wanted. Its own children would live on without it.
        let _ = self.signal_group(Signal::KILL);
        // The folder goes right after this: a child that still writes would leave files behind. A killed process
        // takes milliseconds to go, so this is the one place where blocking is cheaper than a thread.
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(2)
        {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS: Duration = Duration::from_secs(20);

    fn shell(world: &World, script: &str) -> Process {
        Process::start(world, "child", Path::new("/bin/sh"), ["-c", script]).unwrap()
    }

    fn exists(pid: u32) -> bool {
        // Not by its command line, which is empty for a moment while the shell turns into `sleep`.
        Path::new("/proc").join(pid.to_string()).exists()
    }

    #[tokio::test]
    async fn an_early_death_is_told_with_the_end_of_the_log() {
        let world = World::new("process").unwrap();
        let mut child = shell(&world, "echo no such file >&2; exit 3");
        let error = child
            .line(SECONDS, "a greeting", |_| None::<()>.or(None))
            .await
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("'child' ended early (exit status: 3)"),
            "{text}"
        );
        assert!(text.contains("no such file"), "{text}");
    }

    #[tokio::test]
    async fn a_dropped_child_is_gone_with_its_folder() {
        let world = World::new("process").unwrap();
        let path = world.path().to_owned();
        let mut child = shell(&world, "echo up; exec sleep 1000");
        child
            .line(SECONDS, "up", |line| (line == "up").then_some(()))
            .await
            .unwrap();
        let pid = child.id().unwrap();
        drop(world);
        assert!(exists(pid) && path.exists());
        drop(child);
        assert!(!exists(pid) && !path.exists());
    }

    #[tokio::test]
    async fn the_children_of_a_dropped_child_go_with_it() {
        let world = World::new("process").unwrap();
        let mut child = shell(&world, "sleep 1000 & echo $!; wait");
        let grandchild = child.line(SECONDS, "a process", |line| line.parse().ok());
        let grandchild: u32 = grandchild.await.unwrap();
        assert!(exists(grandchild));
        drop(child);
        // Whoever adopts it has to notice.
        let gone = async || match state(grandchild) {
            None | Some('Z') => Ok(()),
            Some(state) => Err(anyhow!("its state is {state}")),
        };
        wait::until(SECONDS, "the grandchild to end", gone)
            .await
            .unwrap();
    }

    /// As in proc_pid_stat(5).
    fn state(pid: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[tokio::test]
    async fn stop_asks_politely_first() {
        let world = World::new("process").unwrap();
        let mut child = shell(
            &world,
            "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done",
        );
        child
            .line(SECONDS, "up", |line| (line == "up").then_some(()))
            .await
            .unwrap();
        assert_eq!(child.stop().await.unwrap().code(), Some(7));
    }
}
