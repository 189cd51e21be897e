//! `serin lint`: the checks of the controller, before it sees the file, and warnings, which fail nothing.

mod design;
mod together;
mod warnings;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::locate::place_of;
use crate::quantity::Fraction;
use crate::simulate::Traffic;
use crate::simulate::engine::Design;
use crate::source::{Mistake, Source, parse};
use crate::validate::Problem;
use design::Expected;

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// Rollout files, and folders of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// All requests of a rollout in a minute: warns of what they cannot decide in time
    #[arg(long, value_name = "NUMBER", requires = "error_rate")]
    requests_per_minute: Option<f64>,
    /// Share of stable's requests that fail
    #[arg(long, value_name = "SHARE", requires = "requests_per_minute")]
    error_rate: Option<Fraction>,
}

/// A file, and what it says or why it cannot be read.
struct Read {
    file: String,
    text: String,
    said: Result<Source, Vec<Mistake>>,
}

pub(super) fn lint(args: &LintArgs) -> anyhow::Result<ExitCode> {
    let expected = expected(args)?;
    let mut code = ExitCode::SUCCESS;
    let mut files = Vec::new();
    for path in &args.files {
        match rollout_files(path) {
            Ok(found) if found.is_empty() => {
                eprintln!("{}: holds no rollout files (*.yaml, *.yml)", path.display());
                code = ExitCode::FAILURE;
            }
            Ok(found) => files.extend(found),
            Err(error) => {
                eprintln!("{}: cannot be read: {error}", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    let mut read = Vec::new();
    for path in once_each(files) {
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let file = path.display().to_string();
                let said = parse(&file, &text);
                read.push(Read { file, text, said });
            }
            // One file that cannot be read says nothing about the others.
            Err(error) => {
                eprintln!("{}: cannot be read: {error}", path.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    let conflicts = conflicts(&read);
    for (read, conflict) in read.iter().zip(conflicts) {
        if !tell(read, conflict, expected) {
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn expected(args: &LintArgs) -> anyhow::Result<Option<Expected>> {
    let (Some(requests_per_minute), Some(error_rate)) = (args.requests_per_minute, args.error_rate)
    else {
        return Ok(None);
    };
    let traffic = Traffic {
        requests_per_minute,
        error_rate: error_rate.0,
        users: None,
        burst: 1.0,
    };
    traffic.check()?;
    Ok(Some(Expected {
        requests_per_minute,
        error_rate: error_rate.0,
    }))
}

/// The file itself, or those of a folder that the controller would read, in the order of their names.
fn rollout_files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let wanted = path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml");
        if wanted && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A file that was named twice, or alone and with its folder, does not contradict itself.
fn once_each(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut first = |path: &PathBuf| {
        let same = path.canonicalize().unwrap_or_else(|_| path.clone());
        seen.insert(same)
    };
    files.into_iter().filter(|path| first(path)).collect()
}

/// What each file says against those before it; nothing where it cannot be understood.
fn conflicts(read: &[Read]) -> Vec<Option<Problem>> {
    let understood = |read: &Read| read.said.is_ok();
    let files: Vec<(&str, &Source)> = read
        .iter()
        .filter_map(|read| Some((read.file.as_str(), read.said.as_ref().ok()?)))
        .collect();
    let mut found = together::conflicts(&files).into_iter();
    read.iter()
        .map(|read| understood(read).then(|| found.next().flatten()).flatten())
        .collect()
}

/// Tells all of one file; whether it may be given to the controller.
fn tell(read: &Read, conflict: Option<Problem>, expected: Option<Expected>) -> bool {
    let Read { file, text, said } = read;
    let source = match said {
        Ok(source) => source,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| eprintln!("{mistake}"));
            return false;
        }
    };
    let at = |problem: Problem, kind: &str| Mistake {
        file: file.clone(),
        place: place_of(text, &problem.path),
        problem: Problem {
            path: format!("{kind}{}", problem.path),
            ..problem
        },
    };
    for warning in all_warnings(source, expected) {
        eprintln!("{}", at(warning, "warning: "));
    }
    if let Some(conflict) = conflict {
        eprintln!("{}", at(conflict, ""));
        return false;
    }
    say!("{file}: rollout {} is fine", source.plan.name);
    true
}

fn all_warnings(source: &Source, expected: Option<Expected>) -> Vec<Problem> {
    let design = Design::of(&source.plan);
    let mut found = warnings::warnings(&source.rollout);
    found.extend(design::structural(&design));
    let planned = expected.map(|expected| design::planned(&design, expected));
    found.extend(planned.into_iter().flatten());
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::text;

    #[test]
    fn a_folder_gives_the_files_that_the_controller_would_read_each_once() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", ".hidden.yaml", "notes.txt"] {
            std::fs::write(folder.path().join(name), text()).unwrap();
        }
        let mut files = rollout_files(folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yml"]);
        files.push(folder.path().join("./b.yml"));
        assert_eq!(once_each(files).len(), 2);
    }

    #[test]
    fn a_file_that_is_not_understood_takes_nothing_from_the_others() {
        let read = |file: &str, text: &str| Read {
            file: file.to_owned(),
            text: text.to_owned(),
            said: parse(file, text),
        };
        let all = [read("a", &text()), read("b", "kind: ["), read("c", &text())];
        let found = conflicts(&all);
        assert_eq!((&found[0], &found[1]), (&None, &None));
        assert_eq!(found[2].as_ref().unwrap().path, "metadata.name");
    }
}
