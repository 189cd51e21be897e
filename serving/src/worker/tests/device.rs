//! Devices that fail, played by the fake model.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::backend::Trouble;

fn found(worker: &Worker) -> Option<Fault> {
    let pulse = worker.pulse().upgrade()?;
    pulse.fault(None, Instant::now())
}

async fn ask(
    worker: &Worker,
    first: f32,
) -> Result<Result<Vec<Tensor>, BackendError>, WorkerError> {
    let answer = worker.infer(input(first), Urgency::default()).await;
    answer.map(|it| it.outputs)
}

/// A model that says whether it was dropped, and fails on everything once it is told to.
struct Tired {
    tired: Arc<AtomicBool>,
    _dropped: Sender<()>,
}

impl Backend for Tired {
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
        if self.tired.load(Ordering::SeqCst) {
            return Err(fake::device(Trouble::Doubtful));
        }
        fake::load().1()?.infer(inputs)
    }
}

#[tokio::test]
async fn a_lost_device_fails_the_request_that_found_out_and_ends_the_version() {
    let (_gate, worker) = start(4).await;
    assert_eq!(found(&worker), None);
    let lost = ask(&worker, fake::LOST).await.unwrap();
    assert_eq!(lost, Err(fake::device(Trouble::Lost)));
    // Readiness went before that.
    assert!(worker.has_died());
    assert_eq!(
        found(&worker),
        Some(Fault::Lost("CUDA error: of a test".to_owned()))
    );
    assert_eq!(ask(&worker, 1.0).await, Err(WorkerError::Ending));
}

#[tokio::test]
async fn a_model_that_can_still_do_zeros_goes_on_however_often_requests_ask_for_too_much() {
    let (_gate, worker) = start(4).await;
    for _ in 0..20 {
        let failed = ask(&worker, fake::DOUBTFUL).await.unwrap();
        assert_eq!(failed, Err(fake::device(Trouble::Doubtful)));
    }
    assert!(ask(&worker, 1.0).await.unwrap().is_ok());
    assert_eq!(found(&worker), None);
    worker.stop().await;
}

#[tokio::test]
async fn a_model_that_fails_again_and_again_and_on_zeros_ends_the_process_and_is_not_dropped() {
    let tired = Arc::new(AtomicBool::new(false));
    let (dropped, alive) = channel();
    let theirs = Arc::clone(&tired);
    let load: Load = Box::new(move || {
        Ok(Box::new(Tired {
            tired: theirs,
            _dropped: dropped,
        }) as Box<dyn Backend>)
    });
    let spec = Arc::new(fake::spec());
    let worker = Worker::start("tired".to_owned(), spec, 4, vec![load], Arc::default());
    let worker = worker.await.unwrap();
    assert!(ask(&worker, 1.0).await.unwrap().is_ok());
    tired.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let failed = ask(&worker, 1.0).await.unwrap();
        assert_eq!(failed, Err(fake::device(Trouble::Doubtful)));
    }
    // It has been looked into once the thread has ended.
    worker.stop().await;
    let fault = Fault::Exhausted("CUDA error: of a test".to_owned());
    assert_eq!(found(&worker), Some(fault));
    assert!(worker.has_died());
    let state = alive.try_recv();
    assert_eq!(
        state,
        Err(std::sync::mpsc::TryRecvError::Empty),
        "it is still there"
    );
}

#[tokio::test]
async fn a_batch_on_a_lost_device_is_not_tried_in_halves() {
    struct Count(Arc<AtomicUsize>);
    impl Backend for Count {
        fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
            if inputs[0].bytes().iter().all(|&byte| byte == 0) {
                return Ok(vec![inputs[0].clone()]);
            }
            self.0.fetch_add(1, Ordering::SeqCst);
            Err(fake::device(Trouble::Lost))
        }
    }
    let forwards = Arc::new(AtomicUsize::new(0));
    let mut spec = fake::spec();
    spec.outputs.truncate(1);
    let requests: Vec<_> = (1_u8..=8).map(|it| input(f32::from(it))).collect();
    let mut backend = Count(Arc::clone(&forwards));
    let answers = rows::infer(&mut backend, &spec, &requests, &mut |_, _| ());
    assert_eq!(answers, vec![Err(fake::device(Trouble::Lost)); 8]);
    assert_eq!(forwards.load(Ordering::SeqCst), 1);
}
