//! Binary data and headers that are refused, for the model of the table of JSON.

/// An input `x` with these parameters and the rest of its fields.
fn input(parameters: &str, more: &str) -> String {
    format!(
        r#"{{"inputs": [{{"name": "x", "datatype": "FP32", "shape": [1, 2], "parameters": {parameters}{more}}}]}}"#
    )
}

/// A good request of eight bytes is that of size 8.
pub(crate) fn size(size: &str) -> String {
    input(&format!(r#"{{"binary_data_size": {size}}}"#), "")
}

/// JSON with its right length, the data behind it, and words of the sentence that refuses it.
pub(crate) fn bodies() -> Vec<(String, usize, &'static str)> {
    let good = size("8");
    let output = |parameters: &str| {
        good.replacen(
            '{',
            &format!(r#"{{"outputs": [{{"name": "y", "parameters": {parameters}}}], "#),
            1,
        )
    };
    let request =
        |parameters: &str| good.replacen('{', &format!(r#"{{"parameters": {parameters}, "#), 1);
    let with = |from: &str, to: &str| good.replace(from, to);
    vec![
        // Sizes.
        (
            size("8"),
            0,
            "its binary_data_size is 8, but only 0 bytes follow",
        ),
        (
            size("8"),
            7,
            "its binary_data_size is 8, but only 7 bytes follow",
        ),
        (size("8"), 9, "1 bytes of the body belong to no input"),
        (
            size("8"),
            4_000,
            "3992 bytes of the body belong to no input",
        ),
        (size("7"), 7, "shape [1, 2] needs 8 bytes, but there are 7"),
        (
            size("16"),
            16,
            "shape [1, 2] needs 8 bytes, but there are 16",
        ),
        (size("0"), 0, "shape [1, 2] needs 8 bytes, but there are 0"),
        (
            size("-8"),
            8,
            "parameter 'binary_data_size' is -8, but must be a whole number of bytes",
        ),
        (
            size("8.0"),
            8,
            "parameter 'binary_data_size' is 8.0, but must be",
        ),
        (
            size("8e0"),
            8,
            "parameter 'binary_data_size' is 8.0, but must be",
        ),
        (
            size(r#""8""#),
            8,
            "parameter 'binary_data_size' is the text '8', but must be",
        ),
        (
            size("true"),
            8,
            "parameter 'binary_data_size' is true, but must be",
        ),
        (
            size("null"),
            8,
            "parameter 'binary_data_size' is null, but must be",
        ),
        (
            size("[8]"),
            8,
            "parameter 'binary_data_size' is an array, but must be",
        ),
        (
            size("{}"),
            8,
            "parameter 'binary_data_size' is an object, but must be",
        ),
        (
            size("18446744073709551615"),
            8,
            "its binary_data_size is 18446744073709551615, but only 8 bytes",
        ),
        (
            size("18446744073709551616"),
            8,
            "parameter 'binary_data_size' is 1.8446744073709552e19, but must be",
        ),
        (
            size(&format!(r#""{}""#, "9".repeat(30_000))),
            8,
            "parameter 'binary_data_size' is the text '9999",
        ),
        // Fields.
        (
            input(r#"{"binary_data_size": 8}"#, r#", "data": [1, 2]"#),
            8,
            "it has both data and binary_data_size",
        ),
        (
            input("{}", ""),
            8,
            "missing field `data`, and no binary_data_size",
        ),
        (
            input("null", ""),
            8,
            "missing field `data`, and no binary_data_size",
        ),
        (input("7", ""), 8, "expected parameters as an object"),
        (input(r#""x""#, ""), 8, "expected parameters as an object"),
        (input("[]", ""), 8, "expected parameters as an object"),
        (
            input("{}", r#", "data": [1, 2]"#),
            8,
            "8 bytes of the body belong to no input",
        ),
        (
            with("FP32", "FP16"),
            8,
            "datatype is FP16, but the model has FP32",
        ),
        (
            with("FP32", "BYTES"),
            8,
            "'BYTES' is not supported: a TorchScript tensor",
        ),
        (
            with("FP32", "UINT32"),
            8,
            "'UINT32' is not supported: libtorch",
        ),
        (
            with("[1, 2]", "[2, 2]"),
            8,
            "shape [2, 2] needs 16 bytes, but there are 8",
        ),
        (
            with("[1, 2]", "[8388608, 2]"),
            8,
            "shape [8388608, 2] needs 67108864 bytes, but there are 8",
        ),
        (
            with("[1, 2]", "[8388609, 2]"),
            8,
            "more than 16777216 elements",
        ),
        (
            with("[1, 2]", "[4611686018427387904, 2]"),
            8,
            "more than 16777216 elements",
        ),
        (
            with("[1, 2]", "[-1, 2]"),
            8,
            "dimension 0 of the shape is -1",
        ),
        (
            with("\"x\"", "\"\u{202e}x\""),
            8,
            "no input '\u{202e}x', it has: 'x'",
        ),
        (with("\"x\"", "\"../x\""), 8, "no input '../x', it has: 'x'"),
        (with("\"x\"", "\"x\\u0000\""), 8, "no input 'x"),
        // Memory of others, sequences, classes, time.
        (
            input(r#"{"shared_memory_region": "r"}"#, r#", "data": [1, 2]"#),
            0,
            "'shared_memory_region' is not supported",
        ),
        (
            input(r#"{"shared_memory_byte_size": 8}"#, r#", "data": [1, 2]"#),
            0,
            "'shared_memory_byte_size' is not supported",
        ),
        (
            input(r#"{"shared_memory_offset": 8}"#, r#", "data": [1, 2]"#),
            0,
            "'shared_memory_offset' is not supported",
        ),
        (
            output(r#"{"classification": 3}"#),
            8,
            "'classification' is not supported",
        ),
        (
            output(r#"{"shared_memory_region": "r"}"#),
            8,
            "'shared_memory_region' is not supported",
        ),
        (
            output(r#"{"binary_data": 1}"#),
            8,
            "parameter 'binary_data' is 1, but must be true or false",
        ),
        (
            request(r#"{"binary_data_output": "true"}"#),
            8,
            "parameter 'binary_data_output' is the text 'true', but",
        ),
        (
            request(r#"{"sequence_start": true}"#),
            8,
            "'sequence_start' is not supported",
        ),
        (
            request(r#"{"sequence_end": false}"#),
            8,
            "'sequence_end' is not supported",
        ),
        (
            request(r#"{"timeout": -1}"#),
            8,
            "parameter 'timeout' is -1, but must be",
        ),
        (
            request(r#"{"priority": -1}"#),
            8,
            "parameter 'priority' is -1, but must be",
        ),
    ]
}

/// Values of the header that says how much of the body of [`size`] is JSON.
pub(crate) const LENGTHS: &[&str] = &[
    "-1",
    "+1",
    "1e1",
    " ",
    "x",
    "0x10",
    "1,2",
    "999999",
    "18446744073709551616",
    "½",
];

/// Where no model is.
pub(crate) const PATHS: &[&str] = &[
    "/v2/models/..%2f..%2fetc%2fpasswd/infer",
    "/v2/models/%2e%2e/infer",
    "/v2/models/fraud%00/infer",
    "/v2/models/fraud%2fversions%2f7/infer",
    "/v2/models/FRAUD/infer",
    "/v2/models/fr%C3%A4ud/infer",
    "/v2/models/%E2%80%AEduarf/infer",
    "/v2/models/fraud%20/infer",
    "/v2/models/%ff%fe/infer",
    "/v2/models/fraud/versions/0/infer",
    "/v2/models/fraud/versions/-7/infer",
    "/v2/models/fraud/versions/7.0/infer",
    "/v2/models/fraud/versions/%2b7/infer",
    "/v2/models/fraud/versions/18446744073709551616/infer",
    "/v2/models//infer",
    "/v2/models/fraud/versions//infer",
    "/v2/models/fraud/infer/",
    "/v2/models/fraud/generate",
    "/v2/systemsharedmemory/status",
    "/v1/models/fraud:predict",
];

/// What may follow the first headers of a request, as they are sent: no such message is one of HTTP.
pub(crate) fn broken() -> Vec<String> {
    let many: String = (0..1_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    let rests = [
        "Content-Length: x\r\n\r\n",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{}}}\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "x\u{0}: y\r\n\r\n",
        &format!("{many}\r\n"),
        &format!("{long}\r\n"),
    ];
    rests.into_iter().map(str::to_owned).collect()
}
