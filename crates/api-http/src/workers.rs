//! The background workers: listing them, and passing on what an operator asks of them.
//!
//! Steering is the only thing on this listener that changes anything, so it is refused to web pages: a browser
//! sends a page's request with the page's origin, or says in `Sec-Fetch-Site` that a page made it.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use runtime::{Activity, UnknownWorker, WorkerState};
use serde_json::{Value, json};

use crate::report::{Order, Source, WorkerReports};
use crate::server::{is_local_name, json_response};

/// The body of `GET /workers`.
pub(crate) fn list(workers: &WorkerReports) -> Response {
    let workers: Vec<Value> = workers.iter().map(|(name, state)| to_json(name, state)).collect();
    json_response(StatusCode::OK, &json!({ "workers": workers }))
}

/// Answers `POST /workers/{name}/{order}`.
pub(crate) fn steer(
    source: &dyn Source,
    name: &str,
    order: Order,
    headers: &HeaderMap,
) -> Response {
    if let Some(message) = refusal(headers) {
        return json_response(
            StatusCode::FORBIDDEN,
            &json!({ "error": "forbidden", "message": message }),
        );
    }
    let outcome = source.steer(name, order);
    let workers = source.workers();
    match (outcome, workers.get_key_value(name)) {
        (Ok(()), Some((name, state))) => json_response(StatusCode::OK, &to_json(name, state)),
        (Ok(()), None) => unknown(&UnknownWorker {
            name: name.to_owned(),
            known: workers.keys().copied().collect(),
        }),
        (Err(error), _) => unknown(&error),
    }
}

fn unknown(error: &UnknownWorker) -> Response {
    let body =
        json!({ "error": "not_found", "message": error.to_string(), "workers": error.known });
    json_response(StatusCode::NOT_FOUND, &body)
}

/// Why a request that changes something is refused; `None` when it may pass.
fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let by_page = headers.get_all("sec-fetch-site").iter().any(|site| site != "none");
    if headers.contains_key(header::ORIGIN) || by_page {
        return Some("web pages may not steer workers: use curl or another tool");
    }
    // A page whose name was given this machine's address would be of the same origin.
    (!is_local_name(headers))
        .then_some("steer workers by the address of this listener, not by a name")
}

/// The word for what a worker is doing, in JSON and in metrics.
pub(crate) fn activity_word(activity: Activity) -> &'static str {
    match activity {
        Activity::Running => "running",
        Activity::Idle(_) => "idle",
        Activity::Failed(_) => "failed",
        Activity::Paused => "paused",
    }
}

/// All of [`activity_word`].
pub(crate) const ACTIVITY_WORDS: [&str; 4] = ["running", "idle", "failed", "paused"];

fn to_json(name: &str, state: &WorkerState) -> Value {
    let next = match state.activity {
        Activity::Idle(left) | Activity::Failed(left) => Some(millis(left)),
        Activity::Running | Activity::Paused => None,
    };
    let unit = state.gauge.unit;
    let progress = state.gauge.round.map(|(done, total)| json!({ "done": done, "total": total }));
    json!({
        "name": name,
        "about": state.about,
        "state": activity_word(state.activity),
        "since_ms": state.since.0,
        "next_step_in_ms": next,
        "paused": state.paused,
        "steps": state.steps,
        "errors": state.errors,
        "last_error": state.last_error.as_ref().map(|(_, text)| text),
        "last_error_at_ms": state.last_error.as_ref().map(|(at, _)| at.0),
        "unit": (!unit.is_empty()).then_some(unit),
        "done": state.gauge.done,
        "rate_per_second": (state.rate * 100.0).round() / 100.0,
        "progress": progress,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_strange_names_are_refused_and_tools_are_not() {
        let passes = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, value.parse().expect("a value"));
            }
            refusal(&headers).is_none()
        };
        let local = ("host", "127.0.0.1:9001");
        assert!(passes(&[local]));
        assert!(passes(&[("host", "10.1.2.3:9001")]));
        assert!(passes(&[local, ("sec-fetch-site", "none")]));
        for bad in [
            &[local, ("origin", "http://evil.example")][..],
            &[local, ("origin", "null")],
            &[local, ("origin", "http://127.0.0.1:9001")],
            &[local, ("sec-fetch-site", "cross-site")],
            &[local, ("sec-fetch-site", "same-origin")],
            &[local, ("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
            &[("host", "evil.example:9001")],
            &[local, local],
            &[],
        ] {
            assert!(!passes(bad), "{bad:?}");
        }
    }
}
