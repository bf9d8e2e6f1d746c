//! Who may relay, and where to: said by the credential itself, so that nothing is kept for it.
//!
//! The user name is when it ends, whose leg it is for and where it leads, the password a MAC of the user name, as in the TURN REST scheme
//! (draft-uberti-behave-turn-rest-00 section 2.2). The addresses in it are those of the answer that comes with it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use duocast_model::LegId;

/// How long a credential opens allocations; one that is open goes on while its router answers. Each answer of a leg brings another,
/// and a leg on a relay asks for UDP again after ten minutes at most. Higher leaves a stolen one useful for longer, which leads to
/// our own media ports only; lower makes clients whose network changes late in a call ask for another first.
pub const VALID_FOR: Duration = Duration::from_secs(20 * 60);

/// Most addresses in one credential: a user name has 508 bytes at most (RFC 8489 section 14.3).
const MAX_NODES: usize = 8;

/// What a client shows to the relay.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// USERNAME of RFC 8489.
    pub username: String,
    /// The password of the long-term credential mechanism.
    pub password: String,
}

/// What a user name says, and the password that makes it true.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) password: String,
    pub(crate) leg: LegId,
    pub(crate) nodes: Vec<SocketAddr>,
}

/// Signs credentials. Servers that share it accept each other's.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    /// From 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
    }

    /// A credential for a leg that leads to these media addresses; those beyond the eighth are left out. `None` if there is none
    /// that a relay may lead to: an address that means this machine, this link or many machines is nobody's media port.
    pub fn issue(&self, now: SystemTime, leg: LegId, nodes: &[SocketAddr]) -> Option<Credential> {
        let nodes: Vec<_> = nodes.iter().copied().filter(is_elsewhere).take(MAX_NODES).collect();
        (!nodes.is_empty()).then(|| self.sign(now, leg, &nodes))
    }

    pub(crate) fn sign(&self, now: SystemTime, leg: LegId, nodes: &[SocketAddr]) -> Credential {
        let until = now + VALID_FOR;
        let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut username = format!("{until},{leg}");
        for node in nodes {
            username.push(',');
            username.push_str(&node.to_string());
        }
        let password = self.password(&username);
        Credential { username, password }
    }

    /// What belongs to a user name of ours; `None` if it is not one or its time is over. Whether the client knows the password is
    /// for TURN to check.
    pub(crate) fn look_up(&self, now: SystemTime, username: &str) -> Option<Grant> {
        let mut parts = username.split(',');
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(parts.next()?.parse().ok()?))?;
        if now > until {
            return None;
        }
        let leg = parts.next()?.parse().ok()?;
        let nodes: Vec<_> = parts.map(SocketAddr::from_str).collect::<Result<_, _>>().ok()?;
        let is_ours = !nodes.is_empty() && nodes.len() <= MAX_NODES;
        is_ours.then(|| Grant { password: self.password(username), leg, nodes })
    }

    fn password(&self, username: &str) -> String {
        STANDARD_NO_PAD.encode(hmac::sign(&self.0, username.as_bytes()))
    }
}

/// False for an address that does not name one machine to all others, and for no port.
fn is_elsewhere(node: &SocketAddr) -> bool {
    let is_one = match node.ip().to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast())
        }
    };
    is_one && node.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEG: LegId = LegId::from_u128(5);

    fn nodes() -> Vec<SocketAddr> {
        vec!["192.0.2.30:40000".parse().unwrap(), "[2001:db8:30::30]:40000".parse().unwrap()]
    }

    #[test]
    fn a_credential_says_whose_it_is_and_where_it_leads_until_its_time_is_over() {
        let (secret, now) = (Secret::new([7; 32]), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let credential = secret.issue(now, LEG, &nodes()).unwrap();
        let leg = format!("{:032x}", 5);
        assert_eq!(credential.username, format!("1700001200,{leg},192.0.2.30:40000,[2001:db8:30::30]:40000"));
        let found = secret.look_up(now + VALID_FOR, &credential.username);
        let grant = Grant { password: credential.password, leg: LEG, nodes: nodes() };
        assert!(found == Some(grant));
        let late = now + VALID_FOR + Duration::from_secs(1);
        assert!(secret.look_up(late, &credential.username).is_none());
    }

    #[test]
    fn another_place_time_or_leg_has_another_password() {
        let (secret, now) = (Secret::new([7; 32]), UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let Credential { username, password } = secret.issue(now, LEG, &nodes()).unwrap();
        for (ours, others) in [("192.0.2.30", "192.0.2.31"), ("1700001200", "1700001201"), ("05,", "06,")] {
            let other = username.replace(ours, others);
            assert_ne!(other, username);
            assert_ne!(secret.look_up(now, &other).unwrap().password, password, "{others}");
        }
        assert_ne!(Secret::new([8; 32]).look_up(now, &username).unwrap().password, password);
    }

    #[test]
    fn no_credential_leads_to_this_machine_or_to_many() {
        let secret = Secret::new([7; 32]);
        let wrong = [
            "127.0.0.1:40000",
            "[::1]:40000",
            "[::ffff:127.0.0.1]:40000",
            "0.0.0.0:40000",
            "[::]:40000",
            "169.254.169.254:80",
            "[fe80::1]:40000",
            "224.0.0.1:40000",
            "[ff02::1]:40000",
            "255.255.255.255:40000",
            "192.0.2.30:0",
        ];
        let mut all: Vec<SocketAddr> = wrong.iter().map(|one| one.parse().unwrap()).collect();
        assert!(secret.issue(UNIX_EPOCH, LEG, &all).is_none());
        all.extend(nodes());
        assert!(secret.issue(UNIX_EPOCH, LEG, &all) == secret.issue(UNIX_EPOCH, LEG, &nodes()));
    }

    #[test]
    fn no_user_name_of_a_stranger_is_taken_for_ours() {
        let (secret, leg) = (Secret::new([7; 32]), LEG.to_string());
        let good = format!("1700000000,{leg},192.0.2.1:1");
        assert!(secret.look_up(UNIX_EPOCH, &good).is_some());
        let many = format!("1700000000,{leg}{}", ",192.0.2.1:1".repeat(MAX_NODES + 1));
        let strange = [
            "",
            ",",
            "alice",
            "1700000000",
            "1700000000,",
            &good[..good.len() - 2],
            &good.replace("192.0.2.1", "host"),
            &good.replace(&leg, "leg"),
            &format!("-{good}"),
            &format!("99999999999{good}"),
            &many,
        ];
        for username in strange {
            assert!(secret.look_up(UNIX_EPOCH, username).is_none(), "{username}");
        }
    }
}
