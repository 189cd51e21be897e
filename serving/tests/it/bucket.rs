//! A bucket: a real S3 server in this process, and what may happen on the way to it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::{Builder, Runtime},
};

use crate::server;

/// Who may ask.
pub(crate) const KEY: &str = "AKIASERIN";
/// What nobody may read in a log.
pub(crate) const SECRET: &str = "a-secret-that-nobody-may-see";

/// A bucket `models` behind a proxy, and the cache that it is mirrored into.
pub(crate) struct Bucket {
    root: TempDir,
    cache: TempDir,
    endpoint: String,
    way: Arc<Way>,
    runtime: Option<Runtime>,
}

/// What happens on the way from the server to its client.
#[derive(Default)]
pub(crate) struct Way {
    weather: Mutex<Weather>,
    /// Bytes that have come back.
    bytes: Mutex<u64>,
    /// All that was asked.
    requests: Mutex<String>,
}

#[derive(Clone, Copy, Default)]
pub(crate) enum Weather {
    #[default]
    Fair,
    /// So many connections are cut after so many bytes.
    Cut { times: u32, after: u64 },
    /// After so many bytes of a connection next to nothing comes.
    Trickle { after: u64 },
}

impl Bucket {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("models")).unwrap();
        let way = Arc::new(Way::default());
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let server = serve(root.path());
        // In a thread of its own: a test may run in a runtime itself.
        let (address, sent) = std::sync::mpsc::channel();
        let proxied = Arc::clone(&way);
        runtime.spawn(async move {
            let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address.send(proxy.local_addr().unwrap()).unwrap();
            let server = server.await;
            loop {
                let (client, _) = proxy.accept().await.unwrap();
                tokio::spawn(carry(client, server, Arc::clone(&proxied)));
            }
        });
        Self {
            endpoint: format!("http://{}", sent.recv().unwrap()),
            root,
            cache: tempfile::tempdir().unwrap(),
            way,
            runtime: Some(runtime),
        }
    }

    /// The folder that the bucket is on the server's disk: what is moved here is an object at once.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.path().join("models")
    }

    pub(crate) fn cache(&self) -> &Path {
        self.cache.path()
    }

    pub(crate) fn url(&self) -> &'static Path {
        Path::new("s3://models")
    }

    /// How the program gets here, and nothing else of the environment.
    pub(crate) fn lead(&self, command: &mut Command) {
        self.lead_by(command, self.cache());
    }

    /// The same by another cache.
    pub(crate) fn lead_by(&self, command: &mut Command, cache: &Path) {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .args(["--s3-allow-http", "--s3-endpoint", &self.endpoint])
            .arg("--model-cache")
            .arg(cache);
    }

    /// The program on the bucket.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = server::command(self.url());
        self.lead(command.args(arguments));
        command
    }

    pub(crate) fn weather(&self, weather: Weather) {
        *self.way.weather.lock().unwrap() = weather;
    }

    /// Bytes that have come back so far.
    pub(crate) fn bytes(&self) -> u64 {
        *self.way.bytes.lock().unwrap()
    }

    /// All that was asked so far.
    pub(crate) fn requests(&self) -> String {
        self.way.requests.lock().unwrap().clone()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The server, once it listens.
fn serve(root: &Path) -> impl Future<Output = SocketAddr> + use<> {
    let mut service = S3ServiceBuilder::new(FileSystem::new(root).unwrap());
    service.set_auth(SimpleAuth::from_single(KEY, SECRET));
    let service = service.build();
    async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let http = auto::Builder::new(TokioExecutor::new());
                    // Whoever was cut off does not matter here.
                    let _ = http.serve_connection(TokioIo::new(client), service).await;
                });
            }
        });
        address
    }
}

async fn carry(client: TcpStream, server: SocketAddr, way: Arc<Way>) {
    let server = TcpStream::connect(server).await.unwrap();
    let (client, server) = (client.into_split(), server.into_split());
    let asked = tokio::spawn(ask(client.0, server.1, Arc::clone(&way)));
    answer(server.0, client.1, way).await;
    asked.abort();
}

async fn ask(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Arc<Way>) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let text = String::from_utf8_lossy(&buffer[..count]).to_lowercase();
        way.requests.lock().unwrap().push_str(&text);
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn answer(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Arc<Way>) {
    let mut buffer = vec![0; 1 << 14];
    let mut carried = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let weather = *way.weather.lock().unwrap();
        match weather {
            Weather::Cut { times, after } if times > 0 && carried > after => {
                let times = times - 1;
                *way.weather.lock().unwrap() = Weather::Cut { times, after };
                let _ = to.shutdown().await;
                return;
            }
            Weather::Trickle { after } if carried > after => {
                if to.write_all(&buffer[..1]).await.is_ok() {
                    // The client gives up before the next byte.
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
                return;
            }
            _ => {}
        }
        carried += count as u64;
        *way.bytes.lock().unwrap() += count as u64;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
