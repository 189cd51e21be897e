use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use super::*;

/// Answers each request with this text, and tells its head.
fn server(answer: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (tell, heads) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = tell.send(head(&stream));
            let length = answer.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}"
            );
        }
    });
    (endpoint, heads)
}

fn head(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let lines = lines.take_while(|line| !line.is_empty());
    lines.map(|line| line + "\n").collect()
}

const NOTHING: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

#[tokio::test]
async fn a_query_reaches_prometheus_letter_by_letter_below_its_path() {
    let (endpoint, heads) = server(NOTHING);
    let client = Client::new(&format!("{endpoint}/prometheus/")).unwrap();
    let query = r#"sum({a=~"x|y+z", b="ä&c=d %"}) >= 0"#;
    let time = Timestamp::from_millisecond(12_034).unwrap();
    assert_eq!(client.query(query, time).await.unwrap(), []);
    let head = heads.recv().unwrap();
    let (path, asked) = head.split_once(' ').unwrap().1.split_once('?').unwrap();
    assert_eq!(path, "/prometheus/api/v1/query");
    let asked = asked.split_once(' ').unwrap().0;
    let asked: Vec<_> = form_urlencoded::parse(asked.as_bytes()).collect();
    assert_eq!(asked[0], ("query".into(), query.into()));
    assert_eq!(asked[1], ("time".into(), "12.034".into()));
    assert!(!head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn a_token_that_is_replaced_is_sent_from_the_next_query_on() {
    let (endpoint, heads) = server(NOTHING);
    let file = tempfile::NamedTempFile::new().unwrap();
    let access = Access {
        credentials: Some(Credentials::Bearer(file.path().to_owned())),
        ..Access::default()
    };
    let client = Client::with_access(&endpoint, access).unwrap();
    for token in ["first", "second"] {
        std::fs::write(file.path(), format!("{token}\n")).unwrap();
        client.query("up", Timestamp::UNIX_EPOCH).await.unwrap();
        let head = heads.recv().unwrap();
        let sent = format!("authorization: Bearer {token}\n");
        assert!(head.contains(&sent), "{head}");
    }
    let path = file.path().to_owned();
    file.close().unwrap();
    let error = client.query("up", Timestamp::UNIX_EPOCH).await.unwrap_err();
    let said = crate::driver::chain(&error);
    assert!(said.contains(&path.display().to_string()), "{said}");
}

#[tokio::test]
async fn matchers_that_make_no_query_are_named_with_their_flag() {
    let (endpoint, _heads) = server(
        r#"{"status":"error","errorType":"bad_data","error":"1:31: parse error: unexpected identifier"}"#,
    );
    let client = Client::new(&endpoint).unwrap();
    let selectors = Selectors {
        proxies: "job=envoy".to_owned(),
        ..Selectors::default()
    };
    let query = proxies_query(&selectors);
    let error = client
        .query_proxies(&selectors, &query, Timestamp::UNIX_EPOCH)
        .await
        .unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("--proxies") && said.contains("job=envoy, are wrong"),
        "{said}"
    );
    assert!(
        said.ends_with("parse error: unexpected identifier"),
        "{said}"
    );
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_named_without_the_query() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let endpoint = format!("http://{}", closed.unwrap());
    let client = Client::new(&endpoint).unwrap();
    let error = client.query("secret_name", Timestamp::UNIX_EPOCH).await;
    let said = crate::driver::chain(&error.unwrap_err());
    assert!(
        said.starts_with(&format!("failed to reach '{endpoint}': ")),
        "{said}"
    );
    assert!(!said.contains("secret_name"), "{said}");
}
