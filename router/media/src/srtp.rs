//! SRTP and SRTCP (RFC 3711; AES-GCM: RFC 7714). One [`Context`] is one direction: its keys are expanded once.
//!
//! Nothing here remembers which packets it has seen: replay and nonce rules are those of [`Window`](crate::window::Window).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, Algorithm, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use str0m::crypto::dtls::SrtpProfile;

use crate::Side;
use crate::keys::Keys;

const GCM_TAG_BYTES: usize = 16;
const GCM_SALT_BYTES: usize = 12;
const SHA1_TAG_BYTES: usize = 10;
const SHA1_KEY_BYTES: usize = 20;
const CM_SALT_BYTES: usize = 14;

/// What follows an SRTCP packet: E bit and index.
const INDEX_BYTES: usize = 4;
const ENCRYPTED: u32 = 1 << 31;
/// What of an RTCP packet is not encrypted: its first header and SSRC.
const RTCP_CLEAR_BYTES: usize = 8;

/// Labels of the key derivation (RFC 3711 section 4.3.2).
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

/// The two directions of one leg.
pub(crate) struct Contexts {
    pub(crate) inbound: Context,
    pub(crate) outbound: Context,
}

impl Contexts {
    /// Splits the exported material (RFC 5764 section 4.2): the DTLS client writes with the first half.
    /// `None` if it has not the length that its profile says, or the profile is unknown.
    pub(crate) fn new(keys: &Keys, side: Side) -> Option<Self> {
        let (key_bytes, salt_bytes) = match keys.profile {
            SrtpProfile::AES128_CM_SHA1_80 => (16, CM_SALT_BYTES),
            SrtpProfile::AEAD_AES_128_GCM => (16, GCM_SALT_BYTES),
            SrtpProfile::AEAD_AES_256_GCM => (32, GCM_SALT_BYTES),
            _ => return None,
        };
        let (client_key, rest) = keys.material.split_at_checked(key_bytes)?;
        let (server_key, rest) = rest.split_at_checked(key_bytes)?;
        let (client_salt, rest) = rest.split_at_checked(salt_bytes)?;
        let (server_salt, _) = rest.split_at_checked(salt_bytes)?;
        let client = Context::new(keys.profile, client_key, client_salt)?;
        let server = Context::new(keys.profile, server_key, server_salt)?;
        Some(match side {
            Side::Client => Self { inbound: server, outbound: client },
            Side::Server => Self { inbound: client, outbound: server },
        })
    }
}

/// Session keys of one direction.
pub(crate) struct Context {
    rtp: Cipher,
    rtcp: Cipher,
}

duocast_model::assert_not_impl!(Context: std::fmt::Debug, std::fmt::Display);

enum Cipher {
    Gcm { key: LessSafeKey, salt: [u8; GCM_SALT_BYTES] },
    Sha1 { key: Box<EncryptingKey>, mac: Box<hmac::Key>, salt: [u8; CM_SALT_BYTES] },
}

impl Context {
    fn new(profile: SrtpProfile, master_key: &[u8], master_salt: &[u8]) -> Option<Self> {
        let cipher = |labels| Cipher::derive(profile, master_key, master_salt, labels);
        Some(Self { rtp: cipher(RTP_LABELS)?, rtcp: cipher(RTCP_LABELS)? })
    }

    /// Authenticates an SRTP packet and appends its decrypted payload to `out`, which stays as it was on failure. `index` is
    /// ROC and sequence number.
    #[must_use]
    pub(crate) fn open_rtp(
        &self,
        packet: &[u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some((header, rest)) = packet.split_at_checked(header_len) else { return false };
        match &self.rtp {
            Cipher::Gcm { key, salt } => gcm_open(key, gcm_rtp_nonce(*salt, ssrc, index), header, rest, out),
            Cipher::Sha1 { key, mac, salt } => {
                let Some(len) = rest.len().checked_sub(SHA1_TAG_BYTES) else { return false };
                let (sealed, tag) = packet.split_at(header_len + len);
                let roc = ((index >> 16) as u32).to_be_bytes();
                if !sha1_holds(mac, &[sealed, &roc], tag) {
                    return false;
                }
                counter_mode(key, cm_iv(*salt, ssrc, index), &rest[..len], out)
            }
        }
    }

    /// Encrypts the RTP packet that begins at `start` of `bytes` and appends its tag. The caller sees to it that no index of
    /// an SSRC is sealed twice.
    #[must_use]
    pub(crate) fn seal_rtp(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> bool {
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let (header, payload) = bytes[start..].split_at_mut(header_len);
                let nonce = Nonce::assume_unique_for_key(gcm_rtp_nonce(*salt, ssrc, index));
                let Ok(tag) = key.seal_in_place_separate_tag(nonce, Aad::from(header), payload) else {
                    return false;
                };
                bytes.extend_from_slice(tag.as_ref());
                true
            }
            Cipher::Sha1 { key, mac, salt } => {
                let context = EncryptionContext::Iv128(cm_iv(*salt, ssrc, index).into());
                if key.less_safe_encrypt(&mut bytes[start + header_len..], context).is_err() {
                    return false;
                }
                let roc = ((index >> 16) as u32).to_be_bytes();
                let tag = sha1(mac, &[&bytes[start..], &roc]);
                bytes.extend_from_slice(&tag.as_ref()[..SHA1_TAG_BYTES]);
                true
            }
        }
    }

