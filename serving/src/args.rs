//! The command line, with the environment and a file behind it.
//!
//! A flag wins over its variable, that over the file, and that over the default.

mod file;
mod limits;
mod origin;
mod values;

pub use limits::LimitArgs;

use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{
    Args as _, FromArgMatches, Subcommand,
    builder::{BoolishValueParser, NonEmptyStringValueParser},
};

use self::values::{MAX_SPAN, address, busy, collector, place, share, short_span, span};
use crate::{
    Config,
    bench::Amount,
    cache::Address,
    limits::Limits,
    logs::{self, Format, Level},
    metrics,
    shutdown::Drain,
    source::{Access, Place},
    traces::Collector,
};

/// Largest body where nobody says another: 16 MiB.
const MAX_BODY: NonZeroUsize = NonZeroUsize::MIN.saturating_add((16 << 20) - 1);

/// What the program is asked for.
#[derive(Debug, Clone)]
pub enum Cli {
    /// To serve.
    Serve(Box<Args>),
    /// Something else.
    Do(Command),
}

/// What there is beside serving.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Says whether a repository could be served: reads it, loads and warms each version, and prints a line for each;
    /// the exit code is 0 if all are well, and 1 if not.
    Check {
        /// Folder of the models, or s3://BUCKET/PREFIX.
        #[arg(value_name = "REPO", value_parser = place())]
        models: Place,

        /// How it is reached.
        #[command(flatten)]
        access: AccessArgs,

        /// What is logged.
        #[command(flatten)]
        logs: LogArgs,
    },
    /// Measures what serving adds to a model on this machine: forwards without a server, and requests to a server of its
    /// own, over one connection and over many.
    Bench(Box<BenchArgs>),
}

/// What is measured, and how much.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Folder of the models, or s3://BUCKET/PREFIX.
    #[arg(value_name = "REPO", value_parser = place())]
    pub models: Place,

    /// The model, as NAME or NAME/VERSION.
    #[arg(value_name = "MODEL")]
    pub model: String,

    /// How the repository is reached.
    #[command(flatten)]
    pub access: AccessArgs,

    /// What is logged.
    #[command(flatten)]
    pub logs: LogArgs,

    /// How long each of the measurements takes.
    #[arg(long, value_name = "SPAN", default_value = "3s", value_parser = span)]
    pub time: Duration,

    /// Connections at once, beside one alone.
    #[arg(long, value_name = "N", default_value = "32")]
    pub connections: NonZeroUsize,

    /// Threads that one forward may use [default: cores / instances, at least 1].
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,

    /// Threads that read requests and write answers [default: half of the cores].
    #[arg(long, value_name = "N")]
    pub io_threads: Option<NonZeroUsize>,

    /// How long the model looks for its next request before it sleeps; 0s: not at all.
    #[arg(long, value_name = "SPAN", default_value = "200us", value_parser = busy)]
    pub spin: Duration,
}

impl BenchArgs {
    /// Threads of the runtime on a machine of `cores`.
    #[must_use]
    pub fn io_threads(&self, cores: usize) -> usize {
        io_threads(self.io_threads, cores)
    }

    /// The configuration of the server, the model and the amount.
    #[must_use]
    pub fn into_config(self, cores: usize) -> (Config, String, Amount) {
        let amount = Amount {
            time: self.time,
            connections: self.connections.get(),
        };
        let config = Config {
            models: self.models,
            access: self.access.into(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            grpc_port: 0,
            max_body: MAX_BODY.get(),
            // Nobody is to be refused.
            queue: amount.connections,
            threads: self.threads.map(NonZeroUsize::get),
            cores,
            spin: self.spin,
            poll: None,
            repository_api: None,
            repository_grpc: None,
            traces: None,
            // Its own client is done by then.
            drain: Drain {
                delay: Duration::ZERO,
                timeout: MAX_SPAN,
            },
            metrics: metrics::Style::default(),
            limits: Limits::default(),
            cache_redis: None,
            give_back: || (),
        };
        (config, self.model, amount)
    }
}

fn io_threads(given: Option<NonZeroUsize>, cores: usize) -> usize {
    given.map_or(cores / 2, NonZeroUsize::get).max(1)
}

/// How to serve.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// File that says what these flags say, by the same names: YAML, such as 'maxBody: 1048576' for --max-body. Flags and
    /// variables win over it.
    #[arg(long, value_name = "FILE", env = file::VARIABLE)]
    pub config: Option<PathBuf>,

