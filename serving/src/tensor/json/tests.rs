use super::*;

#[track_caller]
fn read(text: &str, datatype: Datatype, shape: &[i64]) -> Result<Tensor, TensorError> {
    parse(
        &RawValue::from_string(text.to_owned()).unwrap(),
        datatype,
        shape.to_vec(),
    )
}

#[track_caller]
fn check(text: &str, datatype: Datatype, shape: &[i64], written: &str) {
    let tensor = read(text, datatype, shape).unwrap();
    assert_eq!(
        serde_json::to_string(&Values(&tensor)).unwrap(),
        written,
        "{text}"
    );
}

#[track_caller]
fn refused(text: &str, datatype: Datatype, shape: &[i64], sentence: &str) {
    assert_eq!(
        read(text, datatype, shape).unwrap_err().to_string(),
        sentence,
        "{text}"
    );
}

#[test]
fn flat_and_nested_data_are_the_same_tensor() {
    for text in [
        "[1,2,3,4,5,6]",
        "[[1,2,3],[4,5,6]]",
        "[[1.0,2e0,3],[4,5,6]]",
    ] {
        check(text, Datatype::Fp32, &[2, 3], "[1.0,2.0,3.0,4.0,5.0,6.0]");
        check(text, Datatype::Int64, &[2, 3], "[1,2,3,4,5,6]");
    }
    check("[[[[[[[[7]]]]]]]]", Datatype::Uint8, &[1; 8], "[7]");
    check("[5]", Datatype::Int8, &[], "[5]");
}

#[test]
fn values_keep_every_bit() {
    for value in [
        0.1_f32,
        -0.0,
        f32::MIN_POSITIVE,
        f32::MAX,
        1.0e-45,
        16_777_217.0,
        -3.402_823e38,
    ] {
        let text = format!("[{}]", serde_json::to_string(&value).unwrap());
        let tensor = read(&text, Datatype::Fp32, &[1]).unwrap();
        assert_eq!(tensor.bytes(), value.to_ne_bytes(), "{text}");
    }
    check(
        "[-9223372036854775808,9223372036854775807]",
        Datatype::Int64,
        &[2],
        "[-9223372036854775808,9223372036854775807]",
    );
    check(
        "[0.1,1.7976931348623157e308]",
        Datatype::Fp64,
        &[2],
        "[0.1,1.7976931348623157e+308]",
    );
    // More digits than a double has: two roundings would give a neighbour.
    check(
        "[0.30000000000000004,1.4886589259623783e-305]",
        Datatype::Fp64,
        &[2],
        "[0.30000000000000004,1.4886589259623783e-305]",
    );
    check(
        "[true,false,1,0]",
        Datatype::Bool,
        &[4],
        "[true,false,true,false]",
    );
}

#[test]
fn limits_of_each_integer_type_are_exact() {
    for (datatype, low, high) in [
        (Datatype::Uint8, "0", "255"),
        (Datatype::Int8, "-128", "127"),
        (Datatype::Int16, "-32768", "32767"),
        (Datatype::Int32, "-2147483648", "2147483647"),
    ] {
        check(
            &format!("[{low},{high}]"),
            datatype,
            &[2],
            &format!("[{low},{high}]"),
        );
        for limit in [low, high] {
            let limit: i64 = limit.parse().unwrap();
            let beyond = if limit > 0 { limit + 1 } else { limit - 1 };
            refused(
                &format!("[{beyond}]"),
                datatype,
                &[1],
                &format!("value 0 of data ({beyond}) is out of range for {datatype}"),
            );
        }
    }
}

#[test]
fn wrong_data_is_refused_with_a_sentence() {
    refused(
        "5",
        Datatype::Fp32,
        &[1],
        "data must be an array, but it is a number",
    );
    refused(
        "\"AAAA\"",
        Datatype::Fp32,
        &[1],
        "data must be an array, but it is a string",
    );
    refused(
        "{}",
        Datatype::Fp32,
        &[1],
        "data must be an array, but it is an object",
    );
    refused(
        "[1,2]",
        Datatype::Fp32,
        &[3],
        "data holds 2 values, but shape [3] needs 3",
    );
    refused(
        "[1,2,3,4]",
        Datatype::Fp32,
        &[3],
        "data holds more values than the 3 that shape [3] needs",
    );
    refused(
        "[[1,2],[3]]",
        Datatype::Fp32,
        &[2, 2],
        "data is ragged: its nested arrays differ in length or depth",
    );
    refused(
        "[[1],2]",
        Datatype::Fp32,
        &[2],
        "data is ragged: its nested arrays differ in length or depth",
    );
    refused(
        "[[],1]",
        Datatype::Fp32,
        &[1],
        "data is ragged: its nested arrays differ in length or depth",
    );
    refused(
        "[[1,2,3],[4,5,6]]",
        Datatype::Fp32,
        &[3, 2],
        "data is nested as [2, 3], but shape says [3, 2]",
    );
    refused(
        "[[1,2,3]]",
        Datatype::Fp32,
        &[3],
        "data is nested as [1, 3], but shape says [3]",
    );
    refused(
        "[[[[[[[[[1]]]]]]]]]",
        Datatype::Fp32,
        &[1],
        "data is nested deeper than 8 levels",
    );
    refused(
        "[1,null]",
        Datatype::Fp32,
        &[2],
        "value 1 of data is null, but FP32 needs a number",
    );
    refused(
        "[\"a\"]",
        Datatype::Int8,
        &[1],
        "value 0 of data is a string, but INT8 needs a whole number",
    );
    refused(
        "[true]",
        Datatype::Int8,
        &[1],
        "value 0 of data is a boolean, but INT8 needs a whole number",
    );
    refused(
        "[2]",
        Datatype::Bool,
        &[1],
        "value 0 of data (2) is out of range for BOOL",
    );
    refused(
        "[1.5]",
        Datatype::Int32,
        &[1],
        "value 0 of data (1.5) is not a whole number, but INT32 needs one",
    );
    refused(
        "[1e39]",
        Datatype::Fp32,
        &[1],
        "value 0 of data (1e39) is out of range for FP32",
    );
    refused(
        "[9223372036854775808]",
        Datatype::Int64,
        &[1],
        "value 0 of data (9223372036854775808) is out of range for INT64",
    );
    refused(
        "[1e18]",
        Datatype::Int64,
        &[1],
        "value 0 of data (1e18) is out of range for INT64",
    );
}

#[test]
fn memory_is_taken_for_data_of_the_right_count_only() {
    for (text, needed, wanted) in [
        ("[1]", 1, true),
        ("[1,2]", 2, true),
        ("[[1,2],[3,4]]", 4, true),
        ("[[1],[2],[3]]", 3, true),
        ("[1,2]", 1, false),
        ("[1,2]", 3, false),
        ("7", 1, false),
        ("[\",,,\"]", 4, false),
        ("[1]", 1 << 24, false),
    ] {
        assert_eq!(counts_to(text, needed), wanted, "{text} for {needed}");
    }
}

#[test]
fn data_of_another_count_is_refused_for_the_same_reasons() {
    let shape = [1 << 24];
    refused(
        "[1]",
        Datatype::Fp64,
        &shape,
        "data holds 1 values, but shape [16777216] needs 16777216",
    );
}

#[test]
fn only_finite_values_have_a_json_form() {
    for (value, representable) in [(1.0_f32, true), (f32::NAN, false), (f32::INFINITY, false)] {
        let tensor = Tensor::new(Datatype::Fp32, vec![1], value.to_ne_bytes().to_vec()).unwrap();
        assert_eq!(is_representable(&tensor), representable, "{value}");
    }
}
