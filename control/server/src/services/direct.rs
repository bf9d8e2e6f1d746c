//! A direct leg on the wire: consent and the steps towards it.

use duocast_control_core::direct::{DirectStep, Sealed};
use duocast_model::{CallId, SessionId};
use duocast_wire::v1;
use tonic::{Request, Status};

use super::errors::IntoStatus;
use super::{Reason, Services, fields, status, views};

impl Services {
    pub(super) async fn consent(
        &self,
        request: Request<v1::SetDirectRequest>,
    ) -> Result<v1::CallResponse, Status> {
        let account = self.0.client(request.metadata()).await?.account;
        let ask = request.into_inner();
        let session: SessionId = fields::id("session_id", &ask.session_id)?;
        let call: CallId = fields::id("call_id", &ask.call_id)?;
        let yes = ask.consent;
        let view = self.0.ask(move |b, now| b.handle_set_direct(now, &account, session, call, yes)).await?;
        Ok(views::call_response(&view.map_err(|error| error.status())?))
    }

    pub(super) async fn step(
        &self,
        request: Request<v1::SendDirectRequest>,
    ) -> Result<v1::SendDirectResponse, Status> {
        let account = self.0.client(request.metadata()).await?.account;
        let ask = request.into_inner();
        let session: SessionId = fields::id("session_id", &ask.session_id)?;
        let call: CallId = fields::id("call_id", &ask.call_id)?;
        let step = step(ask.step)?;
        let taken = self
            .0
            .ask(move |b, now| b.handle_send_direct(now, &account, session, call, ask.attempt, &step))
            .await?;
        taken.map_err(|error| error.status())?;
        Ok(v1::SendDirectResponse {})
    }
}

fn step(step: Option<v1::send_direct_request::Step>) -> Result<DirectStep, Status> {
    use v1::send_direct_request::Step;
    match step {
        Some(Step::Offer(sdp)) => Ok(DirectStep::Offer(Sealed::new(&sdp))),
        Some(Step::Answer(sdp)) => Ok(DirectStep::Answer(Sealed::new(&sdp))),
        Some(Step::Decoding(_)) => Ok(DirectStep::Decoding),
        Some(Step::Failed(_)) => Ok(DirectStep::Failed),
        None => {
            let sentence = "step: expected an offer, an answer, decoding or failed";
            Err(status(Reason::StepMissing, sentence))
        }
    }
}
