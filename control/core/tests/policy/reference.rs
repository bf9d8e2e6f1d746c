//! The policy a second time, from its description and in another shape: an unordered table of which exactly one row fits
//! every situation, and sets for who belongs to which audience.

use duocast_control_core::policy::{Profile, Relation, RequestHistory, Situation};
use duocast_model::{DirectConsent, DirectSetting, PrivacySettings, Strangers};

/// Answer, reason code, and what the caller hears.
pub(crate) type Answer = (&'static str, &'static str, &'static str);

/// One character a column, `.` for either. In each row exactly those columns are open that cannot matter there.
///
/// ```text
/// C the caller has calling on      K the callee has calling on        W some way in: a grant, an audience, ...
/// U the caller blocked the callee  B the callee blocked the caller    S strangers may send requests
/// X the caller insists on encryption that there is not; Y the callee does
/// N no request yet; P one waits (neither: it was declined)
/// ```
#[rustfmt::skip]
const TABLE: [(&str, Answer); 12] = [
    //CUXBKWSYNP
    ("0.........", ("deny", "CALLER_NOT_ENABLED", "CALLER_NOT_ENABLED")),
    ("11........", ("deny", "BLOCKED_BY_CALLER", "BLOCKED_BY_CALLER")),
    ("101.......", ("deny", "CALLER_REQUIRES_E2EE", "CALLER_REQUIRES_E2EE")),
    ("1001......", ("deny", "BLOCKED_BY_CALLEE", "CALLEE_NOT_REACHABLE")),
    ("10000.....", ("deny", "CALLEE_NOT_ENABLED", "CALLEE_NOT_REACHABLE")),
    ("1000100...", ("deny", OUTSIDE, "CALLEE_NOT_REACHABLE")),
    ("10001011..", ("deny", "CALLEE_REQUIRES_E2EE", "CALLEE_REQUIRES_E2EE")),
    ("100011.1..", ("deny", "CALLEE_REQUIRES_E2EE", "CALLEE_REQUIRES_E2EE")),
    ("100011.0..", ("allow", WAY_IN, HEARD_OF_WAY_IN)),
    ("1000101010", ("request", "REQUEST_NEEDED", "REQUEST_NEEDED")),
    ("1000101001", ("request", "REQUEST_PENDING", "REQUEST_PENDING")),
    ("1000101000", ("request", "REQUEST_DECLINED", "REQUEST_PENDING")),
];

const OUTSIDE: &str = "by the callee's audience";
const WAY_IN: &str = "by the way in";
const HEARD_OF_WAY_IN: &str = "by the way in, as heard";

/// Bits of an audience, as the set has them.
const AUDIENCES: [(&str, &str, &str); 6] = [
    ("MUTUALS", "MUTUALS", "AUDIENCE_MUTUALS"),
    ("FOLLOWING", "FOLLOWING", "AUDIENCE_FOLLOWING"),
    ("ADDRESS_BOOK", "CALLEE_ALLOWS", "AUDIENCE_ADDRESS_BOOK"),
    ("VERIFIED", "CALLEE_ALLOWS", "AUDIENCE_VERIFIED"),
    ("DM_ACCEPTED", "DM_ACCEPTED", "AUDIENCE_DM_ACCEPTED"),
    ("EVERYONE", "CALLEE_ALLOWS", "AUDIENCE_EVERYONE"),
];

/// The set of audiences that this caller belongs to.
fn belongs_to(relation: &Relation) -> u8 {
    let either_way = [relation.caller_follows, relation.callee_follows];
    let [follows, followed] = either_way.map(u8::from);
    (follows * followed)
        | followed << 1
        | u8::from(relation.in_address_book) << 2
        | u8::from(relation.caller_verified) << 3
        | u8::from(relation.dm_accepted) << 4
        | 1 << 5
}

/// The ways in that are open, the one that counts at the lowest bit: a grant, a message that was accepted (as reported),
/// then the audiences.
pub(crate) fn ways_in(profile: Profile, s: &Situation) -> u16 {
    let accepted = s.relation.dm_accepted && profile == Profile::Reported2024;
    let audiences = u16::from(s.callee.audience.bits() & belongs_to(&s.relation));
    u16::from(s.grant) | u16::from(accepted) << 1 | audiences << 2
}

fn columns(profile: Profile, s: &Situation) -> [bool; 10] {
    [
        s.caller.calling,
        s.blocked_by_caller,
        s.caller.require_e2ee && !s.e2ee_available,
        s.blocked_by_callee,
        s.callee.calling,
        ways_in(profile, s) != 0,
        s.callee.strangers == Strangers::Request && profile == Profile::Default,
        s.callee.require_e2ee && !s.e2ee_available,
        s.request == RequestHistory::None,
        s.request == RequestHistory::Pending,
    ]
}

/// The table with its rows as masks and values.
pub(crate) struct Reference {
    rows: Vec<(u16, u16, Answer)>,
}

impl Reference {
    pub(crate) fn new() -> Self {
        let bits = |row: &str, one: &dyn Fn(char) -> bool| {
            row.chars().enumerate().filter(|(_, c)| one(*c)).fold(0_u16, |sum, (i, _)| sum | 1 << i)
        };
        let compiled = |(row, answer): &(&str, Answer)| {
            (bits(row, &|column| column != '.'), bits(row, &|column| column == '1'), *answer)
        };
        Self { rows: TABLE.iter().map(compiled).collect() }
    }

    pub(crate) fn answer(&self, profile: Profile, s: &Situation) -> Answer {
        let asked = columns(profile, s).iter().rev().fold(0_u16, |sum, on| sum << 1 | u16::from(*on));
        let mut fitting = self.rows.iter().filter(|(mask, value, _)| asked & mask == *value);
        let (_, _, (outcome, code, heard)) = fitting.next().expect("a row fits");
        assert!(fitting.next().is_none(), "one row fits: {s:?}");
        let way_in = ways_in(profile, s).trailing_zeros() as usize;
        let words = match way_in {
            0 => ("GRANT", "GRANT", ""),
            1 => ("DM_GRANT", "DM_GRANT", ""),
            _ => AUDIENCES.get(way_in - 2).copied().unwrap_or_default(),
        };
        let code = match *code {
            WAY_IN => words.0,
            OUTSIDE => match s.callee.audience.bits() {
                0 => "AUDIENCE_NOBODY",
                set if set.is_power_of_two() => AUDIENCES[set.trailing_zeros() as usize].2,
                _ => "OUTSIDE_AUDIENCE",
            },
            code => code,
        };
        (outcome, code, if *heard == HEARD_OF_WAY_IN { words.1 } else { heard })
    }
}

/// All that counts as a yes without asking, and all that leaves room for one: privacy switch, setting, mutual contact.
const YES: [(bool, DirectSetting, bool); 3] = [
    (false, DirectSetting::Anyone, false),
    (false, DirectSetting::Anyone, true),
    (false, DirectSetting::Mutuals, true),
];
const ROOM_FOR_YES: [(bool, DirectSetting, bool); 2] =
    [(false, DirectSetting::Ask, false), (false, DirectSetting::Ask, true)];

pub(crate) fn consent(own: &PrivacySettings, mutual: bool) -> DirectConsent {
    let asked = (own.enhanced_call_privacy, own.direct, mutual);
    match (YES.contains(&asked), ROOM_FOR_YES.contains(&asked)) {
        (true, _) => DirectConsent::Given,
        (_, true) => DirectConsent::NotGiven,
        _ => DirectConsent::Never,
    }
}
