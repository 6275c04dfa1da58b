//! What the engine stores with every commit: all that the next load needs to know of the last one.

use millrace_crds::{plan::Plan, schema::Field};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    connector::Position,
    error::{Error, Result},
};

/// The offset of one shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offset {
    /// Where the next delta begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Position>,
    /// Whose watermark it is, `type/engine`: it means nothing to another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
    /// Where the rows went, as a hash of how the destination is connected with: where nothing at the destination tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// An index was committed with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub indexed: bool,
    /// The seed of the row hashes in the index, drawn once: nobody can prepare rows that collide.
    pub seed: u64,
    /// The schema that was delivered, which `freeze` and `evolve` compare with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema: Vec<Field>,
    /// The columns that were delivered, after transforms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Rows and content of the generation, to know a rewrite of the same data: `rows` and a sum of row hashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When the last full load was committed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_load: Option<String>,
    /// When the last delta load was committed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta_load: Option<String>,
}

/// A checksum of rows in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Digest {
    /// Rows.
    pub rows: u64,
    /// The wrapping sum of their hashes, in hexadecimal.
    pub sum: String,
}

impl Offset {
    /// The offset of what was committed last; `None`: nothing was.
    ///
    /// # Errors
    /// `state` (`StateCorrupt`) where it cannot be read.
    pub fn of(committed: &crate::protocol::Committed) -> Result<Option<Self>> {
        match &committed.offset {
            Value::Null => Ok(None),
            offset => serde_json::from_value(offset.clone()).map(Some).map_err(|error| {
                Error::state("StateCorrupt", format!("the stored offset cannot be read: {error}"))
                    .advice("look at it with `millrace state show`, and bring an earlier one back with `millrace state restore`")
            }),
        }
    }

    /// The reader of a plan.
    #[must_use]
    pub fn reader_of(plan: &Plan) -> String {
        let system = &plan.source.system;
        format!("{}/{}", system.type_, system.engine)
    }

    /// Where a plan writes. Secrets are no part of it: that they are changed moves nothing.
    #[must_use]
    pub fn place_of(plan: &Plan) -> String {
        let system = &plan.destination.system;
        let connection = serde_json::to_string(&system.connection).unwrap_or_default();
        let told = format!("{}/{}/{connection}", system.type_, system.engine);
        format!("{:x}", Sha256::digest(told))[..16].to_owned()
    }

    /// As it is stored.
    ///
    /// # Errors
    /// `bug` where it cannot be serialised.
    pub fn to_value(&self) -> Result<Value> {
        serde_json::to_value(self)
            .map_err(|error| Error::bug(format!("an offset cannot be serialised: {error}")))
    }
}

/// A checksum while it is being summed up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    rows: u64,
    sum: u128,
}

impl Sum {
    /// Adds rows.
    pub fn add(&mut self, hashes: &[u128]) {
        self.rows += hashes.len() as u64;
        self.sum = hashes.iter().fold(self.sum, |sum, hash| sum.wrapping_add(*hash));
    }

    /// Adds another part.
    pub fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The checksum.
    #[must_use]
    pub fn digest(self) -> Digest {
        Digest {
            rows: self.rows,
            sum: format!("{:032x}", self.sum),
        }
    }
}
