use base64ct::{Base64Url, Base64UrlUnpadded, Encoding};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{MAX_TOKEN, bearer_claim, property_claim};

fn token(payload: &[u8]) -> String {
    let coded = Base64UrlUnpadded::encode_string(payload);
    format!("Bearer eyJhbGciOiJSUzI1NiJ9.{coded}.c2lnbmF0dXJl")
}

fn path(claim: &[&str]) -> Vec<String> {
    claim.iter().map(|&name| name.to_owned()).collect()
}

/// What a payload says of a claim.
fn claim_of(payload: &str, claim: &[&str]) -> Option<Vec<u8>> {
    bearer_claim(token(payload.as_bytes()).as_bytes(), &path(claim))
}

#[track_caller]
fn check(payload: &str, claim: &[&str], value: Option<&str>) {
    let found = claim_of(payload, claim);
    assert_eq!(
        found.as_deref(),
        value.map(str::as_bytes),
        "{claim:?} of {payload}"
    );
}

#[track_caller]
fn check_header(authorization: &[u8], value: Option<&str>) {
    assert_eq!(
        bearer_claim(authorization, &path(&["sub"])).as_deref(),
        value.map(str::as_bytes),
        "{}",
        authorization.escape_ascii()
    );
}

/// How Envoy writes a claim of JWT metadata as a property.
fn property(claim: &Value) -> Vec<u8> {
    match claim {
        Value::Null => Vec::new(),
        Value::Bool(value) => vec![u8::from(*value)],
        Value::Number(number) => number.as_f64().unwrap().to_le_bytes().to_vec(),
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Array(elements) => pairs(elements.iter().map(|element| (property(element), vec![]))),
        Value::Object(members) => pairs(
            members
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), property(value))),
        ),
    }
}

fn pairs(pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    let pairs: Vec<_> = pairs.collect();
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut bytes = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in &pairs {
        bytes.extend([size(name), size(value)].concat());
    }
    for (name, value) in &pairs {
        bytes.extend([name, &b"\0"[..], value, b"\0"].concat());
    }
    bytes
}

/// The bytes of a claim, verified and unverified, which must be the same.
fn both_ways(claim: &Value) -> Result<Option<Vec<u8>>, TestCaseError> {
    let unverified = claim_of(&json!({"a": {"b": claim}}).to_string(), &["a", "b"]);
    prop_assert_eq!(&property_claim(&property(claim)), &unverified, "{}", claim);
    Ok(unverified)
}

#[test]
fn each_type_has_its_bytes() {
    let payload = r#"{"sub": "alice@example.com", "n": 42, "neg": -7, "yes": true, "no": false, "nothing": null,
        "object": {"a": 1}, "empty": "", "groups": ["a", "b", 3, true], "one": ["x"], "none": [],
        "deep": [["a"]], "nulls": ["a", null], "objects": [{}]}"#;
    check(payload, &["sub"], Some("alice@example.com"));
    check(payload, &["n"], Some("42"));
    check(payload, &["neg"], Some("-7"));
    check(payload, &["yes"], Some("true"));
    check(payload, &["no"], Some("false"));
    check(payload, &["groups"], Some("a,b,3,true"));
    check(payload, &["one"], Some("x"));
    for none in [
        "nothing", "object", "empty", "none", "deep", "nulls", "objects", "absent",
    ] {
        check(payload, &[none], None);
    }
}

