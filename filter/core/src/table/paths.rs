//! Paths of one host: exact, prefixes, and templates with `{name}` segments, found segment by segment.

use crate::hash::Map;

/// How many `{name}` segments a template may have: each may double the nodes that a request visits.
pub(crate) const MAX_WILDCARDS: usize = 4;
/// How many segments a path may name.
pub(crate) const MAX_SEGMENTS: usize = 32;

/// What a rollout claims of a host's paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern<'a> {
    /// The path and everything below it, without a trailing slash.
    Prefix(&'a str),
    /// This path alone.
    Exact(&'a str),
    /// Segments of which `{name}` stands for any one, and `**` at the end for any number.
    Template(&'a str),
}

impl<'a> Pattern<'a> {
    /// The segments, and whether paths below them belong to it as well.
    fn parts(self) -> (impl Iterator<Item = &'a str>, bool) {
        let (path, below) = match self {
            Self::Prefix(path) => (path.trim_end_matches('/'), true),
            Self::Exact(path) => (path, false),
            Self::Template(path) => match path.strip_suffix("/**") {
                Some(path) => (path, true),
                None => (path, false),
            },
        };
        let below_root = path.is_empty();
        let segments = path.strip_prefix('/').unwrap_or(path).split('/');
        (segments.filter(move |_| !below_root), below)
    }

    fn is_wildcard(self, segment: &str) -> bool {
        matches!(self, Self::Template(_)) && wildcard(segment)
    }
}

/// Whether a template's segment stands for any one.
pub(crate) fn wildcard(segment: &str) -> bool {
    segment.len() > 2 && segment.starts_with('{') && segment.ends_with('}')
}

/// A tree of segments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    children: Map<Vec<u8>, Paths>,
    wildcard: Option<Box<Paths>>,
    /// The rollout that claims the path which ends here.
    exact: Option<u32>,
    /// The rollout that claims this path and all below it.
    below: Option<u32>,
}

impl Paths {
    /// Enters a rollout; the one that has claimed the very same before it is returned and stays.
    pub(crate) fn insert(&mut self, pattern: Pattern, rollout: u32) -> Option<u32> {
        let (segments, below) = pattern.parts();
        let mut node = self;
        for segment in segments {
            node = if pattern.is_wildcard(segment) {
                node.wildcard.get_or_insert_default()
            } else {
                node.children
                    .entry(segment.as_bytes().to_vec())
                    .or_default()
            };
        }
        let place = if below {
            &mut node.below
        } else {
            &mut node.exact
        };
        let other = *place;
        place.get_or_insert(rollout);
        other
    }

    /// The rollout of every path, where there are no others: then a path need not be looked at.
    pub(crate) fn only(&self) -> Option<u32> {
        let more = self.wildcard.is_some() || !self.children.is_empty() || self.exact.is_some();
        self.below.filter(|_| !more)
    }

    /// The most specific rollout for a path with its query. From left to right a literal segment wins over `{name}`;
    /// at the end the path itself wins over what it lies below, and a longer prefix over a shorter one.
    ///
    /// A path that does not begin with a slash (`*`, or none at all) lies below the root only.
    pub(crate) fn find(&self, path: &[u8]) -> Option<u32> {
        let path = path.split(|byte| matches!(byte, b'?' | b'#')).next()?;
        match path.strip_prefix(b"/") {
            Some(rest) => self.descend(Some(rest)),
            None => self.below,
        }
    }

    /// `rest`: the segments still to go; none when the path has ended.
    fn descend(&self, rest: Option<&[u8]>) -> Option<u32> {
        let Some(rest) = rest else {
            return self.exact.or(self.below);
        };
        let slash = rest.iter().position(|&byte| byte == b'/');
        let (segment, further) = match slash {
            Some(at) => (
                rest.get(..at).unwrap_or_default(),
                rest.get(at.saturating_add(1)..),
            ),
            None => (rest, None),
        };
        // The depth of the tree bounds the recursion, and the wildcards of its templates the branches.
        self.children
            .get(segment)
            .and_then(|node| node.descend(further))
            .or_else(|| {
                let node = self.wildcard.as_ref().filter(|_| !segment.is_empty())?;
                node.descend(further)
            })
            .or(self.below)
    }
}

#[cfg(test)]
mod tests {
    use super::{Paths, Pattern};

    fn paths(patterns: &[Pattern]) -> Paths {
        let mut paths = Paths::default();
        for (rollout, &pattern) in (0..).zip(patterns) {
            assert_eq!(paths.insert(pattern, rollout), None, "{pattern:?}");
        }
        paths
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let paths = paths(&[Pattern::Prefix("/a/b")]);
        for within in ["/a/b", "/a/b/", "/a/b/c", "/a/b?x", "/a/b#x", "/a/b/c/d?/e"] {
            assert_eq!(paths.find(within.as_bytes()), Some(0), "{within}");
        }
        for outside in ["/a", "/a/", "/a/bc", "/", "", "*", "/a//b", "a/b", "/b/a/b"] {
            assert_eq!(paths.find(outside.as_bytes()), None, "{outside}");
        }
    }

    #[test]
    fn the_root_claims_everything_that_nothing_else_does() {
        let paths = paths(&[Pattern::Prefix("/"), Pattern::Exact("/a")]);
        for (path, rollout) in [
            ("/a", 1),
            ("/a/", 0),
            ("/", 0),
            ("*", 0),
            ("", 0),
            ("/x/y", 0),
        ] {
            assert_eq!(paths.find(path.as_bytes()), Some(rollout), "{path}");
        }
    }

    #[test]
    fn an_exact_path_is_no_prefix() {
        let paths = paths(&[Pattern::Exact("/a/b"), Pattern::Exact("/")]);
        assert_eq!(paths.find(b"/a/b"), Some(0));
        assert_eq!(paths.find(b"/a/b?x=1"), Some(0));
        assert_eq!(paths.find(b"/"), Some(1));
        for outside in ["/a/b/", "/a/b/c", "/a"] {
            assert_eq!(paths.find(outside.as_bytes()), None, "{outside}");
        }
    }

    #[test]
    fn a_template_takes_one_segment_for_a_name_and_any_number_for_two_stars() {
        let paths = paths(&[
            Pattern::Template("/v2/models/{name}/infer"),
            Pattern::Template("/v2/models/{name}/versions/{version}/**"),
        ]);
        for (path, rollout) in [
            ("/v2/models/fraud/infer", Some(0)),
            ("/v2/models/fraud/infer?x", Some(0)),
            ("/v2/models//infer", None),
            ("/v2/models/fraud", None),
            ("/v2/models/fraud/infer/x", None),
            ("/v2/models/fraud/versions/8", Some(1)),
            ("/v2/models/fraud/versions/8/infer", Some(1)),
            ("/v2/models/fraud/versions", None),
        ] {
            assert_eq!(paths.find(path.as_bytes()), rollout, "{path}");
        }
    }

    #[test]
    fn literal_wins_over_name_exact_over_prefix_and_long_over_short() {
        let paths = paths(&[
            Pattern::Prefix("/"),
            Pattern::Prefix("/m"),
            Pattern::Template("/m/{name}"),
            Pattern::Exact("/m/fraud"),
            Pattern::Prefix("/m/fraud"),
            Pattern::Template("/m/{name}/infer"),
            Pattern::Template("/m/spam/**"),
        ]);
        for (path, rollout) in [
            ("/x", 0),
            ("/m", 1),
            ("/m/churn", 2),
            ("/m/fraud", 3),
            ("/m/fraud/x", 4),
            // Below a literal segment: it wins, although a template would fit to the end.
            ("/m/fraud/infer", 4),
            ("/m/spam/infer", 6),
            ("/m/churn/infer", 5),
            // Nothing fits to the end: the longest prefix takes it.
            ("/m/churn/x", 1),
        ] {
            assert_eq!(paths.find(path.as_bytes()), Some(rollout), "{path}");
        }
    }

    #[test]
    fn the_same_claim_twice_names_the_first() {
        let mut paths = paths(&[Pattern::Prefix("/a")]);
        assert_eq!(paths.insert(Pattern::Prefix("/a/"), 7), Some(0));
        assert_eq!(paths.insert(Pattern::Template("/a/**"), 7), Some(0));
        assert_eq!(paths.insert(Pattern::Exact("/a"), 7), None);
        assert_eq!(paths.insert(Pattern::Template("/{x}"), 8), None);
        assert_eq!(paths.insert(Pattern::Template("/{y}"), 9), Some(8));
    }
}
