//! What an account chose about calls, and what it may say about a direct leg.

/// Who may call without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Audience {
    /// The two follow each other.
    Mutuals,
    /// The callee follows the caller.
    Following,
    /// The caller is in the callee's address book.
    AddressBook,
    /// The caller has the platform's badge.
    Verified,
    /// The callee accepted a direct message of the caller's.
    DmAccepted,
    /// Everybody.
    Everyone,
}

impl Audience {
    /// All, in a fixed order.
    pub const ALL: [Self; 6] =
        [Self::Mutuals, Self::Following, Self::AddressBook, Self::Verified, Self::DmAccepted, Self::Everyone];

    /// Stable name, for the store, the tables and the codes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mutuals => "mutuals",
            Self::Following => "following",
            Self::AddressBook => "address_book",
            Self::Verified => "verified",
            Self::DmAccepted => "dm_accepted",
            Self::Everyone => "everyone",
        }
    }
}

/// Any union of audiences; the empty one lets in only people with a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AudienceSet(u8);

impl AudienceSet {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// The union of these.
    pub const fn of(audiences: &[Audience]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < audiences.len() {
            bits |= 1 << audiences[i] as u8;
            i += 1;
        }
        Self(bits)
    }

    /// From [`AudienceSet::bits`]; `None` if a bit has no audience.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        if bits >> Audience::ALL.len() == 0 { Some(Self(bits)) } else { None }
    }

    /// One bit for each audience, in the order of [`Audience::ALL`], lowest first.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True if it holds this audience itself; `Everyone` does not hold the others.
    pub const fn contains(self, audience: Audience) -> bool {
        self.0 & (1 << audience as u8) != 0
    }

    /// Those it holds, in the order of [`Audience::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Audience> {
        Audience::ALL.into_iter().filter(move |audience| self.contains(*audience))
    }
}

impl FromIterator<Audience> for AudienceSet {
    fn from_iter<I: IntoIterator<Item = Audience>>(audiences: I) -> Self {
        audiences.into_iter().fold(Self::NONE, |set, one| Self(set.0 | Self::of(&[one]).0))
    }
}

/// What happens to somebody outside the audience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Strangers {
    /// They may send a call request.
    Request,
    /// The account looks unreachable to them.
    Deny,
}

/// When media may go directly to the other person, who then sees this account's IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DirectSetting {
    /// Never, and without being asked.
    Never,
    /// After a yes in that call.
    Ask,
    /// With mutual contacts without asking; nobody else.
    Mutuals,
    /// With anyone, without asking.
    Anyone,
}

/// An account's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PrivacySettings {
    /// Calls and can be called. Off until the account opts in.
    pub calling: bool,
    /// Who may call without asking.
    pub audience: AudienceSet,
    /// What happens to others.
    pub strangers: Strangers,
    /// Every call is routed, whatever `direct` says.
    pub enhanced_call_privacy: bool,
    /// When media may go directly.
    pub direct: DirectSetting,
    /// Only end-to-end encrypted calls.
    pub require_e2ee: bool,
}

impl PrivacySettings {
    /// Duocast's defaults: calling is off, mutual contacts ring, strangers may ask, every leg is routed.
    pub const DEFAULT: Self = Self {
        calling: false,
        audience: AudienceSet::of(&[Audience::Mutuals]),
        strangers: Strangers::Request,
        enhanced_call_privacy: true,
        direct: DirectSetting::Never,
        require_e2ee: false,
    };
}

impl Default for PrivacySettings {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What a party's settings, and then its own yes or no, say of a direct leg with the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DirectConsent {
    /// Ruled out by its settings; a yes is refused.
    Never,
    /// Not given (yet).
    NotGiven,
    /// Given, by a setting or in this call.
    Given,
}

/// A kind of address that one party may learn of the other. There is no type here that could hold an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressKind {
    /// A public address.
    Public,
    /// An address inside a home or office network.
    LocalNetwork,
}

/// That one party learned of the other's addresses, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Exposure {
    /// When the first address crossed.
    pub since: crate::UnixMillis,
    /// A public one was among them.
    pub public: bool,
    /// One of a local network was among them.
    pub local_network: bool,
}

impl Exposure {
    /// The kinds, in order.
    pub fn kinds(self) -> impl Iterator<Item = AddressKind> {
        let public = self.public.then_some(AddressKind::Public);
        public.into_iter().chain(self.local_network.then_some(AddressKind::LocalNetwork))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_audiences_reads_back_as_written() {
        for bits in 0..64u8 {
            let set = AudienceSet::from_bits(bits).unwrap();
            assert_eq!(set.bits(), bits);
            assert_eq!(set.iter().collect::<AudienceSet>(), set);
        }
        assert_eq!(AudienceSet::from_bits(64), None);
    }
}
