//! `model.yaml`: the inputs and outputs of a model and how it is served, read strictly.

mod placement;
mod reference;
mod serving;
mod values;
mod versions;
mod warm_up;

pub(super) use self::{
    serving::{DEFAULT_CACHE, MAX_BATCH, MAX_DELAY, MAX_INSTANCES, MAX_QUEUE, MAX_TIMEOUT},
    versions::MAX_VERSIONS,
};

use std::{collections::HashSet, fs, path::Path};

use serde::Deserialize;
use serde_json::Value;
use serde_saphyr::Spanned;

use self::{
    placement::Devices,
    reference::Histogram,
    serving::{CacheWanted, Wanted, When},
    values::Extras,
    versions::Versions,
};
use super::{Problem, description::Described, reason};
use crate::{
    spec::{MAX_TENSORS, ModelSpec, TensorSpec, sized},
    tensor::{Datatype, check_shape},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    inputs: Spanned<Vec<Declaration>>,
    outputs: Spanned<Vec<Declaration>>,
    #[serde(rename = "maxBatchSize")]
    max_batch_size: Option<Spanned<u64>>,
    #[serde(rename = "maxQueueDelay")]
    max_queue_delay: Option<Spanned<String>>,
    #[serde(rename = "queueSize")]
    queue_size: Option<Spanned<u64>>,
    timeout: Option<Spanned<String>>,
    #[serde(rename = "forwardTimeout")]
    forward_timeout: Option<Spanned<String>>,
    instances: Option<Spanned<u64>>,
    device: Option<Spanned<Devices>>,
    dtype: Option<Spanned<String>>,
    cache: Option<Spanned<CacheWanted>>,
    load: Option<Spanned<When>>,
    #[serde(rename = "unloadAfter")]
    unload_after: Option<Spanned<String>>,
    reset: Option<Spanned<String>>,
    versions: Option<Spanned<Versions>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declaration {
    name: Spanned<String>,
    datatype: Spanned<String>,
    shape: Spanned<Vec<i64>>,
    number: Option<Spanned<bool>>,
    #[serde(rename = "warmUp")]
    warm_up: Option<Spanned<Value>>,
    range: Option<Spanned<Value>>,
    reference: Option<Spanned<Histogram>>,
}

/// Reads and checks the file.
///
/// # Errors
/// Everything wrong with it, by line.
pub fn read(file: &Path) -> Result<Described, Vec<Problem>> {
    let text = fs::read_to_string(file).map_err(|error| {
        let fix = "write one with 'inputs' and 'outputs', each a list of {name, datatype, shape}";
        vec![Problem::new(file, "cannot be read", reason(&error), fix)]
    })?;
    parse(file, &text)
}

/// As [`read`], of the text of a file.
///
/// # Errors
/// As [`read`].
pub fn parse(file: &Path, text: &str) -> Result<Described, Vec<Problem>> {
    let document: Document = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let text = error.without_snippet().to_string();
        // The parser says the place again at the end, and it stands before the message already.
        let why = match text.rfind(" at line ") {
            Some(end) if line.is_some() => &text[..end],
            _ => &text,
        };
        let fix = "write 'inputs' and 'outputs', each a list of {name: x, datatype: FP32, shape: [-1, 7]}";
        vec![Problem { line, ..Problem::new(file, "not a valid model.yaml", why, fix) }]
    })?;
    let mut checker = Checker {
        file,
        joined: document.max_batch_size.is_some(),
        shapes: None,
        problems: Vec::new(),
    };
    let inputs = checker.list("input", document.inputs);
    let outputs = checker.list("output", document.outputs);
    let serving = checker.serving(
        &Wanted {
            max_batch_size: document.max_batch_size,
            max_queue_delay: document.max_queue_delay,
            queue_size: document.queue_size,
            timeout: document.timeout,
            forward_timeout: document.forward_timeout,
            instances: document.instances,
            device: document.device,
            dtype: document.dtype,
            cache: document.cache,
            load: document.load,
            unload_after: document.unload_after,
            reset: document.reset,
        },
        (&inputs, &outputs),
    );
    let versions = checker.versions(document.versions);
    if checker.problems.is_empty() {
        let spec = ModelSpec {
            inputs,
            outputs,
            serving,
        };
        Ok(Described {
            spec,
            versions,
            notes: Vec::new(),
        })
    } else {
        Err(checker.problems)
    }
}

