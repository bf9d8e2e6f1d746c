//! The `run` command: from a scenario to a report.
//!
//! - [`scenario`]: what is asked for, checked. [`plan`]: which call when. Pure.
//! - [`driver`], [`call`], [`ring`], [`switching`], [`broadcast`], [`seat`], [`device`], [`api`], [`accounts`], [`server`]: do it.
//! - [`fleet`]: does it with several processes. [`join`]: one report of several. Pure.
//! - [`outcome`], [`stats`], [`groups`], [`audience`], [`incidents`], [`findings`], [`keys`], [`report`], [`html`], [`history`], [`assertion`], [`compare`]: what
//!   came out. Pure.
//! - [`audio_score`]: how it sounded.

mod accounts;
mod api;
mod assertion;
mod audience;
mod audio_score;
mod broadcast;
mod call;
mod compare;
mod device;
mod driver;
mod failure;
mod figure;
mod findings;
mod fleet;
mod generator;
mod groups;
mod history;
mod html;
mod incidents;
mod join;
mod keys;
mod live;
mod outcome;
mod party;
mod plan;
mod progress;
mod report;
mod residence;
mod ring;
mod scenario;
mod seat;
mod server;
mod stats;
mod stop;
mod switching;

pub(crate) use accounts::{Account, CERT_FILE, DEV_KEY_FILE, Source, Wanted, prepare as prepare_accounts};
pub(crate) use assertion::Assertion;
pub(crate) use compare::Comparison;
pub(crate) use device::{Device, DeviceState};
pub(crate) use driver::{Options, RunError, Target, run};
pub(crate) use failure::{Failure, Stage};
pub(crate) use fleet::{Fleet, run as run_fleet};
pub(crate) use generator::{cpu_seconds, socket_drops};
pub(crate) use html::{head as html_head, html, tile as html_tile};
pub(crate) use join::{join, read as read_joinable};
pub(crate) use keys::markdown as keys_markdown;
pub(crate) use live::Live;
pub(crate) use plan::{PARTS_MAX, Part};
pub(crate) use progress::say;
pub(crate) use report::{json, table};
pub(crate) use residence::Residence;
pub(crate) use scenario::{Overrides, Scenario, parse_time};
pub(crate) use server::{ScrapeError, Watch, labelled, resident_bytes};
pub(crate) use stats::Summary;
pub(crate) use stop::{Stop, StopReason};
