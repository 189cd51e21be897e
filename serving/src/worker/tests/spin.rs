//! Instances that look for their next request themselves.

use super::*;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// A worker of as many instances as gates, one of which may spin, and does.
async fn spinning(instances: usize) -> (Vec<fake::Gate>, Arc<Spin>, Worker) {
    let (gates, loads) = (0..instances).map(|_| fake::load()).unzip();
    let spin = Arc::new(Spin::new(LONG, 2));
    let spec = Arc::new(fake::spec());
    let worker = Worker::start("spin".to_owned(), spec, 8, loads, Arc::clone(&spin));
    let worker = worker.await.unwrap();
    within(async {
        while spin.spinning() == 0 {
            ask(&worker).await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    (gates, spin, worker)
}

/// What does not come to its end fails.
async fn within<T>(act: impl Future<Output = T>) -> T {
    let time = Duration::from_secs(30);
    tokio::time::timeout(time, act).await.unwrap()
}

async fn ask(worker: &Worker) {
    let answer = worker.infer(input(1.0), Urgency::default()).await;
    assert!(answer.unwrap().outputs.is_ok());
}

async fn until_asleep(worker: &Worker) {
    while worker.shared.asleep() == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn who_spins_takes_requests_and_ends_when_it_is_told_to() {
    let (_gates, spin, worker) = spinning(1).await;
    ask(&worker).await;
    worker.stop().await;
    assert_eq!(spin.spinning(), 0);
}

#[tokio::test]
async fn who_sleeps_is_woken_for_what_another_does_not_take() {
    let (gates, _spin, worker) = spinning(2).await;
    each_takes_one(&worker, &gates).await;
    worker.stop().await;
}

#[tokio::test]
async fn nobody_spins_while_several_have_a_place() {
    let (_gates, spin, worker) = spinning(1).await;
    let places = [worker.admit().unwrap(), worker.admit().unwrap()];
    for _ in 0..3 {
        ask(&worker).await;
        // It was counted before it looked for this one.
        within(until_asleep(&worker)).await;
        assert_eq!(spin.spinning(), 0);
    }
    drop(places);
    worker.stop().await;
}

#[tokio::test]
async fn who_has_looked_for_long_enough_sleeps_and_is_woken() {
    let (_gate, load) = fake::load();
    let spin = Arc::new(Spin::new(Duration::from_millis(1), 2));
    let spec = Arc::new(fake::spec());
    let worker = Worker::start("brief".to_owned(), spec, 8, vec![load], Arc::clone(&spin));
    let worker = worker.await.unwrap();
    for _ in 0..20 {
        // The second may find it awake; then it sleeps.
        within(ask(&worker)).await;
        within(ask(&worker)).await;
        within(until_asleep(&worker)).await;
        assert_eq!(spin.spinning(), 0);
    }
    worker.stop().await;
}
