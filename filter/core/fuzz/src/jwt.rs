//! Input: the names that lead to a claim with `/` between them, end of line, then bytes that serve as an
//! `Authorization` header, as the payload of a token and as a property.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;
use serin_filter_core::attribute::jwt::{MAX_TOKEN, bearer_claim, property_claim};

/// Reads the claim in all three ways; where all of the payload can be read into a tree, the tree must say the same.
pub fn run(data: &[u8]) {
    let (names, rest) = super::first_line(data);
    let Ok(names) = std::str::from_utf8(names) else {
        return;
    };
    let claim: Vec<String> = names.split('/').map(str::to_owned).collect();
    let header = bearer_claim(rest, &claim);
    assert!(header.is_none_or(|claim| !claim.is_empty()), "empty");
    let property = property_claim(rest);
    assert!(property.is_none_or(|claim| !claim.is_empty()), "empty");

    let token = format!("h.{}.s", Base64UrlUnpadded::encode_string(rest));
    let found = bearer_claim(format!("Bearer {token}").as_bytes(), &claim);
    if token.len() > MAX_TOKEN {
        assert_eq!(found, None, "beyond the cap");
    } else if let Ok(tree) = serde_json::from_slice::<Value>(rest) {
        let value = claim.iter().try_fold(&tree, |value, name| match value {
            Value::Object(members) => members.get(name),
            _ => None,
        });
        match value {
            // serde_json reads the nearest double only with the feature float_roundtrip.
            Some(value) if value.to_string().contains(['.', 'e']) && !value.is_string() => {
                assert_eq!(found.is_some(), bytes(value).is_some(), "one is none");
            }
            value => assert_eq!(found, value.and_then(bytes), "not what the tree says"),
        }
    }
}

/// The bytes of a claim, the long way.
fn bytes(claim: &Value) -> Option<Vec<u8>> {
    let text = match claim {
        Value::Array(elements) => {
            let elements: Option<Vec<String>> = elements.iter().map(text).collect();
            elements?.join(",")
        }
        other => text(other)?,
    };
    (!text.is_empty()).then(|| text.into_bytes())
}

fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(|f| (f + 0.0).to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
