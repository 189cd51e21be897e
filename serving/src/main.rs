//! `serin-serve`: see the library.

use std::{
    env,
    io::{self, Write},
    ptr::null_mut,
    thread::available_parallelism,
};

use anyhow::Context;
use futures::StreamExt;
use serin_serving::{
    args::{Args, BenchArgs, Cli, Command},
    bench, bind, check, logs, shutdown,
    source::{Access, Place},
};
use tokio::runtime::{Builder, Runtime};

// For libtorch as well: what it frees when a version is replaced was made by threads that are gone, and stayed in glibc's
// arenas of theirs. After 100 reloads under load (see tests/it/soak.rs) 182 MB were resident, x 1.007 in the last two
// thirds; with it for Rust alone x 1.06, with glibc's for all x 1.03, with mimalloc 414 MB and x 1.07. Rates do not differ
// by more than the machine's noise. A thread of its own gives back what is free, also while no request comes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() {
    let asked = Cli::read(env::args_os()).unwrap_or_else(|error| error.exit());
    let logs = match &asked {
        Cli::Do(Command::Check { logs, .. }) => logs,
        Cli::Do(Command::Bench(args)) => &args.logs,
        Cli::Serve(args) => &args.logs,
    };
    let format = logs.log_format;
    logs::start(&logs.log_level, format);
    let result = match asked {
        Cli::Do(Command::Check { models, access, .. }) => {
            check_models(&models, &access.into()).map(|()| 0)
        }
        Cli::Do(Command::Bench(args)) => runtime(args.io_threads(cores()))
            .and_then(|it| it.block_on(bench_model(*args)).map(|()| 0)),
        Cli::Serve(args) => {
            runtime(args.io_threads(cores())).and_then(|it| it.block_on(serve(*args)))
        }
    };
    let status = match result {
        Ok(status) => status,
        Err(error) => {
            logs::last_words(&format!("{error:#}"), format);
            1
        }
    };
    shutdown::end(status)
}

/// Gives back now what is free. By itself the allocator takes some ten seconds for that, in which requests would be refused.
#[allow(unsafe_code, reason = "a function of the allocator above")]
fn give_back() {
    // MALLCTL_ARENAS_ALL of jemalloc.h is 4096.
    let name = c"arena.4096.purge";
    // SAFETY: a C string, and null for what this name neither reads nor writes (jemalloc(3), MALLCTL NAMESPACE).
    let status =
        unsafe { tikv_jemalloc_sys::mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
    if status != 0 {
        tracing::warn!(status, "the allocator gave no memory back");
    }
}

fn cores() -> usize {
    available_parallelism().map_or(1, usize::from)
}

#[tokio::main]
async fn check_models(models: &Place, access: &Access) -> anyhow::Result<()> {
    Ok(check::check((models, access), cores(), &mut io::stdout()).await?)
}

async fn bench_model(args: BenchArgs) -> anyhow::Result<()> {
    let (config, model, amount) = args.into_config(cores());
    Ok(bench::bench(config, &model, amount, &mut io::stdout()).await?)
}

fn runtime(threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all();
    builder.build().context("failed to start its threads")
}

/// The exit code.
async fn serve(args: Args) -> anyhow::Result<i32> {
    // Before the models are loaded: that may take minutes, and a signal ends it too.
    let mut signals = shutdown::signals().context("failed to listen for signals")?;
    // It would end the process while nobody listens.
    let hangups = shutdown::hangups().context("failed to listen for SIGHUP")?;
    let mut config = args.into_config(cores());
    config.give_back = give_back;
    let bound = tokio::select! {
        bound = bind(config) => bound?,
        _ = signals.next() => return Ok(0),
    };
    let (rest, grpc) = (bound.address(), bound.grpc_address());
    // In one piece: who reads only the first line may close the pipe then.
    let mut lines = format!("listening on http://{rest}\nlistening on grpc://{grpc}\n");
    if let Some(api) = bound.repository_address() {
        lines.push_str(&format!("repository API on http://{api}\n"));
    }
    if let Some(api) = bound.repository_grpc_address() {
        lines.push_str(&format!("repository API on grpc://{api}\n"));
    }
    io::stdout()
        .write_all(lines.as_bytes())
        .context("failed to write to stdout")?;
    let doom = bound
        .run(signals, hangups)
        .await
        .context("failed to serve")?;
    Ok(doom.map_or(0, |doom| doom.exit_code()))
}
