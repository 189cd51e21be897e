use std::borrow::Cow;

use proptest::prelude::*;

use super::find;
use crate::attribute::lies_within;

#[track_caller]
fn check(path: &[u8], name: &str, value: Option<&[u8]>) {
    assert_eq!(
        find(path, name.as_bytes()).as_deref(),
        value,
        "{name} in {}",
        path.escape_ascii()
    );
}

#[test]
fn a_parameter_is_found_wherever_it_stands() {
    let path = b"/v2/models?a=1&user=alice&z=26";
    check(path, "a", Some(b"1"));
    check(path, "user", Some(b"alice"));
    check(path, "z", Some(b"26"));
    check(path, "b", None);
}

#[test]
fn the_query_begins_after_the_first_question_mark_and_ends_before_the_fragment() {
    check(b"/a=1&user=2", "user", None);
    check(b"", "user", None);
    check(b"?", "", None);
    check(b"/?user=1?2", "user", Some(b"1?2"));
    check(b"/?x=1#&user=2", "user", None);
    check(b"/?user=1#2", "user", Some(b"1"));
    check(b"/#?user=1", "user", None);
}

#[test]
fn names_match_as_a_whole_and_with_case() {
    check(b"/?xuser=1&userx=2&User=3&user=4", "user", Some(b"4"));
    check(b"/?user=1", "use", None);
}

#[test]
fn the_first_of_two_parameters_with_one_name_wins() {
    check(b"/?user=1&user=2", "user", Some(b"1"));
    check(b"/?user=&user=2", "user", Some(b""));
    check(b"/?user&user=2", "user", Some(b""));
}

#[test]
fn equals_signs_after_the_first_belong_to_the_value() {
    check(b"/?user=a==b&c", "user", Some(b"a==b"));
    check(b"/?=1", "", Some(b"1"));
}

#[test]
fn names_and_values_are_decoded_once() {
    check(b"/?user=a%40b", "user", Some(b"a@b"));
    check(b"/?user=a+b%20c%2Bd%2bd", "user", Some(b"a b c+d+d"));
    check(b"/?us%65r=1", "user", Some(b"1"));
    check(b"/?the+user=1", "the user", Some(b"1"));
    check(b"/?user=%2541", "user", Some(b"%41"));
    check(b"/?user=a%26b%3Dc%23", "user", Some(b"a&b=c#"));
    check(b"/?user=%FF%00", "user", Some(b"\xff\x00"));
}

#[test]
fn a_percent_sign_that_encodes_nothing_stands_for_itself() {
    check(b"/?user=100%", "user", Some(b"100%"));
    check(b"/?user=%4", "user", Some(b"%4"));
    check(b"/?user=%zz%4g%g4", "user", Some(b"%zz%4g%g4"));
    check(b"/?user=%%41%", "user", Some(b"%A%"));
    check(b"/?user=%+1", "user", Some(b"% 1"));
}

#[test]
fn only_what_is_encoded_is_copied() {
    let path = b"/?plain=alice&coded=a%40b";
    assert!(matches!(find(path, b"plain"), Some(Cow::Borrowed(value)) if lies_within(value, path)));
    assert!(matches!(find(path, b"coded"), Some(Cow::Owned(_))));
}

#[test]
fn hostile_queries_are_read_to_their_end() {
    for byte in [b'&', b'=', b'%', b'?', b'+', 0xff] {
        let mut path = b"/?".to_vec();
        path.extend([byte; 100_000]);
        check(&path, "user", None);
        path.extend(b"&user=1");
        check(&path, "user", Some(b"1"));
    }
    let long = [b"/?user=".as_slice(), &[b'%'; 65_536]].concat();
    check(&long, "user", Some(&[b'%'; 65_536]));
}

proptest! {
    #[test]
    fn what_was_encoded_as_a_form_is_decoded_to_the_same_bytes(
        name in prop::collection::vec(any::<u8>(), 0..20),
        value in prop::collection::vec(any::<u8>(), 0..50),
        other in "[a-z]{0,5}=[a-z]{0,5}",
    ) {
        let coded = |bytes: &[u8]| form_urlencoded::byte_serialize(bytes).collect::<String>();
        // A name that is empty, or that of the other parameter, would be found there.
        prop_assume!(!other.as_bytes().starts_with(&[&name[..], b"="].concat()));
        let path = format!("/x?{other}&{}={}", coded(&name), coded(&value));
        let found = find(path.as_bytes(), &name);
        prop_assert_eq!(found.as_deref(), Some(value.as_slice()));
    }

    #[test]
    fn any_bytes_are_read_as_the_url_standard_reads_them(
        query in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"ab&=%+4".to_vec())], 0..100),
        name in "[ab]?",
    ) {
        // The standard cuts the fragment off before.
        let query: Vec<u8> = query.into_iter().filter(|&byte| byte != b'#').collect();
        let path = [b"/?", query.as_slice()].concat();
        let found = find(&path, name.as_bytes());
        if let Some(Cow::Borrowed(value)) = &found {
            prop_assert!(lies_within(value, &path));
        }
        let standard = form_urlencoded::parse(&query).find(|(own, _)| *own == name).map(|(_, value)| value.into_owned());
        // That library reads text, so what is no text is compared as it shows it.
        let shown = found.map(|value| String::from_utf8_lossy(&value).into_owned());
        prop_assert_eq!(shown, standard);
    }
}
