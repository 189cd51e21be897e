//! An answer of Prometheus, read row by row: there may be a hundred thousand, and nobody needs two of them at once.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One row of an instant vector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Row<'a> {
    #[serde(borrow)]
    metric: Labels<'a>,
    /// As text, as Prometheus sends it.
    #[serde(borrow, deserialize_with = "value")]
    value: Cow<'a, str>,
}

impl<'a> Row<'a> {
    /// With these labels and this value.
    pub fn new<N, V>(
        labels: impl IntoIterator<Item = (N, V)>,
        value: impl Into<Cow<'a, str>>,
    ) -> Self
    where
        N: Into<Cow<'a, str>>,
        V: Into<Cow<'a, str>>,
    {
        let labels = labels.into_iter();
        let labels = labels.map(|(name, value)| (name.into(), value.into()));
        Self {
            metric: Labels(labels.collect()),
            value: value.into(),
        }
    }

    /// One that outlives the answer.
    #[must_use]
    pub fn to_owned(&self) -> Row<'static> {
        let own = |text: &Cow<'_, str>| Cow::Owned(text.clone().into_owned());
        let labels = self.metric.0.iter();
        Row {
            metric: Labels(
                labels
                    .map(|(name, value)| (own(name), own(value)))
                    .collect(),
            ),
            value: own(&self.value),
        }
    }

    /// A label's value; empty when it is absent, as in Prometheus.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        let mut labels = self.metric.0.iter();
        labels
            .find(|(label, _)| label == name)
            .map_or("", |(_, value)| value)
    }

    /// The value; `None` when it is not a finite number.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        let value = self.value.parse().ok();
        value.filter(|value: &f64| value.is_finite())
    }
}

/// What an answer says beside its rows.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: String,
    pub(super) error: String,
    pub(super) error_type: String,
    pub(super) warnings: Vec<String>,
    /// Whether there was a vector, be it an empty one.
    pub(super) complete: bool,
}

impl Answer {
    /// Hands over each row of the answer to an instant query.
    pub(super) fn read(body: &[u8], take: impl FnMut(&Row<'_>)) -> serde_json::Result<Self> {
        let mut from = serde_json::Deserializer::from_slice(body);
        let answer = Whole(take).deserialize(&mut from)?;
        from.end()?;
        Ok(answer)
    }
}

/// Text where it stands, if nothing in it is escaped.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Borrows;
        impl<'de> Visitor<'de> for Borrows {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Borrows)
    }
}

/// `{"status": …, "data": …}`
struct Whole<F>(F);

impl<'de, F: FnMut(&Row<'_>)> DeserializeSeed<'de> for Whole<F> {
    type Value = Answer;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Answer, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(&Row<'_>)> Visitor<'de> for Whole<F> {
    type Value = Answer;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of Prometheus")
    }
    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Answer, A::Error> {
        let mut answer = Answer::default();
        while let Some(Text(field)) = map.next_key()? {
            match &*field {
                "status" => answer.status = map.next_value()?,
                "error" => answer.error = map.next_value()?,
                "errorType" => answer.error_type = map.next_value()?,
                "warnings" => answer.warnings = map.next_value()?,
                "data" => answer.complete |= map.next_value_seed(Data(&mut self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(answer)
    }
}

/// `{"resultType": "vector", "result": […]}`; whether there was a result.
struct Data<'f, F>(&'f mut F);

impl<'de, F: FnMut(&Row<'_>)> DeserializeSeed<'de> for Data<'_, F> {
    type Value = bool;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_option(self)
    }
}

impl<'de, F: FnMut(&Row<'_>)> Visitor<'de> for Data<'_, F> {
    type Value = bool;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of an answer")
    }
    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_map(self)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let mut there = false;
        while let Some(Text(field)) = map.next_key()? {
            if field == "result" {
                map.next_value_seed(Rows(&mut *self.0))?;
                there = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(there)
    }
}

/// `[{"metric": {…}, "value": […]}, …]`
struct Rows<'f, F>(&'f mut F);

impl<'de, F: FnMut(&Row<'_>)> DeserializeSeed<'de> for Rows<'_, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(&Row<'_>)> Visitor<'de> for Rows<'_, F> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element()? {
            (self.0)(&row);
        }
        Ok(())
    }
}

/// In the order in which they come: there are a handful, and most are looked up once.
#[derive(Clone, Debug, Default, PartialEq)]
struct Labels<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Labels<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Labels<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = Vec::with_capacity(8);
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    labels.push((name, value));
                }
                Ok(Labels(labels))
            }
        }
        from.deserialize_map(InOrder)
    }
}

/// Unix time and value, of which only the latter is kept.
fn value<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Cow<'a, str>, D::Error> {
    let (_, Text(value)) = <(f64, Text<'de>)>::deserialize(from)?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(body: &str) -> serde_json::Result<Vec<(String, Option<f64>)>> {
        let mut found = Vec::new();
        Answer::read(body.as_bytes(), |row| {
            found.push((row.label("a").to_owned(), row.number()));
        })?;
        Ok(found)
    }

    #[test]
    fn each_row_is_handed_over_with_its_own_labels() {
        let body = r#"{"status": "success", "infos": ["x"], "data": {"resultType": "vector", "result": [
            {"metric": {"b": "x", "a": "1"}, "value": [1.5, "2"]},
            {"metric": {}, "value": [1.5, "NaN"], "more": {}},
            {"metric": {"a": "\u00e4\"\\"}, "value": [1, "3.5"]}]}}"#;
        let found = rows(body).unwrap();
        let wanted = [("1", Some(2.0)), ("", None), ("ä\"\\", Some(3.5))];
        assert_eq!(found, wanted.map(|(a, value)| (a.to_owned(), value)));
    }

    #[test]
    fn an_error_a_warning_and_an_answer_without_data_are_told_apart() {
        let read = |body: &str| Answer::read(body.as_bytes(), |_| ()).unwrap();
        let error = read(r#"{"status": "error", "errorType": "bad_data", "error": "1:1"}"#);
        assert_eq!((&*error.error_type, &*error.error), ("bad_data", "1:1"));
        assert!(!error.complete && !read(r#"{"status": "success", "data": null}"#).complete);
        let partial = r#"{"status": "success", "data": {"result": []}, "warnings": ["w"]}"#;
        let partial = read(partial);
        assert!(partial.complete && partial.warnings == ["w"]);
    }

    #[test]
    fn what_is_no_answer_of_prometheus_is_an_error() {
        for body in [
            "",
            "[]",
            "<html>",
            r#"{"data": {"result": {}}}"#,
            r#"{"data": {"result": [{"metric": {"a": 1}}]}}"#,
            r#"{"data": {"result": [{"value": ["1", 1]}]}}"#,
            r#"{"data": {"result": [{"value": [1, "1"]}]}}"#,
            r#"{"data": {"result": [{"metric": {}, "histogram": [1, {}]}]}}"#,
            r#"{"status": "success"} x"#,
        ] {
            assert!(rows(body).is_err(), "{body}");
        }
    }
}
