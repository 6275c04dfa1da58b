//! From manifests to what followers need.

use std::{fs, sync::Arc};

use clap::Parser;
use tempfile::TempDir;

use super::{Unit, all};
use crate::cli::{manifests, run::RunArgs};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
}

const SOURCE: &str = "apiVersion: millrace.dev/v1alpha1\nkind: Source\nmetadata: { name: shop }\n\
    spec: { connector: { name: generator }, connection: { rows: 1 } }\n";

fn flow(name: &str) -> String {
    format!(
        "---\napiVersion: millrace.dev/v1alpha1\nkind: Flow\nmetadata: {{ name: {name} }}\n\
         spec: {{ source: {{ name: shop }}, destination: {{ connector: {{ name: \"null\" }} }} }}\n"
    )
}

fn job(name: &str, of: &str) -> String {
    format!(
        "---\napiVersion: millrace.dev/v1alpha1\nkind: Job\nmetadata: {{ name: {name} }}\nspec: {{ {of}, load: Full }}\n"
    )
}

const INLINE: &str =
    "flowTemplate: { spec: { source: { name: shop }, destination: { connector: { name: \"null\" } } } }";

/// The units of manifests, as `millrace run` with these options has them.
fn units(directory: &TempDir, documents: &[String], options: &[&str]) -> Vec<Arc<Unit>> {
    let path = directory.path().join("flow.yaml");
    fs::write(&path, format!("{SOURCE}{}", documents.concat())).unwrap();
    let loaded = manifests::read(&[path]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(loaded.resolution.is_sound(), "{:?}", loaded.resolution.problems);
    let args = Cli::parse_from([&["millrace"], options].concat());
    all(&loaded, &args.run)
}

#[test]
fn a_job_goes_to_its_flow_and_one_with_a_flow_of_its_own_stands_alone() {
    let documents = [
        flow("lake"),
        flow("pond"),
        job("again", "flow: { name: pond }"),
        job("once", INLINE),
    ];
    let directory = tempfile::tempdir().unwrap();
    let found: Vec<_> = units(&directory, &documents, &[])
        .iter()
        .map(|unit| {
            let jobs: Vec<String> = unit.jobs.iter().map(|job| job.name.clone()).collect();
            (unit.name(), unit.scheduled, jobs.join(","))
        })
        .collect();
    let expected = [
        ("default/lake", true, ""),
        ("default/pond", true, "again"),
        ("default/once", false, "once"),
    ];
    assert_eq!(
        found,
        expected.map(|(name, scheduled, jobs)| (name.to_owned(), scheduled, jobs.to_owned()))
    );
}

#[test]
fn the_command_line_narrows_the_flows_and_says_where_state_lies() {
    let directory = tempfile::tempdir().unwrap();
    let options = ["--flow", "pond", "--state", "elsewhere"];
    let found = units(&directory, &[flow("lake"), flow("pond")], &options);
    assert_eq!(
        found.iter().map(|unit| unit.name()).collect::<Vec<_>>(),
        ["default/pond"]
    );
    assert!(format!("{:?}", found[0].plan.state).contains("elsewhere"));
}

#[test]
fn only_what_changes_how_a_flow_runs_opens_it_anew() {
    let directory = tempfile::tempdir().unwrap();
    let unit = |documents: &[String]| units(&directory, documents, &[]).remove(0);
    let one = unit(&[flow("lake")]);
    let with_job = unit(&[flow("lake"), job("again", "flow: { name: lake }")]);
    assert!(!with_job.replaces(&one));
    let other = flow("lake").replace("source:", "maxDeleteFraction: 0.1, source:");
    assert!(unit(&[other]).replaces(&one));
}
