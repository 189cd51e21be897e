//! What the server puts up with, and how it ends where it cannot go on.

use std::{fs::File, io::Read, time::Instant};

use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    models::{
        FEATURES, grinder, grinder_yaml, repository, scorer, scorer_yaml, source::rewrite, trace,
        yaml,
    },
    server::{DEADLINE, Server, body, command},
};

/// Values that keep the grinder busy for much longer than any patience here.
const LONG: usize = 400;

#[tokio::test]
async fn a_forward_that_does_not_end_ends_the_process_which_says_so() {
    let dir = repository("grinder", &grinder_yaml(-1), &grinder());
    let log = dir.path().join("log");
    let mut command = command(dir.path());
    command
        .args(["--forward-timeout", "300ms"])
        .stderr(File::create(&log).unwrap());
    let server = Server::start_by(&mut command);
    let (status, answer) = server
        .infer("grinder", body("x", "FP32", &[400], &vec![0; LONG]))
        .await;
    let sentence = answer["error"].as_str().unwrap();
    assert_eq!(status, 504, "{sentence}");
    assert!(sentence.contains("was still running after"), "{sentence}");
    let process = server.into_process();
    let status = tokio::task::spawn_blocking(|| process.ended()).await;
    assert_eq!(status.unwrap().code(), Some(3));
    let mut text = String::new();
    File::open(&log).unwrap().read_to_string(&mut text).unwrap();
    let line = text
        .lines()
        .find(|it| it.contains("a forward has been running for"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("ERROR") && line.contains("grinder") && line.contains("version=1"),
        "{line}"
    );
}

/// A request whose one value decides.
fn one(value: f32) -> String {
    body("x", "FP32", &[1], &[value])
}

#[tokio::test]
async fn a_device_that_fails_ends_the_process_with_a_code_of_its_own() {
    let message = "CUDA error: device-side assert triggered";
    let dir = raiser(message);
    let server = Server::start(dir.path());
    assert_eq!(server.infer("raiser", one(1.0)).await.0, 200);
    let (status, answer) = server.infer("raiser", one(-1.0)).await;
    let sentence = format!("model 'raiser' version 1 failed: {message}");
    assert_eq!((status, answer["error"].as_str()), (500, Some(&*sentence)));
    let (status, answer) = server.infer("raiser", one(1.0)).await;
    assert_eq!(status, 503, "{answer}");
    let ready = server.client.get(format!("{}/v2/health/ready", server.url));
    assert_eq!(ready.send().await.unwrap().status(), 503);
    let process = server.into_process();
    let status = tokio::task::spawn_blocking(|| process.ended()).await;
    assert_eq!(status.unwrap().code(), Some(4));
}

#[tokio::test]
async fn requests_that_ask_for_too_much_memory_end_nothing() {
    let dir = raiser(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 6.00 GiB",
    );
    let server = Server::start(dir.path());
    for _ in 0..10 {
        let (status, answer) = server.infer("raiser", one(-1.0)).await;
        let sentence = "model 'raiser' version 1 failed: CUDA out of memory";
        assert_eq!((status, answer["error"].as_str()), (500, Some(sentence)));
    }
    assert_eq!(server.infer("raiser", one(1.0)).await.0, 200);
}

#[tokio::test]
async fn requests_are_refused_while_memory_is_short_and_taken_again_afterwards() {
    // Less than what the allocator returns at once, whatever happens (8 MiB).
    const BODY: usize = 3 << 20;
    let dir = repository("fraud", &scorer_yaml(), &scorer(1));
    let request = || body("features", "FP32", &[1, FEATURES], &[0; FEATURES as usize]);
    let before = Server::start(dir.path()).resident();
    let ceiling = (before + (48 << 20)).to_string();
    let server = Server::start_with(dir.path(), &["--memory-ceiling", &ceiling]);
    assert_eq!(server.infer("fraud", request()).await.0, 200);
    let until = async |wanted: u16| {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let (status, answer) = server.infer("fraud", request()).await;
            if status == wanted {
                return answer;
            }
            assert!(Instant::now() < deadline, "never {wanted}: {answer}");
        }
    };
    // Bodies that are nearly there.
    let mut uploads = Vec::new();
    for _ in 0..40 {
        let address = server.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let length = BODY + 1;
        let head = format!(
            "POST /v2/models/fraud/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let part = vec![b' '; BODY];
        // One that comes after the others have filled it is refused, and not read.
        uploads.push(tokio::spawn(async move {
            let _ = stream.write_all(&part).await;
            stream
        }));
    }
    let answer = until(503).await;
    let sentence = "the server has hardly any memory left: try again in a moment";
    assert_eq!(answer["error"].as_str(), Some(sentence));
    let ready = server.client.get(format!("{}/v2/health/ready", server.url));
    assert_eq!(ready.send().await.unwrap().status(), 200, "health stays");
    for upload in uploads {
        drop(upload.await.unwrap());
    }
    until(200).await;
}

/// A repository of a TorchScript model that raises `message` for a negative value, and answers any other.
fn raiser(message: &str) -> TempDir {
    let x = Tensor::zeros([1], (Kind::Float, Device::Cpu));
    let module = trace(&[x], |inputs| inputs[0].neg());
    let yaml = yaml("{name: x, datatype: FP32, shape: [1]}", "[1]");
    let dir = repository("raiser", &yaml, &module);
    rewrite(&dir.path().join("raiser/1/model.pt"), |source| {
        let (head, value) = source.split_once("return ").unwrap();
        let argument = head.split_once("self: __torch__.Model,\n    ").unwrap().1;
        let argument = argument.split_once(':').unwrap().0;
        format!(
            "{head}if bool(torch.lt(torch.min({argument}), 0)):\n      ops.prim.RaiseException(\"{message}\")\n    \
             else:\n      pass\n    return {value}"
        )
    });
    dir
}
