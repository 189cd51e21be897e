//! What a hostile or careless client may send: each is refused with one sentence, and the server goes on.

mod json;

use super::*;

#[tokio::test]
async fn malformed_requests_get_a_sentence_and_the_server_goes_on() {
    let server = Server::start().await;
    for (body, words) in json::bodies() {
        let shown = String::from_utf8_lossy(&body)
            .chars()
            .take(200)
            .collect::<String>();
        let answer = server
            .send(Method::POST, "/v2/models/fraud/infer", body)
            .await;
        let sentence = answer.json["error"].as_str().unwrap();
        assert_eq!(answer.status, 400, "{shown}\n{sentence}");
        assert!(
            sentence.contains(words),
            "{shown}\n{sentence}\nshould say: {words}"
        );
        assert!(
            sentence.chars().count() < 300 && !sentence.contains('\n'),
            "{shown}\n{sentence}"
        );
        assert_eq!(server.infer(1.0).await.status, 200, "after {shown}");
    }
    server.stop().await;
}

#[tokio::test]
async fn bodies_over_the_limit_are_413_whether_or_not_their_length_is_told() {
    let server = Server::start().await;
    for size in [MAX_BODY + 1, 2 * MAX_BODY] {
        let answer = server
            .send(Method::POST, "/v2/models/fraud/infer", vec![b' '; size])
            .await;
        assert_eq!(answer.status, 413);
        assert_eq!(
            answer.json["error"],
            format!("the request body is larger than {MAX_BODY} bytes")
        );
        let answer = chunked(&server.url, size).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    assert_eq!(server.infer(1.0).await.status, 200);
    server.stop().await;
}

/// Posts `size` blanks in chunks of 64 bytes, which announce no length, and returns the answer.
async fn chunked(url: &str, size: usize) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    let head = "POST /v2/models/fraud/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("40\r\n{}\r\n", " ".repeat(64));
    let request = format!("{head}{}0\r\n\r\n", chunk.repeat(size.div_ceil(64)));
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
