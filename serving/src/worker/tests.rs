mod device;
mod hung;
mod spin;
mod warm_up;

use std::{
    pin::pin,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Wake, Waker},
};

use tokio::sync::watch;

use super::*;
use crate::{
    backend::{Backend, fake},
    spec::{RowsError, Serving},
    tensor::Datatype,
};

fn input(first: f32) -> Vec<Tensor> {
    let bytes = [first, 1.0]
        .iter()
        .flat_map(|value| value.to_ne_bytes())
        .collect();
    vec![Tensor::new(Datatype::Fp32, vec![1, 2], bytes).unwrap()]
}

async fn start(queue: usize) -> (fake::Gate, Worker) {
    let (gate, load) = fake::load();
    (
        gate,
        Worker::start(
            "fake".to_owned(),
            Arc::new(fake::spec()),
            queue,
            vec![load],
            Arc::default(),
        )
        .await
        .unwrap(),
    )
}

#[tokio::test]
async fn a_panic_kills_the_worker_but_answers_its_clients() {
    let (_gate, worker) = start(4).await;
    assert!(worker.is_alive());
    assert!(
        worker
            .infer(input(3.0), Urgency::default())
            .await
            .unwrap()
            .outputs
            .is_ok()
    );
    assert_eq!(
        worker
            .infer(input(fake::PANIC), Urgency::default())
            .await
            .err(),
        Some(WorkerError::Dead)
    );
    assert!(worker.has_died());
    assert_eq!(
        worker.infer(input(3.0), Urgency::default()).await.err(),
        Some(WorkerError::Dead)
    );
    worker.stop().await;
}

#[tokio::test]
async fn readiness_goes_before_the_clients_that_wait_are_told() {
    /// Panics, once it may, at anything but zeros.
    struct Held(Receiver<()>);
    impl Backend for Held {
        fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
            if inputs[0].bytes().iter().any(|&byte| byte != 0) {
                self.0.recv().unwrap();
                panic!("asked to panic");
            }
            fake::spec()
                .outputs
                .iter()
                .map(|output| Ok(output.sample(1)?))
                .collect()
        }
    }
    /// Wakes run on the thread that answers, within the answer: this one keeps what the state was then.
    struct Witness(watch::Receiver<State>, Sender<State>);
    impl Wake for Witness {
        fn wake(self: Arc<Self>) {
            self.1.send(*self.0.borrow()).unwrap();
        }
    }
    let (go, held) = channel();
    let load: Load = Box::new(move || Ok(Box::new(Held(held)) as Box<dyn Backend>));
    let worker = Worker::start(
        "held".to_owned(),
        Arc::new(fake::spec()),
        1,
        vec![load],
        Arc::default(),
    )
    .await
    .unwrap();
    let (seen, state) = channel();
    let waker = Waker::from(Arc::new(Witness(worker.shared.state.subscribe(), seen)));
    let mut call = pin!(worker.infer(input(1.0), Urgency::default()));
    assert!(
        call.as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    go.send(()).unwrap();
    assert_eq!(state.recv_timeout(Duration::from_secs(10)), Ok(State::Died));
    assert_eq!(call.await.err(), Some(WorkerError::Dead));
}

