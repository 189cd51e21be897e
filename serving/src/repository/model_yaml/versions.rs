//! `versions`: which of a model's versions are served.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Checker;
use crate::repository::VersionPolicy;

/// Versions of one model that are served at the most.
pub(in crate::repository) const MAX_VERSIONS: u64 = 1000;

/// As the file has it: `all`, `{latest: N}` or `{specific: [N, ...]}`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Versions {
    All,
    Latest(u64),
    Specific(Vec<u64>),
}

impl Checker<'_> {
    pub(super) fn versions(&mut self, wanted: Option<Spanned<Versions>>) -> VersionPolicy {
        let Some(at) = wanted else {
            return VersionPolicy::default();
        };
        match &at.value {
            Versions::All => VersionPolicy::All,
            Versions::Latest(count) => {
                if !(1..=MAX_VERSIONS).contains(count) {
                    let what = format!("'latest' is {count}");
                    let why = format!("it is 1 to {MAX_VERSIONS}");
                    self.refuse(&at, what, why, "write a number in that range, or 'all'");
                }
                VersionPolicy::Latest(usize::try_from(*count).unwrap_or(usize::MAX))
            }
            Versions::Specific(wanted) => {
                if wanted.is_empty() || wanted.len() as u64 > MAX_VERSIONS {
                    let what = format!("'specific' has {} versions", wanted.len());
                    let why = format!("a model is served in 1 to {MAX_VERSIONS}");
                    self.refuse(&at, what, why, "name the versions to serve, or write 'all'");
                }
                if wanted.contains(&0) {
                    let why = "versions are whole numbers from 1";
                    self.refuse(&at, "'specific' has 0".to_owned(), why, "take it out");
                }
                VersionPolicy::Specific(wanted.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::repository::model_yaml::parse;

    fn read(more: &str) -> Result<VersionPolicy, String> {
        let tensors = "inputs: [{name: x, datatype: FP32, shape: [1]}]
outputs: [{name: y, datatype: FP32, shape: [1]}]
";
        let found = parse(Path::new("model.yaml"), &format!("{tensors}{more}"));
        found
            .map(|it| it.versions)
            .map_err(|problems| problems[0].to_string())
    }

    #[test]
    fn all_versions_are_served_unless_the_file_says_otherwise() {
        assert_eq!(read("").unwrap(), VersionPolicy::All);
        assert_eq!(read("versions: all").unwrap(), VersionPolicy::All);
        let latest = read("versions: {latest: 2}").unwrap();
        assert_eq!(latest, VersionPolicy::Latest(2));
        let specific = read("versions:\n  specific: [3, 7]\n").unwrap();
        assert_eq!(specific, VersionPolicy::Specific(vec![3, 7]));
    }

    #[test]
    fn what_cannot_be_is_refused_by_line_with_what_to_do() {
        for (more, message) in [
            (
                "versions: {latest: 0}",
                "model.yaml:3: 'latest' is 0: it is 1 to 1000; write a number in that range, or 'all'",
            ),
            (
                "versions: {specific: []}",
                "model.yaml:3: 'specific' has 0 versions: ",
            ),
            (
                "versions: {specific: [1, 0]}",
                "model.yaml:3: 'specific' has 0: versions are whole numbers from 1; take it out",
            ),
            ("versions: newest", "model.yaml:3: not a valid model.yaml: "),
            (
                "versions: {latest: -1}",
                "model.yaml:3: not a valid model.yaml: ",
            ),
            (
                "versions: {latest: 1, specific: [2]}",
                "model.yaml:3: not a valid model.yaml: ",
            ),
            (
                "versions: {first: 1}",
                "model.yaml:3: not a valid model.yaml: ",
            ),
        ] {
            let found = read(more).unwrap_err();
            assert!(found.starts_with(message), "{found}");
        }
    }
}