    /// Folder of the models, or s3://BUCKET/PREFIX: MODEL/model.yaml and MODEL/VERSION/model.pt, versions being whole
    /// numbers. A bucket is mirrored into a cache; credentials come from AWS_ACCESS_KEY_ID and the like, or the pod's role.
    #[arg(long, value_name = "DIR|URL", env = "SERIN_MODELS", value_parser = place())]
    pub models: Place,

    /// How a bucket is reached.
    #[command(flatten)]
    pub access: AccessArgs,

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
        default_value_t = MAX_BODY,
        env = "SERIN_MAX_BODY"
    )]
    pub max_body: NonZeroUsize,

    /// Requests that may wait for each model version; more get 503. These, and as many as are computed at once, hold at
    /// most six times the largest body each.
    #[arg(long, value_name = "N", default_value = "100", env = "SERIN_QUEUE")]
    pub queue: NonZeroUsize,

    /// Threads that one forward may use [default: cores / instances of all model versions, at least 1].
    #[arg(long, value_name = "N", env = "SERIN_THREADS")]
    pub threads: Option<NonZeroUsize>,

    /// Threads that read requests and write answers [default: half of the cores]. With more of them each request wakes
    /// more threads, which takes longer than its work.
    #[arg(long, value_name = "N", env = "SERIN_IO_THREADS")]
    pub io_threads: Option<NonZeroUsize>,

    /// How long an instance that has nothing to do looks for its next request before it sleeps, where requests come one at
    /// a time and within that span: to be woken takes longer than the forward of a small model. Half of the cores do so at
    /// the most; 0s: never.
    #[arg(long, value_name = "SPAN", default_value = "200us", env = "SERIN_SPIN", value_parser = busy)]
    pub spin: Duration,

    /// How often the repository is read again, such as 10s; a change is loaded once two readings have found the same
    /// [default: never]. SIGHUP reads it at once, and loads what it finds.
    #[arg(long, value_name = "SPAN", env = "SERIN_POLL", value_parser = span)]
    pub poll: Option<Duration>,

    /// Where models can be loaded and unloaded over HTTP, as with Triton [default: nowhere]. Whoever gets there can stop
    /// models: use the loopback address, such as 127.0.0.1:8002. The files come from the repository alone.
    #[arg(long, value_name = "HOST:PORT", env = "SERIN_REPOSITORY_API", value_parser = address)]
    pub repository_api: Option<(String, u16)>,

    /// The same over gRPC, on a port of its own, such as 127.0.0.1:8003 [default: nowhere].
    #[arg(long, value_name = "HOST:PORT", env = "SERIN_REPOSITORY_GRPC", value_parser = address)]
    pub repository_grpc: Option<(String, u16)>,

    /// Collector that gets spans of the requests, by OTLP over gRPC, such as http://collector:4317 [default: nobody].
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = collector)]
    pub otlp_endpoint: Option<String>,

    /// Share of the requests that is traced, 0 to 1, where no 'traceparent' says whether.
    #[arg(long, value_name = "SHARE", default_value = "1", env = "SERIN_TRACE_SAMPLE", value_parser = share)]
    pub trace_sample: f64,

    /// How long requests are still taken after SIGTERM, while readiness says no: whoever sends them has to hear of it, for
    /// Kubernetes 5s [default: not at all].
    #[arg(long, value_name = "SPAN", env = "SERIN_DRAIN_DELAY", value_parser = span)]
    pub drain_delay: Option<Duration>,

    /// How long the requests in flight have after that to be answered. The end takes up to 4 s more.
    #[arg(long, value_name = "SPAN", default_value = "25s", env = "SERIN_DRAIN_TIMEOUT", value_parser = span)]
    pub drain_timeout: Duration,

    /// Show Triton's metrics (nv_inference_...) beside our own, for dashboards that know them.
    #[arg(long, env = "SERIN_TRITON_METRICS", value_parser = BoolishValueParser::new())]
    pub triton_metrics: bool,

    /// What this deployment is called among those that serve the same models, such as canary: the label 'variant' of every
    /// metric [default: no such label].
    #[arg(long, value_name = "NAME", env = "SERIN_VARIANT", value_parser = NonEmptyStringValueParser::new())]
    pub variant: Option<String>,

    /// What it puts up with.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Redis that the caches of models share, as redis://USER:PASSWORD@HOST:PORT/DB, of which only the host is needed;
    /// answers are computed where it has none, fails, or is late [default: each process has its own].
    #[arg(long, value_name = "URL", env = "SERIN_CACHE_REDIS", hide_env_values = true, value_parser = Address::parse)]
    pub cache_redis: Option<Address>,

    /// How long a request waits for that Redis.
    #[arg(long, value_name = "SPAN", default_value = "5ms", env = "SERIN_CACHE_REDIS_TIMEOUT", value_parser = short_span)]
    pub cache_redis_timeout: Duration,

    /// What is logged.
    #[command(flatten)]
    pub logs: LogArgs,
}

