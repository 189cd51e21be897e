//! The command line.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::Parser;

use crate::Config;

/// Reading the repository costs a look at every file of it.
const MIN_POLL: Duration = Duration::from_millis(10);
const MAX_POLL: Duration = Duration::from_secs(24 * 3600);

/// Serves TorchScript models over the Open Inference Protocol v2 (REST and gRPC) on libtorch, CPU.
#[derive(Debug, Clone, Parser)]
#[command(name = "serin-serve", version)]
pub struct Args {
    /// Folder of the models: MODEL/model.yaml and MODEL/VERSION/model.pt, versions being whole numbers.
    #[arg(long, value_name = "DIR", env = "SERIN_MODELS")]
    pub models: PathBuf,

    /// Address to listen on; 0.0.0.0 for all.
    #[arg(long, default_value = "127.0.0.1", env = "SERIN_LISTEN_HOST")]
    pub host: String,

    /// Port to listen on; 0 picks a free one.
    // Not SERIN_PORT: Kubernetes sets that one to a URL in a namespace with a Service called `serin`.
    #[arg(long, env = "SERIN_LISTEN_PORT")]
    pub port: u16,

    /// Port of gRPC; 0 picks a free one.
    #[arg(long, default_value = "8001", env = "SERIN_LISTEN_GRPC_PORT")]
    pub grpc_port: u16,

    /// Largest request body or gRPC message in bytes, also when it was compressed; larger ones get 413.
    #[arg(
        long,
        value_name = "BYTES",
        default_value = "16777216",
        env = "SERIN_MAX_BODY"
    )]
    pub max_body: NonZeroUsize,

    /// Requests that may wait or be read for each model version; more get 503. They hold at most N + 1 times six times
    /// the largest body.
    #[arg(long, value_name = "N", default_value = "100", env = "SERIN_QUEUE")]
    pub queue: NonZeroUsize,

    /// Threads that one forward may use [default: cores / instances of all model versions, at least 1].
    #[arg(long, value_name = "N", env = "SERIN_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// How often the repository is read again, such as 10s; a change is loaded once two readings have found the same
    /// [default: never]. SIGHUP reads it at once, and loads what it finds.
    #[arg(long, value_name = "SPAN", env = "SERIN_POLL", value_parser = span)]
    pub poll: Option<Duration>,
}

impl Args {
    /// The configuration on a machine of `cores`.
    #[must_use]
    pub fn into_config(self, cores: usize) -> Config {
        let Self {
            models,
            host,
            port,
            grpc_port,
            max_body,
            queue,
            threads,
            poll,
        } = self;
        Config {
            models,
            host,
            port,
            grpc_port,
            max_body: max_body.get(),
            queue: queue.get(),
            threads: threads.map(NonZeroUsize::get),
            cores,
            poll,
        }
    }
}

/// A span of time that a timer can wait for.
fn span(text: &str) -> Result<Duration, String> {
    let example = "write one such as 10s or 1m";
    match humantime::parse_duration(text) {
        Ok(span) if (MIN_POLL..=MAX_POLL).contains(&span) => Ok(span),
        Ok(_) => {
            let [least, most] = [MIN_POLL, MAX_POLL].map(humantime::format_duration);
            Err(format!("it is {least} to {most}: {example}"))
        }
        Err(error) => Err(format!("it is no span of time ({error}): {example}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn zero_threads_queue_or_body_are_refused() {
        let parse =
            |flag| Args::try_parse_from(["serin-serve", "--models", "m", "--port", "0", flag, "0"]);
        for flag in ["--threads", "--queue", "--max-body"] {
            assert!(parse(flag).is_err(), "{flag}");
        }
    }
}
