//! The source of saved models: `tch` can only write what it has traced, which is of one tensor.

use std::{
    fs::{self, File},
    io::{Cursor, Read, Write},
    path::Path,
};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Changes the source of a saved model.
pub(crate) fn rewrite(file: &Path, change: impl Fn(&str) -> String) {
    let mut archive = ZipArchive::new(Cursor::new(fs::read(file).unwrap())).unwrap();
    let mut writer = ZipWriter::new(File::create(file).unwrap());
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for index in 0..archive.len() {
        let mut part = archive.by_index_raw(index).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        if part.compression() == CompressionMethod::Stored {
            part.read_to_end(&mut bytes).unwrap();
        } else {
            DeflateDecoder::new(part).read_to_end(&mut bytes).unwrap();
        }
        if name.ends_with(".py") {
            bytes = change(&String::from_utf8(bytes).unwrap()).into_bytes();
        }
        writer.start_file(name, stored).unwrap();
        writer.write_all(&bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// Lets a saved model of one output, `rows`, return `value` of type `kind`.
pub(crate) fn returning(file: &Path, kind: &str, value: &str) {
    rewrite(file, |source| {
        let (head, rows) = source.split_once("return ").unwrap();
        let head = head.replace("-> Tensor:", &format!("-> {kind}:"));
        format!("{head}rows = {}\n    return {value}\n", rows.trim_end())
    });
}
