//! The least that decrypts and encrypts: a loop of our own without DTLS, ICE or RTCP, as a yardstick. Its server is a child
//! process (`duocast-loadtest bare-loop`), so that its CPU time is measured as the others' is.

mod seal;
mod serve;

use std::io::Write as _;
use std::net::SocketAddr;

use seal::{Sealer, TAG_BYTES, Way};
pub(crate) use serve::serve;

use super::generator::{End, Link};
use super::process::{self, Cost, Process};
use super::rtp::Header;
use super::wire::{Framed, Framing};
use super::{Peer, PeersError, Setup};

/// Most parties that the loop serves.
pub(super) const LEGS_MAX: u32 = 40_000;

/// The leg that an SSRC belongs to: each has two, for audio and video.
fn leg_of(ssrc: u32) -> u32 {
    ssrc >> 1
}

/// The other party of its call.
fn other_leg(leg: u32) -> u32 {
    leg ^ 1
}

/// The loop, ready for calls.
pub(super) struct BareLoop {
    process: Process,
    server: SocketAddr,
    secret: String,
}

impl BareLoop {
    /// `coalesces`: packets of one size to one address leave in one system call (GSO).
    pub(super) async fn start(setup: &Setup, coalesces: bool) -> Result<Self, PeersError> {
        let name = if coalesces { "bare loop, GSO" } else { "bare loop" };
        let failed = |why: String| PeersError::Start { name, why };
        let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
        let mut args = vec!["bare-loop".into(), "--legs".into(), (setup.load.calls * 2).to_string()];
        args.extend(coalesces.then(|| "--coalesce".into()));
        let mut process = Process::start(name, &program, &args, setup.server_core, process::folder()?)?;
        let secret = format!("{:032x}", rand::random::<u128>());
        let stdin = process.stdin().ok_or(PeersError::Died(name))?;
        writeln!(stdin, "{secret}").map_err(|error| failed(error.to_string()))?;
        let server = process.ready(async |out| out.trim().parse().ok()).await?;
        Ok(Self { process, server, secret })
    }
}

impl Peer for BareLoop {
    async fn connect(&mut self, call: usize, generator: &Link) -> Result<(), PeersError> {
        for party in 0..2 {
            let leg = u32::try_from(call * 2 + party).unwrap_or(u32::MAX);
            let spot = generator.reserve(SocketAddr::new(self.server.ip(), 0)).await?;
            let framing = Sealed {
                sealer: Sealer::new(self.secret.as_bytes(), leg, Way::ToServer),
                opener: Sealer::new(self.secret.as_bytes(), leg, Way::FromServer),
            };
            let wire = Framed::new(framing, self.server, leg << 1);
            generator.add(End { wire: Box::new(wire), spot, sends: true });
        }
        Ok(())
    }

    fn cost(&self) -> Result<Cost, PeersError> {
        self.process.cost()
    }
}

struct Sealed {
    sealer: Sealer,
    opener: Sealer,
}

impl Framing for Sealed {
    fn wrap(&mut self, header: &Header, payload: &[u8], datagram: &mut Vec<u8>) -> bool {
        let start = datagram.len();
        for part in [&header.bytes()[..], payload, &[0; TAG_BYTES]] {
            datagram.extend_from_slice(part);
        }
        self.sealer.seal(&mut datagram[start..]).is_some()
    }

    fn unwrap<'a>(&mut self, datagram: &'a mut [u8]) -> Option<(Header, &'a [u8])> {
        let (header, _) = Header::parse(datagram)?;
        Some((header, self.opener.open(datagram)?))
    }
}
