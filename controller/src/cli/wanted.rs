//! A rollout as a person names it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use anyhow::bail;

use crate::validate::RolloutName;

/// How `kubectl get -o name` begins a name. Neither holds for a namespace, which has no dot.
const KINDS: [&str; 2] = ["modelrollout.serin.dev/", "modelrollouts.serin.dev/"];

/// `NAME` or `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Where it is, if that was said.
    pub(super) namespace: Option<String>,
    /// Its name there.
    pub(super) name: String,
}

impl FromStr for Wanted {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let text = KINDS
            .iter()
            .find_map(|kind| text.strip_prefix(kind))
            .unwrap_or(text);
        Ok(match text.split_once('/') {
            Some((namespace, name)) => Self {
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
            },
            None => Self {
                namespace: None,
                name: text.to_owned(),
            },
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Wanted {
    fn is(&self, name: &RolloutName) -> bool {
        let namespace = self.namespace.as_ref();
        name.name == self.name && namespace.is_none_or(|it| *it == name.namespace)
    }

    /// Where the one rollout that is meant stands in a list.
    ///
    /// # Errors
    /// It is not there, or several are meant; both with what there is.
    pub(super) fn position<'a>(
        &self,
        names: impl Iterator<Item = &'a RolloutName>,
    ) -> anyhow::Result<usize> {
        let names: Vec<_> = names.collect();
        let found: Vec<_> = names
            .iter()
            .enumerate()
            .filter(|(_, name)| self.is(name))
            .collect();
        match found.as_slice() {
            [(index, _)] => Ok(*index),
            [] => bail!("there is no rollout '{self}'; known: {}", list(&names)),
            several => {
                let several: Vec<_> = several.iter().map(|(_, name)| **name).collect();
                bail!("'{self}' is ambiguous: say one of {}", list(&several))
            }
        }
    }
}

/// How many names a message shows.
const SHOWN: usize = 20;

fn list(names: &[&RolloutName]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<_> = names.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = names.len().saturating_sub(SHOWN);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> RolloutName {
        let (namespace, name) = text.split_once('/').unwrap();
        RolloutName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn found(wanted: &str, known: &[&str]) -> Result<usize, String> {
        let names: Vec<_> = known.iter().map(|text| name(text)).collect();
        let wanted: Wanted = wanted.parse().unwrap();
        wanted
            .position(names.iter())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_enough_where_it_means_one_rollout() {
        let known = ["ml/fraud", "shop/fraud", "ml/spam"];
        assert_eq!(found("spam", &known), Ok(2));
        assert_eq!(found("shop/fraud", &known), Ok(1));
        assert_eq!(found("modelrollout.serin.dev/spam", &known), Ok(2));
        assert_eq!(
            found("fraud", &known).unwrap_err(),
            "'fraud' is ambiguous: say one of ml/fraud, shop/fraud"
        );
        assert_eq!(
            found("ml/frod", &known).unwrap_err(),
            "there is no rollout 'ml/frod'; known: ml/fraud, shop/fraud, ml/spam"
        );
        assert!(found("x", &[]).unwrap_err().ends_with("known: none"));
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let known: Vec<_> = (0..25).map(|i| format!("ml/r{i}")).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        let error = found("x", &known).unwrap_err();
        assert!(error.ends_with("ml/r19 and 5 more"), "{error}");
    }
}
