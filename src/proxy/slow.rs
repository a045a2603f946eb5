use std::{fmt, io};

use pingora_error::Error;

/// That a client was waited for longer than it may be, and in which direction. The transport's word for it, that passes through Pingora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Of its body.
    Upload,
    /// That it takes the answer.
    Download,
}

impl Slow {
    /// The metrics label.
    pub(super) fn name(self) -> &'static str {
        match self {
            Slow::Upload => "upload",
            Slow::Download => "download",
        }
    }

    /// Finds it again.
    pub(super) fn of(error: &Error) -> Option<Self> {
        error.root_cause().downcast_ref::<io::Error>()?.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Slow::Upload => "the client sends its request too slowly",
            Slow::Download => "the client takes its answer too slowly",
        })
    }
}

impl std::error::Error for Slow {}

impl From<Slow> for io::Error {
    fn from(slow: Slow) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, slow)
    }
}

#[cfg(test)]
mod tests {
    use pingora_error::{ErrorType, OrErr};

    use super::*;

    #[test]
    fn it_is_found_again_behind_what_pingora_makes_of_it() {
        let read: Result<(), io::Error> = Err(Slow::Upload.into());
        let error = read.or_err(ErrorType::ReadError, "reading").unwrap_err().into_down();
        assert_eq!(Slow::of(&error), Some(Slow::Upload));
        assert_eq!(Slow::of(&Error::new(ErrorType::ReadError)), None);
    }
}
