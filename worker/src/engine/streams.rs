//! From the plan's rules to the streams of a run.
//!
//! In: rules, the Flow's choice, and what discovery found. Out: settled [`StreamSpec`]s, or an error that names the
//! stream, and what exists instead.

use millrace_crds::{
    flow::WriteMode,
    plan::{Plan, SourcePlan, StreamRule, StreamSelect},
};
use regex::Regex;

use crate::{
    connector::{Source, StreamInfo},
    error::{Error, Result},
    stream::StreamSpec,
};

/// The streams of a Flow, in the order of discovery; `only` narrows them further (by exact name).
///
/// # Errors
/// `config` where a name matches nothing, or a regular expression is none.
pub async fn settle(plan: &Plan, source: &dyn Source, only: &[String]) -> Result<Vec<StreamSpec>> {
    let found = source.discover().await?;
    let rules = plan
        .source
        .streams
        .iter()
        .map(Rule::new)
        .collect::<Result<Vec<_>>>()?;
    for rule in &rules {
        if !found.iter().any(|info| rule.matches(&info.name)) {
            return Err(unknown(rule.words(), &found));
        }
    }
    for name in plan.streams.iter().chain(only) {
        if !found.iter().any(|info| info.name == *name) {
            return Err(unknown(name, &found));
        }
    }
    let chosen = found.iter().filter(|info| {
        let by_rule = rules.is_empty() || rules.iter().any(|rule| rule.matches(&info.name));
        let by_flow = plan.streams.is_empty() || plan.streams.contains(&info.name);
        by_rule && by_flow && (only.is_empty() || only.contains(&info.name))
    });
    let streams: Vec<StreamSpec> = chosen
        .map(|info| spec(plan.destination.write_mode, &rules, info))
        .collect();
    if let Some(stream) = streams
        .iter()
        .find(|stream| stream.write_mode == WriteMode::Upsert && stream.primary_key.is_empty())
    {
        return Err(Error::config(format!(
            "writeMode: upsert needs a key, and stream {} has none",
            stream.name
        ))
        .advice(
            "name the stream in the Source's `streams` with its `primaryKey`, or choose append or overwrite",
        ));
    }
    match streams.first() {
        Some(_) => Ok(streams),
        None => Err(unknown("any of the Flow's streams", &found)),
    }
}

/// A stream as a Source alone describes it, for looking into it with no Flow at hand.
///
/// # Errors
/// `config` where a regular expression is none.
pub fn of_source(source: &SourcePlan, info: &StreamInfo) -> Result<StreamSpec> {
    let rules = source.streams.iter().map(Rule::new).collect::<Result<Vec<_>>>()?;
    Ok(spec(WriteMode::Append, &rules, info))
}

/// Whether a Source speaks of a stream of this name.
///
/// # Errors
/// `config` where a regular expression is none.
pub fn is_ruled(source: &SourcePlan, name: &str) -> Result<bool> {
    let rules = source.streams.iter().map(Rule::new).collect::<Result<Vec<_>>>()?;
    Ok(rules.is_empty() || rules.iter().any(|rule| rule.matches(name)))
}

/// Whether the manifest names a stream exactly, in the Source or in the Flow.
#[must_use]
pub fn is_named(plan: &Plan, name: &str) -> bool {
    let exact = |rule: &StreamRule| matches!(&rule.select, StreamSelect::Name(exact) if exact == name);
    plan.source.streams.iter().any(exact) || plan.streams.iter().any(|stream| stream == name)
}

/// Whether the Flow takes a stream of this name, as far as that can be told without the source.
///
/// # Errors
/// `config` where a regular expression is none.
pub fn takes(plan: &Plan, name: &str) -> Result<bool> {
    let by_rule = is_ruled(&plan.source, name)?;
    let by_flow = plan.streams.is_empty() || plan.streams.iter().any(|stream| stream == name);
    Ok(!name.is_empty() && by_rule && by_flow)
}

/// A stream as the manifest alone describes it, for looking at its destination while the source is out of reach.
///
/// # Errors
/// `config` where a regular expression is none.
pub fn offline(plan: &Plan, name: &str) -> Result<StreamSpec> {
    let rules = plan
        .source
        .streams
        .iter()
        .map(Rule::new)
        .collect::<Result<Vec<_>>>()?;
    let info = StreamInfo::named(name.to_owned());
    Ok(StreamSpec {
        discovered: None,
        ..spec(plan.destination.write_mode, &rules, &info)
    })
}

struct Rule<'a>(&'a StreamRule, Option<Regex>);

impl<'a> Rule<'a> {
    fn new(rule: &'a StreamRule) -> Result<Self> {
        let regex = match &rule.select {
            StreamSelect::Name(_) => None,
            StreamSelect::Match(text) => Some(Regex::new(&format!("^(?:{text})$")).map_err(|error| {
                Error::config(format!("`match: {text}` is no regular expression: {error}"))
            })?),
        };
        Ok(Self(rule, regex))
    }

    fn matches(&self, name: &str) -> bool {
        match (&self.0.select, &self.1) {
            (StreamSelect::Name(exact), _) => exact == name,
            (_, regex) => regex.as_ref().is_some_and(|regex| regex.is_match(name)),
        }
    }

    fn words(&self) -> &str {
        match &self.0.select {
            StreamSelect::Name(text) | StreamSelect::Match(text) => text,
        }
    }
}

/// An exact name counts more than a regular expression; among those, the first.
fn spec(write_mode: WriteMode, rules: &[Rule<'_>], info: &StreamInfo) -> StreamSpec {
    let exact = rules
        .iter()
        .find(|rule| rule.1.is_none() && rule.matches(&info.name));
    let rule = exact
        .or_else(|| rules.iter().find(|rule| rule.matches(&info.name)))
        .map(|rule| rule.0);
    let key = rule
        .map(|rule| rule.primary_key.clone())
        .filter(|key| !key.is_empty());
    let key = key.unwrap_or_else(|| info.primary_key.clone());
    StreamSpec {
        name: info.name.clone(),
        delivered_key: key.clone(),
        primary_key: key,
        cursor: rule.map(|rule| rule.cursor_field.clone()).unwrap_or_default(),
        declared: rule.and_then(|rule| rule.schema.clone()),
        discovered: info.trouble.is_none().then(|| info.schema.clone()),
        partitions: rule
            .and_then(|rule| rule.partitions)
            .map(|partitions| partitions as usize),
        write_mode,
    }
}

fn unknown(name: &str, found: &[StreamInfo]) -> Error {
    let mut names: Vec<&str> = found.iter().map(|info| info.name.as_str()).take(20).collect();
    names.sort_unstable();
    let known = if names.is_empty() {
        "it has no streams at all".to_owned()
    } else {
        format!("it has {}", names.join(", "))
    };
    Error::config(format!("the source has no stream `{name}`"))
        .reason("UnknownStream")
        .advice(format!("{known}; `millrace discover` lists them"))
}
