use super::*;

fn table(schema: Option<&str>, name: &str) -> Table {
    Table {
        schema: schema.map(str::to_owned),
        name: name.to_owned(),
    }
}

fn merge(key: &[&str], replace: bool, laid: usize) -> Vec<String> {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let laid: Vec<_> = (0..laid).map(|n| table(None, &format!("l{n}"))).collect();
    Merge {
        target: &table(Some("s"), "t\"t"),
        laid: &laid,
        columns: &names(&["id", "a b"]),
        key: &names(key),
        replace,
    }
    .statements()
}

#[test]
fn an_append_inserts_what_is_not_gone() {
    let wanted = concat!(
        r#"INSERT INTO "s"."t""t" ("id", "a b") SELECT "id", "a b" FROM "#,
        r#"(SELECT "id", "a b", "_millrace_row", "_millrace_gone" FROM "l0") AS s WHERE "_millrace_gone" = 0"#,
    );
    assert_eq!(merge(&[], false, 1), [wanted]);
}

#[test]
fn an_upsert_takes_the_last_of_each_key_of_all_parts() {
    let found = merge(&["id", "a b"], false, 2);
    let delete = |n| {
        format!(
            r#"DELETE FROM "s"."t""t" WHERE EXISTS (SELECT 1 FROM "l{n}" AS s WHERE s."id" = "t""t"."id" AND s."a b" = "t""t"."a b")"#
        )
    };
    assert_eq!(found[..2], [delete(0), delete(1)]);
    assert_eq!(found.len(), 3);
    let orders = r#"ROW_NUMBER() OVER (PARTITION BY "id", "a b" ORDER BY "_millrace_row" DESC) AS n"#;
    assert!(found[2].contains(orders), "{}", found[2]);
    assert!(found[2].contains(r#"FROM "l0" UNION ALL SELECT"#), "{}", found[2]);
    assert!(
        found[2].ends_with(r#"WHERE n = 1 AND "_millrace_gone" = 0"#),
        "{}",
        found[2]
    );
}

#[test]
fn what_replaces_deletes_all_first_and_may_bring_nothing() {
    assert_eq!(merge(&[], true, 0), [r#"DELETE FROM "s"."t""t""#]);
    assert_eq!(merge(&[], true, 1).len(), 2);
}
