//! The one binary, as a library: so that tests start a whole server in their own process.

pub mod call;
pub mod calls;
pub mod cli;
pub mod config;
pub mod ctl;
pub mod data_dir;
pub mod demo;
pub mod logs;
pub mod metrics;
pub mod pages;
pub mod serve;
pub mod term;
