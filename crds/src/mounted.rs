//! Files in the volumes of a pod, as manifests name them.
//!
//! In: `configmap:NAME/FILE`, `volume:CLAIM/PATH`. Out: the ConfigMap or claim, which the operator mounts, and the path at
//! which the worker finds the file below the place of such volumes.

/// A file in a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mounted<'a> {
    /// What holds it.
    pub volume: Volume,
    /// The name of that.
    pub name: &'a str,
    /// The path within it.
    pub path: &'a str,
}

/// What can hold files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Volume {
    /// A ConfigMap.
    ConfigMap,
    /// A `PersistentVolumeClaim`.
    Claim,
}

impl Volume {
    /// The word before the colon; also the name of a directory.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Claim => "volume",
        }
    }
}

impl<'a> Mounted<'a> {
    /// The file that a text names; `None`: it names another kind of place, or none that can be.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (word, rest) = text.split_once(':')?;
        let volume = [Volume::ConfigMap, Volume::Claim]
            .into_iter()
            .find(|volume| volume.word() == word)?;
        let (name, path) = rest.split_once('/')?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let stays = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        (begins && name.len() <= 253 && name.chars().all(plain) && stays).then_some(Self {
            volume,
            name,
            path,
        })
    }

    /// Where it lies below the place of volumes.
    #[must_use]
    pub fn below(&self) -> String {
        format!("{}/{}/{}", self.volume.word(), self.name, self.path)
    }
}

#[cfg(test)]
mod tests;