#[test]
fn integers_keep_every_digit_and_fractions_are_shortest() {
    for (json, text) in [
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("9007199254740993", "9007199254740993"),
        ("0", "0"),
        ("-0", "0"),
        ("-0.0", "0"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("0.1", "0.1"),
        ("1e3", "1000"),
        ("1E-7", "1e-7"),
        ("18446744073709551616", "1.8446744073709552e+19"),
    ] {
        check(&format!(r#"{{"n": {json}}}"#), &["n"], Some(text));
    }
    check(r#"{"n": 1e400}"#, &["n"], None);
}

#[test]
fn nested_claims_are_reached_by_their_names() {
    let payload =
        r#"{"realm": {"user": {"id": 7}, "list": [{"id": 8}]}, "realm.user": "flat", "id": 9}"#;
    check(payload, &["realm", "user", "id"], Some("7"));
    check(payload, &["realm.user"], Some("flat"));
    check(payload, &["id"], Some("9"));
    for none in [
        &["realm"][..],
        &["realm", "user"],
        &["realm", "user", "id", "x"],
        &["realm", "list", "id"],
        &["realm", "list", "0"],
        &["user"],
        &[],
    ] {
        check(payload, none, None);
    }
}

#[test]
fn the_last_of_two_members_with_one_name_counts() {
    check(r#"{"sub": "a", "sub": "b"}"#, &["sub"], Some("b"));
    check(r#"{"sub": "a", "sub": null}"#, &["sub"], None);
    check(r#"{"a": 1, "a": {"b": 2}}"#, &["a", "b"], Some("2"));
    check(r#"{"a": {"b": 2}, "a": {}}"#, &["a", "b"], None);
}

#[test]
fn escapes_in_names_and_values_are_read() {
    check(
        r#"{"s\u0075b": "a\u00e9\ud83d\ude00\n\"b\""}"#,
        &["sub"],
        Some("aé😀\n\"b\""),
    );
    check(r#"{"sub": "\ud83d"}"#, &["sub"], None);
}

#[test]
fn only_bearer_tokens_of_three_parts_are_read() {
    let coded = Base64UrlUnpadded::encode_string(br#"{"sub": "alice"}"#);
    let yes = Some("alice");
    check_header(format!("Bearer h.{coded}.s").as_bytes(), yes);
    check_header(format!("bEARER   h.{coded}.s  ").as_bytes(), yes);
    check_header(format!("Bearer .{coded}.").as_bytes(), yes);
    for refused in [
        format!("Basic h.{coded}.s"),
        format!("Bearerh.{coded}.s"),
        format!("Bearer: h.{coded}.s"),
        format!("h.{coded}.s"),
        format!("Bearer h.{coded}"),
        format!("Bearer {coded}"),
        format!("Bearer h.{coded}.s.t"),
        format!("Bearer h.{coded}.s.t.u"),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer ..".to_owned(),
        String::new(),
    ] {
        check_header(refused.as_bytes(), None);
    }
}

#[test]
fn padding_is_tolerated_and_other_alphabets_are_not() {
    // Every length modulo 3, and letters 62 and 63 of the alphabet.
    for tail in ["", "a", "ab", "?>?>?>~~~ÿÿ"] {
        let payload = json!({"sub": "alice", "tail": tail}).to_string();
        let coded = Base64Url::encode_string(payload.as_bytes());
        check_header(format!("Bearer h.{coded}.s").as_bytes(), Some("alice"));
    }
    let payload = json!({"sub": "alice", "tail": "?>?>?>~~~ÿÿ"}).to_string();
    let standard = Base64Url::encode_string(payload.as_bytes())
        .replace('-', "+")
        .replace('_', "/");
    assert!(standard.contains(['+', '/']), "the case shows nothing");
    check_header(format!("Bearer h.{standard}.s").as_bytes(), None);
    check_header(b"Bearer h.\xff\xfe.s", None);
    check_header(b"Bearer h.====.s", None);
}

#[test]
fn what_is_not_one_json_object_has_no_claims() {
    for payload in [
        "",
        "null",
        "1",
        "\"sub\"",
        "[\"sub\"]",
        "{",
        "{\"sub\"",
        "{\"sub\": \"a\"",
        "{\"sub\": \"a\"} x",
        "{\"sub\": \"a\"}{}",
        "{'sub': 'a'}",
        "{\"sub\": \"a\", }",
        "{sub: \"a\"}",
    ] {
        check(payload, &["sub"], None);
    }
    let invalid = token(b"{\"sub\": \"\xff\"}");
    check_header(invalid.as_bytes(), None);
}

#[test]
fn a_token_beyond_the_cap_is_not_read() {
    let sized = |fill: usize| {
        token(
            json!({"sub": "alice", "fill": "x".repeat(fill)})
                .to_string()
                .as_bytes(),
        )
    };
    let fits = sized(12_000);
    assert!(fits.len() < MAX_TOKEN);
    check_header(fits.as_bytes(), Some("alice"));
    let beyond = sized(12_400);
    assert!(beyond.len() > MAX_TOKEN + "Bearer ".len());
    check_header(beyond.as_bytes(), None);
}

#[test]
fn deep_json_is_skipped_or_refused_without_harm() {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    // Beside the claim it does not matter; as the claim it has no bytes.
    check(
        &format!(r#"{{"x": {}, "sub": "a"}}"#, deep(5_000)),
        &["sub"],
        Some("a"),
    );
    check(&format!(r#"{{"sub": {}}}"#, deep(5_000)), &["sub"], None);
    check(
        &format!(r#"{{"sub": {}"#, "{\"sub\":".repeat(1_500)),
        &["sub"],
        None,
    );
    // A path deeper than the parser would recurse.
    let names = vec!["a"; 200];
    let nested = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    check(&nested, &names, Some("1"));
}

#[test]
fn properties_are_told_apart_by_their_shape() {
    for (bytes, text) in [
        (&b""[..], None),
        (b"alice", Some(&b"alice"[..])),
        (b"\0", Some(b"false")),
        (b"\x01", Some(b"true")),
        (b"\x02", Some(b"\x02")),
        (b"1", Some(b"1")),
        // 8 bytes: text, not ASCII, a number.
        (b"user1234", Some(b"user1234")),
        ("zoë-ßß".as_bytes(), Some("zoë-ßß".as_bytes())),
        (&42.0f64.to_le_bytes(), Some(b"42")),
        (&0.0f64.to_le_bytes(), Some(b"0")),
        (&(-0.0f64).to_le_bytes(), Some(b"0")),
        (&0.1f64.to_le_bytes(), Some(b"0.1")),
        (&f64::NAN.to_le_bytes(), None),
        (&f64::INFINITY.to_le_bytes(), None),
        // No other length is a number.
        (b"\0\0\0\0\0\0\0", Some(b"\0\0\0\0\0\0\0")),
        (b"\0\0\0\0\0\0\0\0\0", Some(b"\0\0\0\0\0\0\0\0\0")),
        // An empty list.
        (b"\0\0\0\0", None),
        (b"\xff\xfe", Some(b"\xff\xfe")),
        // A table of more pairs than there are bytes.
        (
            b"\xff\xff\xff\xff and more",
            Some(b"\xff\xff\xff\xff and more"),
        ),
    ] {
        assert_eq!(
            property_claim(bytes).as_deref(),
            text,
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn the_documented_ambiguity_begins_where_it_says() {
    let number = |n: u64| property_claim(&(n as f64).to_le_bytes());
    let first = (1 << 51) + 0x1010_1010_1010;
    assert_eq!(number(first), Some(b"       C".to_vec()));
    assert_eq!(
        number(first - 1),
        Some((first - 1).to_string().into_bytes())
    );
    assert_eq!(number(1 << 53), Some(b"9007199254740992".to_vec()));
}

#[test]
fn lists_are_joined_and_objects_have_no_bytes_verified_too() {
    for claim in [
        json!(["a", "b"]),
        json!(["a", 3, 1.5, true, false]),
        json!(["", ""]),
        json!([]),
        json!({"a": "b"}),
        json!({"a": 1, "b": ""}),
        json!(null),
    ] {
        both_ways(&claim).unwrap();
    }
    // One byte less or more is no table.
    let table = property(&json!(["a", "b"]));
    let longer = [&table[..], b"x"].concat();
    for other in [&table[..table.len() - 1], &longer] {
        assert_eq!(property_claim(other).as_deref(), Some(other));
    }
}

proptest! {
    #[test]
    fn integers_are_the_same_verified_and_unverified(n in -(1i64 << 53)..(1i64 << 51)) {
        prop_assert_eq!(both_ways(&json!(n))?, Some(n.to_string().into_bytes()));
    }

    #[test]
    fn integers_up_to_2_to_53_are_the_same_unless_their_bytes_are_text(n in (1i64 << 51)..=(1i64 << 53)) {
        let bytes = property(&json!(n));
        let text = std::str::from_utf8(&bytes).is_ok_and(|text| !text.contains(char::is_control));
        prop_assume!(!text);
        prop_assert_eq!(both_ways(&json!(n))?, Some(n.to_string().into_bytes()));
    }

    #[test]
    fn small_integers_fractions_and_booleans_are_the_same(n in any::<i16>(), hundredths in any::<i32>(), yes in any::<bool>()) {
        both_ways(&json!(n))?;
        both_ways(&json!(yes))?;
        let fraction = json!(f64::from(hundredths) / 100.0);
        let bytes = property(&fraction);
        prop_assume!(std::str::from_utf8(&bytes).is_err() || bytes.iter().any(u8::is_ascii_control));
        both_ways(&fraction)?;
    }

    #[test]
    fn strings_without_control_characters_are_the_same(text in "\\PC{0,20}", eight in "[ -~]{8}") {
        both_ways(&json!(text))?;
        both_ways(&json!(eight))?;
    }

    #[test]
    fn any_bytes_are_served(authorization in prop::collection::vec(any::<u8>(), 0..200)) {
        bearer_claim(&authorization, &path(&["sub"]));
        bearer_claim(token(&authorization).as_bytes(), &path(&["sub"]));
        bearer_claim(&[b"Bearer a.", authorization.as_slice(), b".b"].concat(), &path(&["sub"]));
        property_claim(&authorization);
    }
}
