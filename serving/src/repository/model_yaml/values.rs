//! What an input is beside a tensor: a number of `forward`, and which values it may hold.

use serde_json::Value;
use serde_saphyr::Spanned;

use super::{Checker, warm_up};
use crate::spec::TensorSpec;

/// Fields of inputs, which outputs do not have.
pub(super) struct Extras {
    pub(super) number: Option<Spanned<bool>>,
    pub(super) range: Option<Spanned<Value>>,
    pub(super) warm_up: Option<Spanned<Value>>,
}

impl Checker<'_> {
    /// Adds `number`, `range` and `warmUp` to the spec of a tensor.
    pub(super) fn values(&mut self, role: &str, spec: &mut TensorSpec, extras: &Extras) {
        let Extras {
            number,
            range,
            warm_up,
        } = extras;
        let name = &spec.name;
        if role != "input" {
            self.misplaced("number", (role, name), number.as_ref());
            self.misplaced("range", (role, name), range.as_ref());
            self.misplaced("warmUp", (role, name), warm_up.as_ref());
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
        if let Some(at) = range {
            self.range(spec, at);
        }
        if let Some(at) = warm_up {
            self.warm_up(spec, at);
        }
    }

    fn misplaced<T>(&mut self, field: &str, (role, name): (&str, &str), at: Option<&Spanned<T>>) {
        if let Some(at) = at {
            let what = format!("'{field}' of {role} '{name}' is refused");
            let only = "only 'forward' is given something";
            self.refuse(at, what, only, "remove it");
        }
    }

    /// The smallest and the largest value that the model takes. Where 0 is not between them it is warmed up with the
    /// smallest, unless it says with what.
    fn range(&mut self, spec: &mut TensorSpec, at: &Spanned<Value>) {
        let TensorSpec { name, datatype, .. } = &*spec;
        let Some(all) = datatype.whole() else {
            let what = format!("'range' of input '{name}' is refused");
            let why = format!("it is one of whole numbers, and the input is {datatype}");
            self.refuse(at, what, why, "remove it");
            return;
        };
        let what = format!("'range' of input '{name}' is {}", at.value);
        let fix = "write the smallest and the largest value, such as [0, 99]";
        match pair(&at.value) {
            Some((min, max)) if min > max => {
                self.refuse(at, what, "the first is above the second", fix);
            }
            Some((min, max)) if all.contains(&min) && all.contains(&max) => {
                let range = min..=max;
                if !range.contains(&0) {
                    spec.warm_up.value = warm_up::value(&Value::from(min), *datatype);
                }
                spec.range = Some(range);
            }
            _ => {
                let (min, max) = all.into_inner();
                let why = format!("it is not two values of {datatype}, {min} to {max}");
                self.refuse(at, what, why, fix);
            }
        }
    }
}

/// Two whole numbers.
fn pair(written: &Value) -> Option<(i64, i64)> {
    match written.as_array()?.as_slice() {
        [min, max] => min.as_i64().zip(max.as_i64()),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::repository::model_yaml::parse;

    pub(in crate::repository::model_yaml) fn read(
        tensor: &str,
        output: &str,
    ) -> Result<TensorSpec, String> {
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
    fn an_input_of_whole_numbers_may_have_a_range_and_is_warmed_up_in_it() {
        for (tensor, range, warm) in [
            ("datatype: INT64, shape: [], range: [0, 99]", 0..=99, 0),
            (
                "datatype: INT8, shape: [], range: [-128, 127]",
                -128..=127,
                0,
            ),
            ("datatype: INT32, shape: [], range: [7, 7]", 7..=7, 7),
            ("datatype: INT16, shape: [], range: [-9, -2]", -9..=-2, -9),
            (
                "datatype: INT64, shape: [], number: true, range: [8000, 16000], warmUp: 16000",
                8000..=16_000,
                16_000,
            ),
            (
                "datatype: INT64, shape: [], range: [-9223372036854775808, 9223372036854775807]",
                i64::MIN..=i64::MAX,
                0,
            ),
        ] {
            let spec = read(tensor, "").unwrap();
            let sample = spec.sample(1).unwrap();
            let warm = i64::to_le_bytes(warm);
            assert_eq!(sample.bytes(), &warm[..spec.datatype.size()], "{tensor}");
            assert_eq!(spec.range, Some(range), "{tensor}");
            assert_eq!(spec.check_values(&sample), Ok(()), "{tensor}");
        }
        let free = read("datatype: INT64, shape: []", "").unwrap();
        assert_eq!(free.range, None);
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
                "datatype: FP32, shape: [], range: [0, 1]",
                "",
                "model.yaml:1: 'range' of input 'x' is refused: it is one of whole numbers, and the input is FP32; remove it",
            ),
            (
                "datatype: BOOL, shape: [], range: [0, 1]",
                "",
                "model.yaml:1: 'range' of input 'x' is refused: it is one of whole numbers, and the input is BOOL; remove it",
            ),
            (
                "datatype: INT64, shape: [], range: [1, 0]",
                "",
                "model.yaml:1: 'range' of input 'x' is [1,0]: the first is above the second; write the smallest and the largest",
            ),
            (
                "datatype: UINT8, shape: [], range: [0, 256]",
                "",
                "model.yaml:1: 'range' of input 'x' is [0,256]: it is not two values of UINT8, 0 to 255; write the smallest",
            ),
            (
                "datatype: INT8, shape: [], range: [-129, 0]",
                "",
                "model.yaml:1: 'range' of input 'x' is [-129,0]: it is not two values of INT8, -128 to 127; write",
            ),
            (
                "datatype: INT64, shape: [], range: [0, 9223372036854775808]",
                "",
                "model.yaml:1: 'range' of input 'x' is [0,9223372036854775808]: it is not two values of INT64, -9223372036854775808",
            ),
            (
                "datatype: INT64, shape: [], range: [0]",
                "",
                "model.yaml:1: 'range' of input 'x' is [0]: it is not two values of INT64",
            ),
            (
                "datatype: INT64, shape: [], range: [0, 1.5]",
                "",
                "model.yaml:1: 'range' of input 'x' is [0,1.5]: it is not two values of INT64",
            ),
            (
                "datatype: INT64, shape: [], range: 9",
                "",
                "model.yaml:1: 'range' of input 'x' is 9: it is not two values of INT64",
            ),
            (
                "datatype: FP32, shape: []",
                ", number: true",
                "model.yaml:2: 'number' of output 'y' is refused: only 'forward' is given something; remove it",
            ),
            (
                "datatype: FP32, shape: []",
                ", range: [0, 1]",
                "model.yaml:2: 'range' of output 'y' is refused: only 'forward' is given something; remove it",
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
