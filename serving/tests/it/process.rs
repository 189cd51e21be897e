//! The process as a whole: signals and memory.

use std::{io::Write, process::Stdio};

use flate2::{Compression, write::GzEncoder};
use futures::future::join_all;
use serin_serving::tensor::Datatype;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use crate::{
    models::{
        ROWS, add, embedding, embedding_yaml, grinder, grinder_yaml, repository, scorer,
        scorer_yaml, source::returning, trace, yaml,
    },
    reload::{row, until},
    server::{Process, Server, body, command},
    wire::{Caller, Way},
};

/// Values that keep the grinder busy for much longer than the server waits at its end.
const LONG: i64 = 400;

#[test]
fn the_server_ends_well_at_either_signal() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    for signal in ["TERM", "INT"] {
        let server = Server::start(dir.path());
        assert!(server.into_process().end(signal).success(), "{signal}");
    }
}

#[test]
fn a_signal_while_a_model_warms_up_ends_the_server_well() {
    let dir = repository("grinder", &grinder_yaml(LONG), &grinder());
    // An end that crashes does so in one of five.
    for round in 0..16 {
        let process = Process::start(command(dir.path()).stdout(Stdio::null()));
        process.wait_for_work("grinder", 0);
        let status = process.end("TERM");
        assert!(status.success(), "round {round}: {status}");
    }
}

#[tokio::test]
async fn a_signal_while_a_forward_goes_on_and_on_ends_the_server_well() {
    let dir = repository("grinder", &grinder_yaml(-1), &grinder());
    let body = body("x", "FP32", &[LONG], &vec![0; LONG as usize]);
    for round in 0..2 {
        let server = Server::start(dir.path());
        let before = server.process().ticks("grinder").unwrap();
        let (client, url) = (server.client.clone(), server.url.clone());
        let body = body.clone();
        let asking = tokio::spawn(async move {
            let url = format!("{url}/v2/models/grinder/infer");
            client.post(url).body(body).send().await.map(drop)
        });
        let process = server.into_process();
        let process = tokio::task::spawn_blocking(move || {
            process.wait_for_work("grinder", before);
            process
        });
        let process = process.await.unwrap();
        // The client leaves, or the server would wait for the request longer than any test should.
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
        let status = tokio::task::spawn_blocking(|| process.end("TERM")).await;
        let status = status.unwrap();
        assert!(status.success(), "round {round}: {status}");
    }
}

#[test]
fn a_forward_has_as_many_threads_as_it_was_given() {
    // Nothing but a product, which is the affair of the library of linear algebra alone: large enough for that to share it
    // among threads, and what goes in and comes out too small for libtorch to do so itself.
    const SIZE: i64 = 512;
    let weights = Tensor::ones([SIZE, SIZE], (Kind::Float, Device::Cpu));
    let model = trace(&[weights.narrow(0, 0, 32)], |inputs| {
        inputs[0].matmul(&weights)
    });
    let shape = format!("[32, {SIZE}]");
    let yaml = yaml(
        &format!("{{name: x, datatype: FP32, shape: {shape}}}"),
        &shape,
    );
    let dir = repository("product", &yaml, &model);
    for threads in [1, 2] {
        // The warm-up is a forward.
        let server = Server::start_with(dir.path(), &["--threads", &threads.to_string()]);
        assert_eq!(server.process().threads("product").len(), threads);
    }
}

#[tokio::test]
async fn a_server_that_shall_end_says_so_for_its_delay_or_until_a_second_signal() {
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let server = Server::start_with(dir.path(), &["--drain-delay", "1h"]);
    server.process().signal("TERM");
    until(&server, "not ready", "/v2/health/ready", |status, _| {
        status == 503
    })
    .await;
    let (status, answer) = server.infer("fraud", row()).await;
    assert_eq!(status, 200, "{answer}");
    assert!(server.into_process().end("INT").success());
}

