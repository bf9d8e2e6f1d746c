//! gRPC over HTTP/3 and HTTP/2: the server's doors and the client's channel.
