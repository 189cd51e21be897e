//! Reads a rollout file: text to [`Plan`], and every mistake with field, reason, file and line.

mod words;

use std::fmt;

use crate::api::ModelRollout;
use crate::locate::{Place, path_at, place_of};
use crate::validate::{Plan, Problem, validate};

/// A rollout file that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// As written, for the state file: a rollout outlives its file.
    pub rollout: ModelRollout,
    /// As validated.
    pub plan: Plan,
}

/// A mistake and where it is; shown as `fraud.yaml:12:9: spec.x: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// File as the user named it.
    pub file: String,
    /// Where in it.
    pub place: Option<Place>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.problem.path.is_empty() {
            write!(f, ": {}", self.problem.path)?;
        }
        write!(f, ": {}", self.problem.reason)
    }
}

/// Parses and validates one file's text.
///
/// # Errors
/// A syntax or schema error alone (the parser stops at the first), else every mistake of the validation.
pub fn parse(file: &str, text: &str) -> Result<Source, Vec<Mistake>> {
    let rollout: ModelRollout =
        serde_saphyr::from_str(text).map_err(|error| vec![schema_mistake(file, text, &error)])?;
    match validate(&rollout) {
        Ok(plan) => Ok(Source { rollout, plan }),
        Err(problems) => {
            let located = |problem: Problem| Mistake {
                file: file.to_owned(),
                place: place_of(text, &problem.path),
                problem,
            };
            Err(problems.into_iter().map(located).collect())
        }
    }
}

fn schema_mistake(file: &str, text: &str, error: &serde_saphyr::Error) -> Mistake {
    let place = error.location().map(|at| {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Place {
            line: number(at.line()),
            column: number(at.column()),
        }
    });
    let path = place.and_then(|at| path_at(text, at)).unwrap_or_default();
    // The first line says what is wrong; the rest is a picture of the text, which file and line already give.
    let rendered = error.without_snippet().to_string();
    let first = rendered.lines().next().unwrap_or("cannot be read");
    let complaint = first.rfind(" at line ").map_or(first, |end| &first[..end]);
    let token = place.and_then(|at| token_at(text, at));
    let reason = words::plain(complaint, &path, token, text);
    Mistake {
        file: file.to_owned(),
        place,
        problem: Problem { path, reason },
    }
}

fn token_at(text: &str, at: Place) -> Option<&str> {
    let line = text.lines().nth(at.line.checked_sub(1)?)?;
    let start = line.char_indices().nth(at.column.checked_sub(1)?)?.0;
    let token = line.get(start..)?.split([',', '}', ']', ' ']).next()?;
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests;
