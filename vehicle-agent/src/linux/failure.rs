//! Why a command of the program ended before its time.

use std::fmt;

/// Told apart by whether it helps to try again, which the exit code says.
#[derive(Debug)]
pub enum Failure {
    /// An option, or a file that one names, is wrong: the same options fail again. Exit code 2, as
    /// for an option that cannot be parsed.
    Configuration(anyhow::Error),
    /// Something else went wrong, or is not there yet. Exit code 1.
    Operation(anyhow::Error),
}

impl Failure {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => 2,
            Self::Operation(_) => 1,
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Operation(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Configuration(error) | Self::Operation(error)) = self;
        write!(f, "{error:#}")
    }
}
