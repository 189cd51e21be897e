//! The paths of a rollout, in the order in which the filter prefers them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which paths of its hosts a rollout claims. The meaning is the filter's ([`serin_filter_core::config`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Paths {
    /// The path and everything below it; `/` for all.
    Prefix(String),
    /// This path alone.
    Exact(String),
    /// A path in which `{name}` stands for any one segment, and `/**` at the end for any further ones.
    Template(String),
}

/// A place in the filter's tree of segments. The first of several claims that fit a request, in this order, is the one
/// that the filter finds; equal places are the same claim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Specificity(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Part {
    Literal(String),
    AnySegment,
    /// The path ends here.
    End,
    /// This path, and whatever lies below it where nothing else fits.
    Below,
}

impl Paths {
    /// Every path.
    #[must_use]
    pub fn all() -> Self {
        Self::Prefix("/".to_owned())
    }

    /// As written, without its kind.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Prefix(text) | Self::Exact(text) | Self::Template(text) => text,
        }
    }

    /// The field of the rollout file and of the plugin config.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "pathPrefix",
            Self::Exact(_) => "path",
            Self::Template(_) => "pathTemplate",
        }
    }

    /// The segments of the path, whether each of them stands for any one, and whether paths below belong to it.
    fn parts(&self) -> (Vec<(&str, bool)>, bool) {
        let (path, below) = match self {
            Self::Prefix(path) => (path.trim_end_matches('/'), true),
            Self::Exact(path) => (path.as_str(), false),
            Self::Template(path) => path
                .strip_suffix("/**")
                .map_or((path.as_str(), false), |path| (path, true)),
        };
        if path.is_empty() {
            return (Vec::new(), below);
        }
        let any = |segment: &str| {
            matches!(self, Self::Template(_))
                && segment.len() > 2
                && segment.starts_with('{')
                && segment.ends_with('}')
        };
        let segments = path.strip_prefix('/').unwrap_or(path).split('/');
        (
            segments.map(|segment| (segment, any(segment))).collect(),
            below,
        )
    }

    /// Where the claim stands among others of the same host.
    #[must_use]
    pub fn specificity(&self) -> Specificity {
        let (segments, below) = self.parts();
        let parts = segments.into_iter().map(|(segment, any)| {
            if any {
                Part::AnySegment
            } else {
                Part::Literal(segment.to_owned())
            }
        });
        let end = if below { Part::Below } else { Part::End };
        Specificity(parts.chain([end]).collect())
    }

    /// The template as an expression (RE2) on a path without its query: what Envoy's routes match.
    #[must_use]
    pub fn expression(&self) -> String {
        let (segments, below) = self.parts();
        let mut expression = String::new();
        for (segment, any) in segments {
            expression.push('/');
            if any {
                expression.push_str("[^/]+");
                continue;
            }
            for character in segment.chars() {
                if !character.is_ascii_alphanumeric() && !matches!(character, '-' | '_') {
                    expression.push('\\');
                }
                expression.push(character);
            }
        }
        if below {
            expression.push_str("(/.*)?");
        }
        expression
    }
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::Paths;

    fn prefix(text: &str) -> Paths {
        Paths::Prefix(text.to_owned())
    }

    fn exact(text: &str) -> Paths {
        Paths::Exact(text.to_owned())
    }

    fn template(text: &str) -> Paths {
        Paths::Template(text.to_owned())
    }

    #[test]
    fn the_order_is_that_of_the_filter() {
        let wanted = [
            exact("/m/fraud"),
            prefix("/m/fraud"),
            template("/m/spam/**"),
            template("/m/{name}/infer"),
            template("/m/{name}"),
            prefix("/m"),
            prefix("/"),
        ];
        let mut found: Vec<_> = wanted.iter().rev().cloned().collect();
        found.sort_by_key(Paths::specificity);
        let at = |paths: &Paths| found.iter().position(|it| it == paths);
        for (first, second) in wanted.iter().zip(wanted.iter().skip(1)) {
            assert!(at(first) < at(second), "{first:?} before {second:?}");
        }
    }

    #[test]
    fn the_same_claim_in_other_words_is_the_same() {
        assert_eq!(prefix("/a").specificity(), template("/a/**").specificity());
        assert_eq!(
            template("/a/{x}").specificity(),
            template("/a/{y}").specificity()
        );
        assert_ne!(exact("/a").specificity(), prefix("/a").specificity());
    }

    #[test]
    fn a_template_becomes_an_expression_that_means_the_same() {
        assert_eq!(
            template("/v2/models/{name}/infer").expression(),
            "/v2/models/[^/]+/infer"
        );
        assert_eq!(
            template("/v2/a.b/{name}/**").expression(),
            r"/v2/a\.b/[^/]+(/.*)?"
        );
    }
}
