use super::*;

#[test]
fn slips_of_the_pen_are_recognised() {
    let known = ["writeMode", "connection", "credentials"];
    assert_eq!(nearest("writemode", known), Some("writeMode"));
    assert_eq!(nearest("conection", known), Some("connection"));
    assert_eq!(nearest("wirteMode", known), Some("writeMode"));
    assert_eq!(nearest("nothing", known), None);
}

#[test]
fn lists_read_well() {
    assert_eq!(list(&["a"], "or"), "a");
    assert_eq!(list(&["a", "b", "c"], "or"), "a, b or c");
    assert_eq!(advice("zzz", ["a", "b"], "known are"), "known are a and b");
    assert_eq!(advice("zzz", [], "known are"), "");
}
