//! Janus's HTTP API, as far as one client of the VideoRoom needs it: <https://janus.conf.meetecho.com/docs/rest.html>.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// Longest wait for an answer, and for an event.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Largest answer: a description has some four kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Events that were told while another was waited for; more are forgotten, oldest first.
const EVENTS_KEPT: usize = 32;

/// Why the API is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the API cannot be reached: {0}")]
    Connect(#[from] std::io::Error),
    #[error("the API broke off: {0}")]
    Http(#[from] hyper::Error),
    #[error("the API's answer cannot be read")]
    Unreadable,
    #[error("the API gave no answer within {} s", ANSWER_MAX.as_secs())]
    Timeout,
    #[error("Janus refused: {0}")]
    Refused(String),
    #[error("Janus's answer lacks {0}")]
    Lacks(&'static str),
}

/// A plugin's handle of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(u64);

/// An answer or an event.
#[derive(Debug, Clone)]
pub(super) struct Message(Value);

/// A session, on a connection of its own.
pub(super) struct Api {
    requests: SendRequest<Full<Bytes>>,
    session: u64,
    events: VecDeque<Message>,
}

impl Message {
    /// Its kind, such as `event` or `webrtcup`.
    pub(super) fn kind(&self) -> &str {
        self.0["janus"].as_str().unwrap_or_default()
    }

    /// The description in it.
    pub(super) fn sdp(&self) -> Result<&str, ApiError> {
        self.0["jsep"]["sdp"].as_str().ok_or(ApiError::Lacks("a description"))
    }

    /// A number that the plugin tells.
    pub(super) fn number(&self, key: &'static str) -> Result<u64, ApiError> {
        self.0["plugindata"]["data"][key].as_u64().ok_or(ApiError::Lacks(key))
    }

    fn is_of(&self, handle: Handle) -> bool {
        self.0["sender"] == handle.0
    }

    /// Errors are told by Janus itself or by the plugin.
    fn checked(self) -> Result<Self, ApiError> {
        let data = &self.0["plugindata"]["data"];
        let why = [&self.0["error"]["reason"], &data["error"]].into_iter().find_map(Value::as_str);
        match why {
            Some(why) => Err(ApiError::Refused(why.into())),
            None => Ok(self),
        }
    }
}

impl Api {
    /// Connects and makes a session.
    pub(super) async fn connect(server: SocketAddr) -> Result<Self, ApiError> {
        let stream = TcpStream::connect(server).await?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the last request.
        tokio::spawn(connection);
        let mut api = Self { requests, session: 0, events: VecDeque::new() };
        let made = api.post("/janus", json!({ "janus": "create" })).await?;
        api.session = made.0["data"]["id"].as_u64().ok_or(ApiError::Lacks("a session"))?;
        Ok(api)
    }

    /// A new handle of the VideoRoom plugin.
    pub(super) async fn attach(&mut self) -> Result<Handle, ApiError> {
        let path = format!("/janus/{}", self.session);
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        let attached = self.post(&path, attach).await?;
        attached.0["data"]["id"].as_u64().map(Handle).ok_or(ApiError::Lacks("a handle"))
    }

    /// Sends what is answered at once.
    pub(super) async fn ask(&mut self, handle: Handle, body: Value) -> Result<Message, ApiError> {
        let path = format!("/janus/{}/{}", self.session, handle.0);
        self.post(&path, json!({ "janus": "message", "body": body })).await
    }

    /// Sends what is answered by an event, with a description (its type and text) or without.
    pub(super) async fn tell(
        &mut self,
        handle: Handle,
        body: Value,
        description: Option<(&str, &str)>,
    ) -> Result<Message, ApiError> {
        let path = format!("/janus/{}/{}", self.session, handle.0);
        let mut message = json!({ "janus": "message", "body": body });
        if let Some((kind, sdp)) = description {
            message["jsep"] = json!({ "type": kind, "sdp": sdp });
        }
        self.post(&path, message).await?;
        self.told(handle, |event| event.kind() == "event").await?.checked()
    }

    /// Waits for an event of this handle.
    pub(super) async fn told(
        &mut self,
        handle: Handle,
        is_wanted: impl Fn(&Message) -> bool,
    ) -> Result<Message, ApiError> {
        let waiting = async {
            loop {
                let wanted = |event: &Message| event.is_of(handle) && is_wanted(event);
                if let Some(at) = self.events.iter().position(wanted) {
                    return self.events.remove(at).ok_or(ApiError::Unreadable);
                }
                self.poll().await?;
            }
        };
        tokio::time::timeout(ANSWER_MAX, waiting).await.map_err(|_| ApiError::Timeout)?
    }

    async fn poll(&mut self) -> Result<(), ApiError> {
        let path = format!("/janus/{}?maxev=10", self.session);
        let events = self.send(Request::get(path), Bytes::new()).await?;
        let Value::Array(events) = events else { return Err(ApiError::Unreadable) };
        self.events.extend(events.into_iter().map(Message));
        let surplus = self.events.len().saturating_sub(EVENTS_KEPT);
        self.events.drain(..surplus);
        Ok(())
    }

    async fn post(&mut self, path: &str, mut message: Value) -> Result<Message, ApiError> {
        message["transaction"] = format!("{:016x}", rand::random::<u64>()).into();
        let body = Bytes::from(message.to_string());
        let answer = tokio::time::timeout(ANSWER_MAX, self.send(Request::post(path), body)).await;
        Message(answer.map_err(|_| ApiError::Timeout)??).checked()
    }

    async fn send(&mut self, request: http::request::Builder, body: Bytes) -> Result<Value, ApiError> {
        let request = request.header(http::header::HOST, "localhost").body(Full::new(body));
        self.requests.ready().await?;
        let response = self.requests.send_request(request.map_err(|_| ApiError::Unreadable)?).await?;
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        serde_json::from_slice(&body.map_err(|_| ApiError::Unreadable)?.to_bytes())
            .map_err(|_| ApiError::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_janus_and_of_the_plugin_are_told() {
        let why = |message: Value| Message(message).checked().unwrap_err().to_string();
        assert_eq!(
            why(json!({ "janus": "error", "error": { "code": 458, "reason": "No such session" } })),
            "Janus refused: No such session"
        );
        let plugin = json!({ "janus": "event", "plugindata": { "data": { "error_code": 428, "error": "No such feed" } } });
        assert_eq!(why(plugin), "Janus refused: No such feed");
    }

    #[test]
    fn events_belong_to_a_handle_and_carry_numbers_and_descriptions() {
        let event = json!({
            "janus": "event", "sender": 7,
            "plugindata": { "data": { "videoroom": "joined", "id": 99 } },
            "jsep": { "type": "answer", "sdp": "v=0" },
        });
        let event = Message(event).checked().unwrap();
        assert!(event.is_of(Handle(7)) && !event.is_of(Handle(8)));
        assert_eq!((event.number("id").unwrap(), event.sdp().unwrap()), (99, "v=0"));
        assert_eq!(event.number("room").unwrap_err().to_string(), "Janus's answer lacks room");
    }
}
