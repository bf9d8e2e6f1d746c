//! The tables of `docs/policy.md`, found by asking the policy about every situation there is. `make policy` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use duocast_model::{Audience, AudienceSet, DirectConsent, DirectSetting, PrivacySettings, Strangers};

use super::decision::{legs, standing};
use super::press::{self, Direction};
use super::rules::{RULES, ruled};
use super::situation::{Profile, Relation, RequestHistory, Situation};
use super::verdict::{DenyReason, Outcome, Told, Verdict};
use super::{POLICY_VERSION, incoming};

/// A marker is missing from the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "docs/policy.md has no part between \"<!-- table: {0} -->\" and \"<!-- end -->\": put the two lines back"
)]
pub struct MarkerMissing(&'static str);

/// The document with its tables as the code has them now; what stands around them stays.
pub fn document(present: &str) -> Result<String, MarkerMissing> {
    let seen = Seen::everywhere();
    let tables = [
        ("rules", seen.rules()),
        ("caller", told("The caller reads", &seen.to_caller)),
        ("callee", told("The callee reads", &seen.to_callee)),
        ("consent", consents()),
        ("legs", leg_table()),
        ("defaults", defaults()),
        ("press", press_table()),
    ];
    tables
        .into_iter()
        .try_fold(present.to_owned(), |document, (name, table)| replace(&document, name, &table))
}

fn replace(document: &str, name: &'static str, table: &str) -> Result<String, MarkerMissing> {
    let open = format!("<!-- table: {name} -->\n");
    let (before, rest) = document.split_once(&open).ok_or(MarkerMissing(name))?;
    let (_, after) = rest.split_once("<!-- end -->").ok_or(MarkerMissing(name))?;
    Ok(format!("{before}{open}{table}<!-- end -->{after}"))
}

/// What the policy said, over all situations.
struct Seen {
    /// For each rule: in which profiles it decided something.
    profiles: Vec<BTreeSet<&'static str>>,
    /// For each rule: answer, reason codes and what the caller hears.
    answers: Vec<BTreeMap<(Outcome, &'static str), BTreeSet<&'static str>>>,
    to_caller: BTreeMap<(Outcome, &'static str), &'static str>,
    to_callee: BTreeMap<(Outcome, &'static str), &'static str>,
}

impl Seen {
    fn everywhere() -> Self {
        let mut seen = Self {
            profiles: vec![BTreeSet::new(); RULES.len()],
            answers: vec![BTreeMap::new(); RULES.len()],
            to_caller: BTreeMap::new(),
            to_callee: BTreeMap::new(),
        };
        let oneself = Verdict::Deny(DenyReason::Oneself).to_caller();
        seen.to_caller.insert((oneself.outcome, oneself.words.code), oneself.words.sentence);
        // Most situations repeat an answer; the maps see each once for each rule and profile.
        let mut known = BTreeSet::new();
        for profile in Profile::ALL {
            for situation in situations() {
                let (rule, verdict) = ruled(profile, &situation);
                if known.insert((profile.name(), rule, verdict.code())) {
                    seen.note(profile, rule, verdict, incoming(profile, &situation));
                }
            }
        }
        seen
    }

    fn note(&mut self, profile: Profile, rule: usize, verdict: Verdict, callee: Told) {
        let caller = verdict.to_caller();
        self.profiles[rule].insert(profile.name());
        let codes = self.answers[rule].entry((verdict.outcome(), caller.words.code)).or_default();
        codes.insert(verdict.code());
        self.to_caller.insert((caller.outcome, caller.words.code), caller.words.sentence);
        self.to_callee.insert((callee.outcome, callee.words.code), callee.words.sentence);
    }

    fn rules(&self) -> String {
        let oneself = DenyReason::Oneself;
        let mut table = header(&["#", "If", "Answer", "Reason code", "The caller hears", "In"]);
        let names = [Profile::ALL[0].name(), Profile::ALL[1].name()];
        row(
            &mut table,
            &[
                "0",
                "the two are one account",
                "deny",
                &code(oneself.code()),
                &code(oneself.heard().code),
                "both",
            ],
        );
        for (index, rule) in RULES.iter().enumerate() {
            let profiles = &self.profiles[index];
            let profiles = if profiles.len() == names.len() { "both".into() } else { joined(profiles) };
            for ((outcome, heard), codes) in &self.answers[index] {
                let number = (index + 1).to_string();
                row(
                    &mut table,
                    &[&number, rule.when, outcome.name(), &joined(codes), &code(heard), &profiles],
                );
            }
        }
        table
    }
}

/// Every situation that the rules can tell apart. What they do not look at is left at its default.
fn situations() -> impl Iterator<Item = Situation> {
    const STRANGERS: [Strangers; 2] = [Strangers::Request, Strangers::Deny];
    const REQUESTS: [RequestHistory; 3] =
        [RequestHistory::None, RequestHistory::Pending, RequestHistory::Declined];
    /// Eight switches, three requests, two kinds of strangers, six relations, six audiences.
    const ALL: usize = (1 << 8) * 3 * 2 * (1 << 6) * (1 << 6);
    (0..ALL).map(|mut rest| {
        let mut choose = |of: usize| {
            let chosen = rest % of;
            rest /= of;
            chosen
        };
        let (request, strangers) = (REQUESTS[choose(3)], STRANGERS[choose(2)]);
        let audience = AudienceSet::from_bits(choose(64) as u8).expect("six audiences");
        let mut flag = || choose(2) == 1;
        let base = PrivacySettings::DEFAULT;
        Situation {
            caller: PrivacySettings { calling: flag(), require_e2ee: flag(), ..base },
            callee: PrivacySettings { calling: flag(), require_e2ee: flag(), audience, strangers, ..base },
            relation: Relation {
                caller_follows: flag(),
                callee_follows: flag(),
                in_address_book: flag(),
                caller_verified: flag(),
                dm_sent: flag(),
                dm_accepted: flag(),
            },
            grant: flag(),
            blocked_by_callee: flag(),
            blocked_by_caller: flag(),
            request,
            e2ee_available: flag(),
        }
    })
}

fn told(title: &str, said: &BTreeMap<(Outcome, &'static str), &'static str>) -> String {
    let mut codes: BTreeMap<(Outcome, &str), BTreeSet<&'static str>> = BTreeMap::new();
    for ((outcome, code), sentence) in said {
        codes.entry((*outcome, sentence)).or_default().insert(code);
    }
    let mut table = header(&["Answer", "Code", title]);
    for ((outcome, sentence), codes) in &codes {
        row(&mut table, &[outcome.name(), &joined(codes), sentence]);
    }
    table
}

const SETTINGS: [(DirectSetting, &str); 4] = [
    (DirectSetting::Never, "never"),
    (DirectSetting::Ask, "ask"),
    (DirectSetting::Mutuals, "mutuals"),
    (DirectSetting::Anyone, "anyone"),
];

const CONSENTS: [(DirectConsent, &str); 3] =
    [(DirectConsent::Never, "never"), (DirectConsent::NotGiven, "not yet"), (DirectConsent::Given, "yes")];

fn consent(consent: DirectConsent) -> &'static str {
    CONSENTS.iter().find(|(one, _)| *one == consent).map_or("", |(_, name)| name)
}

fn consents() -> String {
    let columns = ["`enhanced_call_privacy`", "`direct`", "with a mutual contact", "with anybody else"];
    let mut table = header(&columns);
    for (enhanced_call_privacy, switch) in [(true, "on"), (false, "off")] {
        for (direct, name) in SETTINGS {
            let own = PrivacySettings { enhanced_call_privacy, direct, ..PrivacySettings::DEFAULT };
            let [mutual, other] = [true, false].map(|mutual| consent(standing(&own, mutual)));
            row(&mut table, &[switch, name, mutual, other]);
        }
    }
    table
}

fn leg_table() -> String {
    let mut table = header(&["One says", "The other: never", "not yet", "yes"]);
    for (one, name) in CONSENTS {
        let [a, b, c] = CONSENTS.map(|(other, _)| legs(one, other).name());
        row(&mut table, &[name, a, b, c]);
    }
    table
}

fn defaults() -> String {
    let switch = |on: bool| if on { "on" } else { "off" }.to_owned();
    let audience = |s: &PrivacySettings| s.audience.iter().map(Audience::name).collect::<Vec<_>>().join(", ");
    let strangers = |s: &PrivacySettings| match s.strangers {
        Strangers::Request => "request".to_owned(),
        Strangers::Deny => "deny".to_owned(),
    };
    let direct = |s: &PrivacySettings| {
        SETTINGS.iter().find(|(one, _)| *one == s.direct).map_or("", |(_, name)| name).to_owned()
    };
    let mut table = header(&["Setting", "`default`", "`reported-2024`"]);
    let mut line = |name: &str, of: &dyn Fn(&PrivacySettings) -> String| {
        let [ours, theirs] = Profile::ALL.map(|profile| of(&profile.defaults()));
        row(&mut table, &[&code(name), &ours, &theirs]);
    };
    line("calling", &|s| switch(s.calling));
    line("audience", &audience);
    line("strangers", &strangers);
    line("enhanced_call_privacy", &|s| switch(s.enhanced_call_privacy));
    line("direct", &direct);
    line("require_e2ee", &|s| switch(s.require_e2ee));
    table
}

fn press_table() -> String {
    let mut table = header(&[
        "Row",
        "Situation",
        "Reported in March 2024",
        "`reported-2024`: test → real; real → test; addresses exposed",
        "`default`: the same",
    ]);
    for one in press::rows() {
        let [ours, theirs] = Profile::ALL.map(|profile| {
            let [there, back] = Direction::BOTH.map(|direction| {
                let (_, verdict) = ruled(profile, &one.situation(profile, direction));
                format!("{} {}", verdict.outcome().name(), code(verdict.code()))
            });
            format!("{there}; {back}; {}", one.exposed(profile).count())
        });
        row(&mut table, &[one.name, one.situation, one.reported, &theirs, &ours]);
    }
    let _ = write!(table, "\nPolicy version {POLICY_VERSION}.\n");
    table
}

fn code(code: &str) -> String {
    format!("`{code}`")
}

fn joined(codes: &BTreeSet<&'static str>) -> String {
    codes.iter().map(|one| code(one)).collect::<Vec<_>>().join(", ")
}

fn header(columns: &[&str]) -> String {
    let mut table = String::new();
    row(&mut table, columns);
    table.push('|');
    columns.iter().for_each(|_| table.push_str("---|"));
    table.push('\n');
    table
}

fn row(table: &mut String, cells: &[&str]) {
    table.push('|');
    for cell in cells {
        let _ = write!(table, " {cell} |");
    }
    table.push('\n');
}