/// What is logged, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct LogArgs {
    /// What is logged: a level (error, warn, info, debug, trace, off), or directives such as info,serin_serving=debug.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "RUST_LOG", value_parser = logs::level)]
    pub log_level: Level,

    /// How a line of the log is written: as text, or as a JSON object.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        env = "SERIN_LOG_FORMAT"
    )]
    pub log_format: Format,
}

/// How a bucket is reached. The usual variables (AWS_ENDPOINT_URL, AWS_REGION, AWS_ALLOW_HTTP and so on) say it as well;
/// these win.
#[derive(Debug, Clone, clap::Args)]
pub struct AccessArgs {
    /// Folder that a bucket is mirrored into; nobody else may use it [default: one for each bucket in ~/.cache/serin].
    #[arg(long, value_name = "DIR", env = "SERIN_MODEL_CACHE")]
    pub model_cache: Option<PathBuf>,

    /// S3 server that is not Amazon's, such as https://minio:9000; the bucket goes into the path [default:
    /// AWS_ENDPOINT_URL].
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// Region of the bucket [default: AWS_REGION, or us-east-1].
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,

    /// Ask without TLS, if the endpoint is http://.
    #[arg(long)]
    pub s3_allow_http: bool,

    /// How long an answer of S3 may take, or bring less than 64 KiB, before it is asked for anew; after five times of
    /// nothing it is given up.
    #[arg(long, value_name = "SPAN", default_value = "30s", value_parser = span)]
    pub s3_timeout: Duration,
}

impl From<AccessArgs> for Access {
    fn from(args: AccessArgs) -> Self {
        let AccessArgs {
            model_cache,
            s3_endpoint,
            s3_region,
            s3_allow_http,
            s3_timeout,
        } = args;
        Self {
            endpoint: s3_endpoint,
            region: s3_region,
            allow_http: s3_allow_http,
            timeout: s3_timeout,
            cache: model_cache,
        }
    }
}

