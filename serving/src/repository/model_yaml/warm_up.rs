//! `warmUp`: which values and shapes an input has when the model is warmed up.

use serde_json::{Value, value::RawValue};
use serde_saphyr::Spanned;

use super::Checker;
use crate::{
    spec::{DYNAMIC, MAX_SHAPES, TensorSpec},
    tensor::{Datatype, Tensor, check_shape, json, shorten},
};

impl Checker<'_> {
    /// One value, or an object of a value and shapes.
    pub(super) fn warm_up(&mut self, spec: &mut TensorSpec, at: &Spanned<Value>) {
        let (value, shapes) = match &at.value {
            Value::Object(fields) => {
                let known = |it: &&String| matches!(it.as_str(), "value" | "shapes");
                if let Some(other) = fields.keys().find(|it| !known(it)) {
                    let what =
                        format!("'warmUp' of input '{}' has '{}'", spec.name, shorten(other));
                    let why = "it has 'value' and 'shapes'";
                    self.refuse(at, what, why, "remove it, or write what is meant");
                }
                (fields.get("value"), fields.get("shapes"))
            }
            value => (Some(value), None),
        };
        if let Some(value) = value {
            self.value(spec, at, value);
        }
        if let Some(shapes) = shapes {
            self.shapes(spec, at, shapes);
        }
    }

    fn value(&mut self, spec: &mut TensorSpec, at: &Spanned<Value>, written: &Value) {
        let what = format!("'warmUp' of input '{}' is {written}", spec.name);
        let Some(found) = value(written, spec.datatype) else {
            let (why, fix) = if spec.datatype.has_json_form() {
                let why = format!("it is no value of {}", spec.datatype);
                let fix = "write one number, true or false, or {value: 0, shapes: [[3, 224, 224]]}";
                (why, fix)
            } else {
                let why = format!("values of {} cannot be written", spec.datatype);
                (
                    why,
                    "leave it out, or write shapes alone: {shapes: [[3, 224, 224]]}",
                )
            };
            self.refuse(at, what, why, fix);
            return;
        };
        if let Err(error) = spec.check_values(&found) {
            let why = format!("'range' is [{}, {}]", error.min, error.max);
            self.refuse(at, what, why, "write a value that requests may have");
        }
        spec.warm_up.value = Some(found);
    }

    fn shapes(&mut self, spec: &mut TensorSpec, at: &Spanned<Value>, written: &Value) {
        let name = &spec.name;
        let Ok(shapes) = serde_json::from_value::<Vec<Vec<i64>>>(written.clone()) else {
            let what = format!("'shapes' of 'warmUp' of input '{name}' is {written}");
            let why = "it is a list of shapes, and a shape a list of sizes";
            self.refuse(at, what, why, "write one such as [[3, 224, 224]]");
            return;
        };
        let count = shapes.len();
        let what = format!("'warmUp' of input '{name}' has {count} shapes");
        if !(1..=MAX_SHAPES).contains(&count) {
            let why = format!("it may have 1 to {MAX_SHAPES}");
            self.refuse(at, what, why, "write those that most requests have");
            return;
        }
        match &self.shapes {
            Some((other, wanted)) if count > 1 && count != *wanted => {
                let why = format!(
                    "that of input '{other}' has {wanted}, and the model is warmed up with the first of both, then the second, \
                     and so on"
                );
                let fix = "write as many, or one that goes with all";
                self.refuse(at, what, why, fix);
            }
            None if count > 1 => self.shapes = Some((name.clone(), count)),
            _ => {}
        }
        for shape in shapes {
            if self.fits(spec, at, &shape) {
                let rows = self.joined.then_some(DYNAMIC);
                let whole = rows.into_iter().chain(shape).collect();
                spec.warm_up.shapes.push(whole);
            }
        }
    }

    /// Whether it is a shape that a request may have, beside its rows.
    fn fits(&mut self, spec: &TensorSpec, at: &Spanned<Value>, shape: &[i64]) -> bool {
        let beside = spec.shape.get(usize::from(self.joined)..);
        let beside = beside.unwrap_or_default();
        let fits = |(&wanted, &size): (&i64, &i64)| wanted == DYNAMIC || wanted == size;
        let what = format!("'warmUp' of input '{}' has the shape {shape:?}", spec.name);
        if beside.len() != shape.len() || !beside.iter().zip(shape).all(fits) {
            let rows = match self.joined {
                true => " beside the rows, which are those of 'maxBatchSize'",
                false => "",
            };
            let why = format!("the input has {beside:?}{rows} (-1 is any size)");
            self.refuse(at, what, why, "write a size for each of these dimensions");
            return false;
        }
        if let Err(error) = check_shape(shape) {
            let fix = "write sizes from 1, such as requests have";
            self.refuse(at, what, error.to_string(), fix);
            return false;
        }
        true
    }
}

