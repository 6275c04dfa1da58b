use super::*;

#[test]
fn probe() {
    let text = r#"
apiVersion: millrace.dev/v1alpha1
kind: Flow
metadata: { name: Lake }
spec:
  source: { nam: shop }
  destination:
    connector: { name: file }
    writemode: upsert
    writeMode: merge
  suspend: "true"
  maxDeleteFraction: 2
---
apiVersion: millrace.dev/v1alpha1
kind: Source
metadata: { name: shop }
spec:
  connector: { name: file }
  deltaLoadInterval: 0s
  streams: [{ name: a, match: b }]
"#;
    for problem in parse("a.yaml", text).unwrap_err() {
        println!("{problem}");
    }
}
