//! What a hostile or careless client may send as binary or compressed data, or in headers, or between them.

mod table;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use self::table::{LENGTHS, PATHS, bodies, broken, size};
use super::*;

const LENGTH: &str = "inference-header-content-length";

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
    for length in LENGTHS {
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
    for path in PATHS {
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
    for rest in broken() {
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
