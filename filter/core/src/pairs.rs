//! Headers as the proxy hands them over in one piece, read in place.
//!
//! The bytes are those of `proxy_get_header_map_pairs` (Proxy-Wasm ABI 0.2.1, "Serialization"; `PairsUtil` of
//! proxy-wasm-cpp-host): the number of pairs, then for each pair the sizes of name and value, all as 32-bit
//! little-endian numbers; then for each pair name, NUL, value, NUL.

/// The headers of one message. Malformed bytes hold fewer headers, or none.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    sizes: &'a [u8],
    data: &'a [u8],
}

impl<'a> Pairs<'a> {
    /// Of the bytes that the proxy handed over.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::split(bytes).unwrap_or(Self {
            sizes: &[],
            data: &[],
        })
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (count, rest) = bytes.split_first_chunk()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (sizes, data) = rest.split_at_checked(count.checked_mul(8)?)?;
        Some(Self { sizes, data })
    }

    /// All headers in the proxy's order; names are in lower case.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let (sizes, _) = self.sizes.as_chunks::<8>();
        sizes.iter().scan(self.data, |rest, sizes| {
            let [a, b, c, d, e, f, g, h] = *sizes;
            let name = take(rest, u32::from_le_bytes([a, b, c, d]))?;
            let value = take(rest, u32::from_le_bytes([e, f, g, h]))?;
            Some((name, value))
        })
    }

    /// The first value of a header; `name` is in lower case.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        let wanted = |(found, value)| (found == name.as_bytes()).then_some(value);
        self.iter().find_map(wanted)
    }

    /// All values of a header; `name` is in lower case.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let wanted = move |(found, value)| (found == name.as_bytes()).then_some(value);
        self.iter().filter_map(wanted)
    }
}

/// The next part of this size, and on past the NUL that ends it.
fn take<'a>(rest: &mut &'a [u8], size: u32) -> Option<&'a [u8]> {
    let (part, after) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    *rest = after.get(1..)?;
    Some(part)
}

/// The bytes that a proxy would hand over: for tests and benchmarks.
pub fn serialize(headers: &[(&[u8], &[u8])]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    let mut bytes = count.to_le_bytes().to_vec();
    for (name, value) in headers {
        bytes.extend(size(name));
        bytes.extend(size(value));
    }
    for part in headers.iter().flat_map(|&(name, value)| [name, value]) {
        bytes.extend(part);
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Pairs, serialize};

    #[test]
    fn headers_are_found_by_name_and_the_first_value_wins() {
        let bytes = serialize(&[
            (b":path", b"/a"),
            (b"cookie", b"a=1"),
            (b"x-empty", b""),
            (b"cookie", b"b=\xff\x00"),
        ]);
        let pairs = Pairs::new(&bytes);
        assert_eq!(pairs.get(":path"), Some(b"/a".as_slice()));
        assert_eq!(pairs.get("cookie"), Some(b"a=1".as_slice()));
        assert_eq!(pairs.get("x-empty"), Some(b"".as_slice()));
        assert_eq!(pairs.get("x-other"), None);
        let cookies: Vec<_> = pairs.all("cookie").collect();
        assert_eq!(cookies, [b"a=1".as_slice(), b"b=\xff\x00"]);
    }

    #[test]
    fn what_is_cut_off_holds_the_headers_before_the_cut() {
        let bytes = serialize(&[(b"a", b"1"), (b"b", b"2")]);
        for end in 0..bytes.len() {
            let found = Pairs::new(&bytes[..end]).iter().count();
            // Each pair takes four bytes here; the very last NUL belongs to its pair.
            let expected = end.saturating_sub(4 + 16) / 4;
            assert_eq!(found, expected, "{end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let pairs = Pairs::new(&bytes);
            prop_assert!(pairs.iter().count() <= bytes.len());
        }

        #[test]
        fn what_was_serialized_is_read_back(
            headers in proptest::collection::vec((any::<Vec<u8>>(), any::<Vec<u8>>()), 0..20)
        ) {
            let headers: Vec<(&[u8], &[u8])> =
                headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
            let bytes = serialize(&headers);
            let read: Vec<_> = Pairs::new(&bytes).iter().collect();
            prop_assert_eq!(read, headers);
        }
    }
}
