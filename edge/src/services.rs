//! The platform's services that an operator may bind, all of them optional: `KEYS` (Workers KV), `OUTBOX` (a Queue), `BODIES`
//! (R2) and `LIMITER` (rate limiting), and the cache, which is always there.
//!
//! Never decides anything; what a service is for stands with its user. Declared by hand: the few calls that are made here
//! cost a tenth of what a full client would. None of them throws: what fails, fails as a promise.

use js_sys::{Object, Promise, Reflect};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Cache;
use worker::Env;

use crate::executor::Promised;

#[wasm_bindgen]
extern "C" {
    /// What an event of the platform may last on for, after it was answered.
    pub type Context;

    /// Workers KV.
    pub(crate) type Kv;
    #[wasm_bindgen(method)]
    pub(crate) fn get(this: &Kv, key: &str) -> Promised;
    #[wasm_bindgen(method)]
    pub(crate) fn put(this: &Kv, key: &str, value: &str, options: &Object) -> Promise;
    #[wasm_bindgen(method)]
    pub(crate) fn delete(this: &Kv, key: &str) -> Promise;

    /// The producer's end of a Queue.
    pub(crate) type Queue;
    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Queue, message: &str, options: &Object) -> Promised;

    /// An R2 bucket.
    pub(crate) type Bucket;
    #[wasm_bindgen(method, js_name = put)]
    pub(crate) fn put_object(this: &Bucket, key: &str, value: &str) -> Promised;
    #[wasm_bindgen(method, js_name = get)]
    pub(crate) fn get_object(this: &Bucket, key: &str) -> Promised;
    #[wasm_bindgen(method, js_name = delete)]
    pub(crate) fn delete_object(this: &Bucket, key: &str) -> Promised;
    #[wasm_bindgen(method)]
    pub(crate) fn list(this: &Bucket, options: &Object) -> Promised;

    /// A stored object with its body.
    pub(crate) type StoredObject;
    #[wasm_bindgen(method)]
    pub(crate) fn text(this: &StoredObject) -> Promised;

    /// A rate limit.
    pub(crate) type Limiter;
    #[wasm_bindgen(method)]
    pub(crate) fn limit(this: &Limiter, options: &Object) -> Promised;

    /// One of a Queue, as its consumer gets it.
    pub type Message;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn attempts(this: &Message) -> u32;
    #[wasm_bindgen(method, getter)]
    pub(crate) fn body(this: &Message) -> JsValue;
    #[wasm_bindgen(method)]
    pub(crate) fn ack(this: &Message);
    #[wasm_bindgen(method)]
    pub(crate) fn retry(this: &Message, options: &Object);
}

pub(crate) fn keys(env: &Env) -> Option<Kv> {
    bound(env, "KEYS")
}

pub(crate) fn outbox(env: &Env) -> Option<Queue> {
    bound(env, "OUTBOX")
}

pub(crate) fn bodies(env: &Env) -> Option<Bucket> {
    bound(env, "BODIES")
}

pub(crate) fn limiter(env: &Env) -> Option<Limiter> {
    bound(env, "LIMITER")
}

/// The cache of this location.
pub(crate) fn cache() -> Option<Cache> {
    bound(&field(&js_sys::global(), "caches"), "default")
}

/// A variable or secret.
pub(crate) fn variable(env: &Env, name: &str) -> Option<String> {
    field(env, name).as_string()
}

fn bound<T: JsCast>(env: &JsValue, name: &str) -> Option<T> {
    Some(field(env, name)).filter(JsValue::is_object).map(JsCast::unchecked_into)
}

/// A field of an object; undefined where there is none.
#[inline(never)]
pub(crate) fn field(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).unwrap_or_default()
}

/// An object of a call's options.
pub(crate) fn options(fields: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a field of a fresh, plain object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}
