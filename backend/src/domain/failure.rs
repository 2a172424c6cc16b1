//! Why a render failed: what its caller is told, what the log keeps, and whether another try makes sense.

use snaphook_shared::code::{Code, Detail, Problem};

use super::refused::Refused;

/// A render that came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {cause}", problem.code.entry().name)]
pub struct Failure {
    /// For the caller. Says nothing of what is inside the network.
    pub problem: Problem,
    /// For the operator.
    pub cause: String,
    /// Whether the same request may succeed at another time, through no change of its own. Decided where the failure is
    /// made, and nowhere else.
    pub retryable: bool,
    /// Connections that the page did not get.
    pub refused: Vec<Refused>,
    /// Whether this installation is at fault (its store is away, its disk full), and not the page: an accepted request
    /// waits for that to pass, and its attempts are not counted.
    pub ours: bool,
}

impl Failure {
    /// A failure that another try would only repeat.
    pub fn new(code: Code, cause: impl Into<String>) -> Failure {
        Failure { problem: Problem::new(code), cause: cause.into(), retryable: false, ours: false, refused: Vec::new() }
    }

    /// A failure of ours, or of the moment.
    pub fn retryable(code: Code, cause: impl Into<String>) -> Failure {
        Failure { retryable: true, ..Failure::new(code, cause) }
    }

    /// A failure of this installation, which says nothing of the request.
    pub fn of_ours(code: Code, cause: impl Into<String>) -> Failure {
        Failure { ours: true, ..Failure::retryable(code, cause) }
    }

    /// Something that should not have happened; tried again, since it may not happen twice.
    pub fn internal(cause: impl Into<String>) -> Failure {
        Failure::retryable(Code::InternalApplicationError, cause)
    }

    /// A parameter that only the browser could find out to be wrong.
    pub fn invalid(parameter: &str, message: &str) -> Failure {
        Failure {
            problem: Problem {
                details: vec![Detail { parameter: parameter.to_owned(), message: message.to_owned() }],
                ..Problem::new(Code::RequestNotValid)
            },
            cause: message.to_owned(),
            retryable: false,
            refused: Vec::new(),
            ours: false,
        }
    }

    /// The page refused a text of the caller's (a selector): that parameter is to blame, not we.
    pub fn blame(self, parameter: &str) -> Failure {
        match self.problem.code {
            Code::InternalApplicationError => {
                Failure::invalid(parameter, &format!("\"{parameter}\" is not a valid selector"))
            }
            _ => self,
        }
    }
}
