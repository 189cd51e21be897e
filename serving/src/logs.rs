//! The log: lines on stderr, for people or for programs.

use std::{
    io::{self, IsTerminal, Write},
    panic,
};

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// What is logged: directives of `tracing_subscriber`, which were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level(String);

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// A JSON object a line: timestamp, level, target, message, and the fields beside them.
    Json,
}

/// Of what a flag says.
///
/// # Errors
/// A sentence, if it is neither a level nor directives.
pub fn level(text: &str) -> Result<Level, String> {
    // A word alone would be a target, and all others silent.
    let stranger = text.split(',').find(|part| {
        !part.is_empty() && !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err()
    });
    let wrong = match stranger {
        Some(stranger) => Some(format!("'{stranger}' is no level")),
        None => EnvFilter::builder()
            .parse(text)
            .err()
            .map(|it| it.to_string()),
    };
    match wrong {
        None => Ok(Level(text.to_owned())),
        Some(why) => Err(format!(
            "{why}: write error, warn, info, debug, trace or off, or directives such as info,serin_serving=debug"
        )),
    }
}

/// Writes what is logged from now on. To be called once.
pub fn start(Level(directives): &Level, format: Format) {
    let lines = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(EnvFilter::new(directives));
    match format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => {
            lines
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .init();
            // The standard hook writes text.
            panic::set_hook(Box::new(|info| {
                let thread = std::thread::current();
                let at = info.location().map(ToString::to_string);
                tracing::error!(
                    thread = thread.name(),
                    at,
                    "panicked: {}",
                    info.payload_as_str()
                        .unwrap_or("for no reason that is text")
                );
            }));
        }
    }
}

/// Says why the program ends.
pub fn last_words(why: &str, format: Format) {
    match format {
        // A person reads this one: lists stay lists, and nothing is escaped. With stderr gone nobody reads it.
        Format::Text => drop(writeln!(io::stderr(), "serin-serve: {why}")),
        Format::Json => tracing::error!("{why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_read_strictly() {
        for (text, good) in [
            ("info", true),
            ("WARN", true),
            ("off", true),
            ("info,serin_serving=debug", true),
            ("info,hyper=off", true),
            ("inof", false),
            ("serin_serving", false),
            ("serin_serving=loud", false),
        ] {
            assert_eq!(level(text).is_ok(), good, "{text}");
        }
    }
}
