//! Answers that servers share, over a real Redis.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    models::{FEATURES, numbers, repository, scorer, scorer_yaml},
    server::{DEADLINE, Process, Server, body, command, wait},
};

/// A Redis that ends with its owner.
struct Redis {
    process: Option<Process>,
    port: u16,
    dir: TempDir,
}

fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("REDIS_SERVER").filter(|it| !it.is_empty()) {
        return path.into();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/redis-server");
    path.canonicalize()
        .expect("Redis is not in .deps: run 'tests/setup/setup.sh redis'")
}

impl Redis {
    fn start() -> Self {
        // Free a moment ago; Redis picks none by itself.
        let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = any.local_addr().unwrap().port();
        drop(any);
        let mut redis = Self {
            process: None,
            port,
            dir: tempfile::tempdir().unwrap(),
        };
        redis.run();
        redis
    }

    fn run(&mut self) {
        let program = program();
        let mut command = Command::new(&program);
        command
            .env("LD_LIBRARY_PATH", program.with_file_name("lib"))
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(self.dir.path())
            .stdout(Stdio::null());
        self.process = Some(Process::start(&mut command));
        wait("Redis listens", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()
        });
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/1", self.port)
    }

    fn signal(&self, signal: &str) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// An answer of it to one command.
    fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        command
            .query(&mut client.get_connection().unwrap())
            .unwrap()
    }

    fn answers(&self) -> u64 {
        self.ask(&redis::cmd("DBSIZE"))
    }

    /// Servers give it their answers after they have given them to clients.
    fn wait_for_more_than(&self, answers: u64) {
        wait("it is kept", || (self.answers() > answers).then_some(()));
    }
}

fn models() -> TempDir {
    let yaml = format!("{}cache: {{size: 1MiB, ttl: 10m}}\n", scorer_yaml());
    repository("fraud", &yaml, &scorer(1))
}

fn start(models: &TempDir, redis: &Redis) -> Server {
    let url = redis.url();
    let patience = ["--cache-redis-timeout", "1s"];
    Server::start_with(models.path(), &[["--cache-redis", &url], patience].concat())
}

fn request(seed: i64) -> String {
    let features: Vec<f32> = Vec::try_from(numbers(seed, &[FEATURES])).unwrap();
    body("features", "FP32", &[1, FEATURES], &features)
}

