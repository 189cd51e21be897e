//! Binary tensor data, compression and parameters over real sockets.

use std::io::{Read, Write};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use super::*;

const INFER: &str = "/v2/models/fraud/infer";

/// A binary input `x` of one row, and what the request says beside it.
fn binary(values: [f32; 2], more: &str) -> (String, Vec<u8>) {
    let json = format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {{"binary_data_size": 8}}}}]{more}}}"#
    );
    let data = values.map(f32::to_le_bytes).concat();
    let body = [json.as_bytes(), &data].concat();
    (json.len().to_string(), body)
}

/// The status, headers and whole body of an answer.
async fn post(
    server: &Server,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, header::HeaderMap, Vec<u8>) {
    let mut request = server.client.post(format!("{}{INFER}", server.url));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.body(body).send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, response.bytes().await.unwrap().to_vec())
}

/// The JSON of an answer and the binary data behind it.
fn split(headers: &header::HeaderMap, body: &[u8]) -> (Value, Vec<u8>) {
    let length = headers["inference-header-content-length"].to_str().unwrap();
    let (json, data) = body.split_at(length.parse().unwrap());
    (serde_json::from_slice(json).unwrap(), data.to_vec())
}

#[tokio::test]
async fn binary_inputs_and_outputs_go_behind_the_json() {
    let server = Server::start().await;
    let (length, body) = binary(
        [2.0, 1.5],
        r#", "parameters": {"binary_data_output": true}"#,
    );
    let length = ("inference-header-content-length", length.as_str());
    let (status, headers, body) = post(&server, &[length], body).await;
    let (json, data) = split(&headers, &body);
    assert_eq!(
        (status, &headers["content-type"]),
        (200, &"application/octet-stream".parse().unwrap())
    );
    let y = json!({"name": "y", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}});
    let n = json!({"name": "n", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}});
    assert_eq!(
        json,
        json!({"model_name": "fraud", "model_version": "9", "outputs": [y, n]})
    );
    let wanted = [
        4_f32.to_le_bytes().as_slice(),
        &3_f32.to_le_bytes(),
        &1_i64.to_le_bytes(),
    ]
    .concat();
    assert_eq!(data, wanted);
    server.stop().await;
}

#[tokio::test]
async fn json_and_binary_outputs_mix_and_json_alone_has_no_length_header() {
    let server = Server::start().await;
    let outputs =
        r#", "outputs": [{"name": "n"}, {"name": "y", "parameters": {"binary_data": true}}]"#;
    let (length, body) = binary([2.0, 1.5], outputs);
    let length = ("inference-header-content-length", length.as_str());
    let (_, headers, body) = post(&server, &[length], body).await;
    let (json, data) = split(&headers, &body);
    assert_eq!(json["outputs"][0]["data"], json!([1]));
    assert_eq!(data, [4_f32, 3.0].map(f32::to_le_bytes).concat());
    let (length, body) = binary([2.0, 1.5], "");
    let length = ("inference-header-content-length", length.as_str());
    let (_, headers, _) = post(&server, &[length], body).await;
    assert_eq!(headers["content-type"], "application/json");
    assert!(!headers.contains_key("inference-header-content-length"));
    server.stop().await;
}

#[tokio::test]
async fn nan_goes_out_as_binary_data() {
    let server = Server::start().await;
    let (length, body) = binary(
        [fake::NAN, 0.0],
        r#", "parameters": {"binary_data_output": true}"#,
    );
    let length = ("inference-header-content-length", length.as_str());
    let (status, headers, body) = post(&server, &[length], body).await;
    assert_eq!(status, 200);
    let data = split(&headers, &body).1;
    assert!(f32::from_le_bytes(data[..4].try_into().unwrap()).is_nan());
    server.stop().await;
}

