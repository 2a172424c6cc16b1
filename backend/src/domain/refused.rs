//! Connections that a page wanted and did not get, as the owner of its request may know of them.

use serde::{Deserialize, Serialize};

/// One target, and how often it was refused.
///
/// It says nothing that the page did not know before: of a name it does not tell where the name leads, as that is known
/// only inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub host: String,
    pub port: u16,
    /// What kind of address it is, where the page named one.
    pub class: Option<String>,
    pub reason: RefusedFor,
    pub count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedFor {
    /// Pages may not go there.
    Target,
    /// The page has had as much traffic as a page may have.
    Limit,
}
