//! What a hostile or careless client may send as binary or compressed data, or in headers, or between them.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const LENGTH: &str = "inference-header-content-length";

/// An input `x` with these parameters and the rest of its fields.
fn input(parameters: &str, more: &str) -> String {
    format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {parameters}{more}}}]}}"#
    )
}

fn size(size: &str) -> String {
    input(&format!(r#"{{"binary_data_size": {size}}}"#), "")
}

/// JSON with its right length, the data behind it, and words of the sentence that refuses it.
fn bodies() -> Vec<(String, usize, &'static str)> {
    let good = size("8");
    let output = |parameters: &str| {
        good.replacen(
            '{',
            &format!(r#"{{"outputs": [{{"name": "y", "parameters": {parameters}}}], "#),
            1,
        )
    };
    let request =
        |parameters: &str| good.replacen('{', &format!(r#"{{"parameters": {parameters}, "#), 1);
    let with = |from: &str, to: &str| good.replace(from, to);
    vec![
        // Sizes.
        (
            size("8"),
            0,
            "its binary_data_size is 8, but only 0 bytes follow",
        ),
        (
            size("8"),
            7,
            "its binary_data_size is 8, but only 7 bytes follow",
        ),
        (size("8"), 9, "1 bytes of the body belong to no input"),
        (
            size("8"),
            4_000,
            "3992 bytes of the body belong to no input",
        ),
        (size("7"), 7, "shape [1, 2] needs 8 bytes, but there are 7"),
        (
            size("16"),
            16,
            "shape [1, 2] needs 8 bytes, but there are 16",
        ),
        (size("0"), 0, "shape [1, 2] needs 8 bytes, but there are 0"),
        (
            size("-8"),
            8,
            "parameter 'binary_data_size' is -8, but must be a whole number of bytes",
        ),
        (
            size("8.0"),
            8,
            "parameter 'binary_data_size' is 8.0, but must be",
        ),
        (
            size("8e0"),
            8,
            "parameter 'binary_data_size' is 8.0, but must be",
        ),
        (
            size(r#""8""#),
            8,
            "parameter 'binary_data_size' is the text '8', but must be",
        ),
        (
            size("true"),
            8,
            "parameter 'binary_data_size' is true, but must be",
        ),
        (
            size("null"),
            8,
            "parameter 'binary_data_size' is null, but must be",
        ),
        (
            size("[8]"),
            8,
            "parameter 'binary_data_size' is an array, but must be",
        ),
        (
            size("{}"),
            8,
            "parameter 'binary_data_size' is an object, but must be",
        ),
        (
            size("18446744073709551615"),
            8,
            "its binary_data_size is 18446744073709551615, but only 8 bytes",
        ),
        (
            size("18446744073709551616"),
            8,
            "parameter 'binary_data_size' is 1.8446744073709552e19, but must be",
        ),
        (
            size(&format!(r#""{}""#, "9".repeat(30_000))),
            8,
            "parameter 'binary_data_size' is the text '9999",
        ),
        // Fields.
        (
            input(r#"{"binary_data_size": 8}"#, r#", "data": [1, 2]"#),
            8,
            "it has both data and binary_data_size",
        ),
        (
            input("{}", ""),
            8,
            "missing field `data`, and no binary_data_size",
        ),
        (
            input("null", ""),
            8,
            "missing field `data`, and no binary_data_size",
        ),
        (input("7", ""), 8, "expected parameters as an object"),
        (input(r#""x""#, ""), 8, "expected parameters as an object"),
        (input("[]", ""), 8, "expected parameters as an object"),
        (
            input("{}", r#", "data": [1, 2]"#),
            8,
            "8 bytes of the body belong to no input",
        ),
        (
            with("FP32", "FP16"),
            8,
            "datatype is FP16, but the model has FP32",
        ),
        (
            with("FP32", "BYTES"),
            8,
            "'BYTES' is not supported: a TorchScript tensor",
        ),
        (
            with("FP32", "UINT32"),
            8,
            "'UINT32' is not supported: libtorch",
        ),
        (
            with("[1, 2]", "[2, 2]"),
            8,
            "shape [2, 2] needs 16 bytes, but there are 8",
        ),
        (
            with("[1, 2]", "[8388608, 2]"),
            8,
            "shape [8388608, 2] needs 67108864 bytes, but there are 8",
        ),
        (
            with("[1, 2]", "[8388609, 2]"),
            8,
            "more than 16777216 elements",
        ),
        (
            with("[1, 2]", "[4611686018427387904, 2]"),
            8,
            "more than 16777216 elements",
        ),
        (
            with("[1, 2]", "[-1, 2]"),
            8,
            "dimension 0 of the shape is -1",
        ),
        (
            with("\"x\"", "\"\u{202e}x\""),
            8,
            "no input '\u{202e}x', it has: 'x'",
        ),
        (with("\"x\"", "\"../x\""), 8, "no input '../x', it has: 'x'"),
        (with("\"x\"", "\"x\\u0000\""), 8, "no input 'x"),
        // Memory of others, sequences, classes, time.
        (
            input(r#"{"shared_memory_region": "r"}"#, r#", "data": [1, 2]"#),
            0,
            "'shared_memory_region' is not supported",
        ),
        (
            input(r#"{"shared_memory_byte_size": 8}"#, r#", "data": [1, 2]"#),
            0,
            "'shared_memory_byte_size' is not supported",
        ),
        (
            input(r#"{"shared_memory_offset": 8}"#, r#", "data": [1, 2]"#),
            0,
            "'shared_memory_offset' is not supported",
        ),
        (
            output(r#"{"classification": 3}"#),
            8,
            "'classification' is not supported",
        ),
        (
            output(r#"{"shared_memory_region": "r"}"#),
            8,
            "'shared_memory_region' is not supported",
        ),
        (
            output(r#"{"binary_data": 1}"#),
            8,
            "parameter 'binary_data' is 1, but must be true or false",
        ),
        (
            request(r#"{"binary_data_output": "true"}"#),
            8,
            "parameter 'binary_data_output' is the text 'true', but",
        ),
        (
            request(r#"{"sequence_start": true}"#),
            8,
            "'sequence_start' is not supported",
        ),
        (
            request(r#"{"sequence_end": false}"#),
            8,
            "'sequence_end' is not supported",
        ),
        (
            request(r#"{"timeout": -1}"#),
            8,
            "parameter 'timeout' is -1, but must be",
        ),
        (
            request(r#"{"priority": -1}"#),
            8,
            "parameter 'priority' is -1, but must be",
        ),
    ]
}

#[track_caller]
fn check(answer: &Answer, status: u16, words: &str) {
    let sentence = answer.json["error"].as_str();
    let sentence = sentence.unwrap_or_else(|| panic!("no refusal for {words}: {}", answer.json));
    assert_eq!(answer.status, status, "{sentence}");
    assert!(sentence.contains(words), "{sentence}\nshould say: {words}");
    assert!(
        sentence.chars().count() < 300 && !sentence.contains('\n'),
        "{sentence}"
    );
}

async fn post(server: &Server, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = server
        .client
        .post(format!("{}/v2/models/fraud/infer", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.body(body)).await
}

#[tokio::test]
async fn malformed_binary_data_gets_a_sentence_and_the_server_goes_on() {
    let server = Server::start().await;
    for (json, n_bytes, words) in bodies() {
        let body = [json.as_bytes(), &vec![0; n_bytes]].concat();
        let answer = post(&server, &[(LENGTH, &json.len().to_string())], body).await;
        check(&answer, 400, words);
        assert_eq!(server.infer(1.0).await.status, 200, "after {words}");
    }
    server.stop().await;
}

#[tokio::test]
async fn wrong_lengths_of_the_json_get_a_sentence() {
    let server = Server::start().await;
    let json = size("8");
    let body = [json.as_bytes(), &[0; 8]].concat();
    let all = body.len();
    let must_be = format!(
        "but must be the length of the JSON in bytes: a whole number that is at most the {all} of the body"
    );
    for length in [
        "-1",
        "+1",
        "1e1",
        " ",
        "x",
        "0x10",
        "1,2",
        "999999",
        "18446744073709551616",
        "½",
    ] {
        check(
            &post(&server, &[(LENGTH, length)], body.clone()).await,
            400,
            &must_be,
        );
    }
    let twice = [(LENGTH, "1"), (LENGTH, "1")];
    check(
        &post(&server, &twice, body.clone()).await,
        400,
        "'given twice', but must be",
    );
    let one_less = (json.len() - 1).to_string();
    check(
        &post(&server, &[(LENGTH, &one_less)], body.clone()).await,
        400,
        "valid inference request: EOF",
    );
    let one_more = (json.len() + 1).to_string();
    check(
        &post(&server, &[(LENGTH, &one_more)], body.clone()).await,
        400,
        "valid inference request",
    );
    check(
        &post(&server, &[], body).await,
        400,
        "valid inference request",
    );
    for (n_bytes, words) in [
        (0, "needs 8 bytes, but there are 0"),
        (9, "needs 8 bytes, but there are 9"),
    ] {
        check(
            &post(&server, &[(LENGTH, "0")], vec![0; n_bytes]).await,
            400,
            words,
        );
    }
    assert_eq!(server.infer(1.0).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn paths_that_name_no_model_are_404() {
    let server = Server::start().await;
    for path in [
        "/v2/models/..%2f..%2fetc%2fpasswd/infer",
        "/v2/models/%2e%2e/infer",
        "/v2/models/fraud%00/infer",
        "/v2/models/fraud%2fversions%2f7/infer",
        "/v2/models/FRAUD/infer",
        "/v2/models/fr%C3%A4ud/infer",
        "/v2/models/%E2%80%AEduarf/infer",
        "/v2/models/fraud%20/infer",
        "/v2/models/%ff%fe/infer",
        "/v2/models/fraud/versions/0/infer",
        "/v2/models/fraud/versions/-7/infer",
        "/v2/models/fraud/versions/7.0/infer",
        "/v2/models/fraud/versions/%2b7/infer",
        "/v2/models/fraud/versions/18446744073709551616/infer",
        "/v2/models//infer",
        "/v2/models/fraud/versions//infer",
        "/v2/models/fraud/infer/",
        "/v2/models/fraud/generate",
        "/v2/systemsharedmemory/status",
        "/v1/models/fraud:predict",
    ] {
        let answer = server.send(Method::POST, path, body(1.0)).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(
            answer.json["error"]
                .as_str()
                .is_some_and(|error| error.len() < 300),
            "{path}"
        );
    }
    assert_eq!(server.infer(1.0).await.status, 200);
    server.stop().await;
}

/// Sends bytes as they are and returns the answer; the server closes the connection.
async fn raw(server: &Server, request: &[u8]) -> String {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn broken_messages_of_http_are_refused_and_the_server_goes_on() {
    let server = Server::start().await;
    let head = "POST /v2/models/fraud/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let many: String = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for rest in [
        "Content-Length: x\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{}}}\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "x\u{0}: y\r\n\r\n",
        &format!("{many}\r\n"),
        &format!("{long}\r\n"),
    ] {
        // Some are no HTTP at all: there is nobody to tell a sentence to.
        let answer = raw(&server, format!("{head}{rest}").as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
        assert_eq!(server.infer(1.0).await.status, 200);
    }
    server.stop().await;
}