#[tokio::test]
async fn a_raw_binary_request_is_the_input_alone() {
    let server = Server::start().await;
    let length = ("inference-header-content-length", "0");
    let rows = [1_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    let (status, headers, body) = post(&server, &[length], rows).await;
    let (json, data) = split(&headers, &body);
    assert_eq!(
        (status, &json["outputs"][0]["shape"]),
        (200, &json!([2, 2]))
    );
    assert_eq!(
        data[..16],
        [2_f32, 4.0, 6.0, 8.0].map(f32::to_le_bytes).concat()
    );
    server.stop().await;
}

#[tokio::test]
async fn with_and_without_the_router_answers_are_the_same() {
    let server = Server::start().await;
    let ask = async |path: &str, body: &str, accept: bool| {
        let url = format!("{}/v2/models/{path}", server.url);
        let mut request = server.client.post(url).body(body.to_owned());
        if accept {
            request = request.header("accept-encoding", "identity");
        }
        let answer = request.send().await.unwrap();
        let header = |name: &str| answer.headers().get(name).cloned();
        let named = ["content-type", "x-serin-model", "x-serin-model-version"].map(header);
        (answer.status(), named, answer.text().await.unwrap())
    };
    let good = body(3.0);
    for (path, body, status) in [
        ("fraud/infer", good.as_str(), 200),
        ("fr%61ud/infer", &good, 200),
        ("fraud/versions/7/infer", &good, 200),
        ("fraud/versions/8/infer", &good, 404),
        ("fraud/versions/x/infer", &good, 404),
        ("other/infer", &good, 404),
        ("fraud/infer/", &good, 404),
        ("fraud/versions//infer", &good, 404),
        ("/infer", &good, 404),
        ("fraud/infer?a=b", &good, 200),
        ("fraud/infer", "{}", 400),
        ("fraud/ready", "", 405),
    ] {
        let direct = ask(path, body, false).await;
        assert_eq!(direct.0.as_u16(), status, "{path}: {}", direct.2);
        assert_eq!(direct, ask(path, body, true).await, "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_are_decompressed_and_answers_compressed_as_the_client_asks() {
    let server = Server::start().await;
    // 1 000 rows, so that the answer is worth it.
    let numbers = vec!["1"; 2_000].join(",");
    let json = format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1000, 2], "data": [{numbers}]}}]}}"#
    );
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(json.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let plain = post(&server, &[], json.clone().into_bytes()).await;
    assert!(!plain.1.contains_key("content-encoding"));
    for (accept, wanted) in [
        ("gzip", Some("gzip")),
        ("gzip;q=0.1, zstd;q=0.5", Some("zstd")),
        ("deflate", Some("deflate")),
        ("gzip;q=0", None),
        ("br", None),
        ("identity", None),
    ] {
        let headers = [("content-encoding", "gzip"), ("accept-encoding", accept)];
        let (status, headers, body) = post(&server, &headers, gzip.clone()).await;
        let encoding = headers
            .get("content-encoding")
            .map(|value| value.to_str().unwrap());
        assert_eq!((status, encoding), (200, wanted), "{accept}");
        let mut text = Vec::new();
        match encoding {
            Some("gzip") => drop(GzDecoder::new(&body[..]).read_to_end(&mut text).unwrap()),
            Some("deflate") => drop(
                flate2::read::ZlibDecoder::new(&body[..])
                    .read_to_end(&mut text)
                    .unwrap(),
            ),
            Some("zstd") => text = zstd::decode_all(&body[..]).unwrap(),
            _ => text = body,
        }
        assert_eq!(text, plain.2, "{accept}");
    }
    server.stop().await;
}

#[tokio::test]
async fn unknown_encodings_and_bombs_are_refused_with_a_sentence() {
    let server = Server::start().await;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 100 * MAX_BODY]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < MAX_BODY);
    for (encoding, body, status, words) in [
        (
            "br",
            vec![],
            415,
            "content encoding 'br' is not supported: use gzip, deflate, zstd",
        ),
        (
            "gzip, gzip",
            vec![],
            415,
            "content encoding 'gzip, gzip' is not supported",
        ),
        ("gzip", bomb, 413, "larger than 65536 bytes"),
        ("gzip", body(1.0).into_bytes(), 400, "not valid gzip"),
    ] {
        let answer = post(&server, &[("content-encoding", encoding)], body).await;
        let sentence = String::from_utf8(answer.2).unwrap();
        assert_eq!(answer.0, status, "{encoding}: {sentence}");
        assert!(sentence.contains(words), "{encoding}: {sentence}");
    }
    assert_eq!(server.infer(1.0).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_answer_after_the_requests_timeout_is_504() {
    let server = Server::start().await;
    let with_timeout = |first: f32, micros: u64| {
        body(first).replacen(
            '{',
            &format!(r#"{{"parameters": {{"timeout": {micros}}}, "#),
            1,
        )
    };
    let late = server
        .send(Method::POST, INFER, with_timeout(fake::WAIT, 2_000))
        .await;
    let sentence = "the answer was not ready within the request's timeout of 2000 microseconds";
    assert_eq!(
        (late.status, late.json["error"].as_str()),
        (504, Some(sentence))
    );
    assert!(
        server
            .metrics()
            .await
            .contains(r#"outcome="expired",version="9"} 1"#)
    );
    server.gate.release();
    let in_time = server
        .send(Method::POST, INFER, with_timeout(1.0, u64::MAX))
        .await;
    assert_eq!(in_time.status, 200, "{}", in_time.json);
    server.stop().await;
}
