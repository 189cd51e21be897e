//! `SHA256SUMS` beside a version's files, in the format of `sha256sum`: what they have to be to be loaded.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::atomic::AtomicBool,
};

use super::{
    MODEL_FILE,
    sum::{Sum, off_the_runtime, sum},
};
use crate::tensor::shorten;

/// The file that holds the sums of a version.
pub const MANIFEST: &str = "SHA256SUMS";
/// Larger ones are none.
const MAX_BYTES: u64 = 1 << 20;

/// Why a version is not what its sums say. Safe to show.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The sums cannot be read.
    #[error("{MANIFEST} cannot be read: put it there again, or remove it")]
    Unreadable(#[source] io::Error),
    /// One line is not of the format.
    #[error("line {line} of {MANIFEST} {why}: write it with 'sha256sum {MODEL_FILE} > {MANIFEST}'")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// It says nothing of the model.
    #[error("{MANIFEST} does not name {MODEL_FILE}: add its line, or remove {MANIFEST}")]
    Nothing,
    /// A file that it names cannot be read.
    #[error("'{file}', which {MANIFEST} names, cannot be read: copy it again")]
    File {
        /// The file.
        file: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file is another one.
    #[error(
        "the sha256 of '{file}' is {found}, but {MANIFEST} says {expected}: copy both again from where they were made"
    )]
    Mismatch {
        /// The file.
        file: String,
        /// What the sums say, in hexadecimal.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The server ends.
    #[error("the check was broken off")]
    BrokenOff,
}

