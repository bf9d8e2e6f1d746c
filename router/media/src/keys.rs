//! Takes the SRTP keys out of str0m's DTLS handshake before str0m sees them.
//!
//! Two contexts with the same key would sooner or later encrypt two packets with the same nonce, which gives both away. So
//! str0m, which owns the handshake, never gets a key: it can neither send nor read media, and the media plane alone does.

use std::cell::Cell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, ConfigBuilder, Dtls};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};
use str0m::{Rtc, RtcConfig};

/// Longest record that DTLS gives out; str0m's own buffer has 2000 bytes.
const MAX_RECORD_BYTES: usize = 2048;

/// What the handshake exported for DTLS-SRTP (RFC 5764 section 4.2). There is no way to print it.
pub struct Keys {
    /// What they are for.
    pub profile: SrtpProfile,
    /// Both keys and both salts.
    pub material: Vec<u8>,
}

/// Where the keys of one leg's handshake come out, once.
pub struct KeyTap(Receiver<Keys>);

duocast_model::assert_not_impl!(Keys: fmt::Debug, fmt::Display);
duocast_model::assert_not_impl!(KeyTap: fmt::Debug, fmt::Display);

impl KeyTap {
    /// The keys, if the handshake has come that far. To be used only once str0m says that it is connected: it has then
    /// compared the client's certificate with the offer.
    pub fn take(&self) -> Option<Keys> {
        self.0.try_recv().ok()
    }
}

thread_local! {
    /// From [`DtlsProvider::new_dtls`] to [`build`], which is its caller's caller.
    static MADE: Cell<Option<KeyTap>> = const { Cell::new(None) };
}

/// Builds a session whose SRTP keys come out of the tap and nowhere else.
pub fn build(config: RtcConfig, now: Instant) -> (Rtc, Option<KeyTap>) {
    MADE.set(None);
    let rtc = config.set_crypto_provider(provider()).build(now);
    (rtc, MADE.take())
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    static TAPPED: OnceLock<Tapped> = OnceLock::new();
    let made = PROVIDER.get_or_init(|| {
        let provider = from_feature_flags();
        let tapped = TAPPED.get_or_init(|| Tapped(provider.dtls_provider));
        Arc::new(CryptoProvider { dtls_provider: tapped, ..provider })
    });
    Arc::clone(made)
}

/// DTLS as it is, but for the keys, and for what is made once and not for each leg: str0m's own provider makes a [`Config`] for each, and dimpl tries
/// all of its cryptography whenever it makes one (key exchanges and signatures on three curves, some 2 ms).
#[derive(Debug)]
struct Tapped(&'static dyn DtlsProvider);

/// As str0m's provider has it: ICE has shown that the client is where its packets come from, so that no cookie has to.
fn dtls_config(mtu: Option<usize>) -> Result<Arc<Config>, DtlsImplError> {
    static FIRST: OnceLock<(Option<usize>, Arc<Config>)> = OnceLock::new();
    if let Some((_, config)) = FIRST.get().filter(|(its_mtu, _)| *its_mtu == mtu) {
        return Ok(Arc::clone(config));
    }
    let builder = Config::builder().use_server_cookie(false);
    let config = Arc::new(mtu.into_iter().fold(builder, ConfigBuilder::mtu).build()?);
    // Another may have been first.
    let _ = FIRST.set((mtu, Arc::clone(&config)));
    Ok(config)
}

impl DtlsProvider for Tapped {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.0.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let config = dtls_config(mtu).map_err(|error| CryptoError::Other(error.to_string()))?;
        let certificate = cert.clone();
        let inner = match version {
            DtlsVersion::Dtls12 => Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => Dtls::new_13(config, certificate, now),
            DtlsVersion::Auto => Dtls::new_auto(config, certificate, now),
            _ => return Err(CryptoError::Other(format!("this DTLS is not known: {version}"))),
        };
        let (keys, tap) = sync_channel(1);
        MADE.set(Some(KeyTap(tap)));
        Ok(Box::new(TappedInstance { inner, keys }))
    }

    fn is_test(&self) -> bool {
        self.0.is_test()
    }
}

struct TappedInstance {
    inner: Dtls,
    keys: SyncSender<Keys>,
}

// A panic ends the leg; the sender has no state that could be half changed.
impl UnwindSafe for TappedInstance {}
impl RefUnwindSafe for TappedInstance {}

