use proptest::prelude::*;

use super::{
    Attributes, CookieError, SameSite, check, find, is_cookie_name, is_cookie_value, set_cookie,
};
use crate::attribute::lies_within;

#[track_caller]
fn check_find(header: &[u8], name: &str, value: Option<&[u8]>) {
    assert_eq!(
        find(header, name.as_bytes()),
        value,
        "{name} in {}",
        header.escape_ascii()
    );
}

#[test]
fn a_cookie_is_found_wherever_it_stands() {
    let header = b"a=1; user=alice; z=26";
    check_find(header, "a", Some(b"1"));
    check_find(header, "user", Some(b"alice"));
    check_find(header, "z", Some(b"26"));
    check_find(header, "b", None);
    check_find(b"", "a", None);
}

#[test]
fn names_match_as_a_whole_and_with_case() {
    let header = b"xuser=1; userx=2; User=3; user=4";
    check_find(header, "user", Some(b"4"));
    check_find(header, "USER", None);
    check_find(header, "use", None);
}

#[test]
fn the_first_of_two_cookies_with_one_name_wins() {
    check_find(b"user=1; user=2", "user", Some(b"1"));
    check_find(b"user=; user=2", "user", Some(b""));
}

#[test]
fn space_around_pairs_names_and_values_is_trimmed() {
    check_find(b"a=1;user=2", "user", Some(b"2"));
    check_find(b"a=1;\t  user = 2 \t;b=3", "user", Some(b"2"));
    check_find(b"user=a b", "user", Some(b"a b"));
}

#[test]
fn quotes_around_a_value_do_not_belong_to_it() {
    check_find(b"user=\"alice\"", "user", Some(b"alice"));
    check_find(b"user=\"\"", "user", Some(b""));
    // Not around it: they stay.
    check_find(b"user=\"", "user", Some(b"\""));
    check_find(b"user=\"alice", "user", Some(b"\"alice"));
    check_find(b"user=al\"ice", "user", Some(b"al\"ice"));
    check_find(b"user=\"a;b\"", "user", Some(b"\"a"));
}

#[test]
fn equals_signs_after_the_first_belong_to_the_value() {
    check_find(b"user=YWxpY2U==; a=b", "user", Some(b"YWxpY2U=="));
}

#[test]
fn what_has_no_equals_sign_is_no_cookie() {
    check_find(b"user; user=1", "user", Some(b"1"));
    check_find(b"user", "user", None);
}

#[test]
fn hostile_headers_are_read_to_their_end() {
    let mut semicolons = vec![b';'; 100_000];
    check_find(&semicolons, "user", None);
    semicolons.extend(b"user=1");
    check_find(&semicolons, "user", Some(b"1"));

    let long = [b"user=".as_slice(), &[0xff; 65_536]].concat();
    check_find(&long, "user", Some(&[0xff; 65_536]));
    check_find(&[b'='; 65_536], "user", None);
    check_find(
        b"\xff\xfe=1; user=\x00\x80\xff",
        "user",
        Some(b"\x00\x80\xff"),
    );
}

const LAX: Attributes = Attributes {
    max_age: None,
    same_site: SameSite::Lax,
    secure: false,
};

#[test]
fn issued_cookies_bear_their_attributes() {
    assert_eq!(
        set_cookie("serin", "1f", &LAX),
        "serin=1f; Path=/; SameSite=Lax; HttpOnly"
    );
    let all = Attributes {
        max_age: Some(u64::MAX),
        same_site: SameSite::None,
        secure: true,
    };
    assert_eq!(
        set_cookie("serin", "1f", &all),
        "serin=1f; Path=/; Max-Age=18446744073709551615; SameSite=None; Secure; HttpOnly"
    );
    let strict = Attributes {
        max_age: Some(60),
        same_site: SameSite::Strict,
        secure: false,
    };
    assert_eq!(
        set_cookie("serin", "", &strict),
        "serin=; Path=/; Max-Age=60; SameSite=Strict; HttpOnly"
    );
}

#[test]
fn cookies_that_browsers_would_drop_are_refused() {
    let secure = Attributes {
        secure: true,
        ..LAX
    };
    let none = |secure| Attributes {
        same_site: SameSite::None,
        secure,
        ..LAX
    };
    let max_age = |seconds| Attributes {
        max_age: Some(seconds),
        ..LAX
    };
    for (name, attributes, result) in [
        ("serin", LAX, Ok(())),
        ("serin", max_age(1), Ok(())),
        ("serin", none(true), Ok(())),
        ("__Host-serin", secure, Ok(())),
        ("__Hos", LAX, Ok(())),
        ("", LAX, Err(CookieError::Name)),
        ("a b", LAX, Err(CookieError::Name)),
        ("__host-serin", LAX, Err(CookieError::Prefix)),
        ("__Secure-serin", LAX, Err(CookieError::Prefix)),
        ("serin", max_age(0), Err(CookieError::MaxAge)),
        ("serin", none(false), Err(CookieError::SameSite)),
    ] {
        assert_eq!(check(name, &attributes), result, "{name} {attributes:?}");
    }
}

#[test]
fn names_are_tokens_and_values_cookie_octets() {
    for name in ["serin", "__Host-a.b", "a!#$%&'*+-.^_`|~9"] {
        assert!(is_cookie_name(name), "{name}");
    }
    for name in ["", "a b", "a=b", "a;b", "a\"b", "a/b", "ä", "a\n"] {
        assert!(!is_cookie_name(name), "{name}");
    }
    for value in ["", "0af9", "a=b:c/d(e)"] {
        assert!(is_cookie_value(value), "{value}");
    }
    for value in ["a b", "a,b", "a;b", "a\"b", "a\\b", "ä", "a\r\nb", "\u{7f}"] {
        assert!(!is_cookie_value(value), "{value}");
    }
}

proptest! {
    #[test]
    fn an_issued_cookie_is_found_again(
        name in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}",
        value in "[!#-+--:<-\\[\\]-~]{0,50}",
        before in "[ a-z;=]{0,20}",
    ) {
        prop_assert!(is_cookie_name(&name));
        prop_assert!(is_cookie_value(&value));
        let set = set_cookie(&name, &value, &LAX);
        let pair = set.split(';').next().unwrap();
        let header = format!("@{before}; {pair}; {name}=other");
        // Only where the random part does not hold that name itself.
        prop_assume!(find(format!("@{before}").as_bytes(), name.as_bytes()).is_none());
        prop_assert_eq!(find(header.as_bytes(), name.as_bytes()), Some(value.as_bytes()));
    }

    #[test]
    fn any_bytes_are_served_and_the_value_is_borrowed(
        header in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"a=;\" ".to_vec())], 0..200),
        name in "[ab]",
    ) {
        if let Some(value) = find(&header, name.as_bytes()) {
            prop_assert!(lies_within(value, &header));
            prop_assert!(!value.contains(&b';'));
        }
    }
}
