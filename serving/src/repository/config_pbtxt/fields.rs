//! Which fields of Triton's configuration are heeded, and what comes of the others.

use prost_reflect::{DynamicMessage, MapKey, Value};

use super::model::Checker;

/// Fields, by their path, that are heeded, here or where a model is described.
const HEEDED: &[&str] = &[
    "name",
    "platform",
    "backend",
    "max_batch_size",
    "default_model_filename",
    "version_policy.latest.num_versions",
    "version_policy.all",
    "version_policy.specific.versions",
    "input.name",
    "input.data_type",
    "input.dims",
    "output.name",
    "output.data_type",
    "output.dims",
    "instance_group.name",
    "instance_group.kind",
    "instance_group.count",
    "instance_group.gpus",
    "response_cache.enable",
    "model_warmup.name",
    "model_warmup.batch_size",
    // What of them is heeded is said where they are read.
    "model_warmup.inputs",
    "dynamic_batching.max_queue_delay_microseconds",
    "dynamic_batching.default_queue_policy.timeout_action",
    "dynamic_batching.default_queue_policy.default_timeout_microseconds",
    "dynamic_batching.default_queue_policy.allow_timeout_override",
    "dynamic_batching.default_queue_policy.max_queue_size",
];

/// Fields that would make another model of it, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "ensemble_scheduling",
        "an ensemble is made of other models, which clients ask one after the other here",
    ),
    (
        "sequence_batching",
        "the state of a sequence would be lost between its requests",
    ),
    ("batch_input", "the model would miss an input"),
    (
        "batch_output",
        "an answer would have other rows than its request",
    ),
    (
        "input.reshape",
        "the model would get another shape than it wants",
    ),
    (
        "output.reshape",
        "the answer would have another shape than is said",
    ),
    ("input.optional", "the model would miss an input"),
    (
        "input.allow_ragged_batch",
        "the model would get its rows one by one",
    ),
    ("input.is_shape_tensor", "TorchScript has no such inputs"),
    ("output.is_shape_tensor", "TorchScript has no such outputs"),
    (
        "model_transaction_policy.decoupled",
        "a request has one answer here",
    ),
    (
        "model_repository_agents",
        "what they do to the files would be left out",
    ),
    ("model_operations", "its operators would be missing"),
    (
        "cc_model_filenames",
        "another file would be loaded than is said",
    ),
    (
        "runtime",
        "the model would run in something else than is said",
    ),
    ("instance_group.passive", "the model would not run at all"),
];

/// Fields that change nothing of the answers, and what is done in their place.
const IGNORED: &[(&str, &str)] = &[
    ("model_warmup.count", "each sample is run three times"),
    (
        "dynamic_batching.preferred_batch_size",
        "an idle instance takes what waits",
    ),
    (
        "dynamic_batching.priority_levels",
        "any number is a priority, 1 the most urgent",
    ),
    (
        "dynamic_batching.default_priority_level",
        "requests without a priority have 100",
    ),
    (
        "dynamic_batching.preserve_ordering",
        "answers are given as soon as they are there",
    ),
    ("output.label_filename", "answers are tensors"),
];

/// What is done with the rest.
const OTHERS: &str = "it is not supported";

impl Checker<'_> {
    /// Says of each field that is set, and is not heeded, what comes of that.
    pub(super) fn fields(&mut self, message: &DynamicMessage) {
        self.inside("", message);
    }

    fn inside(&mut self, parent: &str, message: &DynamicMessage) {
        for (field, value) in message.fields() {
            let path = match parent {
                "" => field.name().to_owned(),
                parent => format!("{parent}.{}", field.name()),
            };
            self.field(&path, value);
        }
    }

    fn field(&mut self, path: &str, value: &Value) {
        let said = |table: &[(&str, &'static str)]| {
            let found = table.iter().find(|(known, _)| *known == path);
            found.map(|(_, why)| *why)
        };
        if HEEDED.contains(&path) {
            return;
        }
        if let Some(why) = said(REFUSED) {
            let fix = "take it out if the model does without, or serve this model with Triton";
            return self.refuse(format!("'{path}' is not supported"), why, fix);
        }
        let inside = format!("{path}.");
        let known = HEEDED.iter().copied().chain(
            [REFUSED, IGNORED]
                .concat()
                .into_iter()
                .map(|(known, _)| known),
        );
        let goes_deeper = known.into_iter().any(|known| known.starts_with(&inside));
        match value {
            Value::Message(message) if goes_deeper => self.inside(path, message),
            Value::List(items) if goes_deeper => {
                for message in items.iter().filter_map(Value::as_message) {
                    self.inside(path, message);
                }
            }
            // Set to nothing, as generated files are.
            Value::Message(message) if message.fields().next().is_none() => {}
            Value::Map(entries) => {
                let mut keys: Vec<String> = entries.keys().map(written).collect();
                keys.sort_unstable();
                let keys = keys.join(", ");
                let why = said(IGNORED).unwrap_or(OTHERS);
                self.note(format!("'{path}' ({keys}) is ignored: {why}"));
            }
            _ => {
                let why = said(IGNORED).unwrap_or(OTHERS);
                self.note(format!("'{path}' is ignored: {why}"));
            }
        }
    }
}

fn written(key: &MapKey) -> String {
    match key {
        MapKey::String(key) => key.clone(),
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::config_pbtxt::CONFIG;

    #[test]
    fn every_field_that_is_named_is_one_of_triton() {
        let all = HEEDED.iter().copied();
        let others = REFUSED.iter().chain(IGNORED).map(|(path, _)| *path);
        for path in all.chain(others) {
            let mut message = CONFIG.clone();
            for part in path.split('.') {
                let at = message.take().unwrap_or_else(|| panic!("{path}"));
                let field = at.get_field_by_name(part);
                let field = field.unwrap_or_else(|| panic!("{path}: no '{part}'"));
                message = field.kind().as_message().cloned();
            }
        }
    }
}
