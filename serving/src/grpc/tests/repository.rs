//! The port where models are loaded and unloaded. The server of these tests has no repository to read.

use std::collections::BTreeMap;

use super::{
    super::proto::{
        ModelRepositoryParameter, model_repository_parameter::ParameterChoice as Choice,
    },
    *,
};

fn load(parameters: &[(&str, Choice)]) -> RepositoryModelLoadRequest {
    let parameters = parameters.iter().map(|(name, choice)| {
        let parameter_choice = Some(choice.clone());
        (
            (*name).to_owned(),
            ModelRepositoryParameter { parameter_choice },
        )
    });
    RepositoryModelLoadRequest {
        model_name: "fraud".to_owned(),
        parameters: parameters.collect(),
        ..Default::default()
    }
}

fn unload(model: &str) -> RepositoryModelUnloadRequest {
    let parameter_choice = Some(Choice::BoolParam(true));
    let unload_dependents = ModelRepositoryParameter { parameter_choice };
    RepositoryModelUnloadRequest {
        model_name: model.to_owned(),
        parameters: BTreeMap::from([("unload_dependents".to_owned(), unload_dependents)]),
        ..Default::default()
    }
}

/// A server with the port, and a client of it.
async fn start() -> (Server, Channel) {
    let server = Server::start_as(8, |config| {
        config.repository_grpc = Some(("127.0.0.1".to_owned(), 0));
        // Above what is allowed there.
        config.max_body = 1 << 20;
    });
    let server = server.await;
    let channel = channel_to(server.repository_grpc.as_ref().unwrap()).await;
    (server, channel)
}

#[tokio::test]
async fn an_unloaded_model_is_gone_from_the_public_port_and_the_index_is_on_both() {
    let (server, channel) = start().await;
    let (mut own, mut public) = (Client::new(channel), client(&server).await);
    own.repository_model_unload(unload("fraud")).await.unwrap();
    let (code, _) = refused(public.model_infer(request(1.0)).await);
    assert_eq!(code, Code::NotFound);
    for client in [&mut own, &mut public] {
        let all = RepositoryIndexRequest::default();
        let index = client.repository_index(all).await.unwrap().into_inner();
        let states: Vec<&str> = index.models.iter().map(|it| it.state.as_str()).collect();
        assert_eq!(states, ["UNAVAILABLE"; 2]);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_code_and_a_sentence() {
    let (server, channel) = start().await;
    let mut own = Client::new(channel);
    let text = |text: &str| Choice::StringParam(text.to_owned());
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(|it| (it.as_str(), text(""))).collect();
    let large = Choice::BytesParam(vec![0; 1 << 17]);
    for (request, code, words) in [
        (
            load(&[]),
            Code::FailedPrecondition,
            "the model repository is not in order",
        ),
        (
            load(&[("config", text("{}"))]),
            Code::InvalidArgument,
            "parameter 'config' is refused",
        ),
        (
            load(&[("wish", text(""))]),
            Code::InvalidArgument,
            "parameter 'wish' is not supported",
        ),
        (
            load(&many),
            Code::InvalidArgument,
            "more than 64 parameters",
        ),
        (
            load(&[("file:1/model.pt", large)]),
            Code::ResourceExhausted,
            "put the files there and load the model without them",
        ),
        (
            RepositoryModelLoadRequest {
                repository_name: "a".to_owned(),
                ..load(&[])
            },
            Code::InvalidArgument,
            "repository_name 'a' is not supported",
        ),
    ] {
        let (found, sentence) = refused(own.repository_model_load(request).await);
        assert_eq!(found, code, "{sentence}");
        assert!(sentence.contains(words), "{sentence}");
    }
    let (code, sentence) = refused(own.repository_model_unload(unload("x")).await);
    assert_eq!(code, Code::NotFound, "{sentence}");
    server.stop().await;
}

#[tokio::test]
async fn nothing_else_is_answered_there() {
    let (server, channel) = start().await;
    let mut own = Client::new(channel.clone());
    let wanted = "ask that of --grpc-port";
    let (code, sentence) = refused(own.model_infer(request(1.0)).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(sentence.contains(wanted), "{sentence}");
    let mut health = HealthClient::new(channel);
    let (code, sentence) = refused(health.check(HealthCheckRequest::default()).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(sentence.contains(wanted), "{sentence}");
    server.stop().await;
}
