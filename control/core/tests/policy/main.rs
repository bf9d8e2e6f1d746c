//! The policy over its whole state space, against a second implementation; what must never happen; the press's rows.

mod document;
mod passes;
mod press;
mod properties;
mod reference;
mod space;
mod whole_space;
