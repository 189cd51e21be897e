//! What a hostile or careless client may send over gRPC: each is refused with a code and one sentence, and the server
//! goes on.

mod table;

use bytes::Bytes;

use self::table::TABLE;
use super::*;

#[tokio::test]
async fn malformed_messages_get_a_code_and_a_sentence_and_the_server_goes_on() {
    let server = Server::start().await;
    let mut client = client(&server).await;
    for (words, change) in TABLE {
        let mut bad = request(1.0);
        change(&mut bad);
        let status = client.model_infer(bad).await.unwrap_err();
        let expected = matches!(status.code(), Code::InvalidArgument | Code::NotFound);
        assert!(
            expected && status.message().contains(words),
            "{status}\nshould say: {words}"
        );
        assert!(status.message().chars().count() < 300, "{status}");
        assert!(
            client.model_infer(request(1.0)).await.is_ok(),
            "after {words}"
        );
    }
    let mut large = request(1.0);
    large.raw_input_contents = vec![vec![0; MAX_BODY + 1].into()];
    assert_eq!(refused(client.model_infer(large).await).0, Code::OutOfRange);
    assert!(client.model_infer(request(1.0)).await.is_ok());
    server.stop().await;
}