    /// Authenticates an SRTCP packet and puts the RTCP packet into `out`, in the place of what was there. `None` if it does
    /// not authenticate or is not encrypted (WebRTC always encrypts); else its index.
    pub(crate) fn open_rtcp(&self, packet: &[u8], out: &mut Vec<u8>) -> Option<u32> {
        let ssrc = u32::from_be_bytes(packet.get(4..8)?.try_into().ok()?);
        out.clear();
        let (index, is_open) = match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let (sealed, trailer) = packet.split_last_chunk::<INDEX_BYTES>()?;
                let index = encrypted_index(*trailer)?;
                let (clear, rest) = sealed.split_at_checked(RTCP_CLEAR_BYTES)?;
                let mut authenticated = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
                authenticated[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
                authenticated[RTCP_CLEAR_BYTES..].copy_from_slice(trailer);
                out.extend_from_slice(clear);
                (index, gcm_open(key, gcm_rtcp_nonce(*salt, ssrc, index), &authenticated, rest, out))
            }
            Cipher::Sha1 { key, mac, salt } => {
                let (sealed, tag) = packet.split_last_chunk::<SHA1_TAG_BYTES>()?;
                if !sha1_holds(mac, &[sealed], tag) {
                    return None;
                }
                let (sealed, trailer) = sealed.split_last_chunk::<INDEX_BYTES>()?;
                let index = encrypted_index(*trailer)?;
                let (clear, rest) = sealed.split_at_checked(RTCP_CLEAR_BYTES)?;
                out.extend_from_slice(clear);
                (index, counter_mode(key, cm_iv(*salt, ssrc, index.into()), rest, out))
            }
        };
        is_open.then_some(index)
    }

    /// Encrypts the RTCP packet that begins at `start` of `bytes`, at least 8 bytes long, and appends index and tag.
    #[must_use]
    pub(crate) fn seal_rtcp(&self, bytes: &mut Vec<u8>, start: usize, index: u32) -> bool {
        let Some(ssrc) = bytes.get(start + 4..start + 8).and_then(|b| b.try_into().ok()) else {
            return false;
        };
        let ssrc = u32::from_be_bytes(ssrc);
        let trailer = (index | ENCRYPTED).to_be_bytes();
        let (clear, rest) = bytes[start..].split_at_mut(RTCP_CLEAR_BYTES);
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let mut authenticated = [0; RTCP_CLEAR_BYTES + INDEX_BYTES];
                authenticated[..RTCP_CLEAR_BYTES].copy_from_slice(clear);
                authenticated[RTCP_CLEAR_BYTES..].copy_from_slice(&trailer);
                let nonce = Nonce::assume_unique_for_key(gcm_rtcp_nonce(*salt, ssrc, index));
                let Ok(tag) = key.seal_in_place_separate_tag(nonce, Aad::from(authenticated), rest) else {
                    return false;
                };
                bytes.extend_from_slice(tag.as_ref());
                bytes.extend_from_slice(&trailer);
            }
            Cipher::Sha1 { key, mac, salt } => {
                let context = EncryptionContext::Iv128(cm_iv(*salt, ssrc, index.into()).into());
                if key.less_safe_encrypt(rest, context).is_err() {
                    return false;
                }
                bytes.extend_from_slice(&trailer);
                let tag = sha1(mac, &[&bytes[start..]]);
                bytes.extend_from_slice(&tag.as_ref()[..SHA1_TAG_BYTES]);
            }
        }
        true
    }
}

