//! What is said of a value that is refused: clap itself names the flag alone, and shows secrets.

use std::env;

use clap::{
    ArgMatches, Command,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};

use super::file::Lines;

/// The command as it is without environment, which then needs nothing: what it reads stands on the command line.
pub(super) fn flags_alone(command: &Command) -> Command {
    let without = |it: clap::Arg| it.env(None);
    command
        .clone()
        .mut_args(|it| without(it).required(false))
        .mut_subcommands(|it| it.mut_args(without))
}

/// The same error, which names the variable or the line of the file, if a value came from there. `flags` are those of the
/// command line.
pub(super) fn name(
    mut error: clap::Error,
    command: &Command,
    flags: &ArgMatches,
    lines: &Lines,
) -> clap::Error {
    let (command, flags) = match flags.subcommand() {
        Some((name, flags)) => (command.find_subcommand(name).unwrap_or(command), flags),
        None => (command, flags),
    };
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let argument = command.get_arguments().find(|it| it.to_string() == *shown);
    let given = |id: &str| flags.value_source(id) == Some(ValueSource::CommandLine);
    let Some(argument) = argument.filter(|it| !given(it.get_id().as_str())) else {
        return error;
    };
    let variable = argument.get_env().filter(|it| env::var_os(it).is_some());
    let variable = variable.map(|it| it.to_string_lossy().into_owned());
    let line = || lines.of(argument.get_id()).map(str::to_owned);
    if let Some(origin) = variable.or_else(line) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(origin));
    }
    error
}

/// The same error without the value, if it is one of a flag whose values are not shown.
pub(super) fn conceal(mut error: clap::Error, command: &Command) -> clap::Error {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut arguments = command.get_arguments();
    if arguments.any(|it| it.is_hide_env_values_set() && it.to_string() == *shown) {
        let hidden = ContextValue::String("(not shown)".to_owned());
        error.insert(ContextKind::InvalidValue, hidden);
    }
    error
}
