//! How answers are split, and what goes wrong with a part.

use std::{
    fs,
    path::PathBuf,
    process,
    thread::sleep,
    time::{Duration, Instant},
};

use adbc_core::{
    error::{Error, Result, Status},
    options::{OptionDatabase, OptionValue},
};

use crate::wrong;

/// How long a part waits for the others.
const PATIENCE: Duration = Duration::from_mins(1);

/// The options of this driver.
#[derive(Clone, Default)]
pub(crate) struct Splits {
    /// `splits.driver`: the library of the other driver.
    pub(crate) driver: String,
    /// `splits.parts`: how many parts an answer has; fewer where it has fewer rows.
    pub(crate) parts: i64,
    /// `splits.silent`: the columns are not told with the parts.
    pub(crate) silent: bool,
    /// `splits.meet`: a directory in which each part that is begun leaves a file of its number.
    meet: Option<PathBuf>,
    /// `splits.together`: a part gives no rows before so many have begun.
    together: usize,
    /// `splits.fails`: the part that cannot be read.
    fails: Option<String>,
    /// `splits.dies`: the part that takes the process down, once.
    dies: Option<String>,
}

impl Splits {
    /// Takes its own from the options of a database, and gives the others back.
    pub(crate) fn take(
        options: impl IntoIterator<Item = (OptionDatabase, OptionValue)>,
    ) -> Result<(Self, Vec<(OptionDatabase, OptionValue)>)> {
        let (mut own, mut rest) = (Self::default(), Vec::new());
        for (key, value) in options {
            match (key.as_ref().strip_prefix("splits.").map(str::to_owned), &value) {
                (Some(name), OptionValue::String(text)) => own.set(&name, text)?,
                _ => rest.push((key, value)),
            }
        }
        Ok((own, rest))
    }

    fn set(&mut self, name: &str, text: &str) -> Result<()> {
        let number = || {
            text.parse()
                .map_err(|_| wrong(format!("splits.{name}: {text} is no number")))
        };
        match name {
            "driver" => text.clone_into(&mut self.driver),
            "parts" => self.parts = number()?,
            "silent" => self.silent = text == "true",
            "meet" => self.meet = Some(text.into()),
            "together" => self.together = usize::try_from(number()?).map_err(|_| wrong("splits.together"))?,
            "fails" => self.fails = Some(text.to_owned()),
            "dies" => self.dies = Some(text.to_owned()),
            _ => return Err(wrong(format!("splits.{name} is no option"))),
        }
        Ok(())
    }

    /// What happens before the rows of a part.
    pub(crate) fn begin(&self, part: &str) -> Result<()> {
        if self.fails.as_deref() == Some(part) {
            let message = format!("part {part} of the answer is gone");
            return Err(Error::with_message_and_status(message, Status::Internal));
        }
        let Some(meet) = &self.meet else { return Ok(()) };
        let known = |error: std::io::Error| wrong(format!("{}: {error}", meet.display()));
        let first = fs::File::create_new(meet.join(part)).is_ok();
        if first && self.dies.as_deref() == Some(part) {
            process::abort();
        }
        let until = Instant::now() + PATIENCE;
        while fs::read_dir(meet).map_err(known)?.count() < self.together {
            if Instant::now() > until {
                return Err(wrong("the other parts were not begun"));
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
