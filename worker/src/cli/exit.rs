//! Exit codes: how the program tells other programs how it ended.

use std::process::ExitCode;

use crate::error::{Error, ErrorKind};

/// What `--help` says about them.
pub(super) const HELP: &str = "\
Exit codes:
  0    done: all that was asked for is committed, or nothing had changed
  1    a stream failed: a system out of reach, wrong data, or a bug; what is committed stays
  2    a manifest, a setting or the command line is wrong; nothing was read
  3    the state needs a person: it is lost, damaged or another Flow's
  4    a signal ended the run before every stream had begun; what had begun is committed
  77   a newer worker took the streams over; this one has stopped
  130, 143   a second Ctrl-C or SIGTERM ended the program at once; what was not committed is read again

Log lines go to standard error: MILLRACE_LOG_FORMAT=json writes them as JSON, MILLRACE_LOG=debug writes more.";

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// All that was asked for is done.
    Done,
    /// A stream failed.
    Failed,
    /// A manifest, a setting or the command line is wrong.
    Config,
    /// The state needs a person.
    State,
    /// A signal ended the run before everything had begun.
    Interrupted,
    /// A newer worker took over.
    Fenced,
    /// A second signal of this number ended the program at once.
    Aborted(u8),
}

impl Exit {
    /// How a program ends that met these errors; `loaded`: some stream was read nonetheless.
    pub(super) fn of<'a>(errors: impl IntoIterator<Item = &'a Error>, loaded: bool) -> Self {
        let kinds: Vec<ErrorKind> = errors.into_iter().map(|error| error.kind).collect();
        let any = |wanted: &[ErrorKind]| kinds.iter().any(|kind| wanted.contains(kind));
        match () {
            () if any(&[ErrorKind::State]) => Self::State,
            () if any(&[ErrorKind::Transient, ErrorKind::Data, ErrorKind::Bug]) => Self::Failed,
            () if any(&[ErrorKind::Fenced]) => Self::Fenced,
            () if any(&[ErrorKind::Config]) && loaded => Self::Failed,
            () if any(&[ErrorKind::Config]) => Self::Config,
            () => Self::Done,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Config => 2,
            Self::State => 3,
            Self::Interrupted => 4,
            Self::Fenced => 77,
            Self::Aborted(signal) => 128 + signal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, HELP};
    use crate::error::Error;

    #[test]
    fn what_a_person_must_decide_counts_most() {
        let (state, transient) = (Error::state("StateLost", "gone"), Error::transient("busy"));
        assert_eq!(Exit::of([&transient, &state], true), Exit::State);
        assert_eq!(
            Exit::of([&transient, &Error::config("wrong")], false),
            Exit::Failed
        );
    }

    #[test]
    fn a_wrong_setting_is_told_apart_only_where_nothing_was_read() {
        let wrong = Error::config("wrong");
        assert_eq!(Exit::of([&wrong], false), Exit::Config);
        assert_eq!(Exit::of([&wrong], true), Exit::Failed);
    }

    #[test]
    fn a_fenced_worker_says_so_unless_worse_happened() {
        assert_eq!(Exit::of([&Error::fenced("newer")], true), Exit::Fenced);
        assert_eq!(
            Exit::of([&Error::fenced("newer"), &Error::data("row")], true),
            Exit::Failed
        );
        assert_eq!(Exit::of([], true), Exit::Done);
    }

    #[test]
    fn every_code_is_documented() {
        let codes = [
            Exit::Done,
            Exit::Failed,
            Exit::Config,
            Exit::State,
            Exit::Interrupted,
            Exit::Fenced,
            Exit::Aborted(2),
        ];
        for code in codes.map(Exit::code) {
            assert!(HELP.contains(&format!("  {code}")), "{code}");
        }
    }
}
