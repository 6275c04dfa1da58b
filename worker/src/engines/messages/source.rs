//! The reading end: a source whose connector writes messages.
//!
//! In: a [`Dialect`]. Out: a source like any other. Each load is read by a process of its own, which is given the state that
//! the connector left.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Dialect, MessageLoad, Shared};
use crate::{
    connector::{Load, Range, Source, StreamInfo},
    error::{Error, Result},
    stream::StreamSpec,
};

/// A source by messages.
pub(in crate::engines) struct Spoken(Shared);

impl Spoken {
    /// The source of a dialect; starts nothing yet.
    pub(in crate::engines) fn source(dialect: impl Dialect + 'static) -> Arc<dyn Source> {
        Arc::new(Self(Arc::new(dialect)))
    }
}

#[async_trait]
impl Source for Spoken {
    async fn discover(&self) -> Result<Vec<StreamInfo>> {
        self.0.streams().await
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn load(&self, stream: &StreamSpec, range: &Range) -> Result<Arc<dyn Load>> {
        let after = match range {
            Range::Full => None,
            Range::Delta { after } => after.clone(),
            Range::Backfill { .. } => {
                let name = &stream.name;
                return Err(
                    Error::config(format!("stream {name}: its connector knows no backfill"))
                        .advice("set its own start and end in the connection, and load in full"),
                );
            }
        };
        let mut reading = self.0.read(stream, after).await?;
        if let Some(state) = &reading.before {
            let state = reading.settings.write("state.json", state)?;
            reading.program.args.extend(["--state".into(), state.into()]);
        }
        let load = MessageLoad::open(self.0.clone(), reading, self.0.mask()?).await?;
        Ok(Arc::new(load))
    }

    fn resumes(&self) -> bool {
        true
    }
}
