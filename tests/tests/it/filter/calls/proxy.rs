//! The least of a Proxy-Wasm host (ABI 0.2.1) around the built filter, which writes down all that crosses between the
//! two: the only stand-in for Envoy in these tests, for Envoy does not tell what it is asked.

use std::collections::BTreeMap;

use wasmi::{Caller, Config, Engine, Error, Extern, Instance, Linker, Module, Store, Val};

/// `Status` of the ABI.
const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BAD_ARGUMENT: u32 = 2;

/// `MapType` of the ABI.
const REQUEST_HEADERS: u32 = 0;
const RESPONSE_HEADERS: u32 = 2;

/// Numbers of root contexts are odd here, those of streams even, and each root's plugin is "serin" unless told otherwise.
const ROOT: i32 = 1;
const STREAM: i32 = 2;

pub(super) type Headers = Vec<(Vec<u8>, Vec<u8>)>;

/// What the filter is told, and what it did.
#[derive(Default)]
pub(super) struct State {
    /// Host calls by name, with what tells them apart, and entries with a `>` before them.
    pub(super) journal: Vec<String>,
    configuration: Vec<u8>,
    request: Headers,
    response: Headers,
    /// Nanoseconds of a clock that is never set, and how far it goes each time that somebody looks.
    now: u64,
    step: u64,
    /// The root context for which the filter was entered last, or in whose name it acts.
    root: i32,
    /// The plugin of each root context that is there.
    roots: BTreeMap<i32, String>,
    /// Periods of the timers that run, in milliseconds, by the root context that asked for them.
    timers: BTreeMap<i32, u32>,
    /// The root context of each stream in flight.
    streams: BTreeMap<i32, i32>,
    /// Names of metrics; a metric's id is its position.
    metrics: Vec<String>,
    values: BTreeMap<u32, i64>,
    shared: BTreeMap<Vec<u8>, Vec<u8>>,
    seed: u8,
}

/// One VM with the filter in it.
pub(super) struct Proxy {
    store: Store<State>,
    instance: Instance,
}

impl Proxy {
    /// With a configuration, taken over.
    pub(super) fn start(wasm: &[u8], configuration: &str) -> Proxy {
        let mut config = Config::default();
        config.consume_fuel(true);
        let engine = Engine::new(&config);
        let module = Module::new(&engine, wasm).unwrap();
        let mut store = Store::new(&engine, State::default());
        store.data_mut().configuration = configuration.as_bytes().to_vec();
        store.set_fuel(u64::MAX).unwrap();
        let linker = linker(&engine);
        let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
        let mut proxy = Proxy { store, instance };
        proxy.enter("_initialize", &[]);
        proxy.enter("proxy_on_vm_start", &[ROOT, 0]);
        proxy.configure("serin", configuration);
        proxy
    }

    /// A configuration, with the root context that Envoy makes for it; returns its number. That of the one before goes
    /// when nothing holds it any more ([`Proxy::forget`]).
    pub(super) fn configure(&mut self, plugin: &str, configuration: &str) -> i32 {
        let state = self.store.data_mut();
        let root = state.roots.keys().next_back().map_or(ROOT, |last| last + 2);
        state.roots.insert(root, plugin.to_owned());
        state.configuration = configuration.as_bytes().to_vec();
        let size = i32::try_from(configuration.len()).unwrap();
        self.enter("proxy_on_context_create", &[root, 0]);
        self.enter("proxy_on_configure", &[root, size]);
        root
    }

    /// A root context ends; its timer, where it still runs, does not.
    pub(super) fn forget(&mut self, root: i32) {
        self.store.data_mut().roots.remove(&root);
    }

    /// Lets each look at the clock take so long.
    pub(super) fn slow_down(&mut self, nanoseconds: u64) {
        self.store.data_mut().step = nanoseconds;
    }

    /// Periods of the timers that run, in milliseconds.
    pub(super) fn timers(&self) -> Vec<u32> {
        self.store.data().timers.values().copied().collect()
    }

    /// Names of what the module offers.
    pub(super) fn exports(&self) -> Vec<String> {
        let exports = self.instance.exports(&self.store);
        exports.map(|export| export.name().to_owned()).collect()
    }

    /// One request and its answer, by all the entries of Envoy for a stream (`proxy_wasm::ContextBase`): those that the
    /// module does not have are not made. Returns what crossed, from the first entry on.
    pub(super) fn serve(&mut self, request: &Headers, status: u16) -> Vec<String> {
        self.store.data_mut().journal.clear();
        let root = self.root();
        self.begin(STREAM, root, request);
        self.pass(100_000);
        self.end(STREAM, status);
        self.crossed()
    }

