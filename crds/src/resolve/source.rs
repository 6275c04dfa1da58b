//! A Source to the reading end of a plan.

use crate::Source;
use crate::connector::Role;
use crate::manifest::name_of;
use crate::plan::SourcePlan;
use crate::problem::{Located, Report};
use crate::resources::namespace_of;

use super::system::Asked;
use super::{Resolver, streams};

pub(super) fn plan(
    resolver: &Resolver<'_>,
    source: &Located<Source>,
    report: &mut Report<'_>,
) -> Option<SourcePlan> {
    let spec = &source.object.spec;
    let namespace = namespace_of(&source.object);
    let system = resolver.system(
        &Asked {
            role: Role::Source,
            field: "spec",
            namespace,
            place: &source.place,
            connector: spec.connector.as_ref(),
            plugin: spec.reader.as_deref(),
            connection: &spec.connection,
            options: &spec.options,
            credentials: &spec.credentials,
        },
        report,
    );
    let streams = streams::rules(resolver, &spec.streams, namespace, &source.place, report);
    Some(SourcePlan {
        name: name_of(&source.object),
        system: system?,
        streams,
        full_load_interval: spec.full_load_interval,
        delta_load_interval: spec.delta_load_interval,
        concurrency: spec.concurrency,
        buffer_length: spec.buffer_length,
    })
}