async fn infer(server: &Server, seed: i64) -> Value {
    let (status, answer) = server.infer("fraud", request(seed)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The value of a line of the metrics; 0 if there is none.
async fn counted(server: &Server, line: &str) -> u64 {
    let metrics = server.client.get(format!("{}/metrics", server.url));
    let metrics = metrics.send().await.unwrap().text().await.unwrap();
    let found = metrics.lines().find_map(|it| it.strip_prefix(line));
    found.map_or(0, |it| it.trim().parse().unwrap())
}

const HIT: &str = r#"serin_serve_cache_requests_total{model="fraud",result="hit",version="1"}"#;
const REDIS: &str =
    r#"serin_serve_cache_requests_total{model="fraud",result="hit_redis",version="1"}"#;
const MISS: &str = r#"serin_serve_cache_requests_total{model="fraud",result="miss",version="1"}"#;
const GET: &str = r#"serin_serve_cache_redis_failures_total{operation="get"}"#;
const SET: &str = r#"serin_serve_cache_redis_failures_total{operation="set"}"#;
const CONNECT: &str = r#"serin_serve_cache_redis_failures_total{operation="connect"}"#;
const CONNECTED: &str = "serin_serve_cache_redis_connected";
const FORWARDS: &str = r#"serin_serve_forwards_total{model="fraud",version="1"}"#;

async fn wait_connected(server: &Server) {
    let deadline = Instant::now() + DEADLINE;
    while counted(server, CONNECTED).await == 0 {
        assert!(Instant::now() < deadline, "it connects");
    }
}

#[tokio::test]
async fn what_one_server_has_computed_another_answers_without_a_forward() {
    let (models, redis) = (models(), Redis::start());
    let one = start(&models, &redis);
    wait_connected(&one).await;
    let answer = infer(&one, 20_000).await;
    assert_eq!(infer(&one, 20_000).await, answer);
    assert_eq!(counted(&one, HIT).await, 1);
    let before = redis.answers();
    infer(&one, 20_001).await;
    redis.wait_for_more_than(before);
    let two = start(&models, &redis);
    wait_connected(&two).await;
    assert_eq!(infer(&two, 20_000).await, answer, "bit for bit");
    assert_eq!(
        (counted(&two, REDIS).await, counted(&two, HIT).await),
        (1, 0)
    );
    assert_eq!(counted(&two, FORWARDS).await, 0);
    // What is no value of ours is computed again.
    let keys: Vec<Vec<u8>> = redis.ask(redis::cmd("KEYS").arg("*"));
    assert!(keys.iter().all(|it| it.starts_with(b"serin:answer:")));
    for key in keys {
        let lives: i64 = redis.ask(redis::cmd("PTTL").arg(&key));
        assert!((1..=600_000).contains(&lives), "{lives} ms");
        let () = redis.ask(redis::cmd("SET").arg(key).arg("srn1 garbage"));
    }
    let three = start(&models, &redis);
    wait_connected(&three).await;
    assert_eq!(infer(&three, 20_000).await, answer);
    assert_eq!(counted(&three, REDIS).await, 0);
}

#[tokio::test]
async fn without_its_redis_a_server_computes_and_finds_it_again_later() {
    let (models, mut redis) = (models(), Redis::start());
    let server = start(&models, &redis);
    wait_connected(&server).await;
    // It takes what it is sent, and says nothing.
    redis.signal("STOP");
    infer(&server, 10_001).await;
    assert_eq!(counted(&server, GET).await, 1);
    // Nobody asks it any more.
    for seed in 10_002..10_100 {
        infer(&server, seed).await;
    }
    assert!(counted(&server, GET).await <= 2);
    redis.signal("KILL");
    drop(redis.process.take());
    let deadline = Instant::now() + DEADLINE;
    while counted(&server, CONNECT).await == 0 {
        infer(&server, 10_101).await;
        assert!(Instant::now() < deadline, "it tries to connect");
    }
    redis.run();
    wait_connected(&server).await;
    infer(&server, 10_200).await;
    redis.wait_for_more_than(0);
}

#[tokio::test]
async fn a_redis_without_room_is_still_asked_for_what_it_has() {
    let (models, redis) = (models(), Redis::start());
    let server = start(&models, &redis);
    wait_connected(&server).await;
    infer(&server, 30_000).await;
    redis.wait_for_more_than(0);
    let () = redis.ask(redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1"));
    infer(&server, 30_001).await;
    let deadline = Instant::now() + DEADLINE;
    while counted(&server, SET).await == 0 {
        assert!(Instant::now() < deadline, "it is refused");
    }
    assert_eq!(counted(&server, CONNECTED).await, 1);
    let other = start(&models, &redis);
    wait_connected(&other).await;
    infer(&other, 30_000).await;
    assert_eq!(counted(&other, REDIS).await, 1);
}

#[tokio::test]
async fn what_has_lived_in_redis_lives_no_longer_for_being_found() {
    let (models, redis) = (models(), Redis::start());
    let one = start(&models, &redis);
    wait_connected(&one).await;
    infer(&one, 40_000).await;
    redis.wait_for_more_than(0);
    let keys: Vec<Vec<u8>> = redis.ask(redis::cmd("KEYS").arg("*"));
    let _: i64 = redis.ask(redis::cmd("PEXPIRE").arg(&keys[0]).arg(1_000));
    let two = start(&models, &redis);
    wait_connected(&two).await;
    infer(&two, 40_000).await;
    let deadline = Instant::now() + DEADLINE;
    while counted(&two, MISS).await == 0 {
        assert!(Instant::now() < deadline, "its second is over");
        infer(&two, 40_000).await;
    }
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_not_missed() {
    let mut redis = Redis::start();
    drop(redis.process.take());
    let models = models();
    let server = start(&models, &redis);
    let first = infer(&server, 1).await;
    assert_eq!(infer(&server, 1).await, first);
    assert_eq!(
        (counted(&server, HIT).await, counted(&server, MISS).await),
        (1, 1)
    );
}

#[test]
fn a_wrong_address_is_refused_at_once() {
    let mut command = command(Path::new("models"));
    command.args(["--cache-redis", "rediss://:secret@cache"]);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("TLS is not supported"), "{text}");
}
