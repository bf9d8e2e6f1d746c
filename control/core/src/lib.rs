//! Who may call whom, and what a call does next: pure decisions, no I/O.
