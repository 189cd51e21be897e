//! Where in a YAML text a field is, and which field is at a place: messages name both.

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// A place in a text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Finds `spec.steps[2].weight`. A field that is not there gives the place of its nearest parent; `None` only when
/// the text is no YAML or empty.
#[must_use]
pub fn place_of(text: &str, path: &str) -> Option<Place> {
    let documents = MarkedYaml::load_from_str(text).ok()?;
    let mut node = documents.first()?;
    let mut place = place(node);
    for segment in segments(path) {
        let found = match (&node.data, segment) {
            (YamlData::Mapping(mapping), Segment::Key(key)) => {
                mapping.iter().find(|(k, _)| is_text(k, key))
            }
            (YamlData::Sequence(items), Segment::Index(index)) => {
                items.get(index).map(|item| (item, item))
            }
            _ => None,
        };
        let Some((key, value)) = found else { break };
        // The key's place: that is where a person looks for the field.
        place = self::place(key);
        node = value;
    }
    Some(place)
}

/// The path of the innermost field that begins at or before a place on its line, e.g. `spec.route.manage`.
#[must_use]
pub fn path_at(text: &str, at: Place) -> Option<String> {
    let documents = MarkedYaml::load_from_str(text).ok()?;
    let mut best = None;
    visit(documents.first()?, "", at, &mut best);
    best
}

fn visit(node: &MarkedYaml<'_>, path: &str, at: Place, best: &mut Option<String>) {
    let begin = place(node);
    if begin.line == at.line && begin.column <= at.column && !path.is_empty() {
        *best = Some(path.to_owned());
    }
    match &node.data {
        YamlData::Mapping(mapping) => {
            for (key, value) in mapping {
                let YamlData::Value(Scalar::String(name)) = &key.data else {
                    continue;
                };
                let child = if path.is_empty() {
                    name.to_string()
                } else {
                    format!("{path}.{name}")
                };
                let key_place = place(key);
                if key_place.line == at.line && key_place.column <= at.column {
                    *best = Some(child.clone());
                }
                visit(value, &child, at, best);
            }
        }
        YamlData::Sequence(items) => {
            for (i, item) in items.iter().enumerate() {
                visit(item, &format!("{path}[{i}]"), at, best);
            }
        }
        _ => {}
    }
}

fn place(node: &MarkedYaml<'_>) -> Place {
    Place {
        line: node.span.start.line(),
        column: node.span.start.col() + 1,
    }
}

fn is_text(node: &MarkedYaml<'_>, text: &str) -> bool {
    matches!(&node.data, YamlData::Value(Scalar::String(name)) if name == text)
}

enum Segment<'a> {
    Key(&'a str),
    Index(usize),
}

fn segments(path: &str) -> impl Iterator<Item = Segment<'_>> {
    path.split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_suffix(']') {
            Some(index) => Segment::Index(index.parse().unwrap_or(usize::MAX)),
            None => Segment::Key(part),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kind: X\nspec:\n  steps:\n    - {weight: 1}\n    - weight: 2\n      gate: {ratio: 3}\n  match:\n    hosts: [a, b]\n";

    #[track_caller]
    fn check(path: &str, line: usize, column: usize) {
        assert_eq!(place_of(TEXT, path), Some(Place { line, column }), "{path}");
    }

    #[test]
    fn a_field_is_found_in_block_and_flow_style() {
        check("kind", 1, 1);
        check("spec.steps[0].weight", 4, 8);
        check("spec.steps[1].weight", 5, 7);
        check("spec.steps[1].gate.ratio", 6, 14);
        check("spec.match.hosts[1]", 8, 16);
    }

    #[test]
    fn a_missing_field_leads_to_its_parent() {
        check("spec.match.pathPrefix", 7, 3);
        check("spec.steps[7].weight", 3, 3);
    }

    #[test]
    fn a_place_names_its_field() {
        assert_eq!(
            path_at(
                TEXT,
                Place {
                    line: 6,
                    column: 21
                }
            )
            .as_deref(),
            Some("spec.steps[1].gate.ratio")
        );
        assert_eq!(
            path_at(TEXT, Place { line: 1, column: 7 }).as_deref(),
            Some("kind")
        );
    }

    #[test]
    fn no_yaml_has_no_places() {
        assert_eq!(place_of("a: [", "a"), None);
    }
}
