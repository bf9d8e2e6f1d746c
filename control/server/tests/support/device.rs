//! A device: a session, its stream, and what it was told so far.

use duocast_wire::v1;
use tonic::{Status, Streaming};
use v1::event::Kind;

use super::{Person, in_time};

pub(crate) struct Device {
    pub(crate) who: Person,
    pub(crate) name: String,
    pub(crate) session: String,
    pub(crate) started: v1::SessionStarted,
    /// The number of the last event that was processed.
    pub(crate) seq: u64,
    /// Every event so far, heartbeats and session starts left out.
    pub(crate) told: Vec<v1::Event>,
    stream: Option<Streaming<v1::Event>>,
}

impl Device {
    pub(crate) async fn open(who: Person, name: &str) -> Self {
        let mut device = Self {
            who,
            name: name.into(),
            session: String::new(),
            started: v1::SessionStarted::default(),
            seq: 0,
            told: Vec::new(),
            stream: None,
        };
        device.subscribe().await.unwrap();
        device
    }

    /// Opens the stream, or resumes the session that it had.
    pub(crate) async fn subscribe(&mut self) -> Result<(), Status> {
        let message = v1::SubscribeRequest {
            device_id: self.name.clone(),
            session_id: self.session.clone(),
            last_seq: self.seq,
        };
        let mut stream =
            in_time(self.who.api.clone().subscribe(self.who.request(message))).await?.into_inner();
        let first = in_time(stream.message()).await?.expect("a stream starts with an event");
        let Some(Kind::SessionStarted(started)) = first.kind else {
            panic!("not a session start: {first:?}")
        };
        if started.resumed {
            assert_eq!(first.seq, self.seq, "a resumed session repeats the client's number");
        }
        self.seq = first.seq;
        self.session = started.session_id.clone();
        self.started = started;
        self.stream = Some(stream);
        Ok(())
    }

    /// The connection breaks.
    pub(crate) fn cut(&mut self) {
        self.stream = None;
    }

    /// The next event. Numbers must follow one another.
    pub(crate) async fn next(&mut self) -> Result<Option<v1::Event>, Status> {
        let stream = self.stream.as_mut().expect("the stream is open");
        let Some(event) = in_time(stream.message()).await? else { return Ok(None) };
        if matches!(event.kind, Some(Kind::Heartbeat(_) | Kind::Draining(_))) {
            assert_eq!(event.seq, self.seq, "it carries the number of the last real event");
        } else {
            assert_eq!(event.seq, self.seq + 1, "no gap and no repeat");
            self.seq = event.seq;
            self.told.push(event.clone());
        }
        Ok(Some(event))
    }

    /// Reads until the call is told to be so; gives the call.
    pub(crate) async fn call(&mut self, what: &str, is_so: impl Fn(&v1::Call) -> bool) -> v1::Call {
        // Heartbeats alone must not keep it waiting for ever.
        in_time(async {
            loop {
                let event =
                    self.next().await.unwrap().unwrap_or_else(|| panic!("the stream ended before: {what}"));
                if let Some(Kind::CallUpdated(v1::CallUpdated { call: Some(call) })) = event.kind
                    && is_so(&call)
                {
                    return call;
                }
            }
        })
        .await
    }

    pub(crate) async fn call_is(&mut self, state: v1::CallState) -> v1::Call {
        self.call(&format!("{state:?}"), |call| call.state() == state).await
    }

    /// Reads until the call ended; gives the reason.
    pub(crate) async fn end(&mut self) -> v1::EndReason {
        self.call_is(v1::CallState::Ended).await.end_reason()
    }

    /// Reads until a contact's presence is told.
    pub(crate) async fn contact(&mut self) -> (String, v1::Presence) {
        // Heartbeats alone must not keep it waiting for ever.
        in_time(async {
            loop {
                let event = self.next().await.unwrap().expect("the stream goes on");
                if let Some(Kind::ContactUpdated(v1::ContactUpdated { contact: Some(contact) })) = event.kind
                {
                    return (contact.person.clone().unwrap().handle, contact.presence());
                }
            }
        })
        .await
    }

    /// Reads until the stream ends; gives the status.
    pub(crate) async fn stream_end(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a status"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn place(&self, callee: &str, request_id: &str) -> Result<v1::Call, Status> {
        self.who.place(&self.session, callee, request_id).await
    }

    pub(crate) async fn accept(&self, call: &v1::Call) -> Result<v1::Call, Status> {
        self.who.accept(&self.session, &call.call_id).await
    }

    pub(crate) async fn decline(&self, call: &v1::Call) -> Result<v1::Call, Status> {
        self.who.decline(&self.session, &call.call_id).await
    }

    pub(crate) async fn hang_up(&self, call: &v1::Call) -> Result<v1::Call, Status> {
        self.who.hang_up(&self.session, &call.call_id).await
    }

    pub(crate) async fn media(&self, call: &v1::Call, audio: bool) -> Result<v1::Call, Status> {
        self.who.media(&self.session, &call.call_id, audio).await
    }

    /// Says yes or no to a direct leg.
    pub(crate) async fn say_direct(&self, call: &v1::Call, consent: bool) -> Result<v1::Call, Status> {
        let (session_id, call_id) = (self.session.clone(), call.call_id.clone());
        let message = v1::SetDirectRequest { session_id, call_id, consent };
        in_time(self.who.api.clone().set_direct(self.who.request(message))).await.map(super::call)
    }

    /// Takes a step towards a direct leg.
    pub(crate) async fn direct_step(
        &self,
        call: &v1::Call,
        attempt: u32,
        step: v1::send_direct_request::Step,
    ) -> Result<(), Status> {
        let (session_id, call_id) = (self.session.clone(), call.call_id.clone());
        let message = v1::SendDirectRequest { session_id, call_id, attempt, step: Some(step) };
        in_time(self.who.api.clone().send_direct(self.who.request(message))).await.map(drop)
    }

    pub(crate) async fn connect(&self, call: &v1::Call) -> Result<v1::ConnectLegResponse, Status> {
        self.who.connect(&self.session, &call.call_id, "", "v=0 offer").await
    }
}
