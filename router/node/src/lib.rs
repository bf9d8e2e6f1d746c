//! The media plane's shell: worker threads, batched UDP, the link to control.
