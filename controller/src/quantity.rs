//! Quantities that people write in a rollout file: `1pp`, `50%`, `10m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A share of a whole, kept as a fraction: `0.5pp` and `0.5%` are 0.005. Percentage points and per cent differ in what
/// they are added to, not in size, so both spellings are read and the field says which is meant.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(pub f64);

/// A span of time, written as `10s`, `5m`, `24h`, `30d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// Text that is no quantity.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not {expected}")]
pub struct ParseQuantity {
    text: String,
    expected: &'static str,
}

impl FromStr for Fraction {
    type Err = ParseQuantity;

    fn from_str(text: &str) -> Result<Self, ParseQuantity> {
        let bad = || ParseQuantity {
            text: text.to_owned(),
            expected: "a share such as 0.5pp or 50%",
        };
        let trimmed = text.trim();
        let (number, scale) = match trimmed
            .strip_suffix("pp")
            .or_else(|| trimmed.strip_suffix('%'))
        {
            Some(number) => (number, 100.0),
            None => (trimmed, 1.0),
        };
        let value: f64 = number.trim().parse().map_err(|_| bad())?;
        if value.is_finite() {
            Ok(Self(value / scale))
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twelve digits hide the noise of the division by 100 (0.3pp is 0.003, not 0.30000000000000004 %).
        let percent = (self.0 * 1e14).round() / 1e12;
        write!(f, "{percent}%")
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Fraction;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as 0.5pp, 50% or 0.005")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Fraction, E> {
                Ok(Fraction(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Fraction, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Fraction, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Fraction, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl FromStr for Span {
    type Err = ParseQuantity;

    fn from_str(text: &str) -> Result<Self, ParseQuantity> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| ParseQuantity {
                text: text.to_owned(),
                expected: "a span of time such as 10s, 5m or 24h",
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Fraction {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Fraction".into()
    }

    /// A structural schema has no type for "number or text": in a cluster 0.005 is written `0.5%`, and 0 and 1 may stay.
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": r"^\s*[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?\s*(pp|%)?\s*$",
            "maxLength": 32,
        })
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*([0-9]+\s*[a-zA-Zµ]+\s*)+$",
            "maxLength": 64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, fraction: f64) {
        let parsed: Fraction = text.parse().unwrap();
        assert!(
            (parsed.0 - fraction).abs() < 1e-15,
            "{text} read as {}",
            parsed.0
        );
    }

    #[test]
    fn shares_are_read_in_every_spelling() {
        check("0.5pp", 0.005);
        check("50%", 0.5);
        check("0.01", 0.01);
        check(" 3 % ", 0.03);
    }

    #[test]
    fn a_share_survives_being_written_and_read_again() {
        for text in ["0.05pp", "0.3pp", "0.2pp", "1pp", "50%", "0.1%"] {
            let fraction: Fraction = text.parse().unwrap();
            assert_eq!(
                fraction,
                fraction.to_string().parse().unwrap(),
                "{text} became {fraction}"
            );
        }
    }

    #[test]
    fn text_that_is_no_quantity_is_named() {
        assert_eq!(
            "ten".parse::<Fraction>().unwrap_err().to_string(),
            "'ten' is not a share such as 0.5pp or 50%"
        );
        assert_eq!(
            "nan%".parse::<Fraction>().unwrap_err().to_string(),
            "'nan%' is not a share such as 0.5pp or 50%"
        );
        assert_eq!(
            "5".parse::<Span>().unwrap_err().to_string(),
            "'5' is not a span of time such as 10s, 5m or 24h"
        );
    }
}
