//! Each thing that is refused, and the whole sentence that says so.

use std::collections::BTreeMap;

use super::*;

fn refuses(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        let resolution = local(text);
        assert_eq!(told(&resolution), [*expected], "{text}");
        assert!(!resolution.is_sound());
    }
}

#[test]
fn wrong_references_name_the_nearest() {
    refuses(&[
        (
            format!(
                "{}---\n{FLOW}{TO}",
                source(FROM).replace("name: shop", "name: shops")
            ),
            "m.yaml:12: Flow/lake: spec.source.name: there is no Source shop in namespace default; did you mean shops?",
        ),
        (
            format!("{FLOW}{TO}"),
            "m.yaml:5: Flow/lake: spec.source.name: there is no Source shop in namespace default; add a Source of that name",
        ),
        (
            source("  connector: { name: postgers }\n"),
            "m.yaml:5: Source/shop: spec.connector.name: there is no Connector or built-in recipe postgers; did you mean postgres?",
        ),
        (
            source("  connector: { name: stdout }\n"),
            "m.yaml:5: Source/shop: spec.connector.name: stdout cannot be used as a source; choose one of file, generator, memory and postgres",
        ),
        (
            source("  connector: { name: memory, config: fast }\n"),
            "m.yaml:5: Source/shop: spec.connector.config: memory has no config fast",
        ),
        (
            source("  connector: { name: memory, engine: singer }\n"),
            "m.yaml:5: Source/shop: spec.connector.engine: memory has no engine singer; write native",
        ),
        (
            source("  reader: ./module:Class\n"),
            "m.yaml:5: Source/shop: spec.reader: \"./module:Class\" names no plugin; write MODULE.py:Class, package.module:Class or LIBRARY.so:symbol",
        ),
        (
            job("  flow: { name: lak }\n  load: Full\n"),
            "m.yaml:20: Job/run: spec.flow.name: there is no Flow lak in namespace default; did you mean lake?",
        ),
    ]);
}

#[test]
fn wrong_configuration_names_the_property() {
    let postgres = |connection: &str| {
        source(&format!(
            "  connector: {{ name: postgres }}\n  connection: {{ {connection} }}\n"
        ))
    };
    refuses(&[
        (
            postgres("user: u, database: d"),
            "m.yaml:6: Source/shop: spec.connection: host or url is missing; add it",
        ),
        (
            postgres("host: h, user: u, sslMode: requier"),
            "m.yaml:6: Source/shop: spec.connection.sslMode: the value is not allowed; write disable, prefer, require, verify-ca or verify-full",
        ),
        (
            postgres("host: h, user: u, lockTimeout: 30"),
            "m.yaml:6: Source/shop: spec.connection.lockTimeout: a number stands where text is wanted; write it in quotes",
        ),
        (
            source(
                "  connector: { name: postgres }\n  connection: { host: h, user: u }\n  options: { batchRow: 5 }\n",
            ),
            "m.yaml:7: Source/shop: spec.options.batchRow: there is no such field; did you mean batchRows?",
        ),
        (
            postgres("host: h, user: u, database: d, port: 70000"),
            "m.yaml:6: Source/shop: spec.connection.port: the value is too large; write 65535 or less",
        ),
        (
            postgres("host: h, user: u, database: d, port: \"5432\""),
            "m.yaml:6: Source/shop: spec.connection.port: text stands where a whole number is wanted; write it without quotes",
        ),
        (
            postgres("host: '', user: u, database: d"),
            "m.yaml:6: Source/shop: spec.connection.host: is empty; write something, or leave it out",
        ),
    ]);
    let to = |connection: &str, options: &str| {
        flow(&format!(
            "  destination: {{ connector: {{ name: file }}, connection: {{ url: /out, {connection} }}, options: {{ {options} }} }}\n"
        ))
    };
    refuses(&[
        (
            to("compresion: zstd", ""),
            "m.yaml:14: Flow/lake: spec.destination.connection.compresion: there is no such field; did you mean compression?",
        ),
        (
            to("rowGroupRows: 0", ""),
            "m.yaml:14: Flow/lake: spec.destination.connection.rowGroupRows: the value is too small; write 1024 or more",
        ),
        (
            to("compression: zstd", "_millrace_op: maybe"),
            "m.yaml:14: Flow/lake: spec.destination.options._millrace_op: text stands where true or false is wanted; write true or false",
        ),
    ]);
    // A Connector of a built-in type may ask for more, and cannot let through what the worker refuses.
    let loose = "apiVersion: millrace.dev/v1alpha1\nkind: Connector\nmetadata: { name: c }\nspec:\n  type: file\n  roles: [source]\n  configSchema: { type: object, required: [region] }\n---\n";
    refuses(&[(
        format!(
            "{loose}{}",
            source("  connector: { name: c }\n  connection: { url: /in, region: r, formt: csv }\n")
        ),
        "m.yaml:14: Source/shop: spec.connection.formt: there is no such field; did you mean format?",
    )]);
    let strict = "apiVersion: millrace.dev/v1alpha1\nkind: Connector\nmetadata: { name: c }\nspec:\n  type: c\n  roles: [source]\n  configSchema: { type: object, additionalProperties: false, properties: { host: { type: string } } }\n---\n";
    refuses(&[
        (
            format!(
                "{strict}{}",
                source("  connector: { name: c }\n  connection: { hots: h }\n")
            ),
            "m.yaml:14: Source/shop: spec.connection.hots: there is no such field; did you mean host?",
        ),
        (
            strict.replace("type: object", "type: thing"),
            "m.yaml:7: Connector/c: spec.configSchema: is not a JSON Schema: \"thing\" is not valid under any of the schemas listed in the 'anyOf' keyword",
        ),
    ]);
}

