//! Offers, answers and candidates of one connection.

use std::collections::HashMap;
use std::net::SocketAddr;

use str0m::Candidate;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};
use tracing::debug;

use super::{Driver, EndReason, Turn, failed};
use crate::peer::application::Application;
use crate::peer::candidate::{self, MAX_REMOTE_CANDIDATES, kind_name};
use crate::peer::connection::{Notice, OfferOptions};
use crate::peer::sdp;
use crate::peer::signal::{CandidateSignal, Signal};

/// Local candidates that are announced at most.
const MAX_LOCAL_CANDIDATES: usize = 64;

/// What has been said so far.
#[derive(Default)]
pub(super) struct Negotiation {
    /// The own offer while it has no answer.
    pending: Option<SdpPendingOffer>,
    /// The own description as it was sent.
    description: Option<Signal>,
    /// The first media section of the own description.
    mid: Option<String>,
    /// Local candidate lines; announced once there is a description.
    local: Vec<String>,
    /// Remote candidates that came before the remote description.
    early: Vec<String>,
    has_remote: bool,
    /// Kinds of the remote candidates that were announced.
    remote: HashMap<SocketAddr, &'static str>,
}

impl Negotiation {
    /// Everything that was sent, for sending it once more.
    pub(super) fn sent<N>(&self) -> Vec<Notice<N>> {
        let candidates = self.local.iter().map(|line| self.candidate_signal(line));
        self.description
            .iter()
            .cloned()
            .chain(candidates)
            .map(Notice::Signal)
            .collect()
    }

    /// The kind of a remote address. One that nobody announced was found by its checks.
    pub(super) fn remote_kind(&self, address: SocketAddr) -> &'static str {
        self.remote.get(&address).copied().unwrap_or("prflx")
    }

    fn candidate_signal(&self, line: &str) -> Signal {
        Signal::Candidate(CandidateSignal {
            candidate: line.to_owned(),
            sdp_mid: self.mid.clone(),
            sdp_m_line_index: Some(0),
        })
    }
}

impl<A: Application> Driver<A> {
    pub(super) fn make_offer(&mut self, options: &OfferOptions) -> Turn {
        let mut change = self.rtc.sdp_api();
        if options.video {
            change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        change.add_channel(options.channel.clone());
        let Some((offer, pending)) = change.apply() else {
            return Err(failed("there is nothing to offer"));
        };
        self.negotiation.pending = Some(pending);
        let sdp = offer.to_sdp_string();
        self.describe(Signal::Offer { sdp: sdp.clone() }, &sdp);
        Ok(())
    }

    pub(super) fn accept_offer(&mut self, sdp: &str) -> Turn {
        let offer = SdpOffer::from_sdp_string(bounded(sdp)?)
            .map_err(|error| failed(format!("offer cannot be read: {error}")))?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(failed)?;
        self.drain()?;
        let answer = answer.to_sdp_string();
        self.describe(Signal::Answer { sdp: answer.clone() }, &answer);
        self.remote_described(sdp)
    }

    pub(super) fn accept_answer(&mut self, sdp: &str) -> Turn {
        // A second answer to one offer follows a repeated offer.
        let Some(pending) = self.negotiation.pending.take() else {
            return Ok(());
        };
        let answer = SdpAnswer::from_sdp_string(bounded(sdp)?)
            .map_err(|error| failed(format!("answer cannot be read: {error}")))?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(failed)?;
        self.drain()?;
        self.remote_described(sdp)
    }

    pub(super) fn add_local_candidate(&mut self, candidate: Candidate) {
        if self.negotiation.local.len() >= MAX_LOCAL_CANDIDATES {
            return;
        }
        let Some(added) = self.rtc.add_local_candidate(candidate) else {
            return;
        };
        let line = added.to_sdp_string();
        if self.negotiation.description.is_some() {
            let signal = self.negotiation.candidate_signal(&line);
            self.outbox.push_back(Notice::Signal(signal));
        }
        self.negotiation.local.push(line);
    }

    pub(super) fn add_remote_candidate(&mut self, line: &str) {
        if !self.negotiation.has_remote {
            if self.negotiation.early.len() < MAX_REMOTE_CANDIDATES {
                self.negotiation.early.push(line.to_owned());
            }
            return;
        }
        match self.know_remote(line) {
            Ok(candidate) => self.rtc.add_remote_candidate(candidate),
            Err(reason) => debug!(%reason, "remote candidate is not used"),
        }
    }

    /// Sends the own description, and the candidates that waited for it.
    fn describe(&mut self, signal: Signal, sdp: &str) {
        let first = self.negotiation.description.is_none();
        self.negotiation.mid = sdp::first_mid(sdp).map(str::to_owned);
        self.negotiation.description = Some(signal.clone());
        if first {
            self.outbox.extend(self.negotiation.sent());
        } else {
            self.outbox.push_back(Notice::Signal(signal));
        }
    }

    /// Takes what the remote description carries besides itself, and the candidates that overtook it.
    fn remote_described(&mut self, sdp: &str) -> Turn {
        self.negotiation.has_remote = true;
        for line in sdp::candidates(sdp).take(MAX_REMOTE_CANDIDATES) {
            let _ = self.know_remote(line);
        }
        for line in std::mem::take(&mut self.negotiation.early) {
            self.add_remote_candidate(&line);
            self.drain()?;
        }
        Ok(())
    }

    /// Reads a remote candidate, lets it through the relays and remembers its kind.
    fn know_remote(&mut self, line: &str) -> Result<Candidate, candidate::CandidateError> {
        let candidate = candidate::parse(line)?;
        if self.negotiation.remote.len() >= MAX_REMOTE_CANDIDATES {
            return Err(candidate::CandidateError::TooMany);
        }
        self.negotiation
            .remote
            .insert(candidate.addr(), kind_name(candidate.kind()));
        self.transport.permit(candidate.addr().ip());
        Ok(candidate)
    }
}

fn bounded(sdp: &str) -> Result<&str, EndReason> {
    if sdp.len() > sdp::MAX_SDP_BYTES {
        return Err(failed(format!(
            "description is longer than {} bytes",
            sdp::MAX_SDP_BYTES
        )));
    }
    Ok(sdp)
}
