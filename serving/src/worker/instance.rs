//! What the thread of an instance does, from load to drop.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use tokio::sync::oneshot;

use super::{
    Answer, Fault, Pulse, StartError, WorkerError, rows,
    spin::Lull,
    strikes::{Strikes, Verdict},
};
use crate::{
    backend::{Backend, Load, infer_sample, warm_up},
    spec::ModelSpec,
};

/// Loads and warms the model, and tells how that went.
pub(super) fn prepare(
    spec: &ModelSpec,
    load: Load,
    loaded: oneshot::Sender<Result<bool, StartError>>,
) -> Option<Box<dyn Backend>> {
    let backend = load().map_err(StartError::Load).and_then(|mut backend| {
        let steady = warm_up(&mut *backend, spec).map_err(StartError::WarmUp)?;
        Ok((backend, steady))
    });
    let (backend, result) = match backend {
        Ok((backend, steady)) => (Some(backend), Ok(steady)),
        Err(error) => (None, Err(error)),
    };
    let _ = loaded.send(result);
    backend
}

/// Computes until there will be no more, or until it cannot.
pub(super) fn serve(mut backend: Box<dyn Backend>, spec: &ModelSpec, shared: &Pulse, index: usize) {
    let Some(running) = shared.running(index) else {
        return;
    };
    let mut strikes = Strikes::default();
    let mut lull = Lull::default();
    while let Some(batch) = shared.take(&mut lull) {
        let start = Instant::now();
        let split = batch.into_iter().map(|job| (job.inputs, job.client));
        let (inputs, clients): (Vec<_>, Vec<_>) = split.unzip();
        let together = clients.len();
        running.begin(start, clients);
        let answers = catch_unwind(AssertUnwindSafe(|| {
            rows::infer(&mut *backend, spec, &inputs, &mut |requests, rows| {
                shared.ran(requests, rows);
                // There may be another.
                running.again(Instant::now());
            })
        }));
        let compute = start.elapsed();
        let Some(clients) = running.end() else {
            // It took so long that the process ends.
            return;
        };
        let Ok(answers) = answers else {
            panicked(shared);
            return;
        };
        let verdict = strikes.count(&answers);
        if let Verdict::Lost(reason) = &verdict {
            shared.fail(Fault::Lost(reason.clone()));
        }
        let answers = clients.into_iter().zip(answers).map(|(client, outputs)| {
            let answer = Answer {
                outputs,
                started: start,
                queue: start.saturating_duration_since(client.arrived),
                compute,
                together,
            };
            (client, answer)
        });
        shared.answer(answers);
        lull.answered = (together > 1).then(Instant::now);
        match verdict {
            Verdict::Well => {}
            Verdict::Lost(_) => {
                // Whatever it freed would ask the device, and end the process before its time.
                std::mem::forget(backend);
                return;
            }
            Verdict::Doubtful(reason) => {
                running.begin(Instant::now(), Vec::new());
                let sample = || infer_sample(&mut *backend, spec, spec.largest_sample());
                let sample = catch_unwind(AssertUnwindSafe(sample));
                match (running.end(), sample) {
                    (None, _) => return,
                    (_, Err(_)) => {
                        panicked(shared);
                        return;
                    }
                    (_, Ok(Ok(()))) => tracing::warn!(
                        reason,
                        "forwards failed again and again, and one as in the warm-up does not: the requests ask for too much"
                    ),
                    (_, Ok(Err(error))) if error.trouble().is_none() => tracing::warn!(
                        reason,
                        %error,
                        "forwards failed again and again, and one as in the warm-up fails for another reason"
                    ),
                    (_, Ok(Err(error))) => {
                        shared.fail(Fault::Exhausted(error.to_string()));
                        std::mem::forget(backend);
                        return;
                    }
                }
            }
        }
    }
}

/// Nobody knows in what state the model and its thread are. The channels of those who wait close.
fn panicked(shared: &Pulse) {
    tracing::error!(
        "the worker thread panicked: its model is not served until the server is restarted"
    );
    shared.break_off(&WorkerError::Dead);
}
