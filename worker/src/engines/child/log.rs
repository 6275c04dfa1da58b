//! What a program says on its standard error.
//!
//! In: lines. Out: the same in the log, masked, as far as they are no flood, and the last of them for errors.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    time::Instant,
};

use super::Program;
use crate::secrets::Mask;

/// The longest line of a log that is kept, in bytes.
const LINE: usize = 64 << 10;
/// Lines a second that are logged; a flood is counted.
const FLOOD: u32 = 200;
/// Last lines that an error quotes.
const TAIL: usize = 20;

/// What was heard of a program.
#[derive(Default)]
pub(super) struct Heard {
    /// Its last lines.
    pub(super) last: VecDeque<String>,
    /// How many there were.
    pub(super) lines: u64,
}

/// What was heard so far.
pub(super) type Tail = Arc<Mutex<Heard>>;

/// Logs what a program says, as far as it is not a flood.
pub(super) async fn log(program: Program, errors: impl AsyncRead + Unpin, mask: Mask, tail: Tail) {
    let name = program.name.as_str();
    let mut errors = BufReader::new(errors);
    let mut pace = Pace::default();
    while let Some(line) = line(&mut errors).await {
        let line = mask.hide(&line);
        let mut heard = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.last.len() == TAIL {
            heard.last.pop_front();
        }
        heard.last.push_back(line.chars().take(500).collect());
        heard.lines += 1;
        drop(heard);
        if let Some(left_out) = pace.next() {
            if left_out > 0 {
                tracing::warn!(plugin = name, left_out, "it says more than is logged");
            }
            // A plugin of one's own may print what it likes; connectors tell of every step that they take.
            match program.listens || !is_chatter(&line) {
                true => tracing::info!(plugin = name, "{line}"),
                false => tracing::debug!(plugin = name, "{line}"),
            }
        }
    }
}

/// Whether a line calls itself one of little weight, near its beginning, as those of the usual log formats do.
fn is_chatter(line: &str) -> bool {
    let words = line.split(|letter: char| !letter.is_ascii_alphabetic());
    let mut words = words.filter(|word| !word.is_empty()).take(4);
    words.any(|word| matches!(word, "INFO" | "DEBUG"))
}

/// A line, as far as it is kept; `None`: there are no more.
async fn line(errors: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> Option<String> {
    let mut kept = Vec::new();
    loop {
        let seen = errors.fill_buf().await.ok()?;
        if seen.is_empty() {
            return (!kept.is_empty()).then(|| text(&kept));
        }
        let end = memchr::memchr(b'\n', seen);
        let part = &seen[..end.unwrap_or(seen.len())];
        kept.extend_from_slice(&part[..part.len().min(LINE.saturating_sub(kept.len()))]);
        let taken = end.map_or(seen.len(), |end| end + 1);
        errors.consume(taken);
        if end.is_some() {
            return Some(text(&kept));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// How many lines a second there are.
struct Pace {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            lines: 0,
            left_out: 0,
        }
    }
}

impl Pace {
    /// Whether a line is logged, and how many before it were not.
    fn next(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.lines) = (Instant::now(), 0);
        }
        self.lines += 1;
        if self.lines > FLOOD {
            self.left_out += 1;
            return None;
        }
        Some(std::mem::take(&mut self.left_out))
    }
}
