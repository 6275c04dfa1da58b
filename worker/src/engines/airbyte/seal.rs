//! Sealing: what others may read and only who has the Source's credentials can open.
//!
//! In: the credentials, and a text. Out: base64 of salt, nonce and ciphertext. The key is made of the credentials by PBKDF2,
//! slowly, since a password may be short; the text is sealed by ChaCha20-Poly1305. Other credentials open nothing, nor does
//! the seal of another Source.

use std::num::NonZeroU32;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    pbkdf2,
    rand::{SecureRandom, SystemRandom},
};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    error::{Error, Result},
    secrets::Secrets,
};

/// Rounds of PBKDF2 with SHA-256.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
const SALT: usize = 16;

/// What seals and opens.
#[derive(Clone)]
pub(super) struct Seal {
    credentials: SecretString,
    /// Whose it is.
    of: String,
}

impl Seal {
    /// By these credentials; `None`: there are none, and nothing can be sealed.
    pub(super) fn by(secrets: &Secrets, of: &str) -> Result<Option<Self>> {
        let all = secrets.all()?;
        if all.values().all(String::is_empty) {
            return Ok(None);
        }
        let credentials = serde_json::to_string(&all).map_err(|error| Error::bug(error.to_string()))?;
        Ok(Some(Self {
            credentials: SecretString::from(credentials),
            of: of.to_owned(),
        }))
    }

    /// Seals a text.
    pub(super) async fn close(&self, text: String) -> Result<String> {
        let seal = self.clone();
        let broken = |_| Error::bug("a configuration could not be sealed");
        slowly(move || {
            let (mut salt, mut nonce) = ([0; SALT], [0; NONCE_LEN]);
            let random = SystemRandom::new();
            random.fill(&mut salt).map_err(broken)?;
            random.fill(&mut nonce).map_err(broken)?;
            let mut bytes = text.into_bytes();
            let once = Nonce::assume_unique_for_key(nonce);
            let key = seal.key(&salt).map_err(broken)?;
            key.seal_in_place_append_tag(once, Aad::from(seal.of.as_bytes()), &mut bytes)
                .map_err(broken)?;
            Ok(BASE64_STANDARD.encode([&salt[..], &nonce, &bytes].concat()))
        })
        .await
    }

    /// Opens what was sealed; `None`: by other credentials, or it is damaged.
    pub(super) async fn open(&self, sealed: String) -> Result<Option<String>> {
        let seal = self.clone();
        slowly(move || Ok(seal.opened(&sealed))).await
    }

    fn opened(&self, sealed: &str) -> Option<String> {
        let sealed = BASE64_STANDARD.decode(sealed).ok()?;
        let (salt, rest) = sealed.split_first_chunk::<SALT>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = rest.to_vec();
        let once = Nonce::assume_unique_for_key(*nonce);
        let text = self
            .key(salt)
            .ok()?
            .open_in_place(once, Aad::from(self.of.as_bytes()), &mut bytes);
        String::from_utf8(text.ok()?.to_vec()).ok()
    }

    fn key(&self, salt: &[u8]) -> Result<LessSafeKey, ring::error::Unspecified> {
        let mut key = [0; 32];
        let password = self.credentials.expose_secret().as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt, password, &mut key);
        Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key)?))
    }
}

/// Does what takes a processor for a while.
async fn slowly<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::bug(format!("sealing: {error}")))?
}

#[cfg(test)]
mod tests;
