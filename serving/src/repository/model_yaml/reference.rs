//! Where the values of a tensor lay when its model was made.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Checker;
use crate::{reference::Reference, tensor::Datatype};

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Histogram {
    bounds: Vec<f64>,
    counts: Vec<f64>,
}

impl Checker<'_> {
    pub(super) fn reference(
        &mut self,
        role: &str,
        (name, datatype): (&str, Datatype),
        written: &Spanned<Histogram>,
    ) -> Option<Reference> {
        let Histogram { bounds, counts } = &written.value;
        Reference::new(datatype, bounds.clone(), counts)
            .inspect_err(|error| {
                let what = format!("'reference' of {role} '{name}' is refused");
                let fix = "write {bounds: [0.1, 0.5], counts: [120, 7000, 300]}: how many values were up to each bound, \
                           and how many above the last";
                self.refuse(written, what, error.to_string(), fix);
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{
        reference::Reference,
        repository::model_yaml::parse,
        spec::{ModelSpec, TensorSpec},
        tensor::Datatype,
    };

    fn read(reference: &str) -> Result<ModelSpec, String> {
        let tensor = |name| {
            format!("[{{name: {name}, datatype: FP32, shape: [-1], reference: {reference}}}]")
        };
        let text = format!("inputs: {}\noutputs: {}\n", tensor("x"), tensor("y"));
        parse(Path::new("model.yaml"), &text)
            .map(|it| it.spec)
            .map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn inputs_and_outputs_may_have_one() {
        let spec = read("{bounds: [-1, 0.5], counts: [1, 2e3, 0]}").unwrap();
        let wanted = Reference::new(Datatype::Fp32, vec![-1.0, 0.5], &[1.0, 2000.0, 0.0]);
        let wanted = wanted.unwrap();
        for TensorSpec { reference, .. } in [&spec.inputs[0], &spec.outputs[0]] {
            assert_eq!(*reference, Some(wanted.clone()));
        }
    }

    #[test]
    fn what_is_none_is_refused_by_line_with_what_to_do() {
        let error = read("{bounds: [1, 1], counts: [1, 1, 1]}").unwrap_err();
        let wanted = "model.yaml:1: 'reference' of input 'x' is refused: bound 1 is 1, each must be a number of FP32 \
                      above the one before; write {bounds: [0.1, 0.5], counts: [120, 7000, 300]}: how many values";
        assert!(error.starts_with(wanted), "{error}");
        for missing in [
            "{bounds: [1]}",
            "{counts: [1, 2]}",
            "[1, 2]",
            "{bounds: [1], counts: [1, 2], bins: 3}",
        ] {
            let error = read(missing).unwrap_err();
            assert!(
                error.starts_with("model.yaml:1: not a valid model.yaml: "),
                "{error}"
            );
        }
    }
}