/// Compares every file that the sums of a version's folder name; a folder without sums is as it should be.
///
/// # Errors
/// [`ManifestError`] of the first that is not as it should be.
pub async fn verify(folder: &Path) -> Result<(), ManifestError> {
    let folder = folder.to_owned();
    let checked = off_the_runtime(move |stop| {
        let Some(sums) = read(&folder)? else {
            return Ok(());
        };
        for (file, expected) in sums {
            let found = found(&folder, &file, stop)?;
            if found != expected {
                let [expected, found] = [expected, found].map(|it| hex(&it));
                return Err(ManifestError::Mismatch {
                    file,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    });
    checked.await.unwrap_or(Err(ManifestError::BrokenOff))
}

/// The files of a folder that are there, and are not as its sums say.
pub async fn broken(folder: &Path) -> Vec<String> {
    let folder = folder.to_owned();
    let found = off_the_runtime(move |stop| {
        let sums = read(&folder).ok().flatten().unwrap_or_default();
        let differs = |(file, expected): (String, Sum)| match found(&folder, &file, stop) {
            Ok(found) if found != expected => Some(file),
            _ => None,
        };
        sums.into_iter().filter_map(differs).collect()
    });
    found.await.unwrap_or_default()
}

fn read(folder: &Path) -> Result<Option<BTreeMap<String, Sum>>, ManifestError> {
    let text = File::open(folder.join(MANIFEST)).and_then(|file| {
        let mut text = String::new();
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        Ok(text)
    });
    match text {
        Ok(text) => parse(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ManifestError::Unreadable(error)),
    }
}

/// The sums by file.
fn parse(text: &str) -> Result<BTreeMap<String, Sum>, ManifestError> {
    let mut sums = BTreeMap::new();
    for (index, text) in text.lines().enumerate() {
        let line = index + 1;
        let refuse = |why| ManifestError::Line { line, why };
        if text.starts_with('\\') {
            return Err(refuse("has a name with a line break or a backslash"));
        }
        // Two characters between the two: a blank, and a blank or a star for how the file was opened.
        let parts = text.split_once(' ').and_then(|(sum, rest)| {
            let name = rest.strip_prefix([' ', '*'])?;
            Some((from_hex(sum)?, name))
        });
        let (sum, name) =
            parts.ok_or_else(|| refuse("is not '<64 hexadecimal digits>  <file>'"))?;
        let name = name.strip_prefix("./").unwrap_or(name);
        let is_odd =
            |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
        if name.split('/').any(is_odd) {
            return Err(refuse(
                "names a file that is not inside the version's folder",
            ));
        }
        if sums
            .insert(name.to_owned(), sum)
            .is_some_and(|before| before != sum)
        {
            return Err(refuse("gives another sum for a file than a line before"));
        }
    }
    if sums.contains_key(MODEL_FILE) {
        Ok(sums)
    } else {
        Err(ManifestError::Nothing)
    }
}

fn from_hex(text: &str) -> Option<Sum> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    if digits.len() != size_of::<Sum>() || !rest.is_empty() {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let mut sum = Sum::default();
    for (byte, [high, low]) in sum.iter_mut().zip(digits) {
        *byte = u8::try_from(nibble(*high)? * 16 + nibble(*low)?).ok()?;
    }
    Some(sum)
}

fn hex(sum: &Sum) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn found(folder: &Path, file: &str, stop: &AtomicBool) -> Result<Sum, ManifestError> {
    let sum = sum(&folder.join(file), stop).map_err(|source| ManifestError::File {
        file: shorten(file),
        source,
    })?;
    sum.ok_or(ManifestError::BrokenOff)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Of `abc`, as FIPS 180-4 has it.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const OTHER: &str = "0000000000000000000000000000000000000000000000000000000000000000";

    fn folder(sums: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("model.pt"), "abc").unwrap();
        fs::write(dir.path().join(MANIFEST), sums).unwrap();
        dir
    }

    #[tokio::test]
    async fn files_that_are_as_the_sums_say_pass() {
        for sums in [
            format!("{ABC}  model.pt\n"),
            format!("{ABC} *./model.pt"),
            format!("{ABC}  model.pt\r\n"),
            format!("{}  model.pt\n{ABC}  model.pt\n", ABC.to_uppercase()),
        ] {
            let dir = folder(&sums);
            verify(dir.path()).await.unwrap();
            assert!(broken(dir.path()).await.is_empty(), "{sums}");
        }
        let none = tempfile::tempdir().unwrap();
        verify(none.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_differs_is_named_with_both_sums() {
        let dir = folder(&format!("{OTHER}  model.pt\n"));
        let error = verify(dir.path()).await.unwrap_err().to_string();
        let wanted = format!("the sha256 of 'model.pt' is {ABC}, but SHA256SUMS says {OTHER}: ");
        assert!(error.starts_with(&wanted), "{error}");
        assert_eq!(broken(dir.path()).await, ["model.pt"]);
    }

    #[tokio::test]
    async fn a_file_that_is_not_there_is_named() {
        let dir = folder(&format!("{ABC}  model.pt\n{ABC}  words.txt\n"));
        let error = verify(dir.path()).await.unwrap_err().to_string();
        assert!(
            error.starts_with("'words.txt', which SHA256SUMS names, "),
            "{error}"
        );
    }

    #[test]
    fn lines_that_are_none_are_refused_by_number() {
        for (line, why) in [
            ("model.pt", "is not '<64"),
            ("", "is not '<64"),
            (&format!("{ABC} model.pt"), "is not '<64"),
            (&format!("{}  model.pt", &ABC[1..]), "is not '<64"),
            (&format!("+{}  model.pt", &ABC[1..]), "is not '<64"),
            (&format!("{ABC}0  model.pt"), "is not '<64"),
            (&format!("{OTHER}  a"), "gives another sum"),
            (&format!("{ABC}  ../secret"), "names a file that is not"),
            (&format!("{ABC}  /etc/passwd"), "names a file that is not"),
            (&format!("{ABC}  a\u{1}"), "names a file that is not"),
            (&format!("\\{ABC}  a\\nb"), "has a name with"),
        ] {
            let text = format!("{ABC}  a\n{line}\n{ABC}  model.pt\n");
            let error = parse(&text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("line 2 of SHA256SUMS {why}")),
                "{line}: {error}"
            );
        }
        for text in ["", &format!("{ABC}  other.pt\n")] {
            assert!(matches!(parse(text), Err(ManifestError::Nothing)), "{text}");
        }
    }
}
