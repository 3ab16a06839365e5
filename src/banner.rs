//! What `daybook up` says when it is ready.

use std::io::{self, Write};
use std::path::Path;

use crate::endpoints::Endpoints;

/// Says where everything is and what to try, in a few lines.
pub fn print(out: &mut impl Write, endpoints: &Endpoints<'_>, folder: &Path) -> io::Result<()> {
    let Endpoints { http, nats_url, .. } = endpoints;
    writeln!(
        out,
        "
Daybook is up. Ctrl-C stops it; data is kept in {folder}.

  API    {http}/api/v1
  docs   {http}/docs  (also /redoc, /openapi.json, /asyncapi.json)
  NATS   {nats_url}  (events.>, read only)

Try this (the first user is the admin), then {http}/docs or the README:

  curl -s {http}/api/v1/auth/register -H 'content-type: application/json' \\
    -d '{{\"email\":\"me@example.org\",\"username\":\"me\",\"password\":\"correct horse\"}}'
",
        folder = folder.display(),
    )?;
    out.flush()
}
