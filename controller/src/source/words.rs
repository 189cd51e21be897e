//! What the YAML parser says, for people who know the rollout file and not the parser.

/// A parser's complaint in the words of the file; what is not known here is left as it is. `path` is the field,
/// `token` the text at its place, `text` the whole file.
pub(super) fn plain(complaint: &str, path: &str, token: Option<&str>, text: &str) -> String {
    let quoted = |words: &str| match token {
        Some(token) => format!("'{token}' {words}"),
        None => words.to_owned(),
    };
    let (kind, rest) = complaint
        .split_once([':', ';', ','])
        .map_or((complaint, ""), |(kind, rest)| (kind, rest.trim()));
    match kind {
        "invalid u32" | "invalid u64" => quoted("is not a whole number from 0 up"),
        "invalid floating point" => quoted("is not a number"),
        "invalid boolean" => quoted("is neither true nor false"),
        "expected sequence start" => "must be a list, such as [a, b]".to_owned(),
        "expected mapping start" => "must have fields, such as {name: value}".to_owned(),
        "expected string scalar" => {
            "must be a single value; a text that begins with [ or { wants quotes".to_owned()
        }
        "alias references unknown anchor" => {
            format!("{complaint}; a text that begins with * wants quotes")
        }
        "cannot deserialize null into string" => {
            "has no value: write one, or remove the field".to_owned()
        }
        "expected string key for externally tagged enum" => {
            format!("is empty: {}", one_of_several(path))
        }
        "expected end of mapping after enum variant value" => {
            format!("one is there already: {}", one_of_several(path))
        }
        // The parser's variants are alternatives; ours are versions of a model.
        _ if complaint.starts_with("unknown variant") => {
            let said = complaint.replacen("unknown variant", "unknown value", 1);
            match is_key(path) {
                true => format!("{said}; {}", one_of_several(path)),
                false => said,
            }
        }
        _ if complaint.contains("unknown escape character") => {
            format!("{complaint}; between single quotes a \\ is a \\")
        }
        "duplicate mapping key" => {
            let name = rest.split(',').next().unwrap_or(rest);
            format!("'{name}' is there twice: remove one")
        }
        "multiple YAML documents detected" => {
            "a file holds one rollout: put what follows '---' into a file of its own".to_owned()
        }
        "unexpected end of input" if is_blank(text) => "the file is empty".to_owned(),
        _ => complaint.to_owned(),
    }
}

fn one_of_several(path: &str) -> &'static str {
    if path.contains(".key[") {
        "a source of the key is one attribute, such as {header: x-user-id}, and an item of the list for each"
    } else {
        "name exactly one"
    }
}

/// Whether the field is an item of the key itself.
fn is_key(path: &str) -> bool {
    path.strip_prefix("spec.assignment.key[")
        .is_some_and(|rest| rest.ends_with(']'))
}

fn is_blank(text: &str) -> bool {
    text.lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}