struct Checker<'f> {
    file: &'f Path,
    /// Whether requests run together, so that first dimensions are rows.
    joined: bool,
    /// The first input that is warmed up with several shapes, and how many.
    shapes: Option<(String, usize)>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn refuse<T>(
        &mut self,
        at: &Spanned<T>,
        what: String,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let line = Some(at.referenced.line());
        self.problems.push(Problem {
            line,
            ..Problem::new(self.file, what, why, fix)
        });
    }

    fn list(&mut self, role: &str, list: Spanned<Vec<Declaration>>) -> Vec<TensorSpec> {
        if list.value.is_empty() || list.value.len() > MAX_TENSORS {
            let count = list.value.len();
            self.refuse(
                &list,
                format!("{count} {role}s"),
                format!("a model has 1 to {MAX_TENSORS}"),
                format!("declare the {role}s of 'forward'"),
            );
            return Vec::new();
        }
        let mut names = HashSet::new();
        list.value
            .into_iter()
            .filter_map(|declaration| self.tensor(role, declaration, &mut names))
            .collect()
    }

    fn tensor(
        &mut self,
        role: &str,
        declaration: Declaration,
        names: &mut HashSet<String>,
    ) -> Option<TensorSpec> {
        let Declaration {
            name,
            datatype,
            shape,
            number,
            warm_up,
            range,
            reference,
        } = declaration;
        if name.value.is_empty() {
            self.refuse(
                &name,
                format!("an {role} has an empty name"),
                "requests name it",
                "give it a name",
            );
        }
        if !names.insert(name.value.clone()) {
            self.refuse(
                &name,
                format!("{role} '{}' is declared twice", name.value),
                "requests tell tensors apart by name",
                "rename one",
            );
        }
        let what = |part: &str| format!("{part} of {role} '{}' is refused", name.value);
        let parsed = datatype.value.parse::<Datatype>();
        if let Err(error) = &parsed {
            let fix = "change the datatype, or cast inside the model";
            self.refuse(&datatype, what("datatype"), error.to_string(), fix);
        }
        if let Err(error) = check_shape(&sized(&shape.value, 1)) {
            let fix = "write sizes from 1, or -1 for any size";
            self.refuse(&shape, what("shape"), error.to_string(), fix);
        }
        let mut spec = TensorSpec::new(name.value.clone(), parsed.ok()?, shape.value);
        let extras = Extras {
            number,
            range,
            warm_up,
        };
        self.values(role, &mut spec, &extras);
        spec.reference =
            reference.and_then(|it| self.reference(role, (&spec.name, spec.datatype), &it));
        Some(spec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, problems: &[&str]) {
        let found = parse(Path::new("m/model.yaml"), text).unwrap_err();
        let found: Vec<String> = found.iter().map(Problem::to_string).collect();
        assert_eq!(found.len(), problems.len(), "{found:#?}");
        for (found, wanted) in found.iter().zip(problems) {
            assert!(found.starts_with(wanted), "{found}\nwanted: {wanted}");
        }
    }

    #[test]
    fn a_good_file_is_read() {
        let text = "inputs: [{name: x, datatype: FP32, shape: [-1, 7]}]\noutputs:\n  - name: y\n    datatype: INT64\n    shape: []\n";
        let spec = parse(Path::new("model.yaml"), text).unwrap().spec;
        assert_eq!(
            spec.inputs[0],
            TensorSpec::new("x", Datatype::Fp32, vec![-1, 7])
        );
        assert_eq!(spec.outputs[0].shape, Vec::<i64>::new());
    }

    #[test]
    fn every_problem_comes_with_its_line() {
        check(
            "inputs:\n  - name: x\n    datatype: UINT16\n    shape: [-1, 0]\n  - name: x\n    datatype: float\n    \
             shape: [-2]\noutputs: []\n",
            &[
                "m/model.yaml:3: datatype of input 'x' is refused: datatype 'UINT16' is not supported: libtorch",
                "m/model.yaml:4: shape of input 'x' is refused: dimension 1 of the shape is 0",
                "m/model.yaml:5: input 'x' is declared twice",
                "m/model.yaml:6: datatype of input 'x' is refused: datatype 'float' is unknown; use one of FP16",
                "m/model.yaml:7: shape of input 'x' is refused: dimension 0 of the shape is -2",
                "m/model.yaml:8: 0 outputs: a model has 1 to 64",
            ],
        );
    }

    #[test]
    fn unknown_missing_and_duplicate_fields_are_refused_by_line() {
        let tensor = "[{name: x, datatype: FP32, shape: [1]}]";
        check(
            &format!("inputs: {tensor}\noutputs: {tensor}\nbatch: 3\n"),
            &["m/model.yaml:3: not a valid model.yaml: "],
        );
        check(
            &format!("inputs: {tensor}\n"),
            &["m/model.yaml:1: not a valid model.yaml: "],
        );
        check(
            &format!("inputs: {tensor}\ninputs: {tensor}\n"),
            &["m/model.yaml:2: not a valid model.yaml: "],
        );
        check(
            &format!("inputs: {tensor}\noutputs: [{{name: y, shape: 3}}]\n"),
            &["m/model.yaml:2: not a valid"],
        );
        check("inputs: [", &["m/model.yaml:1: not a valid model.yaml: "]);
    }
}