    /// The same request and answer; returns how many instructions the module ran, in the interpreter's measure (fuel).
    pub(super) fn work(&mut self, request: &Headers, status: u16) -> u64 {
        let before = self.store.get_fuel().unwrap();
        self.serve(request, status);
        before - self.store.get_fuel().unwrap()
    }

    /// The newest root context.
    pub(super) fn root(&self) -> i32 {
        *self.store.data().roots.keys().next_back().unwrap()
    }

    /// The first half of a request, under a root context.
    pub(super) fn begin(&mut self, stream: i32, root: i32, request: &Headers) {
        let state = self.store.data_mut();
        state.request = Clone::clone(request);
        state.streams.insert(stream, root);
        let headers = i32::try_from(request.len()).unwrap();
        self.enter("proxy_on_context_create", &[stream, root]);
        self.enter("proxy_on_request_headers", &[stream, headers, 0]);
        self.enter("proxy_on_request_body", &[stream, 10, 1]);
    }

    /// The rest of it.
    pub(super) fn end(&mut self, stream: i32, status: u16) {
        self.store.data_mut().response =
            vec![(b":status".to_vec(), status.to_string().into_bytes())];
        self.enter("proxy_on_response_headers", &[stream, 1, 0]);
        self.enter("proxy_on_response_body", &[stream, 100, 1]);
        self.enter("proxy_on_log", &[stream]);
        self.enter("proxy_on_done", &[stream]);
        self.enter("proxy_on_delete", &[stream]);
        self.store.data_mut().streams.remove(&stream);
    }

    /// Each timer that runs fires once, after its time. Returns what crossed.
    pub(super) fn tick(&mut self) -> Vec<String> {
        let state = self.store.data_mut();
        state.journal.clear();
        for (root, period) in state.timers.clone() {
            self.pass(u64::from(period) * 1_000_000);
            if self.store.data().roots.contains_key(&root) {
                self.enter("proxy_on_tick", &[root]);
            }
        }
        self.crossed()
    }

    /// What crossed since it was asked last.
    pub(super) fn crossed(&mut self) -> Vec<String> {
        let journal = std::mem::take(&mut self.store.data_mut().journal);
        journal.iter().map(|line| without_labels(line)).collect()
    }

    /// The value of the metric of this name, whatever its labels; 0 where it was defined only.
    pub(super) fn metric(&self, name: &str) -> Option<i64> {
        let state = self.store.data();
        let named = |metric: &String| metric.rsplit(";.;").next() == Some(name);
        let id = u32::try_from(state.metrics.iter().position(named)?).ok()?;
        Some(state.values.get(&id).copied().unwrap_or_default())
    }

    /// The first value of a header of the last request, as the filter left it.
    pub(super) fn request_header(&self, name: &str) -> Option<&[u8]> {
        value(&self.store.data().request, name.as_bytes())
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, nanoseconds: u64) {
        self.store.data_mut().now += nanoseconds;
    }

    /// Calls an entry point if the module has it.
    fn enter(&mut self, name: &str, arguments: &[i32]) {
        let Some(entry) = self.instance.get_func(&self.store, name) else {
            return;
        };
        let state = self.store.data_mut();
        state.journal.push(format!("> {name}"));
        if let Some(&context) = arguments.first() {
            state.root = state.streams.get(&context).copied().unwrap_or(context);
        }
        let arguments: Vec<Val> = arguments.iter().map(|it| Val::I32(*it)).collect();
        let results = entry.ty(&self.store).results().len();
        let mut results = vec![Val::I32(0); results];
        entry
            .call(&mut self.store, &arguments, &mut results)
            .unwrap_or_else(|error| panic!("'{name}' trapped: {error}"));
    }
}

/// A metric by its name alone.
fn without_labels(line: &str) -> String {
    match line.split_once(' ') {
        Some((call, metric)) if call.ends_with("_metric") => {
            let name = metric.rsplit(";.;").next().unwrap_or_default();
            format!("{call} {name}")
        }
        _ => line.to_owned(),
    }
}

fn value<'a>(headers: &'a Headers, name: &[u8]) -> Option<&'a [u8]> {
    let mut headers = headers.iter();
    let (_, value) = headers.find(|(found, _)| found == name)?;
    Some(value)
}

/// A call of the filter: its memory, and where it is written down.
struct Call<'a>(Caller<'a, State>);