#[test]
fn secrets_have_no_place_in_a_manifest() {
    let postgres = |more: &str| {
        source(&format!(
            "  connector: {{ name: postgres }}\n  connection: {{ host: h, user: u, database: d{more} }}\n"
        ))
    };
    let memory = |more: &str| source(&format!("  connector: {{ name: memory }}\n{more}"));
    refuses(&[
        (
            postgres(", password: canary"),
            "m.yaml:6: Source/shop: spec.connection.password: a secret must not stand here; remove it, and name a Secret under credentials, as in { name: password, secret: { name: ..., key: ... } }",
        ),
        (
            postgres(", password: '${PGPASSWORD}'"),
            "m.yaml:6: Source/shop: spec.connection.password: a secret must not stand here; remove it, and name a Secret under credentials, as in { name: password, secret: { name: ..., key: ... } }",
        ),
        (
            memory("  options: { headers: { Authorization: Bearer canary } }\n"),
            "m.yaml:6: Source/shop: spec.options.headers.Authorization: a secret must not stand here; remove it, and name a Secret under credentials, as in { name: Authorization, secret: { name: ..., key: ... } }",
        ),
        (
            memory("  connection: { url: 'http://u:canary@h/p' }\n"),
            "m.yaml:6: Source/shop: spec.connection.url: the address holds a password; remove it from the address, and name a Secret under credentials",
        ),
    ]);
}

#[test]
fn addresses_have_no_password() {
    let url = |url: &str| {
        source(&format!(
            "  connector: {{ name: file }}\n  connection: {{ url: '{url}' }}\n"
        ))
    };
    let expected = "m.yaml:6: Source/shop: spec.connection.url: the address holds a password; remove it from the address, and name a Secret under credentials";
    for wrong in [
        "http://u:canary@h/p",
        "http://u:${SET}@h",
        "http://h/p?a=b&access_token=canary",
        "host=h password=canary",
        "${DSN}",
    ] {
        let environment = [("SET", "canary"), ("DSN", "postgres://u:canary@h/d")];
        let environment = environment
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let resolution = resolve(
            &parse("m.yaml", &url(wrong)).unwrap(),
            builtin(),
            &Setting::Local { environment },
        );
        assert_eq!(told(&resolution), [expected], "{wrong}");
    }
    for right in [
        "http://u@h/p",
        "http://h:80/a@b:c",
        "http://h/?page=1",
        "s3://b/password=x",
        "a = b",
    ] {
        assert_eq!(told(&local(&url(right))), [""; 0], "{right}");
    }
}

