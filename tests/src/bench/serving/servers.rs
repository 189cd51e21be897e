//! The servers of the bench: ours, and those that others would take, from PyPI.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::CONTENT_TYPE;
use rustix::process::Signal;
use serde_json::json;

use super::load::{Answered, Load};
use super::models::{BATCH, Model, batched};
use crate::process::Process;
use crate::wait::until;
use crate::world::World;
use crate::{ports, tools};

/// Importing torch takes seconds, and several do it at once.
const START: Duration = Duration::from_secs(180);

/// Who serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Ours.
    Serin {
        /// Tensors as binary data instead of JSON.
        binary: bool,
    },
    /// <https://github.com/mosecorg/mosec>
    Mosec,
    /// <https://github.com/Lightning-AI/LitServe>
    LitServe,
    /// FastAPI on uvicorn, with the model in the event loop.
    FastApi,
    /// KServe's Python runtime.
    KServe,
}

/// Someone that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub server: Server,
    /// With which model.
    pub model: Model,
    /// Whether it makes batches, of at most [`BATCH`].
    pub batches: bool,
}

impl Subject {
    /// For people.
    #[must_use]
    pub fn name(self) -> String {
        let server = match self.server {
            Server::Serin { binary: false } => "serin-serve, JSON",
            Server::Serin { binary: true } => "serin-serve, binary",
            Server::Mosec => "mosec, raw floats",
            Server::LitServe => "LitServe, JSON",
            Server::FastApi => "FastAPI, JSON",
            Server::KServe => "KServe, JSON",
        };
        let batches = if self.batches {
            format!(", batches of {BATCH}")
        } else {
            String::new()
        };
        format!("{server}{batches}")
    }

    /// Where the server stays: with a model that uses a whole core, load and server have one each.
    fn core(self) -> Option<usize> {
        (self.model == Model::Large).then_some(0)
    }
}

/// A running server. It is stopped when dropped.
#[derive(Debug)]
pub struct Running {
    /// What to send it.
    load: Load,
    process: Process,
}

impl Running {
    /// Lets it run for a while and sends it load over so many connections.
    ///
    /// # Errors
    /// As [`Load::run`], and when it has ended.
    pub async fn measure(&self, connections: usize, time: Duration) -> Result<Answered> {
        self.process.signal_group(Signal::CONT)?;
        let answered = self.load.run(connections, time).await;
        self.process.signal_group(Signal::STOP)?;
        answered
    }
}

/// Starts a server and waits until it answers a request.
///
/// # Errors
/// When it does not.
pub async fn start(
    world: &World,
    subject: Subject,
    models: &Path,
    serve: &Path,
) -> Result<Running> {
    let Subject {
        server,
        model,
        batches,
    } = subject;
    let port = ports::free()?;
    let name = subject.name().replace([' ', ','], "-");
    let name = format!("{}-{name}", model.name());
    let in_repository = if batches {
        batched(model)
    } else {
        model.name().to_owned()
    };
    let (route, content_type, body, json_length) = request(server, model, &in_repository);
    let file = world.file(format!("{name}.body"));
    fs::write(&file, body).context("failed to write a request")?;
    let file_of_model = models.join(model.name()).join("1/model.pt");
    let (program, arguments) = match server {
        Server::Serin { .. } => {
            let port = port.to_string();
            let options = ["--port", &port, "--grpc-port", "0", "--threads", "1"];
            let options = options.map(str::to_owned);
            let arguments = ["--models".to_owned(), models.display().to_string()];
            (
                serve.display().to_string(),
                [&arguments[..], &options[..]].concat(),
            )
        }
        _ => {
            let script = tools::repository()
                .join("tests/bench/serving")
                .join(match server {
                    Server::Mosec => "mosec_server.py",
                    Server::LitServe => "litserve_server.py",
                    Server::FastApi => "fastapi_server.py",
                    _ => "kserve_server.py",
                });
            let batch = if batches { BATCH } else { 1 };
            let arguments = vec![
                script.display().to_string(),
                file_of_model.display().to_string(),
                model.columns().to_string(),
                port.to_string(),
                batch.to_string(),
            ];
            ("python3".to_owned(), arguments)
        }
    };
    let mut all = vec![program];
    all.extend(arguments);
    if let Some(core) = subject.core() {
        all.splice(
            0..0,
            ["taskset".to_owned(), "-c".to_owned(), core.to_string()],
        );
    }
    let program = all.remove(0);
    let rivals = tools::rivals()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", rivals.join("bin").display());
    let rivals = rivals.display().to_string();
    // A thread for each: they would take one for each core of the machine.
    let environment = [
        ("PYTHONPATH", rivals.as_str()),
        ("PATH", &path),
        ("OMP_NUM_THREADS", "1"),
    ];
    let environment: &[_] = match server {
        Server::Serin { .. } => &[],
        _ => &environment,
    };
    let mut process = Process::start_with(world, &name, Path::new(&program), all, environment)?;
    let url = format!("http://127.0.0.1:{port}{route}");
    let client = reqwest::Client::new();
    let request = fs::read(&file)?;
    until(START, &format!("{name} to answer"), async || {
        process.alive()?;
        let mut asked = client
            .post(&url)
            .header(CONTENT_TYPE, content_type)
            .body(request.clone());
        if let Some(length) = json_length {
            asked = asked.header("Inference-Header-Content-Length", length);
        }
        asked.send().await?.error_for_status()?;
        Ok(())
    })
    .await
    .with_context(|| process.log_tail())?;
    // Some compute also while nobody asks them: LitServe a tenth of a core.
    process.signal_group(Signal::STOP)?;
    Ok(Running {
        load: Load {
            url,
            body: file,
            content_type,
            json_length,
            core: subject.core().map(|core| core + 1),
        },
        process,
    })
}

/// Path, content type and body of a request, and how much of that is JSON where the rest is not.
fn request(
    server: Server,
    model: Model,
    in_repository: &str,
) -> (String, &'static str, Vec<u8>, Option<usize>) {
    const JSON: &str = "application/json";
    const BYTES: &str = "application/octet-stream";
    let values = model.request();
    let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
    let v2 = |model: &str| format!("/v2/models/{model}/infer");
    let tensor =
        json!({"name": "x", "datatype": "FP32", "shape": [1, values.len()], "data": values});
    match server {
        Server::Serin { binary: true } => {
            let mut tensor = tensor;
            tensor["parameters"] = json!({"binary_data_size": bytes.len()});
            if let Some(tensor) = tensor.as_object_mut() {
                tensor.remove("data");
            }
            let head = json!({"inputs": [tensor], "parameters": {"binary_data_output": true}});
            let mut body = head.to_string().into_bytes();
            let length = body.len();
            body.extend(bytes);
            (v2(in_repository), BYTES, body, Some(length))
        }
        Server::Serin { binary: false } => {
            let body = json!({"inputs": [tensor]}).to_string();
            (v2(in_repository), JSON, body.into_bytes(), None)
        }
        Server::KServe => {
            let body = json!({"inputs": [tensor]}).to_string();
            (v2("model"), JSON, body.into_bytes(), None)
        }
        Server::Mosec => ("/inference".to_owned(), BYTES, bytes, None),
        Server::LitServe | Server::FastApi => {
            let route = if server == Server::LitServe {
                "/predict"
            } else {
                "/"
            };
            let body = json!({"x": values}).to_string();
            (route.to_owned(), JSON, body.into_bytes(), None)
        }
    }
}
