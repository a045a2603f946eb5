use std::{fmt, io};

use pingora_error::Error;

/// Who was waited for longer than may be, and for what. The transport's word for it, that passes through Pingora.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// The client, for its body.
    Upload,
    /// The client, to take the answer.
    Download,
    /// The service, once the client had said all.
    Service,
}

impl Slow {
    /// The direction of a slow client: the metrics label.
    pub(super) fn direction(self) -> Option<&'static str> {
        match self {
            Slow::Upload => Some("upload"),
            Slow::Download => Some("download"),
            Slow::Service => None,
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
            Slow::Service => "the service did not answer in time",
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