#[tokio::test]
async fn a_refused_request_takes_no_more_memory_than_six_times_its_body() {
    const SIZE: usize = 16_000_000;
    let doubles = yaml("{name: x, datatype: FP64, shape: [-1]}", "[-1]");
    let one = Tensor::zeros([1], (Kind::Double, Device::Cpu));
    let model = trace(&[one], |inputs| inputs[0].to_kind(Kind::Float));
    let dir = repository("doubles", &doubles, &model);
    let ones = |count: usize| "1,".repeat(count);
    let n_values = SIZE / 2 - 100;
    let data = |count: usize, data: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","datatype":"FP64","shape":[{count}],"data":[{data}]}}]}}"#
        )
    };
    // The text and its buffer's growth are allowed twice the body; what more there is, is said here.
    for (what, body, times) in [
        (
            "inputs",
            format!(r#"{{"inputs":[{}1]}}"#, ones(n_values)),
            2,
        ),
        (
            "outputs",
            format!(r#"{{"inputs":[],"outputs":[{}1]}}"#, ones(n_values)),
            2,
        ),
        (
            "shape",
            format!(
                r#"{{"inputs":[{{"name":"x","datatype":"FP64","data":[1],"shape":[{}1]}}]}}"#,
                ones(n_values)
            ),
            2,
        ),
        (
            "a string in shape",
            format!(
                r#"{{"inputs":[{{"name":"x","datatype":"FP64","data":[1],"shape":["{}"]}}]}}"#,
                "\u{7f}".repeat(SIZE - 100)
            ),
            2,
        ),
        (
            "a string for an object",
            format!(r#"{{"inputs":["{}"]}}"#, "\u{7f}".repeat(SIZE - 100)),
            2,
        ),
        (
            "a string for a list",
            format!(r#"{{"inputs":"{}"}}"#, "\u{7f}".repeat(SIZE - 100)),
            2,
        ),
        (
            "one value too few",
            data(n_values + 1, &ones(n_values - 1)[..2 * n_values - 3]),
            2,
        ),
        (
            "the last value a string",
            data(n_values, &format!("{}\"\"", ones(n_values - 1))),
            6,
        ),
    ] {
        assert!(body.len() <= 16 << 20, "{what}");
        let server = Server::start(dir.path());
        let before = server.resident();
        let (status, answer) = server.infer("doubles", body).await;
        assert_eq!(status, 400, "{what}: {answer}");
        let taken = server.peak() - before;
        println!("{what}: {} KiB", taken >> 10);
        // Two more MiB for threads and sockets.
        assert!(
            taken < (times * SIZE + (2 << 20)) as u64,
            "{what}: {} KiB of memory for a body of {} KiB",
            taken >> 10,
            SIZE >> 10
        );
    }
}

#[tokio::test]
async fn a_bomb_takes_no_more_memory_than_the_largest_body() {
    const LIMIT: usize = 16 << 20;
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    // 256 MiB of blanks in 256 KiB.
    let blanks = vec![b' '; 1 << 20];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..256 {
        gzip.write_all(&blanks).unwrap();
        zstd.write_all(&blanks).unwrap();
    }
    for (encoding, bomb) in [
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd.finish().unwrap()),
    ] {
        assert!(bomb.len() < 4 << 20, "{encoding}: {}", bomb.len());
        let server = Server::start(dir.path());
        let before = server.resident();
        let url = format!("{}/v2/models/fraud/infer", server.url);
        let request = server.client.post(url).header("content-encoding", encoding);
        let answer = request.body(bomb).send().await.unwrap();
        assert_eq!(answer.status(), 413, "{encoding}");
        let taken = server.peak() - before;
        println!("{encoding}: {} KiB", taken >> 10);
        // zstd's window takes 8 MiB; the rest is what came, and the first pages of threads, which are large.
        assert!(
            taken < (LIMIT + (20 << 20)) as u64,
            "{encoding}: {} KiB of memory",
            taken >> 10
        );
    }
}

/// The lookup of two outputs, beside that of one.
fn lookups() -> TempDir {
    let dir = repository("words", &embedding_yaml(), &embedding());
    let yaml = embedding_yaml().replace(
        "outputs: [",
        "outputs: [{name: first, datatype: FP32, shape: [-1, 4]}, ",
    );
    add(dir.path(), "pair", 1, &yaml, &embedding());
    let file = dir.path().join("pair/1/model.pt");
    embedding().save(&file).unwrap();
    returning(&file, "Tuple[Tensor, Tensor]", "(rows, rows)");
    dir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_forwards_that_throw_leave_no_memory_behind() {
    const THROWS: usize = 100_000;
    /// A hundredth of what the inputs are together.
    const LIMIT: u64 = 10 << 20;
    let dir = lookups();
    let server = Server::start(dir.path());
    // 10 KiB of indices, the last one outside.
    let mut tokens = vec![0_i64; 1_280];
    tokens[1_279] = ROWS;
    let bytes = tokens.iter().flat_map(|it| it.to_le_bytes()).collect();
    let tokens = serin_serving::tensor::Tensor::new(Datatype::Int64, vec![1_280], bytes).unwrap();
    let throw = async |times: usize| {
        let clients = [
            ("words", Way::Json),
            ("words", Way::Grpc),
            ("pair", Way::Binary),
            ("pair", Way::Grpc),
        ];
        let clients = clients.map(|(model, way)| {
            let (caller, tokens) = (Caller::of(&server), tokens.clone());
            tokio::spawn(async move {
                let inputs = [("tokens", tokens)];
                for _ in 0..times / 4 {
                    let refusal = caller.ask(way, model, &inputs).await.unwrap_err();
                    let reason = "failed: index out of range in self";
                    assert!(refusal.contains(reason), "{refusal}");
                }
            })
        });
        join_all(clients)
            .await
            .into_iter()
            .for_each(|it| it.unwrap());
    };
    // The first requests fill the allocator's caches.
    throw(THROWS / 50).await;
    let before = server.resident();
    throw(THROWS).await;
    let grown = server.resident().saturating_sub(before);
    println!(
        "resident: {} KiB before, {} KiB more after {THROWS} failures",
        before >> 10,
        grown >> 10
    );
    assert!(
        grown < LIMIT,
        "{THROWS} failing requests grew the server by {} KiB",
        grown >> 10
    );
}