/// One value of a datatype.
pub(super) fn value(written: &Value, datatype: Datatype) -> Option<Tensor> {
    let text = RawValue::from_string(format!("[{written}]")).ok()?;
    json::parse(&text, datatype, Vec::new()).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::repository::model_yaml::{parse, values::tests::read};

    /// The shapes of the forwards that a model of these inputs is warmed up with.
    fn samples(inputs: &str, more: &str) -> Result<Vec<Vec<Vec<i64>>>, Vec<String>> {
        let output = "{name: y, datatype: FP32, shape: [-1]}";
        let text = format!("inputs:\n{inputs}\noutputs: [{output}]\n{more}");
        let found = parse(Path::new("model.yaml"), &text);
        let spec = found.map_err(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let spec = spec.spec;
        let inputs = |sample| spec.inputs_of(sample).unwrap();
        let shapes = |all: Vec<Tensor>| all.iter().map(|it| it.shape().to_vec()).collect();
        Ok(spec.samples().map(inputs).map(shapes).collect())
    }

    #[test]
    fn shapes_are_what_comes_after_the_rows_where_requests_run_together_and_whole_where_not() {
        let image = |shape: &str| {
            format!(
                "- {{name: x, datatype: FP32, shape: [-1, 3, -1, -1], warmUp: {{shapes: [{shape}]}}}}"
            )
        };
        let together = samples(&image("[3, 224, 160]"), "maxBatchSize: 2").unwrap();
        assert_eq!(together, [[[1, 3, 224, 160]], [[2, 3, 224, 160]]]);
        let alone = samples(&image("[4, 3, 7, 9], [1, 3, 8, 8]"), "").unwrap();
        assert_eq!(alone, [[[4, 3, 7, 9]], [[1, 3, 8, 8]]]);
    }

    #[test]
    fn shapes_of_the_same_place_go_together_and_one_goes_with_all() {
        let inputs = "
- {name: tokens, datatype: INT64, shape: [-1, -1], warmUp: {value: 5, shapes: [[8], [32]]}}
- {name: mask, datatype: INT64, shape: [-1, -1], warmUp: {shapes: [[8], [32]]}}
- {name: kind, datatype: INT64, shape: [-1, -1], warmUp: {shapes: [[2]]}}
- {name: rate, datatype: INT64, shape: [-1, 1]}";
        assert_eq!(
            samples(inputs, "maxBatchSize: 1").unwrap(),
            [
                [[1, 8], [1, 8], [1, 2], [1, 1]],
                [[1, 32], [1, 32], [1, 2], [1, 1]]
            ]
        );
        let other = inputs.replacen("[[8], [32]]", "[[8], [16], [32]]", 1);
        let problems = samples(&other, "maxBatchSize: 1").unwrap_err();
        let wanted = "model.yaml:4: 'warmUp' of input 'mask' has 2 shapes: that of input 'tokens' has 3, and the model is \
                      warmed up with the first of both, then the second, and so on; write as many, or one that goes with all";
        assert_eq!(problems, [wanted]);
    }

    #[test]
    fn a_value_may_stand_beside_shapes() {
        let spec = read(
            "datatype: UINT8, shape: [-1], warmUp: {value: 7, shapes: [[3]]}",
            "",
        );
        assert_eq!(spec.unwrap().sample(1).unwrap().bytes(), [7; 3]);
        let spec = read("datatype: UINT8, shape: [-1], warmUp: {value: 7}", "");
        assert_eq!(spec.unwrap().sample(1).unwrap().bytes(), [7]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_line_with_what_to_do() {
        let many = format!(
            "datatype: INT64, shape: [-1], warmUp: {{shapes: [{}]}}",
            "[1],".repeat(65)
        );
        for (tensor, message) in [
            (
                "datatype: UINT8, shape: [], warmUp: 256",
                "model.yaml:1: 'warmUp' of input 'x' is 256: it is no value of UINT8; write one number",
            ),
            (
                "datatype: FP32, shape: [], warmUp: [1]",
                "model.yaml:1: 'warmUp' of input 'x' is [1]: it is no value of FP32",
            ),
            (
                "datatype: FP16, shape: [], warmUp: {value: 1}",
                "model.yaml:1: 'warmUp' of input 'x' is 1: values of FP16 cannot be written; leave it out",
            ),
            (
                "datatype: INT64, shape: [], range: [0, 15], warmUp: 16",
                "model.yaml:1: 'warmUp' of input 'x' is 16: 'range' is [0, 15]; write a value that requests may have",
            ),
            (
                "datatype: INT64, shape: [-1], warmUp: {shape: [3]}",
                "model.yaml:1: 'warmUp' of input 'x' has 'shape': it has 'value' and 'shapes'; remove it",
            ),
            (
                "datatype: INT64, shape: [-1], warmUp: {shapes: [3]}",
                "model.yaml:1: 'shapes' of 'warmUp' of input 'x' is [3]: it is a list of shapes, and a shape a list of sizes; write",
            ),
            (
                "datatype: INT64, shape: [-1], warmUp: {shapes: []}",
                "model.yaml:1: 'warmUp' of input 'x' has 0 shapes: it may have 1 to 64; write",
            ),
            (
                &many,
                "model.yaml:1: 'warmUp' of input 'x' has 65 shapes: it may have 1 to 64; write",
            ),
            (
                "datatype: INT64, shape: [-1, 3], warmUp: {shapes: [[2, 4]]}",
                "model.yaml:1: 'warmUp' of input 'x' has the shape [2, 4]: the input has [-1, 3] (-1 is any size); write a size",
            ),
            (
                "datatype: INT64, shape: [-1], warmUp: {shapes: [[0]]}",
                "model.yaml:1: 'warmUp' of input 'x' has the shape [0]: dimension 0 of the shape is 0, it must be at least 1; write",
            ),
            (
                "datatype: INT64, shape: [-1], warmUp: {shapes: [[100000000]]}",
                "model.yaml:1: 'warmUp' of input 'x' has the shape [100000000]: shape [100000000] has more than 16777216",
            ),
        ] {
            let found = read(tensor, "").unwrap_err();
            assert!(found.starts_with(message), "{found}");
        }
        let whole = "- {name: x, datatype: INT64, shape: [-1, -1], warmUp: {shapes: [[1, 8]]}}";
        let problems = samples(whole, "maxBatchSize: 4").unwrap_err();
        let wanted = "model.yaml:2: 'warmUp' of input 'x' has the shape [1, 8]: the input has [-1] beside the rows, which are \
                      those of 'maxBatchSize' (-1 is any size); write a size for each of these dimensions";
        assert_eq!(problems, [wanted]);
    }
}