impl Cipher {
    fn derive(
        profile: SrtpProfile,
        master_key: &[u8],
        master_salt: &[u8],
        [key_label, mac_label, salt_label]: [u8; 3],
    ) -> Option<Self> {
        let key = derive(master_key, master_salt, key_label, master_key.len())?;
        let salt = derive(master_key, master_salt, salt_label, master_salt.len())?;
        let gcm = |algorithm| {
            let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?);
            Some(Self::Gcm { key, salt: salt.as_slice().try_into().ok()? })
        };
        match profile {
            SrtpProfile::AEAD_AES_128_GCM => gcm(&AES_128_GCM),
            SrtpProfile::AEAD_AES_256_GCM => gcm(&AES_256_GCM),
            SrtpProfile::AES128_CM_SHA1_80 => {
                let mac = derive(master_key, master_salt, mac_label, SHA1_KEY_BYTES)?;
                Some(Self::Sha1 {
                    key: Box::new(EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &key).ok()?).ok()?),
                    mac: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &mac)),
                    salt: salt.as_slice().try_into().ok()?,
                })
            }
            _ => None,
        }
    }
}

/// The key derivation of RFC 3711 section 4.3.3 with a derivation rate of 0; AES-GCM's salt counts as if it ended in two
/// zero bytes (RFC 7714 section 11).
fn derive(master_key: &[u8], master_salt: &[u8], label: u8, len: usize) -> Option<Vec<u8>> {
    let algorithm: &'static Algorithm = match master_key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return None,
    };
    let mut iv = [0; 16];
    iv.get_mut(..master_salt.len())?.copy_from_slice(master_salt);
    iv[7] ^= label;
    let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, master_key).ok()?).ok()?;
    let mut derived = vec![0; len];
    key.less_safe_encrypt(&mut derived, EncryptionContext::Iv128(iv.into())).ok()?;
    Some(derived)
}

fn gcm_open(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    authenticated: &[u8],
    sealed: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let Some((ciphertext, tag)) = sealed.split_last_chunk::<GCM_TAG_BYTES>() else { return false };
    let start = out.len();
    out.resize(start + ciphertext.len(), 0);
    let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(authenticated));
    let is_open = key.open_separate_gather(nonce, aad, ciphertext, tag, &mut out[start..]).is_ok();
    if !is_open {
        out.truncate(start);
    }
    is_open
}

/// RFC 7714 section 8.1.
fn gcm_rtp_nonce(mut salt: [u8; GCM_SALT_BYTES], ssrc: u32, index: u64) -> [u8; NONCE_LEN] {
    xor(&mut salt[2..6], &ssrc.to_be_bytes());
    xor(&mut salt[6..12], &index.to_be_bytes()[2..]);
    salt
}

/// RFC 7714 section 9.1.
fn gcm_rtcp_nonce(mut salt: [u8; GCM_SALT_BYTES], ssrc: u32, index: u32) -> [u8; NONCE_LEN] {
    xor(&mut salt[2..6], &ssrc.to_be_bytes());
    xor(&mut salt[8..12], &index.to_be_bytes());
    salt
}

/// RFC 3711 section 4.1.1.
fn cm_iv(salt: [u8; CM_SALT_BYTES], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..CM_SALT_BYTES].copy_from_slice(&salt);
    xor(&mut iv[4..8], &ssrc.to_be_bytes());
    xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
    iv
}

fn xor(target: &mut [u8], with: &[u8]) {
    target.iter_mut().zip(with).for_each(|(t, w)| *t ^= w);
}

/// Encryption and decryption are the same.
fn counter_mode(key: &EncryptingKey, iv: [u8; 16], input: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(input);
    let is_done = key.less_safe_encrypt(&mut out[start..], EncryptionContext::Iv128(iv.into())).is_ok();
    if !is_done {
        out.truncate(start);
    }
    is_done
}

fn sha1(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

fn sha1_holds(key: &hmac::Key, parts: &[&[u8]], tag: &[u8]) -> bool {
    verify_slices_are_equal(&sha1(key, parts).as_ref()[..SHA1_TAG_BYTES], tag).is_ok()
}

fn encrypted_index(trailer: [u8; INDEX_BYTES]) -> Option<u32> {
    let word = u32::from_be_bytes(trailer);
    (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
}

#[cfg(test)]
mod tests;
