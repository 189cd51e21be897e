use walrus::{ConstExpr, DataKind, FunctionBuilder, FunctionId, ModuleMemories, RawCustomSection};
use walrus::{ValType, ir};

use super::*;

/// A module with a memory and one function for each name; the n-th returns n, counted from 0.
fn module(names: &[&str]) -> Vec<u8> {
    let mut module = Module::default();
    let memory = memory(&mut module.memories);
    module.exports.add("memory", memory);
    for (number, name) in (0..).zip(names) {
        let function = constant(&mut module, number);
        module.exports.add(name, function);
        // As rustc's debug builds have them.
        module.funcs.get_mut(function).name = Some(format!("name of {name}"));
    }
    module.customs.add(RawCustomSection {
        name: "sourceMappingURL".to_owned(),
        data: vec![0; 1000],
    });
    module.emit_wasm()
}

fn memory(memories: &mut ModuleMemories) -> walrus::MemoryId {
    memories.add_local(false, false, 1, None, None)
}

fn constant(module: &mut Module, value: i32) -> FunctionId {
    let mut builder = FunctionBuilder::new(&mut module.types, &[], &[ValType::I32]);
    builder.func_body().i32_const(value);
    builder.finish(vec![], &mut module.funcs)
}

fn trim(wasm: &[u8], keep: &[&str], rename: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let selection = Selection {
        keep: keep.iter().map(ToString::to_string).collect(),
        rename: rename
            .iter()
            .map(|(from, to)| (from.to_string(), to.to_string()))
            .collect(),
    };
    Trimmer::parse(wasm)?.trim(&selection)
}

/// Names of the exports and, for functions, the number that each returns.
fn exports(wasm: &[u8]) -> Vec<(String, Option<i32>)> {
    let module = Module::from_buffer(wasm).unwrap();
    let mut exports: Vec<_> = module
        .exports
        .iter()
        .map(|export| (export.name.clone(), returned(&module, export.item)))
        .collect();
    exports.sort();
    exports
}

fn returned(module: &Module, item: ExportItem) -> Option<i32> {
    let ExportItem::Function(function) = item else {
        return None;
    };
    let local = module.funcs.get(function).kind.unwrap_local();
    let body = &local.block(local.entry_block()).instrs;
    match body.first() {
        Some((
            ir::Instr::Const(ir::Const {
                value: ir::Value::I32(value),
            }),
            _,
        )) => Some(*value),
        _ => None,
    }
}

fn named(name: &str, value: i32) -> (String, Option<i32>) {
    (name.to_owned(), Some(value))
}

#[test]
fn only_what_is_named_stays() {
    let trimmed = trim(&module(&["a", "b", "c"]), &["b"], &[]).unwrap();
    assert_eq!(exports(&trimmed), [named("b", 1)]);
}

#[test]
fn a_renamed_export_takes_the_place_of_the_one_that_had_its_name() {
    let wasm = module(&["ours", "theirs"]);
    for keep in [&["theirs"][..], &[]] {
        let trimmed = trim(&wasm, keep, &[("ours", "theirs")]).unwrap();
        assert_eq!(exports(&trimmed), [named("theirs", 0)]);
    }
}

#[test]
fn what_nothing_reaches_any_more_goes_with_its_export() {
    let mut module = Module::default();
    let memory = memory(&mut module.memories);
    module.exports.add("memory", memory);
    let kept = constant(&mut module, 1);
    module.exports.add("kept", kept);
    let helper = constant(&mut module, 2);
    let mut caller = FunctionBuilder::new(&mut module.types, &[], &[ValType::I32]);
    caller.func_body().call(helper);
    let caller = caller.finish(vec![], &mut module.funcs);
    module.exports.add("dropped", caller);
    // Data is reached through the memory: that of a module that lives is not ours to judge.
    module.data.add(
        DataKind::Active {
            memory,
            offset: ConstExpr::Value(ir::Value::I32(8)),
        },
        b"data".to_vec(),
    );
    let trimmed = trim(&module.emit_wasm(), &["memory", "kept"], &[]).unwrap();
    let left = Module::from_buffer(&trimmed).unwrap();
    assert_eq!(left.funcs.iter().count(), 1);
    assert_eq!(left.data.iter().count(), 1);
}

#[test]
fn names_and_custom_sections_go() {
    let wasm = module(&["a"]);
    let holds = |wasm: &[u8], text: &str| {
        wasm.windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds(&wasm, "name of a") && holds(&wasm, "sourceMappingURL"));
    let trimmed = trim(&wasm, &["a"], &[]).unwrap();
    assert!(!holds(&trimmed, "name of a") && !holds(&trimmed, "sourceMappingURL"));
}

#[test]
fn a_name_that_is_not_exported_is_an_error_that_says_what_is() {
    for (keep, rename) in [(&["b"][..], &[][..]), (&[], &[("b", "a")])] {
        let error = trim(&module(&["a"]), keep, rename).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the module exports no 'b'; it exports 'memory', 'a'"
        );
    }
}

#[test]
fn one_name_cannot_be_given_twice() {
    let error = trim(&module(&["a", "b"]), &[], &[("a", "c"), ("b", "c")]).unwrap_err();
    assert!(matches!(error, Error::Taken(name) if name == "c"));
}

#[test]
fn bytes_that_are_no_module_are_refused() {
    let error = Trimmer::parse(b"\0asm, almost").unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("this is no valid WebAssembly module: "),
        "{error}"
    );
}

#[test]
fn by_convention_our_entry_points_replace_those_of_the_sdk() {
    let wasm = module(&[
        "_initialize",
        "proxy_abi_version_0_2_1",
        "proxy_on_memory_allocate",
        "proxy_on_log",
        "proxy_on_done",
        "serin_on_log",
        "serin_on_request_headers",
    ]);
    let trimmer = Trimmer::parse(&wasm).unwrap();
    let selection = trimmer.convention();
    let trimmed = trimmer.trim(&selection).unwrap();
    assert_eq!(
        exports(&trimmed),
        [
            named("_initialize", 0),
            ("memory".to_owned(), None),
            named("proxy_abi_version_0_2_1", 1),
            named("proxy_on_log", 5),
            named("proxy_on_memory_allocate", 2),
            named("proxy_on_request_headers", 6),
        ]
    );
}

#[test]
fn by_convention_a_module_without_entry_points_of_ours_keeps_every_export() {
    let wasm = module(&["_initialize", "proxy_on_log", "proxy_on_done"]);
    let trimmer = Trimmer::parse(&wasm).unwrap();
    let selection = trimmer.convention();
    assert_eq!(exports(&trimmer.trim(&selection).unwrap()), exports(&wasm));
}