impl Cli {
    fn command() -> clap::Command {
        let command = clap::Command::new("serin-serve");
        // These bring names and texts of their own, so ours come after them.
        Command::augment_subcommands(Args::augment_args(command))
            .version(env!("CARGO_PKG_VERSION"))
            .about("Serves TorchScript models over the Open Inference Protocol v2 (REST and gRPC) on libtorch")
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    /// Reads the command line, the name of the program included, and what stands behind it.
    ///
    /// Not derived: variables of the environment that serving reads, in a container all of them, would then ask for what
    /// serving needs of every command.
    ///
    /// # Errors
    /// [`clap::Error`], which knows how to show itself and to exit; help and version are among them.
    pub fn read<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut command = Self::command();
        let flags = origin::flags_alone(&command).try_get_matches_from(&arguments);
        let mut lines = file::Lines::default();
        if let Ok(flags) = &flags
            && flags.subcommand_name().is_none()
            && let Some(path) = file::path(flags)
        {
            (command, lines) = file::read(&path, command)?;
        }
        let matches = command.try_get_matches_from_mut(&arguments);
        let matches = matches.map_err(|error| {
            let error = origin::conceal(error, &command);
            match &flags {
                Ok(flags) => origin::name(error, &command, flags, &lines),
                // What is wrong stands on the command line.
                Err(_) => error,
            }
        })?;
        if matches.subcommand_name().is_some() {
            Command::from_arg_matches(&matches).map(Self::Do)
        } else {
            Args::from_arg_matches(&matches).map(|args| Self::Serve(Box::new(args)))
        }
    }
}

impl Args {
    /// Threads of the runtime on a machine of `cores`.
    #[must_use]
    pub fn io_threads(&self, cores: usize) -> usize {
        io_threads(self.io_threads, cores)
    }

    /// The configuration on a machine of `cores`.
    #[must_use]
    pub fn into_config(self, cores: usize) -> Config {
        let Self {
            models,
            access,
            host,
            port,
            grpc_port,
            max_body,
            queue,
            threads,
            io_threads: _,
            spin,
            poll,
            repository_api,
            repository_grpc,
            otlp_endpoint,
            trace_sample,
            drain_delay,
            drain_timeout,
            triton_metrics,
            variant,
            config: _,
            logs: _,
            limits,
            cache_redis,
            cache_redis_timeout,
        } = self;
        Config {
            models,
            access: access.into(),
            host,
            port,
            grpc_port,
            max_body: max_body.get(),
            queue: queue.get(),
            threads: threads.map(NonZeroUsize::get),
            cores,
            spin,
            poll,
            repository_api,
            repository_grpc,
            // By the standard an empty variable is none.
            traces: otlp_endpoint
                .filter(|it| !it.is_empty())
                .map(|endpoint| Collector {
                    endpoint,
                    sample: trace_sample,
                    variant: variant.clone(),
                }),
            drain: Drain {
                delay: drain_delay.unwrap_or_default(),
                timeout: drain_timeout,
            },
            metrics: metrics::Style {
                variant,
                triton: triton_metrics,
            },
            limits: limits.into(),
            cache_redis: cache_redis.map(|it| (it, cache_redis_timeout)),
            give_back: || (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn zero_threads_queue_or_body_are_refused() {
        let parse = |flag| Cli::read(["serin-serve", "--models", "m", "--port", "0", flag, "0"]);
        for flag in ["--threads", "--io-threads", "--queue", "--max-body"] {
            assert!(parse(flag).is_err(), "{flag}");
        }
    }

    #[test]
    fn a_bad_address_of_redis_is_refused_without_its_password() {
        let flags = ["serin-serve", "--models", "m", "--port", "0"];
        let bad = ["--cache-redis", "rediss://:secret@cache"];
        let error = Cli::read([&flags[..], &bad].concat()).unwrap_err();
        let error = error.to_string();
        let wanted = "'(not shown)' for '--cache-redis <URL>': TLS is not supported";
        assert!(
            error.contains(wanted) && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn checking_needs_no_flags_and_serving_needs_its_own() {
        let parse = |arguments: &[&str]| Cli::read([&["serin-serve"], arguments].concat());
        assert!(matches!(parse(&["check", "m"]), Ok(Cli::Do(_))));
        let serve = parse(&["--models", "m", "--port", "0"]);
        assert!(matches!(serve, Ok(Cli::Serve(_))));
        assert!(parse(&["--models", "m"]).is_err());
        assert!(parse(&[]).is_err());
        assert!(parse(&["check"]).is_err());
        assert!(parse(&["--models", "m", "check", "m"]).is_err());
    }
}
