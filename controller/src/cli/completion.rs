//! `serin completion`.

use std::process::ExitCode;

use clap::{Arg, Args, Command, CommandFactory};
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// Shell that is to complete
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn completion(args: &CompletionArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "serin", &mut script);
    say!("{}", String::from_utf8_lossy(&script).trim_end());
    ExitCode::SUCCESS
}

/// Answers kubectl in the protocol of cobra's completions: a candidate a line, then what the shell is to do.
pub(super) fn answer_kubectl(words: &[String]) {
    for candidate in candidates(&Cli::command(), words) {
        say!("{candidate}");
    }
    // ShellCompDirectiveNoFileComp: none of ours but a few take files, and those are typed.
    say!(":4");
}

/// How the last word may go on.
fn candidates(command: &Command, words: &[String]) -> Vec<String> {
    let Some((last, before)) = words.split_last() else {
        return Vec::new();
    };
    let mut command = command;
    let mut expected: Option<&Arg> = None;
    for word in before {
        let flag = flag_of(command, word).filter(|arg| arg.get_action().takes_values());
        if expected.take().is_none() {
            expected = flag;
            if let Some(next) = command.find_subcommand(word) {
                command = next;
            }
        }
    }
    let found: Vec<String> = if let Some(arg) = expected {
        values(arg)
    } else if last.starts_with('-') {
        let long = command.get_arguments().filter_map(Arg::get_long);
        long.map(|long| format!("--{long}")).collect()
    } else {
        let commands = command.get_subcommands().map(|it| it.get_name().to_owned());
        commands
            .chain(command.get_positionals().flat_map(values))
            .collect()
    };
    let fits = |candidate: &String| candidate.starts_with(last.as_str());
    found.into_iter().filter(fits).collect()
}

fn flag_of<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let is = |arg: &&Arg| match word.strip_prefix("--") {
        Some(long) => arg.get_long() == Some(long),
        None => {
            let short = word.strip_prefix('-').and_then(|rest| rest.parse().ok());
            short.is_some() && arg.get_short() == short
        }
    };
    command.get_arguments().find(is)
}

fn values(arg: &Arg) -> Vec<String> {
    let values = arg.get_possible_values().into_iter();
    values.map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> Vec<String> {
        let words: Vec<_> = words.iter().map(|&word| word.to_owned()).collect();
        candidates(&Cli::command(), &words)
    }

    #[test]
    fn commands_flags_and_their_values_are_completed() {
        assert_eq!(said(&["prom"]), ["promote"]);
        assert_eq!(said(&["promote", "--fu"]), ["--full"]);
        assert_eq!(said(&["get", "fraud", "-o", "ya"]), ["yaml"]);
        assert_eq!(said(&["get", "--output", "w"]), ["wide"]);
        assert_eq!(said(&["completion", "f"]), ["fish"]);
        // A value that looks like a command is none.
        assert_eq!(said(&["get", "-n", "watch", "--kubeco"]), ["--kubeconfig"]);
        assert!(said(&["pause", ""]).is_empty());
        assert!(said(&[""]).contains(&"set-weight".to_owned()));
    }
}
