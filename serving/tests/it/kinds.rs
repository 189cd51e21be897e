//! Every kind of model, every way to ask it: what libtorch computes is what clients get.

use futures::future::join_all;
use tch::CModule;

use crate::{
    batching::batches,
    models::kinds::{self, Sort, direct},
    server::{DEADLINE, Server},
    wire::{Caller, Named, Way, floats, plain},
};
use serin_serving::tensor::{Datatype, Tensor};

pub(crate) fn sent(inputs: &[(&'static str, tch::Tensor)]) -> Vec<(&'static str, Tensor)> {
    inputs.iter().map(|(name, it)| (*name, plain(it))).collect()
}

pub(crate) fn tensors(outputs: Named) -> Vec<Tensor> {
    outputs.into_iter().map(|(_, it)| it).collect()
}

/// The server of all kinds, each with the module itself.
fn start(more: &str) -> (tempfile::TempDir, Server, Vec<(Sort, CModule)>) {
    let dir = tempfile::tempdir().unwrap();
    let load = |sort: Sort| {
        let file = sort.add(dir.path(), more);
        (sort, CModule::load(file).unwrap())
    };
    let sorts = kinds::all().into_iter().map(load).collect();
    // Sums of a forward are split among its threads.
    let threads = tch::get_num_threads().to_string();
    let server = Server::start_with(dir.path(), &["--threads", &threads]);
    (dir, server, sorts)
}

#[tokio::test]
async fn a_request_that_runs_alone_is_answered_bit_for_bit_however_it_travels() {
    let (_dir, server, sorts) = start("maxBatchSize: 8\ninstances: 2\n");
    let caller = Caller::of(&server);
    for (sort, module) in &sorts {
        for (call, rows) in [(1, 1), (2, 1), (3, 5)] {
            let inputs = (sort.request)(call, rows);
            let wanted: Vec<_> = direct(module, &inputs).iter().map(plain).collect();
            for way in Way::ALL {
                let answer = caller.ask(way, sort.name, &sent(&inputs)).await;
                let answer = tensors(answer.unwrap());
                assert_eq!(answer, wanted, "{} {way:?} {rows} rows", sort.name);
            }
        }
    }
}

/// Whether two answers differ by no more than rounding.
pub(crate) fn close(found: &Tensor, wanted: &Tensor) -> bool {
    let alike = (found.datatype(), found.shape()) == (wanted.datatype(), wanted.shape());
    match found.datatype() {
        Datatype::Fp32 => {
            let (found, wanted) = (floats(found), floats(wanted));
            let mut both = found.iter().zip(&wanted);
            alike && both.all(|(found, wanted)| (found - wanted).abs() <= 1e-5)
        }
        _ => found == wanted,
    }
}

#[tokio::test]
async fn requests_that_run_together_are_answered_as_if_alone_however_they_travel() {
    let (_dir, server, sorts) = start("maxBatchSize: 16\ninstances: 2\n");
    let caller = Caller::of(&server);
    for (sort, module) in &sorts {
        let begun = std::time::Instant::now();
        loop {
            let calls = (0..64).map(|call| {
                let inputs = (sort.request)(call, call % 3 + 1);
                let wanted: Vec<_> = direct(module, &inputs).iter().map(plain).collect();
                let (inputs, caller) = (sent(&inputs), &caller);
                let way = Way::ALL[call as usize % Way::ALL.len()];
                async move { (caller.ask(way, sort.name, &inputs).await, wanted, way) }
            });
            for (answer, wanted, way) in join_all(calls).await {
                let answer = tensors(answer.unwrap());
                assert_eq!(answer.len(), wanted.len());
                let all = answer.iter().zip(&wanted).all(|(it, to)| close(it, to));
                assert!(all, "{} {way:?}: {answer:?}\n{wanted:?}", sort.name);
            }
            let (batches, requests) = batches(&server, sort.name).await;
            if requests > batches {
                break;
            }
            assert!(
                begun.elapsed() < DEADLINE,
                "no two of {requests} requests of {} ran together",
                sort.name
            );
        }
    }
}

#[tokio::test]
async fn a_state_that_goes_out_and_in_again_belongs_to_its_client_alone() {
    const STEPS: i64 = 20;
    let (_dir, server, sorts) = start("maxBatchSize: 8\ninstances: 2\n");
    let (sort, module) = sorts.iter().find(|(it, _)| it.name == "memory").unwrap();
    let caller = Caller::of(&server);
    let clients = (0..6).map(|client| {
        let caller = &caller;
        async move {
            let mut state = (sort.request)(client, 1).remove(1).1;
            let mut served = plain(&state);
            for step in 0..STEPS {
                let features = (sort.request)(client * STEPS + step, 1).remove(0).1;
                let way = Way::ALL[step as usize % Way::ALL.len()];
                let inputs = [("features", plain(&features)), ("before", served)];
                let answer = caller.ask(way, sort.name, &inputs).await.unwrap();
                let wanted = direct(module, &[("features", features), ("before", state)]);
                let [(_, score), (_, after)] = <[_; 2]>::try_from(answer).unwrap();
                assert!(close(&score, &plain(&wanted[0])), "{client} {step}");
                assert!(close(&after, &plain(&wanted[1])), "{client} {step}");
                (state, served) = (wanted[1].shallow_clone(), after);
            }
        }
    });
    join_all(clients).await;
}
