//! Parts that a host has found by itself, as where a database splits the answer of a query.
//!
//! In: the frame in which a host tells of them. Out: a request for each, which any host answers, since all parts are of the
//! one answer; and the hosts that wait for one.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::{
    super::{frame::Frame, host::Host},
    load::lock,
};
use crate::{connector::Position, error::Result};

/// The parts of a load.
pub(super) struct Found {
    descriptors: Vec<String>,
    /// After all of them.
    pub(super) position: Option<Position>,
    pub(super) hosts: Arc<Hosts>,
}

/// The hosts of a load that read nothing now. The one that found the parts stays until the last of them is read.
pub(super) struct Hosts(Mutex<Waiting>);

struct Waiting {
    hosts: Vec<Host>,
    unread: BTreeSet<usize>,
}

impl Found {
    /// What a `schema` frame tells of parts; `None`: the host reads on by itself.
    ///
    /// # Errors
    /// `bug` where it tells of none, or of something else.
    pub(super) fn of(host: &Host, frame: &Frame) -> Result<Option<Self>> {
        let Some(parts) = frame.header.get("parts") else {
            return Ok(None);
        };
        let descriptors: Vec<String> = serde_json::from_value(parts.clone())
            .map_err(|error| host.broken(format!("`parts` cannot be read: {error}")))?;
        if descriptors.is_empty() {
            return Err(host.broken("`parts` is empty"));
        }
        let position = frame.header.get("position");
        let unread = (0..descriptors.len()).collect();
        Ok(Some(Self {
            descriptors,
            position: position.filter(|position| !position.is_null()).cloned(),
            hosts: Arc::new(Hosts(Mutex::new(Waiting {
                hosts: Vec::new(),
                unread,
            }))),
        }))
    }

    /// The host that found them reads them, too.
    pub(super) fn read_by(self, host: Host) -> Self {
        lock(&self.hosts.0).hosts.push(host);
        self
    }

    pub(super) fn count(&self) -> usize {
        self.descriptors.len()
    }

    /// Asks for a part.
    pub(super) fn request(&self, stream: &str, part: usize) -> Value {
        json!({ "type": "read", "stream": stream, "part": self.descriptors[part] })
    }
}

impl Hosts {
    /// One that waits.
    pub(super) fn take(&self) -> Option<Host> {
        lock(&self.0).hosts.pop()
    }

    /// Takes one back that has read a part; after the last part all end.
    pub(super) async fn give_back(&self, host: Host, part: usize) {
        let ended = {
            let mut waiting = lock(&self.0);
            waiting.hosts.push(host);
            waiting.unread.remove(&part);
            match waiting.unread.is_empty() {
                true => std::mem::take(&mut waiting.hosts),
                false => Vec::new(),
            }
        };
        for host in ended {
            host.finish().await;
        }
    }
}
