//! Bodies of JSON that are refused, for a model `fraud` of one input `x`, FP32 of [-1, 2], with outputs `y` and `n`. The
//! tests of the program send them as well.

/// An inference request around one input.
fn with(name: &str, datatype: &str, shape: &str, data: &str) -> String {
    format!(
        r#"{{"inputs": [{{"name": {name}, "datatype": {datatype}, "shape": {shape}, "data": {data}}}]}}"#
    )
}

fn data(data: &str) -> String {
    with(r#""x""#, r#""FP32""#, "[1, 2]", data)
}

fn shape(shape: &str) -> String {
    with(r#""x""#, r#""FP32""#, shape, "[1, 2]")
}

fn datatype(datatype: &str) -> String {
    with(r#""x""#, datatype, "[1, 2]", "[1, 2]")
}

/// A body, and words of the sentence that refuses it.
pub(crate) fn bodies() -> Vec<(Vec<u8>, &'static str)> {
    let x = r#"{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}"#;
    let text = |body: &str| body.as_bytes().to_vec();
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    vec![
        // Not a request at all.
        (vec![], "valid inference request: EOF"),
        (vec![0xff, 0xfe, b'{'], "not UTF-8"),
        (text("null"), "valid inference request"),
        (text("[]"), "valid inference request"),
        (text("{"), "valid inference request: EOF"),
        (text("{}"), "missing field `inputs`"),
        (text(r#"{"inputs": null}"#), "expected a sequence"),
        (text(r#"{"inputs": {}}"#), "expected a sequence"),
        (
            text(&format!(r#"{{"inputs": [{x}]}} trailing"#)),
            "trailing characters",
        ),
        (
            text(&format!(r#"{{"inputs": [{x}], "inputs": [{x}]}}"#)),
            "duplicate field `inputs`",
        ),
        (
            text(&format!(r#"{{"id": 7, "inputs": [{x}]}}"#)),
            "expected a string",
        ),
        (text(&format!(r#"{{"inputs": [{x},]}}"#)), "trailing comma"),
        (text(&deep), "valid inference request"),
        (
            text(&format!(r#"{{"inputs": "{}"}}"#, "A".repeat(50_000))),
            "invalid type: string, expected a sequence",
        ),
        (
            text(&with(
                &format!(r#""{}""#, "A".repeat(50_000)),
                r#""FP32""#,
                "[1, 2]",
                "[1, 2]",
            )),
            "no input 'AAAA",
        ),
        (
            text(&datatype(&format!(r#""{}""#, "A".repeat(50_000)))),
            "datatype 'AAAA",
        ),
        (
            text(&format!(r#"{{"inputs": ["{}"]}}"#, "é".repeat(20_000))),
            "inputs[0] is not a valid input",
        ),
        (
            text(&format!(r#"[null, {{}}, [{x}], null]"#)),
            "valid inference request: it is not an object",
        ),
        // The list of inputs.
        (
            text(r#"{"inputs": []}"#),
            "0 inputs, but the model has 1: 'x'",
        ),
        (
            text(&format!(r#"{{"inputs": [{x}, {x}]}}"#)),
            "2 inputs, but the model has 1: 'x'",
        ),
        (
            text(&format!(r#"{{"inputs": [{}1]}}"#, "1,".repeat(9_999))),
            "10000 inputs",
        ),
        (
            text(r#"{"inputs": [7]}"#),
            "inputs[0] is not a valid input: it is not an object",
        ),
        (
            text(r#"{"inputs": [{}]}"#),
            "inputs[0] is not a valid input: missing field `name`",
        ),
        (
            text(r#"{"inputs": [{"name": "x"}]}"#),
            "missing field `datatype`",
        ),
        (
            text(r#"{"inputs": [{"name": "x", "datatype": "FP32", "data": [1]}]}"#),
            "missing field `shape`",
        ),
        (
            text(r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2]}]}"#),
            "missing field `data`",
        ),
        (
            text(&with("7", r#""FP32""#, "[1, 2]", "[1, 2]")),
            "expected a string",
        ),
        (
            text(&with(r#""z""#, r#""FP32""#, "[1, 2]", "[1, 2]")),
            "no input 'z', it has: 'x'",
        ),
        // Datatypes.
        (text(&datatype("7")), "expected a string"),
        (
            text(&datatype(r#""float""#)),
            "input 'x' is refused: datatype 'float' is unknown",
        ),
        (
            text(&datatype(r#""FP64""#)),
            "input 'x' is refused: datatype is FP64, but the model has FP32",
        ),
        (
            text(&datatype(r#""FP16""#)),
            "input 'x' is refused: datatype is FP16, but the model has FP32",
        ),
        (
            text(&datatype(r#""BF16""#)),
            "input 'x' is refused: datatype is BF16, but the model has FP32",
        ),
        (
            text(&datatype(r#""UINT16""#)),
            "'UINT16' is not supported: libtorch",
        ),
        (
            text(&datatype(r#""BYTES""#)),
            "'BYTES' is not supported: a TorchScript",
        ),
        // Shapes.
        (
            text(&shape("7")),
            "input 'x' is refused: shape must be an array",
        ),
        (text(&shape("null")), "shape must be an array"),
        (
            text(&shape("[1.5, 2]")),
            "shape must be an array of at most 8 whole numbers",
        ),
        (text(&shape(r#"["1", 2]"#)), "shape must be an array"),
        (
            text(&shape("[18446744073709551616, 2]")),
            "shape must be an array",
        ),
        (
            text(&shape("[2]")),
            "shape is [2], but the model has [-1, 2]",
        ),
        (
            text(&shape("[1, 3]")),
            "shape is [1, 3], but the model has [-1, 2]",
        ),
        (
            text(&shape("[1, 1, 1, 1, 1, 1, 1, 1, 2]")),
            "shape must be an array of at most 8 whole numbers",
        ),
        (text(&shape("[-1, 2]")), "dimension 0 of the shape is -1"),
        (text(&shape("[0, 2]")), "dimension 0 of the shape is 0"),
        (
            text(&shape("[9223372036854775807, 2]")),
            "more than 16777216 elements",
        ),
        (text(&shape("[8388609, 2]")), "more than 16777216 elements"),
        (
            text(&shape("[8388608, 2]")),
            "data holds 2 values, but shape [8388608, 2] needs 16777216",
        ),
        // Data.
        (
            text(&data("7")),
            "input 'x' is refused: data must be an array, but it is a number",
        ),
        (text(&data("null")), "data must be an array, but it is null"),
        (
            text(&data(r#""AAAAAAAA""#)),
            "data must be an array, but it is a string",
        ),
        (
            text(&data("{}")),
            "data must be an array, but it is an object",
        ),
        (text(&data("[]")), "data holds 0 values"),
        (
            text(&data("[1]")),
            "data holds 1 values, but shape [1, 2] needs 2",
        ),
        (
            text(&data("[1, 2, 3]")),
            "data holds more values than the 2",
        ),
        (
            text(&data("[[1], [2]]")),
            "data is nested as [2, 1], but shape says [1, 2]",
        ),
        (text(&data("[[1, 2], [3]]")), "data holds more values"),
        (text(&data("[[1], 2]")), "data is ragged"),
        (text(&data("[[], 2]")), "data is ragged"),
        (text(&data("[[[1, 2]]]")), "data is nested as [1, 1, 2]"),
        (
            text(&data("[[[[[[[[[1, 2]]]]]]]]]")),
            "deeper than 8 levels",
        ),
        (text(&data(&deep)), "deeper than 8 levels"),
        (
            text(&data("[1, null]")),
            "value 1 of data is null, but FP32 needs a number",
        ),
        (text(&data(r#"["1", 2]"#)), "value 0 of data is a string"),
        (text(&data("[true, 2]")), "value 0 of data is a boolean"),
        (text(&data("[{}, 2]")), "value 0 of data is an object"),
        (
            text(&data("[NaN, 2]")),
            "valid inference request: expected value",
        ),
        (
            text(&data("[Infinity, 2]")),
            "valid inference request: expected value",
        ),
        (
            text(&data("[1e39, 2]")),
            "value 0 of data (1e39) is out of range for FP32",
        ),
        (
            text(&data("[1e999, 2]")),
            "input 'x' is refused: data is not valid JSON",
        ),
        (text(&data("[01, 2]")), "valid inference request"),
        (text(&data("[1, 2")), "valid inference request"),
        // The selection of outputs.
        (
            text(&format!(r#"{{"inputs": [{x}], "outputs": 7}}"#)),
            "expected a sequence",
        ),
        (
            text(&format!(
                r#"{{"inputs": [{x}], "outputs": [{}7]}}"#,
                "7,".repeat(9_999)
            )),
            "the request has 10000 outputs, but the model has 2: 'y', 'n'",
        ),
        (
            text(&format!(r#"{{"inputs": [{x}], "outputs": ["y"]}}"#)),
            "outputs[0] is not a valid output: it is not an object",
        ),
        (
            text(&format!(r#"{{"inputs": [{x}], "outputs": [{{}}]}}"#)),
            "missing field `name`",
        ),
        (
            text(&format!(
                r#"{{"inputs": [{x}], "outputs": [{{"name": "q"}}]}}"#
            )),
            "no output 'q', it has: 'y', 'n'",
        ),
        (
            text(&format!(
                r#"{{"inputs": [{x}], "outputs": [{{"name": "y"}}, {{"name": "y"}}]}}"#
            )),
            "output 'y' is given twice",
        ),
    ]
}
