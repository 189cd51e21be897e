//! Input: the name of a cookie, end of line, a `Cookie` header.

use serin_filter_core::attribute::cookie::{find, is_cookie_name};

/// Looks for the cookie; what is found must be a part of the header, and be found again behind other cookies.
pub fn run(data: &[u8]) {
    let (name, header) = super::first_line(data);
    let found = find(header, name);
    if let Some(value) = found {
        assert!(super::lies_within(value, header), "not borrowed");
        assert!(!value.contains(&b';'), "more than one cookie");
    }
    if std::str::from_utf8(name).is_ok_and(is_cookie_name) {
        let behind = [b"not a cookie; \"=1;;", header].concat();
        assert_eq!(find(&behind, name), found, "other cookies matter");
    }
}
