//! The media plane's decisions: demux, legs, forwarding. No sockets, no clock.