#[tokio::test]
async fn places_are_those_that_wait_and_the_one_that_is_computed() {
    let (_gate, worker) = start(2).await;
    let mut places: Vec<_> = (0..3).map(|_| worker.admit().ok().unwrap()).collect();
    assert_eq!(worker.admit().err(), Some(WorkerError::Full));
    places.pop();
    assert!(worker.admit().is_ok(), "a place that is left can be taken");
    worker.stop().await;
    assert!(
        !worker.is_alive() && !worker.has_died(),
        "a stop is no death"
    );
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_stop_finishes_what_waits() {
    let (gate, worker) = start(1).await;
    let worker = Arc::new(worker);
    let call = |first| {
        let worker = Arc::clone(&worker);
        tokio::spawn(async move {
            worker
                .infer(input(first), Urgency::default())
                .await
                .map(|answer| answer.outputs.is_ok())
        })
    };
    let running = call(fake::WAIT);
    let gate = tokio::task::spawn_blocking(move || {
        gate.wait_for_request();
        gate
    });
    let gate = gate.await.unwrap();
    let waiting = call(1.0);
    let deadline = Instant::now() + Duration::from_secs(10);
    while worker.depth() == 0 {
        assert!(Instant::now() < deadline, "the second request never queued");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        worker.infer(input(1.0), Urgency::default()).await.err(),
        Some(WorkerError::Full)
    );
    gate.release();
    worker.stop().await;
    assert_eq!(running.await.unwrap(), Ok(true));
    assert_eq!(waiting.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn requests_of_clients_that_left_are_not_computed() {
    struct Count(Box<dyn Backend>, Arc<AtomicUsize>);
    impl Backend for Count {
        fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.infer(inputs)
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let (gate, load) = fake::load();
    let load: Load = Box::new(move || Ok(Box::new(Count(load()?, counted)) as Box<dyn Backend>));
    let spec = Arc::new(fake::spec());
    let worker = Worker::start("count".to_owned(), spec, 8, vec![load], Arc::default())
        .await
        .unwrap();
    let after_warm_up = count.load(Ordering::SeqCst);
    let mut running = Box::pin(worker.infer(input(fake::WAIT), Urgency::default()));
    let mut left = Box::pin(worker.infer(input(1.0), Urgency::default()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(running.as_mut().poll(&mut context).is_pending());
    gate.wait_for_request();
    assert!(left.as_mut().poll(&mut context).is_pending());
    drop(left);
    gate.release();
    assert!(running.await.is_ok());
    assert!(worker.infer(input(1.0), Urgency::default()).await.is_ok());
    assert_eq!(count.load(Ordering::SeqCst), after_warm_up + 2);
    worker.stop().await;
}

/// A worker of batches, its one instance held at a gate.
async fn held(serving: Serving) -> (fake::Gate, Arc<Worker>) {
    let (gate, load) = fake::load_rows();
    let worker = Worker::start(
        "rows".to_owned(),
        Arc::new(fake::rows_spec(serving)),
        64,
        vec![load],
        Arc::default(),
    )
    .await
    .unwrap();
    (gate, Arc::new(worker))
}

#[tokio::test]
async fn what_arrives_while_an_instance_computes_runs_together() {
    let (gate, worker) = held(Serving {
        max_batch_size: Some(4),
        ..Serving::default()
    })
    .await;
    let call = |first| {
        let worker = Arc::clone(&worker);
        tokio::spawn(async move { worker.infer(input(first), Urgency::default()).await })
    };
    let running = call(fake::WAIT);
    let gate = tokio::task::spawn_blocking(move || {
        gate.wait_for_request();
        gate
    });
    let gate = gate.await.unwrap();
    let waiting: Vec<_> = (0_u8..6).map(|it| call(f32::from(it) + 1.0)).collect();
    while worker.depth() < 6 {
        tokio::task::yield_now().await;
    }
    gate.release();
    assert_eq!(running.await.unwrap().unwrap().together, 1);
    let mut sizes = Vec::new();
    for call in waiting {
        let answer = call.await.unwrap().unwrap();
        sizes.push(answer.together);
        assert_eq!(answer.outputs.unwrap()[0].shape(), [1, 2]);
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 2, 4, 4, 4, 4]);
    worker.stop().await;
}

#[tokio::test]
async fn one_that_fails_does_not_take_its_batch_with_it() {
    let (gate, worker) = held(Serving {
        max_batch_size: Some(8),
        ..Serving::default()
    })
    .await;
    let mut context = Context::from_waker(Waker::noop());
    let mut calls: Vec<_> = [fake::WAIT, 1.0, fake::FAIL, 2.0]
        .map(|first| Box::pin(worker.infer(input(first), Urgency::default())))
        .into();
    assert!(calls[0].as_mut().poll(&mut context).is_pending());
    gate.wait_for_request();
    for call in &mut calls[1..] {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    gate.release();
    let mut good = Vec::new();
    for call in calls {
        let answer = call.await.unwrap();
        good.push((answer.outputs.is_ok(), answer.together));
    }
    assert_eq!(good, [(true, 1), (true, 3), (false, 3), (true, 3)]);
    worker.stop().await;
}

#[tokio::test]
async fn whoever_is_out_of_time_is_told_so_while_the_instance_is_busy() {
    let (gate, worker) = held(Serving::default()).await;
    let mut running = Box::pin(worker.infer(input(fake::WAIT), Urgency::default()));
    let mut context = Context::from_waker(Waker::noop());
    assert!(running.as_mut().poll(&mut context).is_pending());
    gate.wait_for_request();
    let late = Urgency {
        deadline: Some(Instant::now() + Duration::from_millis(20)),
        ..Urgency::default()
    };
    assert_eq!(
        worker.infer(input(1.0), late).await.err(),
        Some(WorkerError::Late)
    );
    gate.release();
    assert!(running.await.is_ok());
    worker.stop().await;
}

#[tokio::test]
async fn a_request_of_more_rows_than_a_batch_has_is_refused() {
    let (_gate, worker) = held(Serving {
        max_batch_size: Some(2),
        ..Serving::default()
    })
    .await;
    let three = Tensor::new(Datatype::Fp32, vec![3, 2], vec![0; 24]).unwrap();
    let refused = worker.infer(vec![three], Urgency::default()).await.err();
    assert_eq!(
        refused,
        Some(WorkerError::Rows(RowsError::TooMany { found: 3, most: 2 }))
    );
    worker.stop().await;
}

/// Two requests at a time are taken by two instances.
async fn each_takes_one(worker: &Worker, gates: &[fake::Gate]) {
    let mut context = Context::from_waker(Waker::noop());
    let mut calls: Vec<_> = (0..2)
        .map(|_| Box::pin(worker.infer(input(fake::WAIT), Urgency::default())))
        .collect();
    for call in &mut calls {
        assert!(call.as_mut().poll(&mut context).is_pending());
    }
    // Each stands at its own instance's gate: one alone could not hold both.
    gates.iter().for_each(fake::Gate::wait_for_request);
    gates.iter().for_each(fake::Gate::release);
    for call in calls {
        assert!(call.await.is_ok());
    }
}

#[tokio::test]
async fn all_instances_take_from_one_queue() {
    let (gates, loads): (Vec<_>, Vec<_>) = (0..2).map(|_| fake::load()).unzip();
    let spec = Arc::new(fake::spec());
    let worker = Worker::start("two".to_owned(), spec, 8, loads, Arc::default())
        .await
        .unwrap();
    each_takes_one(&worker, &gates).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_model_that_fails_to_load_panics_or_fails_on_zeros_is_refused() {
    struct Fails;
    impl Backend for Fails {
        fn infer(&mut self, _: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
            Err(BackendError::Forward("no".to_owned()))
        }
    }
    let start = |load: Load| {
        Worker::start(
            "bad".to_owned(),
            Arc::new(fake::spec()),
            1,
            vec![load],
            Arc::default(),
        )
    };
    let refused = start(Box::new(|| Err(BackendError::Load("garbage".to_owned())))).await;
    assert!(matches!(
        refused.err(),
        Some(StartError::Load(BackendError::Load(_)))
    ));
    let refused = start(Box::new(|| panic!("asked to panic"))).await;
    assert!(matches!(
        refused.err(),
        Some(StartError::Load(BackendError::Panicked))
    ));
    let refused = start(Box::new(|| Ok(Box::new(Fails) as Box<dyn Backend>))).await;
    assert!(matches!(
        refused.err(),
        Some(StartError::WarmUp(BackendError::Forward(_)))
    ));
}
