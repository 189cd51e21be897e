//! JSON as a tree, and the fields of its objects.
//!
//! The types of the wire format could derive all this, but derived code is made anew for each type and each kind of
//! input: with paths for error messages it alone made the Wasm module larger than the whole of it may be. A tree is
//! decoded by one small function for each type, which is told the path of its value where somebody will read it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::ConfigError;

/// A JSON value; texts without escapes stay where they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'t> {
    Null,
    Bool(bool),
    Natural(u64),
    /// Whatever else is a number.
    Number(f64),
    Text(Cow<'t, str>),
    List(Vec<Json<'t>>),
    Object(Fields<'t>),
}

/// The fields of an object, in their order.
pub(crate) type Fields<'t> = Vec<(Json<'t>, Json<'t>)>;

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Natural(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = access.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        // Few objects have more fields: to grow a vector on the way costs more than the rest of the object.
        let mut fields = Vec::with_capacity(8);
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Json::Object(fields))
    }
}

impl Json<'_> {
    /// Whether it is this text.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self, Self::Text(own) if own == text)
    }

    /// What it is, for a message.
    fn words(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Natural(value) => value.to_string(),
            Self::Number(_) => "no natural number".to_owned(),
            Self::Text(value) => format!("\"{value}\""),
            Self::List(_) => "a list".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

/// The first problem that was met. Decoding goes on after it with values that nobody will see: without a way out at each
/// field its code is a third.
#[derive(Debug)]
pub(crate) struct Problem {
    first: RefCell<Option<ConfigError>>,
    /// Whether paths are put together on the way. That costs more than all else, for messages that hardly ever are read.
    paths: bool,
}

impl Problem {
    /// With `paths`, the error names its field; else it only tells that there is one.
    pub(crate) fn new(paths: bool) -> Self {
        Self {
            first: RefCell::new(None),
            paths,
        }
    }

    pub(crate) fn report(&self, path: &str, reason: String) {
        self.first
            .borrow_mut()
            .get_or_insert_with(|| ConfigError::new(path, reason));
    }

    /// What was decoded, if there was no problem.
    pub(crate) fn or<T>(self, decoded: T) -> Result<T, ConfigError> {
        self.first.into_inner().map_or(Ok(decoded), Err)
    }

    /// The path, where it is wanted.
    pub(crate) fn path(&self, path: fmt::Arguments) -> String {
        if self.paths {
            path.to_string()
        } else {
            String::new()
        }
    }
}

/// A value and its path in the document, where paths are wanted.
pub(crate) struct At<'p> {
    pub(crate) path: String,
    pub(crate) json: Json<'p>,
    pub(crate) problem: &'p Problem,
}

impl<'p> At<'p> {
    fn wrong<T: Default>(&self, wanted: &str) -> T {
        let reason = format!("must be {wanted}, but is {}", self.json.words());
        self.problem.report(&self.path, reason);
        T::default()
    }

    pub(crate) fn text(self) -> String {
        match self.json {
            Json::Text(text) => text.into_owned(),
            _ => self.wrong("a text"),
        }
    }

    pub(crate) fn flag(self) -> bool {
        match self.json {
            Json::Bool(flag) => flag,
            _ => self.wrong("true or false"),
        }
    }

    /// A whole number of 64 bits.
    pub(crate) fn natural(self) -> u64 {
        match self.json {
            Json::Natural(number) => number,
            _ => self.wrong("a whole number, 0 or more"),
        }
    }

    /// A whole number that the type can hold.
    pub(crate) fn small<T: TryFrom<u64> + Default>(self) -> T {
        let Json::Natural(number) = self.json else {
            return self.wrong("a whole number, 0 or more");
        };
        T::try_from(number).unwrap_or_else(|_| self.wrong("a smaller number"))
    }

    pub(crate) fn number(self) -> f64 {
        match self.json {
            Json::Natural(number) => number as f64,
            Json::Number(number) => number,
            _ => self.wrong("a number"),
        }
    }

    /// Each element, decoded.
    pub(crate) fn list<T>(self, decode: fn(At<'p>) -> T) -> Vec<T> {
        let Json::List(list) = self.json else {
            return self.wrong("a list");
        };
        let mut elements = Vec::with_capacity(list.len());
        for (index, json) in list.into_iter().enumerate() {
            let problem = self.problem;
            let path = problem.path(format_args!("{}[{index}]", self.path));
            elements.push(decode(At {
                path,
                json,
                problem,
            }));
        }
        elements
    }

    pub(crate) fn object(self) -> Object<'p> {
        let fields = match self.json {
            Json::Object(fields) => fields,
            _ => self.wrong("an object"),
        };
        Object {
            path: self.path,
            fields,
            problem: self.problem,
        }
    }
}

/// The fields of an object that were not taken yet. What nobody takes is ignored.
pub(crate) struct Object<'p> {
    pub(crate) path: String,
    pub(crate) fields: Fields<'p>,
    pub(crate) problem: &'p Problem,
}

impl<'p> Object<'p> {
    /// A field that may be absent; null is absent.
    pub(crate) fn maybe(&mut self, name: &str) -> Option<At<'p>> {
        let (_, json) = self.fields.iter_mut().find(|(field, _)| field.is(name))?;
        let json = std::mem::replace(json, Json::Null);
        (json != Json::Null).then(|| self.at(name, json))
    }

    /// A field that must be there.
    pub(crate) fn must(&mut self, name: &str) -> At<'p> {
        self.maybe(name).unwrap_or_else(|| {
            let path = match self.path.as_str() {
                "" => "config",
                path => path,
            };
            self.problem.report(path, format!("missing field `{name}`"));
            self.at(name, Json::Null)
        })
    }

    fn at(&self, name: &str, json: Json<'p>) -> At<'p> {
        let dot = if self.path.is_empty() { "" } else { "." };
        At {
            path: (self.problem).path(format_args!("{}{dot}{name}", self.path)),
            json,
            problem: self.problem,
        }
    }
}
