//! The operator before the dashboard: signs in, reads pages, sends their forms.

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::client::{Answer, Client};
use crate::stack::Stack;

/// Somebody with a session.
pub struct Operator {
    client: Client,
    /// As it is sent.
    pub cookie: String,
    /// The token that this session's forms carry.
    pub form_token: String,
}

/// Sends the form of the login page, as a browser would.
pub async fn try_password(client: &Client, password: &str) -> Answer {
    let body = form(&[("password", password)]);
    let origin = client.base.clone();
    client.send(Method::POST, "/dashboard/login", &[("origin", &origin)], Some(body)).await
}

/// Makes a new password, which ends all sessions.
///
/// # Panics
/// If the command fails.
pub fn new_password(stack: &Stack) -> String {
    let output = stack.run_command(&["admin", "reset-password", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    said["password"].as_str().expect("a password").to_owned()
}

impl Operator {
    /// Signs in with a new password.
    pub async fn new(stack: &Stack) -> Operator {
        Operator::sign_in(&stack.client(), &new_password(stack)).await
    }

    /// # Panics
    /// If the password is not the right one.
    pub async fn sign_in(client: &Client, password: &str) -> Operator {
        let answer = try_password(client, password).await.expect(303);
        let cookie = answer.header("set-cookie").split(';').next().unwrap_or_default().to_owned();
        let mut operator = Operator { client: client.clone(), cookie, form_token: String::new() };
        let page = operator.get("/dashboard/access").await.expect(200).text();
        operator.form_token = hidden(&page, "form_token").expect("a form");
        operator
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.client.send(Method::GET, path, &[("cookie", &self.cookie)], None).await
    }

    /// A page's text.
    pub async fn page(&self, path: &str) -> String {
        self.get(path).await.expect(200).text()
    }

    /// Sends a form of this session.
    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = [&[("form_token", self.form_token.as_str())], fields].concat();
        let origin = self.client.base.clone();
        let headers = [("cookie", self.cookie.as_str()), ("origin", &origin)];
        self.client.send(Method::POST, path, &headers, Some(form(&fields))).await
    }
}

/// The fields as a browser encodes them.
pub fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let pair = |(name, value): &(&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    fields.iter().map(pair).collect::<Vec<_>>().join("&").into_bytes()
}

/// The value of a hidden field.
pub fn hidden(page: &str, name: &str) -> Option<String> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split('"').next()?.to_owned())
}
