//! The bytes of a Parquet file that a store holds.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use parquet::{
    arrow::{arrow_reader::ArrowReaderOptions, async_reader::AsyncFileReader},
    errors::{ParquetError, Result},
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
};

use crate::storage::{Object, Storage};

/// Requests at once for the columns of a row group.
const AT_ONCE: usize = 8;
/// Bytes fetched from the end of a file: enough for most footers, so that one request serves.
const FOOTER: usize = 64 << 10;

/// One file of a store. It must stay the object that was listed.
pub(super) struct Remote {
    pub(super) storage: Storage,
    pub(super) object: Object,
}

impl Remote {
    async fn bytes(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes = self.storage.get_range_of(&self.object, range).await;
        bytes.map_err(|error| ParquetError::External(Box::new(error)))
    }
}

impl AsyncFileReader for Remote {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.bytes(range).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        let this = &*self;
        stream::iter(ranges)
            .map(move |range| this.bytes(range))
            .buffered(AT_ONCE)
            .try_collect()
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.object.size;
        let options = options.map(|options| options.metadata_options().clone());
        async move {
            let reader = ParquetMetaDataReader::new()
                .with_metadata_options(options)
                .with_prefetch_hint(Some(FOOTER));
            reader.load_and_finish(self, size).await.map(Arc::new)
        }
        .boxed()
    }
}
