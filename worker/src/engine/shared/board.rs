//! The board: the place in S3 where the pods that share a run meet.
//!
//! In: notices, claims and announcements, each written once by a conditional write, and the objects of parts. Out: the
//! same, by name. Listings find what may be worth a look and decide nothing: a claim is won by its write, an announcement
//! is read by its key.
//!
//! ```text
//! _loads/STATE/open/ATTEMPT.json             a notice, for as long as its load is read
//! _loads/STATE/work/ATTEMPT/claim-P          whoever writes it reads part P
//! _loads/STATE/work/ATTEMPT/part-P           the announcement of part P
//! _loads/STATE/work/ATTEMPT/NONCE.KIND       what it announces
//! ```
//!
//! An attempt is named by stream, epoch and nonce.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use bytes::Bytes;
use millrace_crds::plan::S3Plan;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::AsyncReadExt;

use super::notice::{Announced, Notice};
use crate::{
    backoff::Backoff,
    error::{Error, Result},
    protocol::{Epoch, nonce},
    secrets::Secrets,
    state::component,
    storage::{
        Storage,
        cas::{Cas, CasStore, S3Cas},
    },
};

/// No state is called so.
const ROOT: &str = "_loads";
/// What is sent at once of a longer object.
const PIECE: usize = 1 << 20;
/// What is fetched at once of one.
const RANGE: u64 = 8 << 20;

/// The board of one state.
pub struct Board {
    documents: Arc<dyn CasStore>,
    objects: Storage,
    root: String,
}

impl std::fmt::Debug for Board {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Board")
            .field(&self.objects)
            .field(&self.root)
            .finish()
    }
}

/// Where parts stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// Somebody reads them, or has.
    pub(super) claimed: BTreeSet<usize>,
    /// They are announced.
    pub(super) announced: BTreeSet<usize>,
}

impl Board {
    /// The board of a state, at the place of its store.
    ///
    /// # Errors
    /// `config` where a credential is missing.
    pub async fn open(place: &S3Plan, secrets: &Secrets, state: &str) -> Result<Self> {
        let documents = Arc::new(S3Cas::connect(place, secrets).await?);
        let objects = Storage::s3(place, secrets)?;
        Ok(Self::at(documents, objects, state))
    }

    /// A board at any place.
    #[must_use]
    pub fn at(documents: Arc<dyn CasStore>, objects: Storage, state: &str) -> Self {
        Self {
            documents,
            objects,
            root: format!("{ROOT}/{}", component(state)),
        }
    }

    /// A name for an attempt.
    pub(super) fn attempt(stream: &str, epoch: Epoch) -> String {
        format!("{}!{epoch:020}!{}", component(stream), nonce())
    }

    fn opened(&self, attempt: &str) -> String {
        format!("{}/open/{attempt}.json", self.root)
    }

    fn work(&self, attempt: &str, name: &str) -> String {
        format!("{}/work/{attempt}/{name}", self.root)
    }

    /// Asks for help with an attempt.
    pub(super) async fn announce(&self, attempt: &str, notice: &Notice) -> Result<()> {
        self.write(&self.opened(attempt), notice).await
    }

    /// The loads of a run that others lead, the newest attempts of each stream: of two of one epoch, who can say which is alive.
    pub(super) async fn notices(&self, run: &str, own: u32) -> Result<Vec<(String, Notice)>> {
        let prefix = format!("{}/open/", self.root);
        let mut found: Vec<(String, Notice)> = Vec::new();
        for key in self.documents.list(&prefix).await? {
            let attempt = key
                .strip_prefix(&prefix)
                .and_then(|name| name.strip_suffix(".json"));
            let Some(attempt) = attempt else { continue };
            let Some(notice) = self.read::<Notice>(&key).await? else {
                continue;
            };
            if notice.run == run && notice.leader != own {
                found.retain(|(_, other)| other.stream != notice.stream || other.epoch >= notice.epoch);
                let newer = |(_, other): &(String, Notice)| {
                    other.stream == notice.stream && other.epoch > notice.epoch
                };
                if !found.iter().any(newer) {
                    found.push((attempt.to_owned(), notice));
                }
            }
        }
        Ok(found)
    }

    /// Whether its leader still reads it.
    pub(super) async fn is_open(&self, attempt: &str) -> Result<bool> {
        Ok(self.documents.read(&self.opened(attempt)).await?.is_some())
    }

    /// Takes a part, unless somebody has. An answer that never came is none: somebody else will take it.
    pub(super) async fn claim(&self, attempt: &str, part: usize, pod: u32) -> Result<bool> {
        let mark = format!("{{\"pod\":{pod},\"nonce\":\"{}\"}}", nonce());
        let key = self.work(attempt, &format!("claim-{part}"));
        Ok(matches!(
            self.documents.create(&key, mark.into()).await?,
            Cas::Done(_)
        ))
    }

