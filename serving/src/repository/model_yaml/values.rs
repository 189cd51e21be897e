//! What an input is beside a tensor: a number of `forward`, and the value that the model is warmed up with.

use serde_json::{Value, value::RawValue};
use serde_saphyr::Spanned;

use super::Checker;
use crate::{spec::TensorSpec, tensor::json};

impl Checker<'_> {
    /// Adds `number` and `warmUp` to the spec of a tensor.
    pub(super) fn values(
        &mut self,
        role: &str,
        spec: &mut TensorSpec,
        number: Option<&Spanned<bool>>,
        warm_up: Option<&Spanned<Value>>,
    ) {
        let name = &spec.name;
        if role != "input" {
            let only = "only 'forward' is given something";
            if let Some(at) = number {
                let what = format!("'number' of {role} '{name}' is refused");
                self.refuse(at, what, only, "remove it");
            }
            if let Some(at) = warm_up {
                let what = format!("'warmUp' of {role} '{name}' is refused");
                self.refuse(at, what, only, "remove it");
            }
            return;
        }
        if let Some(at) = number {
            if at.value && spec.shape.iter().any(|&size| size != 1) {
                let what = format!("'number' with input '{name}' of shape {:?}", spec.shape);
                let why = "a number is one value";
                self.refuse(at, what, why, "write 'shape: []', or remove 'number'");
            }
            spec.number = at.value;
        }
        if let Some(at) = warm_up {
            let text = RawValue::from_string(format!("[{}]", at.value));
            let read = text.map(|text| json::parse(&text, spec.datatype, Vec::new()));
            match read {
                Ok(Ok(value)) => spec.warm_up = Some(value),
                _ => {
                    let what = format!("'warmUp' of input '{name}' is {}", at.value);
                    let why = format!("it is no value of {}", spec.datatype);
                    self.refuse(at, what, why, "write one number, true or false");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::repository::model_yaml::parse;

    fn read(tensor: &str, output: &str) -> Result<TensorSpec, String> {
        let text = format!(
            "inputs: [{{name: x, {tensor}}}]\noutputs: [{{name: y, datatype: FP32, shape: [1]{output}}}]\n"
        );
        parse(Path::new("model.yaml"), &text)
            .map(|it| it.spec.inputs[0].clone())
            .map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn an_input_may_be_a_number_and_have_a_value_to_warm_up_with() {
        let rate = read(
            "datatype: INT64, shape: [], number: true, warmUp: 16000",
            "",
        );
        let rate = rate.unwrap();
        assert!(rate.number);
        assert_eq!(rate.sample(1).unwrap().bytes(), 16_000_i64.to_ne_bytes());
        for (tensor, bytes) in [
            (
                "datatype: FP32, shape: [1], warmUp: 0.5",
                0.5_f32.to_ne_bytes().to_vec(),
            ),
            (
                "datatype: FP64, shape: [1], warmUp: -1",
                (-1_f64).to_ne_bytes().to_vec(),
            ),
            ("datatype: BOOL, shape: [1], warmUp: true", vec![1]),
            ("datatype: UINT8, shape: [2], warmUp: 7", vec![7, 7]),
        ] {
            let spec = read(tensor, "").unwrap();
            assert!(!spec.number);
            assert_eq!(spec.sample(1).unwrap().bytes(), bytes, "{tensor}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_by_line_with_what_to_do() {
        for (tensor, output, message) in [
            (
                "datatype: INT64, shape: [-1], number: true",
                "",
                "model.yaml:1: 'number' with input 'x' of shape [-1]: a number is one value; write 'shape: []'",
            ),
            (
                "datatype: UINT8, shape: [], warmUp: 256",
                "",
                "model.yaml:1: 'warmUp' of input 'x' is 256: it is no value of UINT8; write one number",
            ),
            (
                "datatype: FP32, shape: [], warmUp: [1]",
                "",
                "model.yaml:1: 'warmUp' of input 'x' is [1]: it is no value of FP32",
            ),
            (
                "datatype: FP16, shape: [], warmUp: 1",
                "",
                "model.yaml:1: 'warmUp' of input 'x' is 1: it is no value of FP16",
            ),
            (
                "datatype: FP32, shape: []",
                ", number: true",
                "model.yaml:2: 'number' of output 'y' is refused: only 'forward' is given something; remove it",
            ),
            (
                "datatype: FP32, shape: []",
                ", warmUp: 1",
                "model.yaml:2: 'warmUp' of output 'y' is refused: ",
            ),
        ] {
            let found = read(tensor, output).unwrap_err();
            assert!(found.starts_with(message), "{found}");
        }
    }
}