#[test]
fn a_finding_shows_nothing_of_the_environment() {
    let given = |connector: &str, connection: &str| {
        source(&format!(
            "  connector: {{ name: {connector} }}\n  connection: {{ {connection} }}\n"
        ))
    };
    let environment: BTreeMap<_, _> = [("SET".to_owned(), "canary".to_owned())].into();
    for (text, expected) in [
        (
            given(
                "postgres",
                "host: h, user: u, database: d, connectTimeout: '${SET}'",
            ),
            "m.yaml:6: Source/shop: spec.connection.connectTimeout: the value is not a duration; write hours, minutes, seconds or milliseconds, as in 24h, 1h30m, 30s or 500ms",
        ),
        (
            given("file", "url: '/data/{${SET}}.csv'"),
            "m.yaml:6: Source/shop: spec.connection.url: the value is not a template; known are {namespace}, {flow}, {stream}, {label:NAME}, {date} and {date:FORMAT}; write {{ or }} for a brace that is text",
        ),
        (
            given("postgres", "host: h, user: u, database: d, sslMode: '${SET}'"),
            "m.yaml:6: Source/shop: spec.connection.sslMode: the value is not allowed; write disable, prefer, require, verify-ca or verify-full",
        ),
    ] {
        let environment = environment.clone();
        let resolution = resolve(
            &parse("m.yaml", &text).unwrap(),
            builtin(),
            &Setting::Local { environment },
        );
        assert_eq!(told(&resolution), [expected]);
    }
}

#[test]
fn wrong_credentials_are_told() {
    let postgres = |given: &str| {
        source(&format!(
            "  connector: {{ name: postgres }}\n  connection: {{ host: h, user: u, database: d }}\n  credentials: [{given}]\n"
        ))
    };
    let file = |given: &str| source(&format!("{FROM}  credentials: [{given}]\n"));
    refuses(&[
        (
            postgres("{ name: pasword, env: SET }"),
            "m.yaml:7: Source/shop: spec.credentials[0].name: postgres asks for no credential pasword; did you mean password?",
        ),
        (
            source("  connector: { name: memory }\n  credentials: [{ name: a, env: SET }]\n"),
            "m.yaml:6: Source/shop: spec.credentials[0].name: memory asks for no credential a; remove it",
        ),
        (
            postgres("{ name: password, env: UNSET }"),
            "m.yaml:7: Source/shop: spec.credentials[0].env: the environment variable UNSET is not set; set it",
        ),
        (
            postgres("{ name: password, env: SET }, { name: password, env: SET }"),
            "m.yaml:7: Source/shop: spec.credentials[1]: password is given twice; remove one",
        ),
        (
            file("{ name: accessKeyId, secret: { name: s, key: k } }"),
            "m.yaml:7: Source/shop: spec.credentials[0]: Secret s is not among the manifests; add it to the manifests, or set AWS_ACCESS_KEY_ID",
        ),
    ]);
    let expected = "m.yaml:7: Source/shop: spec.credentials[0]: password is found by env or file, which is for local runs only; write secret: { name: ..., key: ... }";
    for given in ["{ name: password, env: SET }", "{ name: password, file: pw }"] {
        assert_eq!(told(&cluster(&postgres(given))), [expected]);
    }
}

