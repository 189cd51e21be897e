//! The file behind flags and environment: it says other defaults, each by the name of its flag in camelCase.

use std::{
    collections::BTreeMap,
    env, fmt, fs,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Command, Id, error::ErrorKind};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::repository::Problem;

/// The flag that names the file.
const FLAG: &str = "config";
/// Its variable.
pub(super) const VARIABLE: &str = "SERIN_CONFIG";

/// Flags whose variables are not clap's: what reads buckets knows them by itself.
const OTHERS: [(&str, &[&str]); 3] = [
    (
        "s3_endpoint",
        &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"],
    ),
    ("s3_region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
    ("s3_allow_http", &["AWS_ALLOW_HTTP"]),
];

/// Where a flag has its default from: a file, a line and a field.
#[derive(Default)]
pub(super) struct Lines(BTreeMap<Id, String>);

/// Fields and values as they stand in the file.
struct Fields(Vec<(Spanned<String>, Spanned<String>)>);

impl Lines {
    pub(super) fn of(&self, flag: &Id) -> Option<&str> {
        self.0.get(flag).map(String::as_str)
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields with one value each, such as 'port: 8080'")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Fields(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// The file that was asked for: `flags` are those of the command line.
pub(super) fn path(flags: &ArgMatches) -> Option<PathBuf> {
    let flag = flags.get_one::<PathBuf>(FLAG).cloned();
    flag.or_else(|| env::var_os(VARIABLE).map(PathBuf::from))
}

/// The command with the defaults of the file, and where they stand.
///
/// # Errors
/// Everything that is wrong with the file, but for the values, which are read as those of flags are.
pub(super) fn read(path: &Path, mut command: Command) -> Result<(Command, Lines), clap::Error> {
    let text = fs::read_to_string(path).map_err(|error| {
        let fix = "name a file of YAML, such as 'port: 8080'";
        refuse(
            &mut command,
            &[Problem::new(path, "cannot be read", error.to_string(), fix)],
        )
    })?;
    let values = parse(path, &text, &command).map_err(|it| refuse(&mut command, &it))?;
    let mut lines = Lines::default();
    let set = |name: &&str| env::var_os(name).is_some_and(|it| !it.is_empty());
    let outranked = |flag: &Id| {
        let mut others = OTHERS.iter().filter(|(id, _)| flag == id);
        others.any(|(_, variables)| variables.iter().any(set))
    };
    for Value { flag, line, text } in values {
        if outranked(&flag) {
            continue;
        }
        lines.0.insert(flag.clone(), line);
        command = command.mut_arg(flag, |it| it.default_value(text).required(false));
    }
    Ok((command, lines))
}

fn refuse(command: &mut Command, problems: &[Problem]) -> clap::Error {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    command.error(ErrorKind::ValueValidation, lines.join("\n"))
}

/// What a file says of one flag.
struct Value {
    flag: Id,
    line: String,
    text: String,
}

fn parse(path: &Path, text: &str, command: &Command) -> Result<Vec<Value>, Vec<Problem>> {
    // Nothing but comments is no YAML document.
    let says = |line: &str| !matches!(line.trim_start().as_bytes(), [] | [b'#', ..]);
    if !text.lines().any(says) {
        return Ok(Vec::new());
    }
    let flags: BTreeMap<String, Id> = command
        .get_arguments()
        .filter(|it| it.get_id() != FLAG)
        .filter_map(|it| Some((camel_case(it.get_long()?), it.get_id().clone())))
        .collect();
    let names: Vec<&str> = flags.keys().map(String::as_str).collect();
    let names = format!("the fields are {}", names.join(", "));
    let Fields(fields) = serde_saphyr::from_str(text).map_err(|error| {
        let line = error.location().map(|location| location.line());
        let why = error.without_snippet().to_string();
        // The parser says the place again at the end, and it stands before the message already.
        let why = match why.rfind(" at line ") {
            Some(end) if line.is_some() => &why[..end],
            _ => &why,
        };
        let fix = format!("write one value a field, such as 'port: 8080'; {names}");
        vec![Problem {
            line,
            ..Problem::new(path, "is not valid", why, fix)
        }]
    })?;
    let mut values = Vec::new();
    let mut problems = Vec::new();
    for (field, value) in fields {
        let line = field.referenced.line();
        let field = field.value;
        if let Some(flag) = flags.get(&field) {
            values.push(Value {
                flag: flag.clone(),
                line: format!("{}:{line}: {field}", path.display()),
                text: value.value,
            });
        } else {
            let what = format!("field '{field}' is unknown");
            problems.push(Problem {
                line: Some(line),
                ..Problem::new(path, what, "no flag has this name", &*names)
            });
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

fn camel_case(flag: &str) -> String {
    let mut name = String::with_capacity(flag.len());
    let mut begins = false;
    for letter in flag.chars() {
        match letter {
            '-' => begins = true,
            letter if begins => {
                name.push(letter.to_ascii_uppercase());
                begins = false;
            }
            letter => name.push(letter),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::args::{Args, Cli};

    #[track_caller]
    fn problems(text: &str, wanted: &[&str]) {
        let found = parse(Path::new("serin.yaml"), text, &Cli::command());
        let found = found.err().unwrap_or_default();
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
        for (found, wanted) in found.iter().zip(wanted) {
            let found = found.to_string();
            assert!(found.starts_with(wanted), "{found}\nwanted: {wanted}");
        }
    }

    fn args(text: &str, flags: &[&str]) -> Result<Args, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serin.yaml");
        fs::write(&path, text).unwrap();
        let arguments = ["serin-serve", "--config", path.to_str().unwrap()];
        match Cli::read([&arguments, flags].concat()) {
            Ok(Cli::Serve(args)) => Ok(*args),
            Ok(Cli::Do(other)) => panic!("{other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn the_file_says_what_flags_say() {
        let text = "# ours\nmodels: /models\nport: 8080\nmaxBody: 1024\npoll: 10s\ns3AllowHttp: true\n\
                    repositoryApi: '[::1]:8002'\nrepositoryGrpc: localhost:8003\n";
        let read = args(text, &["--port", "9090"]).unwrap();
        assert_eq!(read.port, 9090, "the flag wins");
        assert_eq!(read.max_body.get(), 1024);
        assert_eq!(read.poll, Some(Duration::from_secs(10)));
        assert!(read.access.s3_allow_http);
        assert_eq!(read.repository_api, Some(("::1".to_owned(), 8002)));
        assert_eq!(read.repository_grpc, Some(("localhost".to_owned(), 8003)));
        assert_eq!(
            read.queue.get(),
            100,
            "the default, where nobody says another"
        );
    }

    #[test]
    fn an_empty_file_says_nothing() {
        let flags = ["--models", "m", "--port", "0"];
        for text in ["", "# nothing\n\n"] {
            assert!(args(text, &flags).is_ok());
        }
        let error = args("port: 1\n", &[]).unwrap_err();
        assert!(error.contains("--models <DIR|URL>"), "{error}");
    }

    #[test]
    fn a_bad_value_is_named_by_file_line_and_field() {
        let error = args("models: m\nport: 80800\n", &[]).unwrap_err();
        let wanted = "serin.yaml:2: port': 80800 is not in 0..=65535";
        assert!(error.contains(wanted), "{error}");
        let error = args("models: m\nport: 1\ns3AllowHttp: perhaps\n", &[]).unwrap_err();
        assert!(error.contains("serin.yaml:3: s3AllowHttp'"), "{error}");
        let error = args("port: 1\n", &["--models", "m", "--port", "x"]).unwrap_err();
        assert!(error.contains("for '--port <PORT>'"), "{error}");
        let error = args("models: m\nport: 1\ncacheRedis: ':secret@x'\n", &[]).unwrap_err();
        let wanted = "'(not shown)' for '";
        assert!(
            error.contains(wanted) && error.contains("serin.yaml:3: cacheRedis'"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn what_is_no_field_with_a_value_is_refused_by_line() {
        problems(
            "port: 1\nprot: 2\nmax-body: 3\nconfig: x\n",
            &[
                "serin.yaml:2: field 'prot' is unknown: no flag has this name; the fields are ",
                "serin.yaml:3: field 'max-body' is unknown",
                "serin.yaml:4: field 'config' is unknown",
            ],
        );
        problems("port: 1\nport: 2\n", &["serin.yaml:2: is not valid: "]);
        problems("port: [1]\n", &["serin.yaml:1: is not valid: "]);
        problems("port:\n", &["serin.yaml:1: is not valid: "]);
        problems("- port\n", &["serin.yaml:1: is not valid: "]);
        problems("port: {", &["serin.yaml:1: is not valid: "]);
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let arguments = ["serin-serve", "--config", "/nowhere/serin.yaml"];
        let error = Cli::read(arguments).unwrap_err().to_string();
        let wanted = "/nowhere/serin.yaml: cannot be read: ";
        assert!(error.contains(wanted), "{error}");
    }

    /// The documents of a file of `manifests/`.
    fn manifest(name: &str) -> Vec<serde_json::Value> {
        let manifests = concat!(env!("CARGO_MANIFEST_DIR"), "/../manifests");
        let text = fs::read_to_string(Path::new(manifests).join(name)).unwrap();
        serde_saphyr::from_multiple(&text).unwrap()
    }

    /// How long the end may take, in seconds, with what the threads of models get.
    fn end(args: &Args) -> u64 {
        let delay = args.drain_delay.unwrap_or_default();
        (delay + args.drain_timeout).as_secs() + 5
    }

    #[test]
    fn what_the_manifests_say_is_what_the_command_line_takes() {
        let documents = manifest("serving/deployment.yaml");
        let pod = &documents[1]["spec"]["template"]["spec"];
        assert_eq!(
            pod["containers"][0]["args"][0],
            "--config=/etc/serin/serve.yaml"
        );
        let file = documents[0]["data"]["serve.yaml"].as_str().unwrap();
        let read = args(file, &[]).unwrap();
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(end(&read) <= grace);
        let ports = pod["containers"][0]["ports"].as_array().unwrap();
        let ports: Vec<_> = ports
            .iter()
            .map(|it| it["containerPort"].as_u64())
            .collect();
        assert_eq!(ports, [Some(read.port.into()), Some(read.grpc_port.into())]);

        let runtime = &manifest("kserve/runtime.yaml")[0]["spec"]["containers"][0];
        let flags: Vec<String> = serde_json::from_value(runtime["args"].clone()).unwrap();
        let Ok(Cli::Serve(read)) = Cli::read([vec!["serin-serve".to_owned()], flags].concat())
        else {
            panic!("{runtime}");
        };
        assert_eq!((read.port, read.grpc_port), (8080, 9000));
        let service = &manifest("kserve/inferenceservice.yaml")[0]["spec"]["predictor"];
        let grace = service["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(end(&read) <= grace);
    }
}
