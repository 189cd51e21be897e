//! JSON of which no more is kept than a model can use.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, SeqAccess, Visitor},
};

/// An array of which the first `N` items are kept and the others only counted: a small item of text (`1,`) would
/// become a large one in memory.
#[derive(Debug)]
pub(super) struct Bounded<T, const N: usize> {
    /// The first items.
    pub(super) kept: Vec<T>,
    /// The number of all items.
    pub(super) count: usize,
}

struct Items<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not `deserialize_seq`: it would not ask `visit_str`.
        deserializer.deserialize_any(Items(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Items<T, N> {
    type Value = Bounded<T, N>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < N {
            match items.next_element()? {
                Some(item) => kept.push(item),
                None => {
                    let count = kept.len();
                    return Ok(Bounded { kept, count });
                }
            }
        }
        let mut count = N;
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Bounded { kept, count })
    }

    // serde's own message quotes the whole string, escaped: up to six times the body.
    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(E::custom("invalid type: string, expected a sequence"))
    }
}

/// Reads an object. Anything else is refused before serde sees it: it takes arrays for structs, and quotes strings
/// as a whole.
///
/// # Errors
/// The reason in words.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    let start = text.trim_ascii_start();
    if start.is_empty() || start.starts_with('{') {
        serde_json::from_str(text).map_err(|error| error.to_string())
    } else {
        Err("it is not an object".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_beyond_the_bound_are_counted_but_not_kept() {
        for (text, kept, count) in [
            ("[]", vec![], 0),
            ("[1]", vec![1], 1),
            ("[1,2,3]", vec![1, 2, 3], 3),
            (r#"[1,2,3,"x",[4,5]]"#, vec![1, 2, 3], 5),
        ] {
            let list: Bounded<i64, 3> = serde_json::from_str(text).unwrap();
            assert_eq!((list.kept, list.count), (kept, count), "{text}");
        }
        assert!(serde_json::from_str::<Bounded<i64, 3>>("[1,2,3,x]").is_err());
    }

    #[test]
    fn long_strings_are_not_quoted() {
        let text = format!("\"{}\"", "\u{7f}".repeat(10_000));
        let list = serde_json::from_str::<Bounded<i64, 3>>(&text);
        assert!(list.unwrap_err().to_string().len() < 100);
        assert_eq!(object::<()>(&text), Err("it is not an object".to_owned()));
    }
}
