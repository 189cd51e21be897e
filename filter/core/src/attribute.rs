//! What a request says of its user beyond plain headers: cookies, query parameters, claims of a token.
//!
//! Everything here is pure and reads bytes that a stranger wrote: no function can panic, none needs more than time in
//! proportion to its input, and a part that is found is borrowed wherever it stands in the input as it is.

pub mod cookie;
pub mod jwt;
pub mod query;

/// Whether a slice is part of another one, by its place in memory. An empty one has no place.
#[cfg(test)]
fn lies_within(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty()
        || whole.as_ptr_range().start <= part.as_ptr_range().start
            && part.as_ptr_range().end <= whole.as_ptr_range().end
}