    /// Where the parts of an attempt stand.
    pub(super) async fn parts(&self, attempt: &str) -> Result<Parts> {
        let prefix = self.work(attempt, "");
        let mut parts = Parts::default();
        for key in self.documents.list(&prefix).await? {
            let Some((kind, part)) = key.strip_prefix(&prefix).and_then(|name| name.split_once('-')) else {
                continue;
            };
            match (kind, part.parse()) {
                ("claim", Ok(part)) => parts.claimed.insert(part),
                ("part", Ok(part)) => parts.announced.insert(part),
                _ => false,
            };
        }
        Ok(parts)
    }

    /// Announces a part. The first announcement counts.
    pub(super) async fn finish(&self, attempt: &str, part: usize, announced: &Announced) -> Result<()> {
        self.write(&self.work(attempt, &format!("part-{part}")), announced)
            .await
    }

    /// The announcement of a part.
    pub(super) async fn finished(&self, attempt: &str, part: usize) -> Result<Option<Announced>> {
        self.read(&self.work(attempt, &format!("part-{part}"))).await
    }

    /// Sends a file; gives its size.
    pub(super) async fn send(&self, attempt: &str, name: &str, file: &Path) -> Result<u64> {
        let mut writer = self.objects.writer(&self.work(attempt, name))?;
        let mut file = tokio::fs::File::open(file).await?;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            if (&mut file).take(PIECE as u64).read_to_end(&mut piece).await? == 0 {
                break;
            }
            writer.write(Bytes::from(piece)).await?;
        }
        Ok(writer.finish().await?.size)
    }

    /// Fetches an object of so many bytes into a file.
    pub(super) async fn fetch(&self, attempt: &str, name: &str, size: u64, file: &Path) -> Result<()> {
        use tokio::io::AsyncWriteExt;
        let key = self.work(attempt, name);
        let mut file = tokio::fs::File::create(file).await?;
        let mut at = 0;
        while at < size {
            let end = (at + RANGE).min(size);
            file.write_all(&self.objects.get_range(&key, at..end).await?)
                .await?;
            at = end;
        }
        Ok(file.flush().await?)
    }

    /// Ends an attempt, and removes all of it.
    pub(super) async fn close(&self, attempt: &str) -> Result<()> {
        self.remove(&self.opened(attempt), |_| true).await?;
        self.remove(&self.work(attempt, ""), |_| true).await
    }

    /// Removes what attempts of older epochs have left of a stream.
    pub(super) async fn sweep(&self, stream: &str, epoch: Epoch) -> Result<()> {
        let stream = component(stream);
        for folder in ["open", "work"] {
            let prefix = format!("{}/{folder}/", self.root);
            let below = format!("{prefix}{stream}!");
            let old = |key: &str| {
                let rest = key.strip_prefix(&below).and_then(|rest| rest.split_once('!'));
                rest.and_then(|(number, _)| number.parse::<Epoch>().ok())
                    .is_some_and(|number| number < epoch)
            };
            self.remove(&below, old).await?;
        }
        Ok(())
    }

    /// Removes all that is on the board: for a Flow that is gone.
    ///
    /// # Errors
    /// What the store says.
    pub async fn clear(&self) -> Result<()> {
        self.remove(&format!("{}/", self.root), |_| true).await
    }

    /// Removes documents, and then the objects that are left: in one bucket they are listed together.
    async fn remove(&self, prefix: &str, chosen: impl Fn(&str) -> bool) -> Result<()> {
        for key in self.documents.list(prefix).await? {
            if chosen(&key) {
                self.documents.remove(&key).await?;
            }
        }
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        for object in self.objects.list(folder).await? {
            if object.key.starts_with(prefix) && chosen(&object.key) {
                self.objects.delete(&object.key).await?;
            }
        }
        Ok(())
    }

    /// Writes a document that nobody else writes, or that is as good from whoever was first.
    async fn write<T: Serialize + Sync>(&self, key: &str, document: &T) -> Result<()> {
        let bytes = Bytes::from(serde_json::to_vec(document)?);
        let (backoff, mut why) = (Backoff::default(), String::new());
        for attempt in 0..backoff.tries {
            match self.documents.create(key, bytes.clone()).await? {
                Cas::Done(_) | Cas::Conflict => return Ok(()),
                Cas::Unknown(what) => why = what,
            }
            backoff.pause(attempt).await;
        }
        Err(Error::transient(format!(
            "{}/{key} could not be written: {why}",
            self.documents.place()
        )))
    }

    async fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let found = self.documents.read(key).await?;
        let parse = |bytes: &Bytes| {
            serde_json::from_slice(bytes).map_err(|error| {
                Error::bug(format!(
                    "{}/{key} cannot be read: {error}",
                    self.documents.place()
                ))
            })
        };
        found.map(|(bytes, _)| parse(&bytes)).transpose()
    }
}
