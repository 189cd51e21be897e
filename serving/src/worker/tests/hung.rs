//! Forwards that do not end. Time is what the test says.

use super::*;
use crate::watchdog::{Doom, Watchdog};

const PATIENCE: Duration = Duration::from_secs(10);

/// A worker whose one instance stands at the gate, and the request that does.
async fn stuck() -> (
    fake::Gate,
    Arc<Worker>,
    tokio::task::JoinHandle<Result<Answer, WorkerError>>,
) {
    let (gate, worker) = start(4).await;
    let worker = Arc::new(worker);
    let asked = Arc::clone(&worker);
    let asking =
        tokio::spawn(async move { asked.infer(input(fake::WAIT), Urgency::default()).await });
    let gate = tokio::task::spawn_blocking(move || {
        gate.wait_for_request();
        gate
    });
    (gate.await.unwrap(), worker, asking)
}

fn look(worker: &Worker, after: Duration) -> Option<Fault> {
    let pulse = worker.pulse().upgrade().unwrap();
    pulse.fault(Some(PATIENCE), Instant::now() + after)
}

#[tokio::test]
async fn a_forward_beyond_all_patience_is_answered_for_and_so_are_those_behind_it() {
    let (gate, worker, asking) = stuck().await;
    let waiting = worker.infer(input(1.0), Urgency::default());
    let mut waiting = pin!(waiting);
    let waker = Waker::noop();
    assert!(
        waiting
            .as_mut()
            .poll(&mut Context::from_waker(waker))
            .is_pending()
    );
    let found = look(&worker, PATIENCE);
    let Some(Fault::Hung(time)) = found else {
        panic!("{found:?}");
    };
    assert!(time >= PATIENCE && worker.has_died());
    assert_eq!(
        asking.await.unwrap().err(),
        Some(WorkerError::Hung(time)),
        "its own request"
    );
    assert_eq!(waiting.await.err(), Some(WorkerError::Ending));
    let late = worker.infer(input(1.0), Urgency::default()).await;
    assert_eq!(late.err(), Some(WorkerError::Ending));
    // It comes back after all, and nobody is there any more.
    gate.release();
    worker.stop().await;
    assert!(worker.has_died());
}

#[tokio::test]
async fn a_forward_within_its_time_is_waited_for() {
    let (gate, worker, asking) = stuck().await;
    assert_eq!(look(&worker, PATIENCE / 2), None);
    assert!(worker.running_for(Instant::now() + PATIENCE) >= Some(PATIENCE));
    gate.release();
    assert!(asking.await.unwrap().is_ok());
    worker.stop().await;
    let for_ever = Instant::now() + 100 * PATIENCE;
    assert_eq!(worker.running_for(for_ever), None, "it is idle");
}

#[tokio::test]
async fn a_version_that_nobody_holds_any_more_is_looked_after_while_it_computes() {
    let (gate, worker, asking) = stuck().await;
    let watchdog = Watchdog::new(None);
    let own = Serving {
        forward_timeout: Some(PATIENCE),
        ..Serving::default()
    };
    watchdog.watch("fraud", 7, &own, worker.pulse());
    let pulse = worker.pulse();
    asking.abort();
    assert!(asking.await.is_err());
    drop(worker);
    assert_eq!(watchdog.look(Instant::now()), None);
    let doom = watchdog.look(Instant::now() + PATIENCE).cloned().unwrap();
    let Doom { model, version, .. } = &doom;
    assert_eq!(
        (model.as_str(), *version, doom.exit_code()),
        ("fraud", 7, 3)
    );
    let sentence = "model 'fraud' version 7: a forward has been running for 10s";
    assert!(doom.to_string().starts_with(sentence), "{doom}");
    gate.release();
    let deadline = Instant::now() + PATIENCE;
    while pulse.strong_count() > 0 {
        assert!(Instant::now() < deadline, "its thread ends");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn without_patience_a_forward_takes_as_long_as_it_takes() {
    let (gate, worker, asking) = stuck().await;
    let watchdog = Watchdog::new(None);
    watchdog.watch("fraud", 7, &Serving::default(), worker.pulse());
    assert_eq!(watchdog.look(Instant::now() + 1_000 * PATIENCE), None);
    gate.release();
    assert!(asking.await.unwrap().is_ok());
    worker.stop().await;
}

#[tokio::test]
async fn a_forward_may_take_at_least_as_long_as_its_requests_wait() {
    let (gate, worker, asking) = stuck().await;
    let watchdog = Watchdog::new(Some(PATIENCE));
    let slow = Serving {
        timeout: Some(3 * PATIENCE),
        ..Serving::default()
    };
    watchdog.watch("fraud", 7, &slow, worker.pulse());
    assert_eq!(watchdog.look(Instant::now() + 2 * PATIENCE), None);
    assert!(watchdog.look(Instant::now() + 4 * PATIENCE).is_some());
    gate.release();
    assert!(asking.await.is_ok());
    worker.stop().await;
}
