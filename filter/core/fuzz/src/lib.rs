//! What the fuzzer runs: one function per input that strangers write. Each panics where a promise is broken.
//!
//! The test `corpus` of serin-filter-core compiles this very file and runs it on the committed corpus, so that what was
//! found once stays mended without a fuzzer. Inputs are made to be read and written by hand.

pub mod config;
pub mod cookie;
pub mod headers;
pub mod jwt;
pub mod query;

/// A target: takes any bytes, panics on a finding.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its corpus as well.
pub const TARGETS: [(&str, Target); 5] = [
    ("config", config::run),
    ("cookie", cookie::run),
    ("headers", headers::run),
    ("jwt", jwt::run),
    ("query", query::run),
];

/// What stands before and after the first end of a line; without one, all of it comes first.
fn first_line(data: &[u8]) -> (&[u8], &[u8]) {
    let mut lines = data.splitn(2, |&byte| byte == b'\n');
    (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    )
}

/// Whether a slice is part of another one, by its place in memory. An empty one has no place.
fn lies_within(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty()
        || whole.as_ptr_range().start <= part.as_ptr_range().start
            && part.as_ptr_range().end <= whole.as_ptr_range().end
}
