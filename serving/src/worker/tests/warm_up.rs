//! What instances run before they serve.

use super::*;

/// A model that tells how many rows each forward has.
struct Sizes(Box<dyn Backend>, Sender<i64>);

impl Backend for Sizes {
    fn infer(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, BackendError> {
        self.1.send(inputs[0].shape()[0]).unwrap();
        self.0.infer(inputs)
    }
}

/// The rows of all forwards that each of two instances runs until they serve.
async fn sizes(most: Option<usize>) -> Vec<Vec<i64>> {
    let spec = fake::rows_spec(Serving {
        max_batch_size: most,
        ..Serving::default()
    });
    let instance = || {
        let (seen, sizes) = channel();
        let (_, load) = fake::load_rows();
        let load: Load = Box::new(move || Ok(Box::new(Sizes(load()?, seen)) as Box<dyn Backend>));
        (sizes, load)
    };
    let (sizes, loads): (Vec<_>, Vec<_>) = [instance(), instance()].into_iter().unzip();
    let worker = Worker::start("sizes".to_owned(), Arc::new(spec), 4, loads, Arc::default());
    let worker = worker.await.unwrap();
    worker.stop().await;
    assert_eq!(
        (worker.forwards(), worker.rows()),
        (0, 0),
        "nobody has asked"
    );
    // The threads have ended.
    sizes.iter().map(|it| it.iter().collect()).collect()
}

#[tokio::test]
async fn every_instance_runs_batches_of_all_sizes_three_times_before_it_serves() {
    for (most, wanted) in [
        (Some(8), &[1, 2, 4, 8][..]),
        (Some(12), &[1, 2, 4, 8, 12]),
        (Some(1), &[1]),
        (None, &[1]),
    ] {
        let runs = wanted.iter().flat_map(|it| [*it; 3]);
        let runs: Vec<i64> = runs.collect();
        assert_eq!(sizes(most).await, [runs.clone(), runs], "{most:?}");
    }
}
