//! A `serin-serve` process that ends with its owner.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use reqwest::Client;
use serde_json::Value;

/// Longer than any step takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A process that is killed with its owner.
pub(crate) struct Process(Child);

pub(crate) struct Server {
    process: Process,
    pub(crate) url: String,
    /// Where gRPC is spoken, without a scheme.
    pub(crate) grpc: String,
    /// Where models are loaded and unloaded, without a scheme.
    pub(crate) repository_api: Option<String>,
    /// The same over gRPC.
    pub(crate) repository_grpc: Option<String>,
    pub(crate) client: Client,
}

/// The program on a repository, its log discarded.
pub(crate) fn command(models: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin-serve"));
    command
        .arg("--models")
        .arg(models)
        .args(["--port", "0", "--grpc-port", "0"])
        .stderr(Stdio::null());
    command
}

/// Waits until `condition` gives something.
#[track_caller]
pub(crate) fn wait<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// So many of the first lines, or less if the program ended or said nothing in time.
fn first_lines(stdout: ChildStdout, count: usize) -> String {
    let (found, lines) = mpsc::channel();
    // A read has no deadline of its own. The thread ends with the program, which its owner kills.
    thread::spawn(move || {
        let mut lines = String::new();
        let mut stdout = BufReader::new(stdout);
        for _ in 0..count {
            let _ = stdout.read_line(&mut lines);
        }
        let _ = found.send(lines);
    });
    lines.recv_timeout(DEADLINE).unwrap_or_default()
}

impl Process {
    /// Starts the program, which need not get so far as to listen.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// CPU time that the thread of a model has used, in ticks; none before there is such a thread.
    pub(crate) fn ticks(&self, model: &str) -> Option<u64> {
        self.threads(model).into_iter().next()
    }

    /// CPU time that each thread of a model has used, in ticks: its own, and those that libtorch gives it, which inherit
    /// the name.
    pub(crate) fn threads(&self, model: &str) -> Vec<u64> {
        let name = format!("{model}/1");
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let ticks = tasks.flatten().filter_map(|task| {
            // A thread may end while it is looked at.
            let stat = fs::read_to_string(task.path().join("stat")).ok()?;
            let (head, tail) = stat.rsplit_once(") ")?;
            let named = head.split_once(" (")?.1 == name;
            // proc_pid_stat(5): utime is field 14, and the state after the name is field 3.
            named.then(|| tail.split(' ').nth(11)?.parse().ok())?
        });
        ticks.collect()
    }

    /// Waits until the thread of a model has computed for a while since it had used `before`.
    pub(crate) fn wait_for_work(&self, model: &str, before: u64) {
        /// 0.1 s where a tick is 10 ms, as on Linux.
        const WHILE: u64 = 10;
        wait("the thread computes", || {
            self.ticks(model).filter(|&ticks| ticks >= before + WHILE)
        });
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args(["-s", signal, &self.0.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        wait("serin-serve ends", || self.0.try_wait().unwrap())
    }

    /// The same with what it has written meanwhile, which should be little: nobody reads it before the end.
    pub(crate) fn finish(mut self, signal: &str) -> Output {
        self.signal(signal);
        let status = wait("serin-serve ends", || self.0.try_wait().unwrap());
        let mut output = Output {
            status,
            stdout: Vec::new(),
            stderr: Vec::new(),
        };
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_end(&mut output.stderr).unwrap();
        }
        output
    }

    /// A line of proc_pid_status(5) that counts kB, in bytes.
    fn status(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = value.unwrap().trim_matches([':', ' ', '\t', 'k', 'B']);
        kib.parse::<u64>().unwrap() * 1024
    }
}

impl Server {
    /// Starts the program and waits for its first lines.
    pub(crate) fn start(models: &Path) -> Self {
        Self::start_with(models, &[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(models: &Path, arguments: &[&str]) -> Self {
        let mut command = command(models);
        Self::start_by(command.args(arguments))
    }

    /// By a command of one's own.
    pub(crate) fn start_by(command: &mut Command) -> Self {
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let ports = ["--repository-api", "--repository-grpc"];
        let ports = ports.map(|flag| usize::from(command.get_args().any(|it| it == flag)));
        let count = 2 + ports.iter().sum::<usize>();
        let lines = first_lines(process.0.stdout.take().unwrap(), count);
        let address = |prefix: &str| lines.lines().find_map(|line| line.strip_prefix(prefix));
        let repository_api = address("repository API on http://").map(str::to_owned);
        let repository_grpc = address("repository API on grpc://").map(str::to_owned);
        let (Some(rest), Some(grpc)) = (
            address("listening on http://"),
            address("listening on grpc://"),
        ) else {
            panic!("the first lines of serin-serve were {lines:?}");
        };
        let (url, grpc) = (format!("http://{rest}"), grpc.to_owned());
        let client = Client::builder().timeout(DEADLINE).build().unwrap();
        Self {
            process,
            url,
            grpc,
            repository_api,
            repository_grpc,
            client,
        }
    }

    /// Posts an inference request.
    pub(crate) async fn infer(&self, model: &str, body: String) -> (u16, Value) {
        let request = self
            .client
            .post(format!("{}/v2/models/{model}/infer", self.url))
            .body(body);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Resident memory of the process, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.process.status("VmRSS")
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.process.status("VmHWM")
    }

    /// The process, for what needs no more requests.
    pub(crate) fn into_process(self) -> Process {
        self.process
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An inference request of one input.
pub(crate) fn body(
    name: &str,
    datatype: &str,
    shape: &[i64],
    data: &impl serde::Serialize,
) -> String {
    let input =
        serde_json::json!({ "name": name, "datatype": datatype, "shape": shape, "data": data });
    serde_json::json!({ "inputs": [input] }).to_string()
}
