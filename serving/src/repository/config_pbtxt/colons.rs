//! A colon that Triton's files leave out: `input [ { ... } ]`.
//!
//! The text format allows that for lists of messages, and nearly every config.pbtxt makes use of it, but `prost-reflect`
//! 0.16 wants `input: [`. Lines stay the same lines.

/// The text with a colon between each name and a bracket that opens a list.
pub(super) fn add(text: &str) -> String {
    let mut added = String::with_capacity(text.len() + 64);
    // Where the last token ended, if it was a name.
    let mut name = None;
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            '#' => {
                added.push(next);
                while let Some(comment) = rest.next_if(|it| *it != '\n') {
                    added.push(comment);
                }
            }
            '"' | '\'' => {
                name = None;
                added.push(next);
                while let Some(inside) = rest.next() {
                    added.push(inside);
                    match inside {
                        '\\' => added.extend(rest.next()),
                        // The other quote is one character of many.
                        end if end == next => break,
                        _ => {}
                    }
                }
            }
            '[' => {
                if let Some(end) = name.take() {
                    added.insert(end, ':');
                }
                added.push(next);
            }
            first if first.is_ascii_alphabetic() || first == '_' => {
                added.push(first);
                while let Some(more) = rest.next_if(|it| it.is_ascii_alphanumeric() || *it == '_') {
                    added.push(more);
                }
                name = Some(added.len());
            }
            blank if blank.is_whitespace() => added.push(blank),
            other => {
                name = None;
                added.push(other);
            }
        }
    }
    added
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_comes_between_a_name_and_its_list_and_nowhere_else() {
        for (text, wanted) in [
            ("input [ { } ]", "input: [ { } ]"),
            ("input[{}]", "input:[{}]"),
            ("input # [ as ever\n [ ]", "input: # [ as ever\n [ ]"),
            ("dims: [ 3 ]", "dims: [ 3 ]"),
            ("name: \"a [ b\" dims: []", "name: \"a [ b\" dims: []"),
            ("name: 'it\\'s [' x [", "name: 'it\\'s [' x: ["),
            ("name: \"a\" [", "name: \"a\" ["),
            ("é [ \"open", "é [ \"open"),
            ("", ""),
        ] {
            assert_eq!(add(text), wanted, "{text}");
        }
    }
}
