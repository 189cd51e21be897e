//! The tables of malformed requests against the program itself, with a real model: each is refused with a sentence, the
//! server lives on, and no memory is kept.

#[path = "../../src/http/tests/malformed_binary/table.rs"]
mod binary;
#[path = "../../src/grpc/tests/malformed/table.rs"]
mod grpc;
#[path = "../../src/http/tests/malformed/json.rs"]
mod json;

use std::{collections::BTreeMap, fs, io::Write};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use serin_serving::{
    grpc::proto::{
        InferParameter, InferTensorContents, ModelInferRequest,
        infer_parameter::ParameterChoice,
        model_infer_request::{InferInputTensor, InferRequestedOutputTensor},
    },
    tensor::Tensor,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Code;

use crate::{
    models::{numbers, source::returning, trace},
    server::Server,
    wire::{Caller, Way, message, plain},
};

const INFER: &str = "/v2/models/fraud/infer";
const LENGTH: &str = "inference-header-content-length";
/// How often everything is sent, and after how many times the server must have all the memory that it needs.
const ROUNDS: usize = 12;
const WARM: usize = 4;
/// Bytes that it may take on top until the end: each round sends ten times as many.
const GROWTH: u64 = 2 << 20;

/// What is sent, and how it is refused.
struct Malformed {
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    words: &'static str,
}

impl Malformed {
    fn new(body: Vec<u8>, status: u16, words: &'static str) -> Self {
        Self {
            method: Method::POST,
            path: INFER.to_owned(),
            headers: Vec::new(),
            body,
            status,
            words,
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn parameters(key: &str, choice: ParameterChoice) -> BTreeMap<String, InferParameter> {
    let parameter = InferParameter {
        parameter_choice: Some(choice),
    };
    BTreeMap::from([(key.to_owned(), parameter)])
}

fn requests() -> Vec<Malformed> {
    let json = json::bodies().into_iter();
    let json = json.map(|(body, words)| Malformed::new(body, 400, words));
    let behind = |json: &str, n_bytes| [json.as_bytes(), &vec![0; n_bytes]].concat();
    let binary = binary::bodies().into_iter().map(|(json, n_bytes, words)| {
        Malformed::new(behind(&json, n_bytes), 400, words).with(LENGTH, json.len().to_string())
    });
    let good = behind(&binary::size("8"), 8);
    let lengths = binary::LENGTHS.iter().map(|length| {
        Malformed::new(good.clone(), 400, "must be the length of the JSON").with(LENGTH, *length)
    });
    let paths = binary::PATHS.iter().map(|path| Malformed {
        path: (*path).to_owned(),
        ..Malformed::new(good.clone(), 404, "")
    });
    let methods = [Method::GET, Method::PUT, Method::DELETE, Method::PATCH];
    let methods = methods.into_iter().map(|method| Malformed {
        method,
        ..Malformed::new(Vec::new(), 405, "")
    });
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&vec![b' '; 17 << 20]).unwrap();
    let packed = [
        ("br", good.clone(), 415, "'br' is not supported"),
        ("gzip, gzip", good.clone(), 415, "is not supported"),
        ("gzip", good.clone(), 400, "not valid gzip"),
        ("deflate", good.clone(), 400, "not valid deflate"),
        ("zstd", good.clone(), 400, "not valid zstd"),
        (
            "gzip",
            bomb.finish().unwrap(),
            413,
            "larger than 16777216 bytes",
        ),
    ];
    let packed = packed.into_iter().map(|(encoding, body, status, words)| {
        Malformed::new(body, status, words).with("content-encoding", encoding)
    });
    json.chain(binary)
        .chain(lengths)
        .chain(paths)
        .chain(methods)
        .chain(packed)
        .collect()
}

#[track_caller]
fn check(malformed: &Malformed, status: u16, sentence: &str) {
    let shown = String::from_utf8_lossy(&malformed.body);
    let shown: String = shown.chars().take(200).collect();
    assert_eq!(
        status, malformed.status,
        "{} {shown}: {sentence}",
        malformed.path
    );
    assert!(
        sentence.contains(malformed.words) && !sentence.is_empty(),
        "{shown}: {sentence}\nshould say: {}",
        malformed.words
    );
    assert!(sentence.chars().count() < 300, "{sentence}");
}

fn sentence(body: &[u8]) -> String {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap();
    body["error"].as_str().unwrap().to_owned()
}

async fn send(server: &Server, malformed: &Malformed) {
    let url = format!("{}{}", server.url, malformed.path);
    let mut request = server.client.request(malformed.method.clone(), url);
    for (name, value) in &malformed.headers {
        request = request.header(*name, value);
    }
    let answer = request.body(malformed.body.clone()).send().await.unwrap();
    let status = answer.status().as_u16();
    check(malformed, status, &sentence(&answer.bytes().await.unwrap()));
}

/// Sends bytes as they are, where wanted says that no more come, and returns the answer.
async fn raw(server: &Server, request: &[u8], end: bool) -> Vec<u8> {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    // A server that has refused already need not read the rest.
    if stream.write_all(request).await.is_ok() && (!end || stream.shutdown().await.is_ok()) {
        let _ = stream.read_to_end(&mut answer).await;
    }
    answer
}

/// The request in chunks, whose sum nobody tells.
fn chunked(malformed: &Malformed) -> Vec<u8> {
    let mut request = format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in &malformed.headers {
        request += &format!("{name}: {value}\r\n");
    }
    let mut request = (request + "Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in malformed.body.chunks(999) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    request
}

async fn send_chunked(server: &Server, malformed: &Malformed) {
    let request = chunked(malformed);
    let answer = raw(server, &request, false).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    check(malformed, status, &sentence(body.as_bytes()));
    // What ends in the middle is no request: there may be nobody to answer any more.
    let half = raw(server, &request[..request.len() - 4], true).await;
    assert!(
        half.is_empty() || half.starts_with(b"HTTP/1.1 4"),
        "{}",
        String::from_utf8_lossy(&half)
    );
}

/// The model of the tables: `y` is `x` doubled, and `n` is one.
fn repository() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("fraud");
    fs::create_dir_all(folder.join("9")).unwrap();
    let yaml = "inputs: [{name: x, datatype: FP32, shape: [-1, 2]}]
outputs: [{name: y, datatype: FP32, shape: [-1, 2]}, {name: n, datatype: INT64, shape: [1]}]
";
    fs::write(folder.join("model.yaml"), yaml).unwrap();
    let doubled = trace(&[numbers(1, &[1, 2])], |inputs| &inputs[0] + &inputs[0]);
    let value = "(rows, torch.ones([1], dtype=4))";
    let file = folder.join("9/model.pt");
    doubled.save(&file).unwrap();
    returning(&file, "Tuple[Tensor, Tensor]", value);
    dir
}

#[tokio::test]
async fn whatever_is_malformed_gets_a_sentence_and_leaves_nothing_in_the_memory() {
    let dir = repository();
    let server = Server::start(dir.path());
    let caller = Caller::of(&server);
    let requests = requests();
    let count = requests.len() + grpc::TABLE.len();
    assert!(count >= 150, "{count}");
    let x = plain(&numbers(1, &[3, 2]));
    let doubled = plain(&(numbers(1, &[3, 2]) * 2.0));
    let good: [(&str, Tensor); 1] = [("x", x)];
    let mut before = 0;
    for round in 1..=ROUNDS {
        for malformed in &requests {
            send(&server, malformed).await;
            if malformed.status == 400 {
                send_chunked(&server, malformed).await;
            }
        }
        for rest in binary::broken() {
            let head = format!("POST {INFER} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
            let answer = raw(&server, format!("{head}{rest}").as_bytes(), false).await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"));
        }
        for (words, change) in grpc::TABLE {
            let mut bad = message("fraud", &good);
            change(&mut bad);
            let status = caller.send(bad).await.unwrap_err();
            let refused = matches!(status.code(), Code::InvalidArgument | Code::NotFound);
            assert!(refused, "{words}: {status}");
        }
        for way in Way::ALL {
            let answer = caller.ask(way, "fraud", &good).await.unwrap();
            assert_eq!(answer[0], ("y".to_owned(), doubled.clone()), "{way:?}");
        }
        if round == WARM {
            before = server.resident();
        }
    }
    let grown = server.resident().saturating_sub(before);
    println!(
        "{count} malformed requests: {} KiB after {WARM} rounds, {} KiB more after {ROUNDS}",
        before >> 10,
        grown >> 10
    );
    assert!(grown < GROWTH, "{} KiB", grown >> 10);
}
