use serde_json::Value;

use super::*;

#[test]
fn dump() {
    for crd in crds() {
        println!("{}", serde_json::to_string_pretty(&crd).unwrap());
    }
}
