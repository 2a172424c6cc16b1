//! Why a render failed: what its caller is told, what the log keeps, and whether another try makes sense.

use snaphook_shared::code::{Code, Detail, Problem};

use super::refused::Refused;

/// Whose fault a failure is. It decides whether, and how often, another try makes sense ([`super::retry`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request's own: the same again would only fail again.
    Request,
    /// The moment's: the same request may succeed at another time.
    Moment,
    /// The browser was lost with every page in it, of which any may have been the reason.
    Browser,
    /// This installation's: its store is away, its disk full. An accepted request waits for that to pass, and its attempts
    /// are not counted.
    Ours,
}

/// A render that came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {cause}", problem.code.entry().name)]
pub struct Failure {
    /// For the caller. Says nothing of what is inside the network.
    pub problem: Problem,
    /// For the operator.
    pub cause: String,
    /// Decided where the failure is made, and nowhere else.
    pub fault: Fault,
    /// Connections that the page did not get.
    pub refused: Vec<Refused>,
}

impl Failure {
    /// A failure that another try would only repeat.
    pub fn new(code: Code, cause: impl Into<String>) -> Failure {
        Failure { problem: Problem::new(code), cause: cause.into(), fault: Fault::Request, refused: Vec::new() }
    }

    /// A failure of the moment.
    pub fn retryable(code: Code, cause: impl Into<String>) -> Failure {
        Failure { fault: Fault::Moment, ..Failure::new(code, cause) }
    }

    /// A failure of this installation, which says nothing of the request.
    pub fn of_ours(code: Code, cause: impl Into<String>) -> Failure {
        Failure { fault: Fault::Ours, ..Failure::new(code, cause) }
    }

    /// The browser ended under the render.
    pub fn lost_browser(cause: impl Into<String>) -> Failure {
        Failure { fault: Fault::Browser, ..Failure::new(Code::InternalApplicationError, cause) }
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
            fault: Fault::Request,
            refused: Vec::new(),
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
