//! Load, by `wrk`: one thread of it, which costs a server less of the machine than any generator of our own would.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::process::Command;

use crate::tools;

/// A request that is sent again and again.
#[derive(Debug, Clone)]
pub struct Load {
    /// Where to.
    pub url: String,
    /// The file with its body.
    pub body: PathBuf,
    /// What that is.
    pub content_type: &'static str,
    /// Bytes of it that are JSON, where binary data follows.
    pub json_length: Option<usize>,
    /// The core that the generator stays on.
    pub core: Option<usize>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Answered {
    requests: u64,
    micros: u64,
    errors: u64,
    /// Microseconds.
    pub p50: f64,
    /// Microseconds.
    pub p99: f64,
}

impl Answered {
    /// Requests that were not answered with 200.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Requests a second that were.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.requests.saturating_sub(self.errors) as f64 / (self.micros as f64 / 1e6)
    }
}

impl Load {
    /// Sends it over so many connections for a while.
    ///
    /// # Errors
    /// When `wrk` cannot be run, or no request is answered with 200.
    pub async fn run(&self, connections: usize, time: Duration) -> Result<Answered> {
        let wrk = tools::wrk()?;
        let script = tools::repository().join("tests/bench/serving/load.lua");
        let mut command = match self.core {
            None => Command::new(&wrk),
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(&wrk);
                command
            }
        };
        command
            .args(["--threads=1", &format!("--connections={connections}")])
            .arg(format!("--duration={}s", time.as_secs()))
            .arg("--script")
            .arg(script)
            .arg(&self.url)
            .env("WRK_BODY", &self.body)
            .env("WRK_TYPE", self.content_type)
            .env("LD_LIBRARY_PATH", wrk.with_file_name("lib"))
            .stdin(Stdio::null());
        if let Some(length) = self.json_length {
            command.env("WRK_JSON_LENGTH", length.to_string());
        }
        let output = command.output().await;
        let output = output.with_context(|| format!("failed to run '{}'", wrk.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let answered = text.lines().find(|line| line.starts_with('{'));
        let Some(answered) = answered.and_then(|line| serde_json::from_str::<Answered>(line).ok())
        else {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("wrk says nothing of {}: {text}{error}", self.url);
        };
        if answered.requests <= answered.errors {
            bail!(
                "none of {} requests to {} succeeded",
                answered.requests,
                self.url
            );
        }
        Ok(answered)
    }
}
