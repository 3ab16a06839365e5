//! `Host` (RFC 9112, section 3.2): every request of HTTP/1.1 says once whom it is for. Two readers of one connection that
//! disagree about it can be played off against each other.

use poem::{
    Addr, Request,
    http::{Version, header, uri::Authority},
};

use super::Problem;

/// 400 for a request off a connection that names no host, several, or none that could be one.
pub fn check(request: &Request) -> Result<(), Problem> {
    if !matches!(request.remote_addr().0, Addr::SocketAddr(_)) {
        // Made in this process: nobody else reads it.
        return Ok(());
    }
    let mut given = request.headers().get_all(header::HOST).iter();
    let needed = request.version() == Version::HTTP_11;
    match (given.next(), given.next()) {
        (None, _) if needed => wrong("the request has no Host header"),
        (_, Some(_)) => wrong("the request has more than one Host header"),
        (Some(host), None) => match host.to_str().map(str::trim) {
            // As RFC 9112 has it for a target without an authority.
            Ok("") => Ok(()),
            Ok(host) if host.parse::<Authority>().is_ok() && !host.contains('@') => Ok(()),
            _ => wrong("the Host header names no host"),
        },
        (None, None) => Ok(()),
    }
}

fn wrong(detail: &'static str) -> Result<(), Problem> {
    Err(Problem::malformed("malformed_host", detail))
}
