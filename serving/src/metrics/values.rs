//! Where values lie that are served, of tensors that have a reference.

use prometheus::{
    GaugeVec, IntCounter, IntCounterVec,
    core::{MetricVec, MetricVecBuilder},
};

use super::InFlight;
use crate::{
    aside::aside,
    reference::{Bin, Reference},
    registry::ModelVersion,
    spec::TensorSpec,
    tensor::{Tensor, bytes_of},
};

/// The labels of a bin.
pub(super) const LABELS: [&str; 5] = ["model", "version", "role", "tensor", "bin"];

/// The tensors of a model version that have a reference.
pub(super) struct Values {
    inputs: Vec<Counters>,
    outputs: Vec<Counters>,
}

/// A tensor by its place, and a counter for each bin of its reference.
struct Counters {
    index: usize,
    reference: Reference,
    bins: Vec<IntCounter>,
}

impl Values {
    pub(super) fn new(loaded: &ModelVersion, family: &IntCounterVec) -> Self {
        let [inputs, outputs] = roles(loaded).map(|(role, specs)| {
            let counters = referred(specs).map(|(index, spec, reference)| {
                let counter = |bin| of_bin(family, loaded, (role, spec), bin);
                let bins = reference.bins().map(counter);
                Counters {
                    index,
                    reference: reference.clone(),
                    bins: bins.collect(),
                }
            });
            counters.collect()
        });
        Self { inputs, outputs }
    }
}

/// Tells what the shares of the bins were.
pub(super) fn tell_shares(loaded: &ModelVersion, family: &GaugeVec) {
    for (role, specs) in roles(loaded) {
        for (_, spec, reference) in referred(specs) {
            for (bin, share) in reference.bins().zip(reference.shares()) {
                of_bin(family, loaded, (role, spec), bin).set(*share);
            }
        }
    }
}

fn roles(loaded: &ModelVersion) -> [(&'static str, &[TensorSpec]); 2] {
    [
        ("input", &loaded.spec.inputs),
        ("output", &loaded.spec.outputs),
    ]
}

fn referred(specs: &[TensorSpec]) -> impl Iterator<Item = (usize, &TensorSpec, &Reference)> {
    let all = specs.iter().enumerate();
    all.filter_map(|(index, spec)| Some((index, spec, spec.reference.as_ref()?)))
}

/// The series of a bin.
fn of_bin<T: MetricVecBuilder>(
    family: &MetricVec<T>,
    loaded: &ModelVersion,
    (role, spec): (&str, &TensorSpec),
    bin: Bin,
) -> T::M {
    let (version, bin) = (loaded.version.to_string(), bin.to_string());
    family.with_label_values(&[&*loaded.model, &*version, role, &*spec.name, &*bin])
}

fn count(all: &[Counters], tensors: &[Tensor]) {
    for counters in all {
        let Some(tensor) = tensors.get(counters.index) else {
            continue;
        };
        for (counter, count) in counters.bins.iter().zip(counters.reference.count(tensor)) {
            counter.inc_by(count);
        }
    }
}

impl InFlight<'_> {
    /// Those of the inputs that are to be counted, if anything is: see [`InFlight::answered`].
    #[must_use]
    pub fn to_count(&self, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
        // They share their bytes.
        let values = &self.series.values;
        match (values.inputs.is_empty(), values.outputs.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Vec::new()),
            (false, _) => Some(inputs.to_vec()),
        }
    }

    /// Counts the values of a request that the model or its cache has answered.
    pub fn answered(&self, inputs: &[Tensor], outputs: &[Tensor]) {
        aside(bytes_of(inputs) + bytes_of(outputs), || {
            count(&self.series.values.inputs, inputs);
            count(&self.series.values.outputs, outputs);
        });
    }
}
