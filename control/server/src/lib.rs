//! The control plane's shell: doors, services, store, sessions.