#[test]
fn wrong_streams_are_told() {
    let streams = |streams: &str| source(&format!("{FROM}  streams: [{streams}]\n"));
    refuses(&[
        (
            streams("{ name: a }, { name: a }"),
            "m.yaml:7: Source/shop: spec.streams[1]: a is named twice; remove one of the two",
        ),
        (
            streams("{ match: 'a(' }"),
            "m.yaml:7: Source/shop: spec.streams[0].match: is not a regular expression: unclosed group; a literal dot is written \\.",
        ),
        (
            streams("{ name: a, schema: [{ name: x }] }"),
            "m.yaml:7: Source/shop: spec.streams[0].schema[0]: has no type; write logicalType, physicalType or both",
        ),
        (
            streams(
                "{ name: a, schema: [{ name: x, logicalType: integer, logicalTypeOptions: { format: int32 } }] }",
            ),
            "m.yaml:7: Source/shop: spec.streams[0].schema[0].logicalTypeOptions.format: \"int32\" is not a format of this type; known are i8, i16, i32, i64, i128, u8, u16, u32 and u64",
        ),
        (
            streams(
                "{ name: a, schema: [{ name: x, logicalType: number, logicalTypeOptions: { fromat: f32 } }] }",
            ),
            "m.yaml:7: Source/shop: spec.streams[0].schema[0].logicalTypeOptions.fromat: there is no such option of this type; did you mean format?",
        ),
        (
            streams(
                "{ name: a, schema: [{ name: x, logicalType: string, logicalTypeOptions: { maxLength: 9 } }] }",
            ),
            "m.yaml:7: Source/shop: spec.streams[0].schema[0].logicalTypeOptions.maxLength: there is no such option of this type; remove it",
        ),
        (
            streams(
                "{ name: a, schema: [{ name: x, logicalType: timestamp, logicalTypeOptions: { timezone: UTC } }] }",
            ),
            "m.yaml:7: Source/shop: spec.streams[0].schema[0].logicalTypeOptions.timezone: \"UTC\" is not allowed; write true or false",
        ),
        (
            streams("{ name: a, schema: [{ name: x, logicalType: date }, { name: x, logicalType: date }] }"),
            "m.yaml:7: Source/shop: spec.streams[0].schema[1]: x is named twice; remove one of the two",
        ),
        (
            streams(
                "{ name: a, schema: [{ name: x, logicalType: string, items: { logicalType: string } }] }",
            ),
            "m.yaml:7: Source/shop: spec.streams[0].schema[0]: has items but is no array; write logicalType: array",
        ),
        (
            flow(TO).replace(
                "{ name: shop }\n  dest",
                "{ name: shop, streams: [a, b.c, c] }\n  dest",
            ),
            "m.yaml:13: Flow/lake: spec.source.streams[2]: the Source has no stream c; its streams are a and b\\..*",
        ),
        (
            flow(&format!(
                "{TO}  transforms: [{{ streams: [aa], sql: select 1 from input }}]\n"
            )),
            "m.yaml:15: Flow/lake: spec.transforms[0].streams[0]: the Source has no stream aa; its streams are a and b\\..*",
        ),
        (
            job("  flow: { name: lake }\n  load: Full\n  streams: [z]\n"),
            "m.yaml:22: Job/run: spec.streams[0]: the Source has no stream z; its streams are a and b\\..*",
        ),
    ]);
}

#[test]
fn wrong_times_are_told() {
    let schedule = |schedule: &str| flow(&format!("{TO}  schedule: \"{schedule}\"\n"));
    let five = "write minute, hour, day of month, month and day of week, as in \"0 3 * * *\"";
    let not = |what: &str| {
        format!("m.yaml:15: Flow/lake: spec.schedule: \"{what}\" is not a cron expression; {five}")
    };
    for wrong in ["*/0 * * * *", "61 * * * *", "a b c d e", "0 3 * * 9"] {
        assert_eq!(told(&local(&schedule(wrong))), [not(wrong)]);
    }
    for (wrong, count) in [
        ("0 0 3 * * *", 6),
        ("@every 10m", 2),
        ("0 3 * * * Europe/Stockholm", 6),
    ] {
        assert_eq!(
            told(&local(&schedule(wrong))),
            [format!(
                "m.yaml:15: Flow/lake: spec.schedule: \"{wrong}\" has {count} fields in place of 5; {five}"
            )]
        );
    }
    let never = local(&schedule("0 3 31 2 *"));
    assert_eq!(
        told(&never),
        ["m.yaml:15: Flow/lake: spec.schedule: \"0 3 31 2 *\" never comes; choose a day that its month has"]
    );
    assert!(never.is_sound() && never.plans.len() == 1);
    let zone = schedule("0 3 29 2 *") + "  timeZone: Mars/Phobos\n";
    assert_eq!(
        told(&local(&zone)),
        [
            "m.yaml:16: Flow/lake: spec.timeZone: \"Mars/Phobos\" is not a time zone; write a name such as Europe/Stockholm"
        ]
    );
}

