//! `make demo`'s program as a person runs it: to its end, and cut short.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serin_tests::wait;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// Both releases at their limits, and the start.
const WHOLE: Duration = Duration::from_secs(2 * 180 + 60);
/// What a busy machine may take to get somewhere, or to end.
const PART: Duration = Duration::from_secs(120);

/// A running demo with a temporary folder of its own, so that whatever it leaves behind is seen.
struct Demo {
    temporary: TempDir,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    said: Arc<Mutex<String>>,
}

impl Demo {
    fn start() -> Demo {
        let temporary = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_serin-demo"))
            .env("TMPDIR", temporary.path())
            .env_remove("KEEP")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = Arc::default();
        let readers = vec![
            listen(child.stdout.take().unwrap(), &said),
            listen(child.stderr.take().unwrap(), &said),
        ];
        Demo {
            temporary,
            child,
            readers,
            said,
        }
    }

    /// Everything on stdout and stderr so far.
    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    async fn until_it_says(&mut self, text: &str) {
        wait::until(PART, &format!("'{text}'"), async || {
            let ended = self.child.try_wait().unwrap();
            let said = self.said();
            if said.contains(text) {
                return Ok(());
            }
            if let Some(status) = ended {
                let death = format!("the demo ended ({status}) and said\n{said}");
                return Err(wait::Hopeless(death).into());
            }
            anyhow::bail!("the demo said\n{said}")
        })
        .await
        .unwrap();
    }

    async fn end(&mut self, limit: Duration) -> ExitStatus {
        let Ok(status) = tokio::time::timeout(limit, self.child.wait()).await else {
            panic!("the demo does not end; it said\n{}", self.said());
        };
        for reader in self.readers.drain(..) {
            reader.await.unwrap();
        }
        status.unwrap()
    }

    /// Sends a signal as Ctrl-C would, and wants an orderly end of everything.
    async fn ends_by(mut self, signal: Signal, name: &str) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let status = self.end(PART).await;
        let said = self.said();
        assert_eq!(
            status.code(),
            Some(1),
            "a demo that was cut short has not succeeded:\n{said}"
        );
        assert!(said.contains(&format!("stopped by {name}")), "{said}");
        self.check_nothing_is_left();
    }

    #[track_caller]
    fn check_nothing_is_left(&self) {
        let folder = self.temporary.path();
        let lines: Vec<_> = processes_about(folder).into_iter().collect();
        assert_eq!(lines, Vec::new(), "{}", self.said());
        let files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files, Vec::<PathBuf>::new(), "{}", self.said());
    }
}

fn listen(
    stream: impl AsyncRead + Send + Unpin + 'static,
    said: &Arc<Mutex<String>>,
) -> JoinHandle<()> {
    let said = Arc::clone(said);
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut said = said.lock().unwrap();
            said.push_str(&line);
            said.push('\n');
        }
    })
}

/// Folders under /proc and command lines of running processes that speak of a folder.
fn processes_about(folder: &Path) -> Vec<(PathBuf, String)> {
    let folder = folder.to_str().unwrap();
    let found = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let process = entry.ok()?.path();
        let line = std::fs::read(process.join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(folder).then_some((process, line))
    });
    found.collect()
}

#[tokio::test]
async fn the_demo_ends_well_tells_its_story_in_plain_lines_and_leaves_nothing_behind() {
    let mut demo = Demo::start();
    let status = demo.end(WHOLE).await;
    let said = demo.said();
    assert!(status.success(), "{said}");
    for part in [
        "version 8 is live: every sampled request reached 'fraud-v8'",
        "healthy releases would look like this",
        "was detected and rolled back",
    ] {
        assert!(said.contains(part), "'{part}' is missing:\n{said}");
    }
    assert!(
        !said.contains('\x1b'),
        "escape sequences without a terminal:\n{said}"
    );
    demo.check_nothing_is_left();
}

#[tokio::test]
async fn ctrl_c_ends_the_demo_and_everything_it_started() {
    let mut demo = Demo::start();
    demo.until_it_says("is released beside").await;
    let processes = processes_about(demo.temporary.path());
    assert!(
        processes.len() >= 6,
        "controller, Envoy, Prometheus and three servers run: {processes:?}"
    );
    // Shared memory outlives its process and lies outside the demo's folder. What is in /dev/shm may be of anybody.
    for (process, line) in &processes {
        let maps = std::fs::read_to_string(process.join("maps")).unwrap();
        assert!(!maps.contains("/dev/shm/envoy"), "{line}");
    }
    demo.ends_by(Signal::INT, "Ctrl-C").await;
}

#[tokio::test]
async fn ctrl_c_while_the_models_are_trained_leaves_no_files() {
    let mut demo = Demo::start();
    demo.until_it_says("training three versions").await;
    demo.ends_by(Signal::INT, "Ctrl-C").await;
}

#[tokio::test]
async fn a_closed_terminal_ends_the_demo_and_everything_it_started() {
    let mut demo = Demo::start();
    demo.until_it_says("starting controller").await;
    demo.ends_by(Signal::HUP, "SIGHUP").await;
}
