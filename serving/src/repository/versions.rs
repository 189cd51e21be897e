//! Which of a model's versions are served.

/// The policy of a model, as its model.yaml says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum VersionPolicy {
    /// All that are there.
    #[default]
    All,
    /// The highest so many, at least one.
    Latest(usize),
    /// These; all of them have to be there.
    Specific(Vec<u64>),
}

impl VersionPolicy {
    /// Whether `version` is served, of all that are `there` in rising order.
    #[must_use]
    pub fn serves(&self, version: u64, there: &[u64]) -> bool {
        match self {
            Self::All => true,
            Self::Latest(count) => there.iter().rev().take(*count).any(|it| *it == version),
            Self::Specific(wanted) => wanted.contains(&version),
        }
    }

    /// The versions that are named and not `there`.
    pub fn missing<'a>(&'a self, there: &'a [u64]) -> impl Iterator<Item = u64> + 'a {
        let named = match self {
            Self::Specific(wanted) => wanted.as_slice(),
            Self::All | Self::Latest(_) => &[],
        };
        named.iter().copied().filter(move |it| !there.contains(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(policy: &VersionPolicy, served: &[u64]) {
        let there = [3, 7, 10];
        let found: Vec<u64> = there
            .into_iter()
            .filter(|it| policy.serves(*it, &there))
            .collect();
        assert_eq!(found, served, "{policy:?}");
    }

    #[test]
    fn each_policy_chooses_its_versions() {
        check(&VersionPolicy::All, &[3, 7, 10]);
        check(&VersionPolicy::Latest(1), &[10]);
        check(&VersionPolicy::Latest(2), &[7, 10]);
        check(&VersionPolicy::Latest(9), &[3, 7, 10]);
        check(&VersionPolicy::Specific(vec![7, 3]), &[3, 7]);
    }

    #[test]
    fn only_versions_that_are_named_can_be_missing() {
        let missing = |policy: &VersionPolicy| policy.missing(&[3, 7]).collect::<Vec<_>>();
        assert_eq!(missing(&VersionPolicy::Specific(vec![7, 8])), [8]);
        assert!(missing(&VersionPolicy::Latest(3)).is_empty());
        assert!(missing(&VersionPolicy::All).is_empty());
    }
}
