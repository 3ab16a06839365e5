//! What `daybook up` says when it is ready.

use std::io::{self, Write};
use std::path::Path;

use crate::endpoints::Endpoints;

/// Says where everything is and what to try, in a few lines. Passwords stay in the file that only the owner can read.
pub fn print(out: &mut impl Write, endpoints: &Endpoints<'_>, folder: &Path) -> io::Result<()> {
    let Endpoints { http, nats_url, .. } = endpoints;
    let nats = without_password(nats_url);
    writeln!(
        out,
        "
Daybook is up. Ctrl-C stops it; data is kept in {folder}.

  API    {http}/api/v1
  docs   {http}/docs  (also /redoc, /openapi.json, /asyncapi.json)
  NATS   {nats}  (events.>, read only; the URL with its password is in endpoints.json there)

Try this (the first user is the admin), then {http}/docs or the README:

  curl -s {http}/api/v1/auth/register -H 'content-type: application/json' \\
    -d '{{\"email\":\"me@example.org\",\"username\":\"me\",\"password\":\"correct horse\"}}'
",
        folder = folder.display(),
    )?;
    out.flush()
}

/// The URL as it may be shown: with neither user nor password.
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("nats://reader:hunter2@127.0.0.1:4222", "nats://127.0.0.1:4222"),
            ("nats://reader:hunt%40er@2@host:1", "nats://host:1"),
            ("tls://host:4222", "tls://host:4222"),
            ("reader:hunter2@host", "host"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