impl Call<'_> {
    fn note(&mut self, call: &str, detail: &[u8]) {
        let detail = String::from_utf8_lossy(detail);
        let line = format!("{call} {detail}").trim_end().to_owned();
        self.0.data_mut().journal.push(line);
    }

    fn read(&self, at: u32, size: u32) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        let memory = self.memory();
        memory.read(&self.0, at as usize, &mut bytes).unwrap();
        bytes
    }

    fn write(&mut self, at: u32, bytes: &[u8]) {
        let memory = self.memory();
        memory.write(&mut self.0, at as usize, bytes).unwrap();
    }

    fn memory(&self) -> wasmi::Memory {
        let memory = self.0.get_export("memory").and_then(Extern::into_memory);
        memory.expect("the module exports its memory")
    }

    /// Hands bytes over, in memory that the filter is entered for.
    fn give(&mut self, bytes: &[u8], data: u32, size: u32) -> Result<u32, Error> {
        const NAME: &str = "proxy_on_memory_allocate";
        let allocate = self.0.get_export(NAME).and_then(Extern::into_func);
        let allocate = allocate.expect("the module exports an allocator");
        let allocate = allocate.typed::<u32, u32>(&self.0)?;
        self.0.data_mut().journal.push(format!("> {NAME}"));
        let length = u32::try_from(bytes.len()).unwrap();
        let at = allocate.call(&mut self.0, length)?;
        self.write(at, bytes);
        self.write(data, &at.to_le_bytes());
        self.write(size, &length.to_le_bytes());
        Ok(OK)
    }

    fn headers(&mut self, map: u32) -> &mut Headers {
        let state = self.0.data_mut();
        match map {
            REQUEST_HEADERS => &mut state.request,
            RESPONSE_HEADERS => &mut state.response,
            _ => panic!("nobody asks for map {map} here"),
        }
    }

    fn metric(&self, id: u32) -> String {
        let metrics = &self.0.data().metrics;
        metrics[id as usize].clone()
    }
}

