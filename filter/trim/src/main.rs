//! `serin-trim IN OUT [--keep NAME]... [--rename FROM=TO]...`: see the library. Without options it goes by
//! [`Trimmer::convention`].

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use serin_trim::{Selection, Trimmer};

const USAGE: &str = "usage: serin-trim IN OUT [--keep NAME]... [--rename FROM=TO]...";

fn main() -> ExitCode {
    if let Err(error) = run(std::env::args_os().skip(1)) {
        // Who closed stderr does not want to know.
        writeln!(std::io::stderr(), "serin-trim: {error}").ok();
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let Arguments {
        input,
        output,
        selection,
    } = Arguments::parse(arguments)?;
    let wasm = fs::read(&input)
        .map_err(|error| format!("failed to read '{}': {error}", input.display()))?;
    let trimmer =
        Trimmer::parse(&wasm).map_err(|error| format!("'{}': {error}", input.display()))?;
    let selection = selection.unwrap_or_else(|| trimmer.convention());
    let trimmed = trimmer
        .trim(&selection)
        .map_err(|error| format!("'{}': {error}", input.display()))?;
    fs::write(&output, trimmed)
        .map_err(|error| format!("failed to write '{}': {error}", output.display()))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    input: PathBuf,
    output: PathBuf,
    /// None: by convention.
    selection: Option<Selection>,
}

impl Arguments {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut paths = Vec::new();
        let mut selection: Option<Selection> = None;
        while let Some(argument) = arguments.next() {
            let option = argument
                .to_str()
                .filter(|argument| argument.starts_with('-'));
            let Some(option) = option else {
                paths.push(PathBuf::from(argument));
                continue;
            };
            let value = arguments.next();
            let value = value.as_deref().and_then(OsStr::to_str);
            let selection = selection.get_or_insert_default();
            match (option, value) {
                ("--keep", Some(name)) => selection.keep.push(name.to_owned()),
                ("--rename", Some(pair)) => {
                    let (from, to) = pair
                        .split_once('=')
                        .ok_or_else(|| format!("--rename {pair}: it must be FROM=TO"))?;
                    selection.rename.push((from.to_owned(), to.to_owned()));
                }
                ("--keep" | "--rename", None) => return Err(format!("{option} needs a name")),
                _ => return Err(format!("unknown option '{option}'\n{USAGE}")),
            }
        }
        let [input, output] = <[PathBuf; 2]>::try_from(paths)
            .map_err(|paths| format!("expected two files, got {}\n{USAGE}", paths.len()))?;
        Ok(Self {
            input,
            output,
            selection,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn without_options_the_convention_decides() {
        assert_eq!(parse("a b").unwrap().selection, None);
    }

    #[test]
    fn options_may_stand_anywhere_and_repeat() {
        let arguments = parse("--keep memory a --rename x=y b --keep z").unwrap();
        let selection = Selection {
            keep: vec!["memory".to_owned(), "z".to_owned()],
            rename: vec![("x".to_owned(), "y".to_owned())],
        };
        assert_eq!(arguments.selection, Some(selection));
        assert_eq!(arguments.output, PathBuf::from("b"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, said) in [
            ("a", "expected two files, got 1"),
            ("a b c", "expected two files, got 3"),
            ("a b --keep", "--keep needs a name"),
            ("a b --rename x", "--rename x: it must be FROM=TO"),
            ("a b --drop x", "unknown option '--drop'"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.starts_with(said), "{line}: {error}");
        }
    }
}
