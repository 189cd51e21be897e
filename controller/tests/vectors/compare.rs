//! Comparing computed values with a vector file, so that no field of it goes unseen.

use serde_json::{Map, Value, json};

/// What a field is to be compared with.
pub(crate) enum Output {
    /// Each of these values equals the field.
    Equal(Vec<Value>),
    /// This number is below the field.
    Below(f64),
}

/// One group of the file and how its fields are computed.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// Fields that are given, or belong to something to come.
    pub(crate) inputs: &'static [&'static str],
    /// Computes a field of a case; none where it does not know the field.
    pub(crate) compute: fn(&Map<String, Value>, &str) -> Option<Output>,
}

/// The field of a case in which the cases before it are put, for groups whose cases follow on each other.
pub(crate) const BEFORE: &str = "_before";

impl Group {
    /// Compares every field of every case that is not an input; the count of compared leaves, or all differences.
    pub(crate) fn run(&self, cases: &Value) -> Result<usize, Vec<String>> {
        let mut compared = 0;
        let mut differences = Vec::new();
        for (path, case) in self.cases(cases) {
            let before = compared + differences.len();
            for (field, expected) in case
                .iter()
                .filter(|(field, _)| !self.inputs.contains(&field.as_str()))
            {
                let path = format!("{path}.{field}");
                match (self.compute)(&case, field) {
                    None => differences.push(format!("{path}: nothing computes this field")),
                    Some(Output::Below(actual)) => match expected.as_f64() {
                        Some(bound) if actual < bound => compared += 1,
                        _ => differences.push(format!("{path}: {actual} is not below {expected}")),
                    },
                    Some(Output::Equal(actual)) => {
                        for actual in actual {
                            compared += compare(&path, &actual, expected, &mut differences);
                        }
                    }
                }
            }
            if compared + differences.len() == before {
                differences.push(format!("{path}: the case has no result to compare"));
            }
        }
        if compared == 0 && differences.is_empty() {
            differences.push(format!("{}: the group has no case", self.name));
        }
        if differences.is_empty() {
            Ok(compared)
        } else {
            Err(differences)
        }
    }

    /// The cases with their paths; a group that is one object is one case.
    fn cases(&self, cases: &Value) -> Vec<(String, Map<String, Value>)> {
        match cases {
            Value::Object(case) => vec![(self.name.to_owned(), case.clone())],
            Value::Array(list) => {
                let case = |at: usize, case: &Value| {
                    let mut case = case
                        .as_object()
                        .unwrap_or_else(|| panic!("{}[{at}] is not an object", self.name))
                        .clone();
                    if self.inputs.contains(&BEFORE) && !case.contains_key(BEFORE) {
                        case.insert(BEFORE.to_owned(), json!(list[..at]));
                    }
                    (format!("{}[{at}]", self.name), case)
                };
                list.iter()
                    .enumerate()
                    .map(|(at, value)| case(at, value))
                    .collect()
            }
            other => panic!("{} is neither a list nor an object: {other}", self.name),
        }
    }
}

/// Compares two values leaf by leaf and returns how many leaves agree. An object may have more fields than expected.
fn compare(path: &str, actual: &Value, expected: &Value, differences: &mut Vec<String>) -> usize {
    match (actual, expected) {
        (Value::Array(actual), Value::Array(expected)) if actual.len() == expected.len() => {
            // An empty list that is as empty as expected is one finding.
            let leaves = actual.iter().zip(expected).enumerate();
            let compared: usize = leaves
                .map(|(at, (a, e))| compare(&format!("{path}[{at}]"), a, e, differences))
                .sum();
            if expected.is_empty() { 1 } else { compared }
        }
        (Value::Object(actual), Value::Object(expected)) => expected
            .iter()
            .map(|(key, e)| {
                compare(
                    &format!("{path}.{key}"),
                    actual.get(key).unwrap_or(&Value::Null),
                    e,
                    differences,
                )
            })
            .sum(),
        _ if same(actual, expected) => 1,
        _ => {
            differences.push(format!("{path}: {actual} is not {expected}"));
            0
        }
    }
}

/// Numbers agree to 1e-6 of the expected one; the absolute part only forgives rounding around 0.
fn same(actual: &Value, expected: &Value) -> bool {
    match (actual.as_f64(), expected.as_f64()) {
        (Some(actual), Some(expected)) => {
            (actual - expected).abs() <= 1e-6 * expected.abs() + 1e-12
        }
        _ => actual == expected,
    }
}

/// Copies of a group, each with one expected leaf changed by a little more than the tolerance.
pub(crate) fn perturbed(group: &Group, cases: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (path, case) in group.cases(cases) {
        for (field, expected) in case
            .iter()
            .filter(|(field, _)| !group.inputs.contains(&field.as_str()))
        {
            // A bound may well be a little larger; it must not be 0.
            let variants = if field.ends_with("_lt") {
                vec![json!(0.0)]
            } else {
                changed(expected)
            };
            for variant in variants {
                let what = format!("{path}.{field} to {variant}");
                let mut case = case.clone();
                case.insert(field.clone(), variant);
                all.push((what, json!([case])));
            }
        }
    }
    all
}

/// Every way to change one leaf.
fn changed(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![json!(0.0)],
        Value::Bool(held) => vec![json!(!held), Value::Null],
        Value::Number(number) => {
            let number = number
                .as_f64()
                .unwrap_or_else(|| panic!("{number} is no f64"));
            let step = 2e-6 * number.abs() + 2e-12;
            vec![json!(number + step), json!(number - step), Value::Null]
        }
        Value::String(text) => vec![json!(format!("{text}?"))],
        Value::Array(list) => {
            let mut all = vec![json!(
                list.iter().cloned().chain([json!(0)]).collect::<Vec<_>>()
            )];
            for (at, item) in list.iter().enumerate() {
                all.extend(changed(item).into_iter().map(|item| {
                    let mut list = list.clone();
                    list[at] = item;
                    Value::Array(list)
                }));
            }
            all
        }
        Value::Object(fields) => {
            let variants = |(key, item): (&String, &Value)| {
                let replaced = |item| {
                    let mut fields = fields.clone();
                    fields.insert(key.clone(), item);
                    Value::Object(fields)
                };
                changed(item).into_iter().map(replaced).collect::<Vec<_>>()
            };
            fields.iter().flat_map(variants).collect()
        }
    }
}