/// All that the filter may call; another import would fail to link.
#[rustfmt::skip]
fn linker(engine: &Engine) -> Linker<State> {
    type In<'a> = Caller<'a, State>;
    let mut linker = Linker::new(engine);
    let env = "env";
    let mut all = || -> Result<(), wasmi::errors::LinkerError> {
        linker.func_wrap(env, "proxy_get_header_map_pairs", |it: In, map: u32, data: u32, size: u32| {
            let mut it = Call(it);
            it.note("get_header_map_pairs", b"");
            let pairs = pairs(it.headers(map));
            it.give(&pairs, data, size)
        })?;
        linker.func_wrap(env, "proxy_get_header_map_value", |it: In, map: u32, key: u32, key_size: u32, data: u32, size: u32| {
            let mut it = Call(it);
            let name = it.read(key, key_size);
            it.note("get_header_map_value", &name);
            match value(it.headers(map), &name).map(<[u8]>::to_vec) {
                Some(value) => it.give(&value, data, size),
                None => Ok(NOT_FOUND),
            }
        })?;
        linker.func_wrap(env, "proxy_replace_header_map_value", |it: In, map: u32, key: u32, key_size: u32, data: u32, size: u32| {
            let mut it = Call(it);
            let (name, value) = (it.read(key, key_size), it.read(data, size));
            it.note("replace_header_map_value", &name);
            let headers = it.headers(map);
            headers.retain(|(found, _)| *found != name);
            headers.push((name, value));
            OK
        })?;
        linker.func_wrap(env, "proxy_add_header_map_value", |it: In, map: u32, key: u32, key_size: u32, data: u32, size: u32| {
            let mut it = Call(it);
            let (name, value) = (it.read(key, key_size), it.read(data, size));
            it.note("add_header_map_value", &name);
            it.headers(map).push((name, value));
            OK
        })?;
        linker.func_wrap(env, "proxy_remove_header_map_value", |it: In, map: u32, key: u32, key_size: u32| {
            let mut it = Call(it);
            let name = it.read(key, key_size);
            it.note("remove_header_map_value", &name);
            it.headers(map).retain(|(found, _)| *found != name);
            OK
        })?;
        linker.func_wrap(env, "proxy_get_property", |it: In, path: u32, path_size: u32, data: u32, size: u32| {
            let mut it = Call(it);
            let path = it.read(path, path_size);
            it.note("get_property", &path.iter().map(|&it| if it == 0 { b'.' } else { it }).collect::<Vec<_>>());
            let state = it.0.data();
            let value = match path.as_slice() {
                b"plugin_name" => state.roots.get(&state.root).cloned(),
                b"response\0code_details" => Some("via_upstream".to_owned()),
                b"xds\0cluster_name" => Some("fraud-v8".to_owned()),
                _ => None,
            };
            match value {
                Some(value) => it.give(value.as_bytes(), data, size),
                None => Ok(NOT_FOUND),
            }
        })?;
        linker.func_wrap("wasi_snapshot_preview1", "clock_time_get", |it: In, clock: u32, _precision: u64, at: u32| {
            let mut it = Call(it);
            assert_eq!(clock, 1, "the clock that is never set");
            it.note("clock_time_get", b"");
            let state = it.0.data_mut();
            state.now += state.step;
            let now = state.now;
            it.write(at, &now.to_le_bytes());
            OK
        })?;
        linker.func_wrap(env, "proxy_define_metric", |it: In, _kind: u32, name: u32, size: u32, at: u32| {
            let mut it = Call(it);
            let name = it.read(name, size);
            it.note("define_metric", &name);
            let id = u32::try_from(it.0.data().metrics.len()).unwrap();
            it.0.data_mut().metrics.push(String::from_utf8(name).unwrap());
            it.write(at, &id.to_le_bytes());
            OK
        })?;
        linker.func_wrap(env, "proxy_increment_metric", |it: In, id: u32, by: i64| {
            let mut it = Call(it);
            let name = it.metric(id);
            it.note("increment_metric", name.as_bytes());
            *it.0.data_mut().values.entry(id).or_default() += by;
            OK
        })?;
        linker.func_wrap(env, "proxy_record_metric", |it: In, id: u32, value: u64| {
            let mut it = Call(it);
            let name = it.metric(id);
            it.note("record_metric", name.as_bytes());
            it.0.data_mut().values.insert(id, value.cast_signed());
            OK
        })?;
        linker.func_wrap(env, "proxy_get_buffer_bytes", |it: In, _kind: u32, start: u32, max: u32, data: u32, size: u32| {
            let mut it = Call(it);
            it.note("get_buffer_bytes", b"");
            let bytes = it.0.data().configuration.clone();
            let bytes = bytes.into_iter().skip(start as usize).take(max as usize);
            it.give(&bytes.collect::<Vec<_>>(), data, size)
        })?;
        linker.func_wrap(env, "proxy_get_shared_data", |it: In, key: u32, key_size: u32, data: u32, size: u32, cas: u32| {
            let mut it = Call(it);
            let key = it.read(key, key_size);
            it.note("get_shared_data", &key);
            it.write(cas, &1_u32.to_le_bytes());
            match it.0.data().shared.get(&key).cloned() {
                Some(value) => it.give(&value, data, size),
                None => Ok(NOT_FOUND),
            }
        })?;
        linker.func_wrap(env, "proxy_set_shared_data", |it: In, key: u32, key_size: u32, data: u32, size: u32, _cas: u32| {
            let mut it = Call(it);
            let (key, value) = (it.read(key, key_size), it.read(data, size));
            it.note("set_shared_data", &key);
            it.0.data_mut().shared.insert(key, value);
            OK
        })?;
        linker.func_wrap(env, "proxy_set_tick_period_milliseconds", |mut it: In, period: u32| {
            let state = it.data_mut();
            match period {
                0 => state.timers.remove(&state.root),
                _ => state.timers.insert(state.root, period),
            };
            Call(it).note("set_tick_period", b"");
            OK
        })?;
        linker.func_wrap(env, "proxy_set_effective_context", |mut it: In, context: u32| {
            let (state, context) = (it.data_mut(), context.cast_signed());
            let root = state.streams.get(&context).copied().unwrap_or(context);
            if !state.roots.contains_key(&root) {
                return BAD_ARGUMENT;
            }
            state.root = root;
            OK
        })?;
        linker.func_wrap(env, "proxy_log", |it: In, _level: u32, text: u32, size: u32| {
            let mut it = Call(it);
            let text = it.read(text, size);
            it.note("log", &text);
            OK
        })?;
        // Numbers that differ, which is all that is asked of them here.
        linker.func_wrap("wasi_snapshot_preview1", "random_get", |it: In, at: u32, size: u32| {
            let mut it = Call(it);
            it.note("random_get", b"");
            let seed = it.0.data().seed;
            it.0.data_mut().seed = seed.wrapping_add(1);
            let bytes: Vec<u8> = (0..size).map(|number| number.to_le_bytes()[0] ^ seed).collect();
            it.write(at, &bytes);
            OK
        })?;
        Ok(())
    };
    all().unwrap();
    linker
}

/// Headers as the ABI has them: their number, the sizes of all, and all with a zero after each name and value.
fn pairs(headers: &Headers) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut all = u32::try_from(headers.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in headers {
        all.extend(size(name));
        all.extend(size(value));
    }
    for part in headers.iter().flat_map(|(name, value)| [name, value]) {
        all.extend(part);
        all.push(0);
    }
    all
}
