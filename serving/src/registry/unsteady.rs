//! Models that give two answers to one question.

use crate::{cache::Cache, worker::Worker};

const UNSTEADY: &str = "the same inputs got different outputs while it was warmed up, so it keeps something from \
     one request for the next, or draws random numbers; if it keeps a state, name the method that clears it as 'reset' in \
     model.yaml, or save a module that takes the state as an input and returns it";

/// The same, if it has a cache as well.
const CACHED: &str = "its answers are cached all the same, and may be those to another state: take 'cache' out of its model.yaml, or 'response_cache' out of its config.pbtxt";

/// What the operator should know of such a model; nothing of others.
pub(crate) fn notes(worker: &Worker, cache: Option<&Cache>) -> &'static [&'static str] {
    match (worker.is_steady(), cache) {
        (true, _) => &[],
        (false, None) => &[UNSTEADY],
        (false, Some(_)) => &[UNSTEADY, CACHED],
    }
}
