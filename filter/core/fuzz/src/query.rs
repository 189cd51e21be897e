//! Input: the name of a parameter, end of line, a path with its query.

use std::borrow::Cow;

use serin_filter_core::attribute::query::find;

/// Looks for the parameter; the library that browsers' engines use must find the same.
pub fn run(data: &[u8]) {
    let (name, path) = super::first_line(data);
    let found = find(path, name);
    if let Some(Cow::Borrowed(value)) = &found {
        assert!(super::lies_within(value, path), "not borrowed");
    }
    // That library reads text: names that are none cannot be asked for, and values are compared as it shows them.
    let Ok(name) = std::str::from_utf8(name) else {
        return;
    };
    if name.contains(char::REPLACEMENT_CHARACTER) {
        return;
    }
    let path = path.split(|&byte| byte == b'#').next().unwrap_or_default();
    let mut parts = path.splitn(2, |&byte| byte == b'?').skip(1);
    let query = parts.next().unwrap_or_default();
    let standard = form_urlencoded::parse(query)
        .find(|(own, _)| own == name)
        .map(|(_, value)| value);
    let shown = found.as_deref().map(String::from_utf8_lossy);
    assert_eq!(shown, standard, "not what the URL standard says");
}
