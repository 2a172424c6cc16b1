//! Which parts of the work a service does.

use std::str::FromStr;

/// A part of the work. With PostgreSQL and a bucket each may be done by services of its own, as many as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Answers callers, and renders for those who wait for their answer; the dashboard.
    Api,
    /// Renders what is in the queue.
    Render,
    /// Sends webhooks.
    Deliver,
    /// Fires tasks whose time has come, and removes what is past its time.
    Tasks,
}

impl Role {
    pub const ALL: [Role; 4] = [Role::Api, Role::Render, Role::Deliver, Role::Tasks];

    pub const fn name(self) -> &'static str {
        match self {
            Role::Api => "api",
            Role::Render => "render",
            Role::Deliver => "deliver",
            Role::Tasks => "tasks",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Role, String> {
        let found = Role::ALL.into_iter().find(|role| role.name() == name);
        found.ok_or_else(|| format!("a role is api, render, deliver or tasks, not {name}"))
    }
}

/// The roles of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

impl Roles {
    /// # Errors
    /// When there are none, or a name is no role's.
    pub(super) fn parse(names: &[String]) -> Result<Roles, String> {
        let roles = names.iter().map(|name| name.parse()).collect::<Result<Vec<Role>, String>>();
        match roles.map_err(|error| format!("roles: {error}"))? {
            none if none.is_empty() => Err("roles must name one at least".to_owned()),
            some => Ok(Roles(some)),
        }
    }

    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    pub fn is_all(&self) -> bool {
        Role::ALL.into_iter().all(|role| self.has(role))
    }

    /// Whether there is something to render.
    pub fn has_browser(&self) -> bool {
        self.has(Role::Api) || self.has(Role::Render)
    }
}

impl std::fmt::Display for Roles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = Role::ALL.into_iter().filter(|role| self.has(*role)).map(Role::name).collect();
        f.write_str(&names.join(","))
    }
}
