//! What cannot be a transform, and what people are told.

use super::{key, rows};
use crate::{engine::transform::Transform, error::ErrorKind};

fn refusal(sql: &str) -> String {
    let error = Transform::compile(sql, &rows().schema(), &[]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "{sql}: {error}");
    error.to_string()
}

#[test]
fn whatever_needs_more_than_one_row_is_refused_by_name() {
    let cases = [
        ("select count(*) from input", "`count` looks at many rows"),
        ("select sum(n) as x from input", "`sum` looks at many rows"),
        ("select id from input group by id", "`group by`"),
        ("select id from input having id > 1", "`group by`"),
        ("select distinct id from input", "`distinct`"),
        ("select id from input order by id", "`order by`"),
        ("select id from input limit 5", "`limit`"),
        ("select id from input offset 5", "`limit`"),
        ("select a.id from input a join input b on a.id = b.id", "a join"),
        ("select id from input, input", "a second table"),
        ("select id from input union all select id from input", "`union`"),
        ("with x as (select 1) select id from input", "`with`"),
        ("select (select 1) as x from input", "a subquery"),
        ("select id from input where id in (select 1)", "a subquery"),
        ("select id from input where exists (select 1)", "a subquery"),
        ("select id from (select 1 as id)", "a subquery"),
        (
            "select row_number() over (order by id) as x from input",
            "a window",
        ),
        ("select lower(email) over () as x from input", "a window"),
        ("select unnest(address) from input", "`unnest`"),
        ("select * rename (id as x) from input", "`rename`"),
    ];
    for (sql, expected) in cases {
        let refusal = refusal(sql);
        assert!(refusal.contains(expected), "{sql}: {refusal}");
        assert!(refusal.contains("; "), "{sql}: {refusal} says what to do");
        let unseen = Transform::check(sql).unwrap_err().to_string();
        assert!(unseen.contains(expected), "{sql}, without columns: {unseen}");
    }
}

#[test]
fn without_columns_only_what_they_would_decide_is_let_through() {
    for sql in [
        "select * from input",
        "select i.*, i.nobody.knows, upper(\"Odd Name\") as name from input as i where nothing > 1",
        "select * exclude (secret) from input where lower(email) like '%@x'",
    ] {
        assert!(Transform::check(sql).is_ok(), "{sql}");
    }
    for (sql, expected) in [
        ("select id frm input", "from input"),
        (
            "select uper(email) from input",
            "there is no function `uper`; did you mean upper?",
        ),
        ("select id from orders", "not from `orders`"),
        ("delete from input", "a transform reads rows"),
        ("select random() from input", "another value at each call"),
        ("select id from input where (", "this is not SQL"),
    ] {
        let refusal = Transform::check(sql).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{sql}: {refusal}");
    }
}

#[test]
fn what_differs_at_each_call_is_refused() {
    for sql in [
        "select random() as x from input",
        "select now() as x from input",
        "select uuid() as x from input",
        "select id from input where at < current_timestamp",
        "select current_date as x from input",
        "select gen_random_uuid() as x from input",
        "select upper(cast(random() as text)) as x from input",
    ] {
        let refusal = refusal(sql);
        assert!(refusal.contains("another value at each call"), "{sql}: {refusal}");
    }
}

#[test]
fn what_is_no_select_from_input_is_refused() {
    let cases = [
        ("selekt id from input", "not SQL"),
        ("select id from", "not SQL"),
        ("", "one statement"),
        ("select id from input; select id from input", "one statement"),
        ("delete from input", "reads rows and does nothing else"),
        ("select id", "`from input`"),
        ("select id from users", "not from `users`"),
        ("select id from public.input", "not from `public.input`"),
        ("select id into x from input", "`into`"),
    ];
    for (sql, expected) in cases {
        let refusal = refusal(sql);
        assert!(refusal.contains(expected), "{sql}: {refusal}");
    }
}

#[test]
fn unknown_names_are_told_with_what_may_be_meant() {
    assert_eq!(
        refusal("select emial from input"),
        "there is no column `emial`; did you mean email?"
    );
    assert!(refusal("select zzzzzzzz from input").contains("there are id, email, price"));
    assert!(refusal("select * exclude (emial) from input").contains("did you mean email?"));
    assert!(refusal("select id from input where emial = 'x'").contains("did you mean email?"));
    assert!(refusal("select x.id from input").contains("there is no column `x`"));
    assert!(refusal("select uper(email) as x from input").contains("did you mean upper?"));
    assert!(
        refusal("select \"ID\" from input").contains("there is no column `ID`"),
        "quotes mean exactly this name"
    );
}

#[test]
fn types_that_do_not_go_together_are_told_before_a_row_is_read() {
    for sql in [
        "select sqrt(address) as x from input",
        "select id from input where email",
        "select address + 1 as x from input",
        "select upper(id, id) as x from input",
    ] {
        refusal(sql);
    }
    assert!(refusal("select null as x from input").contains("column `x` has no type"));
}

#[test]
fn a_name_can_be_given_once() {
    for sql in [
        "select id, n as id from input",
        "select *, n from input",
        "select n as x, id as x from input",
    ] {
        assert!(
            refusal(sql).contains("the same name; give one of them another"),
            "{}",
            refusal(sql)
        );
    }
}

#[test]
fn a_key_that_is_left_out_is_told() {
    let error = Transform::compile("select email from input", &rows().schema(), &key(&["id"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the transform leaves out the key column `id`; select `id` too, under that name"
    );
}

#[test]
fn deep_nesting_is_refused_and_does_not_crash() {
    let sql = format!(
        "select {}1{} as x from input",
        "(".repeat(10_000),
        ")".repeat(10_000)
    );
    assert!(refusal(&sql).contains("not SQL"));
}
