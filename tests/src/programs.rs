//! Our own programs as children: the model server and the controller.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::process::Process;
use crate::world::World;

/// How long a program may take until it listens: libtorch alone takes a second to load on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running `serin-serve`.
#[derive(Debug)]
pub struct Serve {
    /// Where it listens.
    pub address: SocketAddr,
    /// The process.
    pub process: Process,
}

impl Serve {
    /// Starts `program` on a port of its own with the models in `models`, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or does not listen in time.
    pub async fn start(world: &World, name: &str, program: &Path, models: &Path) -> Result<Serve> {
        let models = models.as_os_str();
        // One thread for a forward: several servers share the machine, and the models are small.
        let rest = ["--port", "0", "--grpc-port", "0", "--threads", "1"].map(OsStr::new);
        let arguments = [OsStr::new("--models"), models].into_iter().chain(rest);
        let mut process = Process::start(world, name, program, arguments)?;
        let address = process
            .line(START, &format!("'{name}' to listen"), |line| {
                line.strip_prefix("listening on http://")?
                    .trim()
                    .parse()
                    .ok()
            })
            .await?;
        Ok(Serve { address, process })
    }
}

/// Starts the controller, `serin run --standalone`, on a folder; its address is in the folder's state.
///
/// # Errors
/// When it cannot be started.
pub fn controller(
    world: &World,
    program: &Path,
    folder: &Path,
    prometheus: &str,
    filter: &Path,
    settings: &[&str],
) -> Result<Process> {
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| anyhow!("'{}' is no text", path.display()))
    };
    let mut arguments = vec![
        "run".to_owned(),
        "--standalone".to_owned(),
        text(folder)?,
        "--prometheus".to_owned(),
        prometheus.to_owned(),
        "--wasm".to_owned(),
        text(filter)?,
    ];
    arguments.extend(settings.iter().map(|&setting| setting.to_owned()));
    Process::start(world, "controller", program, arguments)
        .context("failed to start the controller")
}
