//! Requests that no client library would send, over a raw socket.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// What the server says to these bytes until it closes the connection, or its first answer is there.
async fn say(server: &Server, bytes: &[u8]) -> String {
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may close before it has all of them.
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let mut part = [0; 4096];
    let read = async {
        while !said.windows(4).any(|it| it == b"\r\n\r\n") {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(count) => said.extend_from_slice(&part[..count]),
            }
        }
    };
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, read)
        .await
        .expect("it says something");
    String::from_utf8_lossy(&said).into_owned()
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn headers_are_bounded_in_bytes_and_number() {
    let server = Server::start().await;
    let large = |bytes: usize| format!("x-large: {}\r\n", "a".repeat(bytes));
    let many = |count: usize| {
        (0..count)
            .map(|it| format!("x-{it}: 1\r\n"))
            .collect::<String>()
    };
    let path = |bytes: usize| format!("/v2/health/live?{}", "a".repeat(bytes));
    let live = "/v2/health/live";
    for (what, request, wanted) in [
        ("an ordinary one", get(live, ""), "HTTP/1.1 200 "),
        (
            "15 KiB in one",
            get(live, &large(15 << 10)),
            "HTTP/1.1 200 ",
        ),
        (
            "17 KiB in one",
            get(live, &large(17 << 10)),
            "HTTP/1.1 431 ",
        ),
        (
            "a megabyte in one",
            get(live, &large(1 << 20)),
            "HTTP/1.1 431 ",
        ),
        ("100 with Host", get(live, &many(99)), "HTTP/1.1 200 "),
        ("101 with Host", get(live, &many(100)), "HTTP/1.1 431 "),
        ("a long path", get(&path(4 << 10), ""), "HTTP/1.1 200 "),
        ("a path of 17 KiB", get(&path(17 << 10), ""), "HTTP/1.1 4"),
        (
            "no request",
            b"\x16\x03\x01\x02\x00\x01\r\n\r\n".to_vec(),
            "HTTP/1.1 400 ",
        ),
    ] {
        let said = say(&server, &request).await;
        assert!(said.starts_with(wanted), "{what}: {said:?}");
    }
    // By prior knowledge: there is nothing to say in HTTP/1.1.
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert_eq!(say(&server, http2).await, "");
    assert_eq!(server.infer(1.0).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_takes_one_request_after_the_other() {
    let server = Server::start().await;
    let address = server.url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(&get("/v2/health/live", "")).await.unwrap();
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        assert!(part[..read].starts_with(b"HTTP/1.1 200 "));
    }
    // The idle connection does not hold up the end.
    server.stop().await;
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
}

/// A server with no patience.
async fn impatient() -> Server {
    let limits = Limits {
        headers: Duration::from_millis(100),
        ..Limits::default()
    };
    Server::start_within(8, limits).await
}

/// Waits until the server has closed the connection, and says what it said before.
async fn end(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    let limit = Duration::from_secs(20);
    let read = tokio::time::timeout(limit, stream.read_to_end(&mut said)).await;
    // It may also be reset.
    drop(read.expect("the connection ends"));
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn connections_whose_headers_do_not_come_are_closed() {
    let server = impatient().await;
    let address = server.url.trim_start_matches("http://");
    let complete = "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
    let part = "POST /v2/models/fraud/infer HTTP/1.1\r\nHost: x\r\nx-slow: ";
    for (what, bytes, answered) in [
        ("nothing", String::new(), false),
        ("a part of the first", part.to_owned(), false),
        ("a part of the second", complete.to_owned(), true),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        if answered {
            let mut first = [0; 4096];
            assert!(stream.read(&mut first).await.unwrap() > 0);
            stream.write_all(part.as_bytes()).await.unwrap();
        }
        let said = end(stream).await;
        assert!(!said.contains(" 200 "), "{what}: {said}");
    }
    // One that trickles on is not better off.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    stream.write_all(part.as_bytes()).await.unwrap();
    while stream.write_all(b"a").await.is_ok() {
        assert!(Instant::now() < deadline, "the connection ends");
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_kept() {
    let server = impatient().await;
    let address = server.url.trim_start_matches("http://");
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut answer = [0; 4096];
    idle.write_all(&get("/v2/health/live", "")).await.unwrap();
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    // This one began later and is closed: the idle one has had as much time by then.
    end(TcpStream::connect(address).await.unwrap()).await;
    idle.write_all(&get("/v2/health/live", "")).await.unwrap();
    let read = idle.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200 "));
    drop(idle);
    server.stop().await;
}

#[tokio::test]
async fn connections_of_grpc_that_do_not_begin_are_closed() {
    let server = impatient().await;
    let address = server.grpc.trim_start_matches("http://");
    for bytes in ["", "PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        end(stream).await;
    }
    let (read, _) = open_grpc(address).await;
    assert!(read > 0, "the settings of the server");
    server.stop().await;
}

/// A connection that has begun, and how much the server said to that.
async fn open_grpc(address: &str) -> (usize, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat();
    stream.write_all(&begin).await.unwrap();
    let mut part = [0; 4096];
    let read = stream.read(&mut part).await.unwrap();
    (read, stream)
}
