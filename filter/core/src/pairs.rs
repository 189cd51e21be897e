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
    /// Which sizes names have, modulo 64, a bit each: most names that are looked for are those of no header.
    lengths: u64,
}

impl<'a> Pairs<'a> {
    /// Of the bytes that the proxy handed over.
    pub fn new(bytes: &'a [u8]) -> Self {
        let (sizes, data) = split(bytes).unwrap_or_default();
        let lengths = sizes_of(sizes).map(|(name, _)| bit(name));
        Self {
            sizes,
            data,
            lengths: lengths.fold(0, |all, one| all | one),
        }
    }

    /// All headers in the proxy's order; names are in lower case.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        sizes_of(self.sizes).scan(self.data, |rest, (name, value)| {
            Some((take(rest, name)?, take(rest, value)?))
        })
    }

    /// The first value of a header; `name` is in lower case.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// All values of a header; `name` is in lower case. A header whose name has another size is passed over without a
    /// look at it.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let sizes = if self.lengths & bit(name.len()) == 0 {
            &[]
        } else {
            self.sizes
        };
        let mut next = 0_usize;
        sizes_of(sizes).filter_map(move |(name_size, value_size)| {
            let begin = next;
            // Where sizes are so wrong that the sum wraps, there is no header but another part of the same bytes.
            next = begin
                .wrapping_add(name_size)
                .wrapping_add(value_size)
                .wrapping_add(2);
            if name_size != name.len() {
                return None;
            }
            let mut rest = self.data.get(begin..)?;
            let found = same(take(&mut rest, name_size)?, name.as_bytes());
            take(&mut rest, value_size).filter(|_| found)
        })
    }
}

/// The sizes, and what they are the sizes of.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    rest.split_at_checked(count.checked_mul(8)?)
}

/// The sizes of each name and its value.
fn sizes_of(sizes: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let (sizes, _) = sizes.as_chunks::<8>();
    sizes.iter().map(|&[a, b, c, d, e, f, g, h]| {
        let size = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
        (size([a, b, c, d]), size([e, f, g, h]))
    })
}

fn bit(length: usize) -> u64 {
    1 << (length % 64)
}

/// Whether two names of the same size are the same. Eight bytes at a time: the library's comparison goes byte by byte.
fn same(one: &[u8], other: &[u8]) -> bool {
    let ((ones, one), (others, other)) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    let number = |it: &[u8; 8]| u64::from_le_bytes(*it);
    ones.iter().map(number).eq(others.iter().map(number)) && one.iter().eq(other)
}

/// The next part of this size, and on past the NUL that ends it.
fn take<'a>(rest: &mut &'a [u8], size: usize) -> Option<&'a [u8]> {
    let (part, after) = rest.split_at_checked(size)?;
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