impl fmt::Debug for TappedInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TappedInstance")
    }
}

impl DtlsInstance for TappedInstance {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.inner.handle_packet(packet)
    }

    /// What comes out is copied once more, since what follows the keys must go into the same buffer. It is rare.
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let mut record = [0; MAX_RECORD_BYTES];
        let room = buf.len().min(record.len());
        loop {
            return match self.inner.poll_output(&mut record[..room]) {
                DtlsOutput::KeyingMaterial(material, profile) => {
                    // A second handshake on one association does not exist: there is room.
                    let _ = self.keys.try_send(Keys { profile, material: material.to_vec() });
                    continue;
                }
                DtlsOutput::Packet(bytes) => DtlsOutput::Packet(copied(bytes, buf)),
                DtlsOutput::PeerCert(bytes) => DtlsOutput::PeerCert(copied(bytes, buf)),
                DtlsOutput::ApplicationData(bytes) => DtlsOutput::ApplicationData(copied(bytes, buf)),
                DtlsOutput::BufferTooSmall { needed } => DtlsOutput::BufferTooSmall { needed },
                DtlsOutput::Timeout(at) => DtlsOutput::Timeout(at),
                DtlsOutput::Connected => DtlsOutput::Connected,
                // What a later version may add cannot be passed on without knowing it: the leg ends.
                _ => DtlsOutput::CloseNotify,
            };
        }
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}

fn copied<'a>(bytes: &[u8], into: &'a mut [u8]) -> &'a [u8] {
    let target = &mut into[..bytes.len()];
    target.copy_from_slice(bytes);
    target
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for virtual time")]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use str0m::media::{Direction, MediaKind};
    use str0m::net::{Protocol, Receive, Transmit};
    use str0m::{Candidate, Event, Input, Output};

    use super::*;

    /// What a session wants to send, and whether it has become connected.
    fn turn(rtc: &mut Rtc, now: Instant) -> (Vec<Transmit>, bool) {
        rtc.handle_input(Input::Timeout(now)).unwrap();
        let (mut sent, mut is_connected) = (Vec::new(), false);
        loop {
            match rtc.poll_output().unwrap() {
                Output::Timeout(_) => return (sent, is_connected),
                Output::Transmit(transmit) => sent.push(transmit),
                Output::Event(event) => is_connected |= matches!(event, Event::Connected),
            }
        }
    }

    fn deliver(rtc: &mut Rtc, now: Instant, sent: &[Transmit]) {
        for Transmit { source, destination, contents, .. } in sent {
            let contents = (&contents[..]).try_into().unwrap();
            let (source, destination, proto) = (*source, *destination, Protocol::Udp);
            let receive = Receive { proto, source, destination, contents };
            rtc.handle_input(Input::Receive(now, receive)).unwrap();
        }
    }

    #[test]
    fn the_keys_come_out_once_the_client_is_known_and_str0m_has_none() {
        let mut now = Instant::now();
        let address = |ip: &str| format!("{ip}:4000").parse::<SocketAddr>().unwrap();
        let (mut rtc, tap) = build(RtcConfig::new().set_rtp_mode(true).set_ice_lite(true), now);
        let tap = tap.expect("a tap for each session");
        let mut client = RtcConfig::new().build(now);
        rtc.add_local_candidate(Candidate::host(address("198.51.100.7"), "udp").unwrap());
        client.add_local_candidate(Candidate::host(address("203.0.113.5"), "udp").unwrap());
        let mut api = client.sdp_api();
        api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let answer = rtc.sdp_api().accept_offer(offer).unwrap();
        client.sdp_api().accept_answer(pending, answer).unwrap();
        for _ in 0..500 {
            now += Duration::from_millis(10);
            let (sent, _) = turn(&mut client, now);
            deliver(&mut rtc, now, &sent);
            let (sent, is_connected) = turn(&mut rtc, now);
            if is_connected {
                let keys = tap.take().expect("keys by now");
                assert!([56, 60, 88].contains(&keys.material.len()));
                assert!(tap.take().is_none(), "once");
                assert!(!rtc.is_connected(), "for str0m that is: with SRTP keys");
                return;
            }
            deliver(&mut client, now, &sent);
        }
        panic!("they do not connect");
    }
}
