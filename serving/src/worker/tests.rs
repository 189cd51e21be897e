use std::{
    pin::pin,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Wake, Waker},
};

use super::*;
use crate::{backend::fake, tensor::Datatype};

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
        Worker::start("fake".to_owned(), Arc::new(fake::spec()), queue, load)
            .await
            .unwrap(),
    )
}

#[tokio::test]
async fn a_panic_kills_the_worker_but_answers_its_clients() {
    let (_gate, worker) = start(4).await;
    assert!(worker.is_alive());
    assert!(worker.infer(input(3.0)).await.unwrap().outputs.is_ok());
    assert_eq!(
        worker.infer(input(fake::PANIC)).await.err(),
        Some(WorkerError::Dead)
    );
    assert!(worker.has_died());
    assert_eq!(
        worker.infer(input(3.0)).await.err(),
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
                .map(|output| Ok(output.zeros()?))
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
    let worker = Worker::start("held".to_owned(), Arc::new(fake::spec()), 1, load)
        .await
        .unwrap();
    let (seen, state) = channel();
    let waker = Waker::from(Arc::new(Witness(worker.state.clone(), seen)));
    let mut call = pin!(worker.infer(input(1.0)));
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
                .infer(input(first))
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
    while worker.commands.capacity() != 0 {
        assert!(Instant::now() < deadline, "the second request never queued");
        tokio::task::yield_now().await;
    }
    assert_eq!(
        worker.infer(input(1.0)).await.err(),
        Some(WorkerError::Full)
    );
    gate.release();
    worker.stop().await;
    assert_eq!(running.await.unwrap(), Ok(true));
    assert_eq!(waiting.await.unwrap(), Ok(true));
}

#[tokio::test]
async fn requests_of_clients_that_left_are_not_computed() {
    struct Count(Arc<AtomicUsize>);
    impl Backend for Count {
        fn infer(&mut self, _: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            Ok(vec![])
        }
    }
    let count = Arc::new(AtomicUsize::new(0));
    let backend_count = Arc::clone(&count);
    let spec = Arc::new(ModelSpec {
        inputs: vec![],
        outputs: vec![],
    });
    let load: Load = Box::new(move || Ok(Box::new(Count(backend_count)) as Box<dyn Backend>));
    let worker = Worker::start("count".to_owned(), spec, 8, load)
        .await
        .unwrap();
    let after_warm_up = count.load(Ordering::SeqCst);
    let (reply, answer) = oneshot::channel();
    drop(answer);
    assert!(
        worker
            .commands
            .try_send(Command::Infer(Job {
                inputs: vec![],
                reply
            }))
            .is_ok()
    );
    assert!(worker.infer(vec![]).await.is_ok());
    assert_eq!(count.load(Ordering::SeqCst), after_warm_up + 1);
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
    let start = |load: Load| Worker::start("bad".to_owned(), Arc::new(fake::spec()), 1, load);
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