#[test]
fn short_intervals_need_a_continuous_flow_in_a_cluster() {
    let text = |more: &str| format!("{SOURCE}{FROM}  deltaLoadInterval: 30s\n---\n{FLOW}{TO}{more}");
    assert_eq!(told(&local(&text(""))), [""; 0]);
    assert_eq!(told(&cluster(&text("  mode: Continuous\n"))), [""; 0]);
    assert_eq!(
        told(&cluster(&text("  mode: Batch\n"))),
        [
            "m.yaml:15: Flow/lake: spec.mode: deltaLoadInterval 30s of Source shop is too short for mode Batch; write mode: Continuous, or an interval of 1m or more"
        ]
    );
    assert!(cluster(&text("  schedule: \"0 3 * * *\"\n")).is_sound());
}

#[test]
fn wrong_places_are_told() {
    refuses(&[
        (
            flow(&format!("{TO}  deadLetter: {{ url: '/bad/{{table}}' }}\n")),
            "m.yaml:15: Flow/lake: spec.deadLetter.url: {table} is not a variable; known are {namespace}, {flow}, {stream}, {label:NAME}, {date} and {date:FORMAT}",
        ),
        (
            flow(&format!("{TO}  deadLetter: {{ url: '/bad/{{label:x}}' }}\n")),
            "m.yaml:15: Flow/lake: spec.deadLetter.url: the Flow has no label x; add it under metadata.labels",
        ),
        (
            flow(&TO.replace("{stream}", "{strem}")),
            "m.yaml:14: Flow/lake: spec.destination.connection.url: the value is not a template; known are {namespace}, {flow}, {stream}, {label:NAME}, {date} and {date:FORMAT}; write {{ or }} for a brace that is text",
        ),
        (
            flow(&format!("{TO}  state: {{ s3: {{ bucket: b, prefix: ../x }} }}\n")),
            "m.yaml:15: Flow/lake: spec.state.s3.prefix: leads out of its place; write plain segments, as in team/state",
        ),
    ]);
    let directory = flow(&format!("{TO}  state: {{ directory: .state }}\n"));
    assert!(local(&directory).is_sound());
    assert_eq!(
        told(&cluster(&directory)),
        [
            "m.yaml:15: Flow/lake: spec.state.directory: a directory is for local runs only; write configMap: {} or s3"
        ]
    );
}

#[test]
fn empty_ranges_are_told() {
    let range = |from: &str, to: &str| {
        job(&format!(
            "  flow: {{ name: lake }}\n  load: Backfill\n  backfill: {{ from: \"{from}\", to: \"{to}\" }}\n"
        ))
    };
    for (from, to) in [
        ("2026-02-01", "2026-01-01"),
        ("9", "10"),
        ("x", "y"),
        ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
    ] {
        let sound = from != "2026-02-01";
        assert_eq!(local(&range(from, to)).is_sound(), sound, "{from} {to}");
    }
    refuses(&[(
        range("7", "7"),
        "m.yaml:22: Job/run: spec.backfill: from 7 to 7 is empty; write a to that comes after from; to itself is left out",
    )]);
}

#[test]
fn a_trigger_that_nobody_understands_is_told() {
    let text = flow(TO).replace(
        "metadata: { name: shop }",
        "metadata: { name: shop, annotations: { millrace.dev/ful_load: '1', millrace.dev/delta_load: '' } }",
    );
    let resolution = local(&text);
    assert_eq!(
        told(&resolution),
        [
            "m.yaml:3: Source/shop: metadata.annotations[\"millrace.dev/delta_load\"]: the token is empty; write any new text, for example the time",
            "m.yaml:3: Source/shop: metadata.annotations[\"millrace.dev/ful_load\"]: means nothing to Millrace; did you mean full_load?",
        ]
    );
    assert!(resolution.is_sound());
}
