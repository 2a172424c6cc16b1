//! What is done to a page and what is told of it: each option by an effect that can be seen.

mod kept_out;
mod page;
mod told;

use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use serde_json::{Value as Json, json};
use snaphook_tests::client::Answer;
use snaphook_tests::picture::Picture;
use snaphook_tests::receiver::Receiver;
use snaphook_tests::run;
use snaphook_tests::serve::{Body, Port, Server, full};
use snaphook_tests::site::Site;
use snaphook_tests::stack::Stack;
use snaphook_tests::wait::s;

const RED: u32 = 0xff0000;
const GREEN: u32 = 0x00ff00;
const BLUE: u32 = 0x0000ff;
const WHITE: u32 = 0xffffff;

/// A backend that these tests share; none of them needs the edge.
fn stack() -> Arc<Stack> {
    static CURRENT: Mutex<Weak<Stack>> = Mutex::new(Weak::new());
    // One test's panic is not the next one's.
    let mut current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    current.upgrade().unwrap_or_else(|| {
        let started = Arc::new(Stack::builder().start());
        *current = Arc::downgrade(&started);
        started
    })
}

/// A page of one colour.
fn coloured(colour: &str) -> String {
    format!("<!doctype html><body style='margin:0;background:{colour}'>")
}

/// What a [`Web`] answers to a path.
#[derive(Clone)]
struct Route {
    path: &'static str,
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn page(path: &'static str, body: impl Into<String>) -> Route {
    Route { path, status: 200, headers: vec![("content-type", "text/html; charset=utf-8".into())], body: body.into() }
}

fn script(path: &'static str, body: &str) -> Route {
    Route { path, status: 200, headers: vec![("content-type", "text/javascript".into())], body: body.into() }
}

/// A site of a test's own; it remembers what it was asked.
struct Web {
    server: Server,
    seen: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl Web {
    fn start(routes: Vec<Route>) -> Web {
        let seen: Arc<Mutex<Vec<(String, HeaderMap)>>> = Arc::default();
        let noted = seen.clone();
        let server = Server::start(Port::reserve(), move |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            noted.lock().unwrap().push((path.clone(), request.headers().clone()));
            let route = routes.iter().find(|route| route.path == path).cloned();
            async move {
                let mut response: Response<Body> = Response::new(full(""));
                match route {
                    None => *response.status_mut() = http::StatusCode::NOT_FOUND,
                    Some(route) => {
                        *response.status_mut() = http::StatusCode::from_u16(route.status).unwrap();
                        for (name, value) in route.headers {
                            response.headers_mut().insert(name, value.parse().unwrap());
                        }
                        *response.body_mut() = full(route.body);
                    }
                }
                response
            }
        });
        Web { server, seen }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    fn requests(&self, path: &str) -> Vec<HeaderMap> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(one, _)| one == path).map(|(_, headers)| headers.clone()).collect()
    }

    fn count(&self, path: &str) -> usize {
        self.requests(path).len()
    }
}

async fn answer(stack: &Stack, mut options: Json) -> Answer {
    let set = options.as_object_mut().unwrap();
    for (name, value) in [("format", json!("png")), ("viewport_width", json!(200)), ("viewport_height", json!(100))] {
        if !set.contains_key("viewport_device") || name == "format" {
            set.entry(name).or_insert(value);
        }
    }
    stack.client().take(&options).await
}

#[track_caller]
fn picture(answer: Answer) -> Picture {
    Picture::decode(&answer.expect(200).body)
}

async fn take(stack: &Stack, options: Json) -> Picture {
    picture(answer(stack, options).await)
}

/// The colour in the middle of a picture of 200 x 100.
async fn colour(stack: &Stack, options: Json) -> u32 {
    take(stack, options).await.pixel(100, 50)
}

async fn error(stack: &Stack, options: Json) -> String {
    let answer = answer(stack, options).await;
    assert_ne!(answer.status.as_u16(), 200, "a picture and no error");
    answer.json()["error_code"].as_str().unwrap().to_owned()
}
