//! I7: what must not get out.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, Engine as _};
use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::{AssertSqlSafe, Row as _};

use super::{Finding, Promise, Scene, needles::Needles};
use crate::drill::record::Secret;
use crate::message::Bus;

pub(super) const PROMISE: Promise =
    ("I7", "no password, token or key is in an event, a message, a log line or a row; password hashes are apart");

/// How every hash of a password begins.
const HASH: &str = "$argon2";

/// What is looked for, in every form in which it could get out unseen.
struct Wanted<'a> {
    needles: Needles,
    what: Vec<&'a str>,
}

/// Looks for every secret everywhere. What got out, got out: every breach is final.
pub(super) async fn kept(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let secrets = &scene.record.secrets;
    found.check(!secrets.is_empty(), || "no secret is known that could be looked for".to_owned());
    let wanted = Wanted::new(secrets)?;
    let places = [
        ("rows looked through", rows(scene, &wanted, &mut found).await?),
        ("messages looked through", messages(scene, &wanted, &mut found).await?),
        ("lines of logs looked through", logs(scene, &wanted, &mut found)?),
    ];
    for (what, count) in places {
        found.seen(count);
        found.figure(what, count as u64);
        found.check(count > 0, || format!("no {what}, so nothing is proved"));
    }
    found.figure("secrets", secrets.len() as u64);
    apart(scene, &mut found).await?;
    Ok(found)
}

impl<'a> Wanted<'a> {
    fn new(secrets: &'a [Secret]) -> anyhow::Result<Self> {
        let (mut what, mut forms) = (vec!["the hash of a password"], vec![(HASH.to_owned(), 0)]);
        for Secret { what: name, text } in secrets {
            let index = what.len();
            what.push(name);
            let hex = text.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            forms.extend([text.clone(), hex, BASE64_STANDARD_NO_PAD.encode(text)].map(|form| (form, index)));
        }
        let needles =
            Needles::new(forms).context("a secret cannot be looked for: they are numbered as they were recorded")?;
        Ok(Self { needles, what })
    }

    fn look(&self, text: &str, found: &mut Finding, place: impl Fn() -> String) {
        for index in self.needles.in_text(text) {
            found.lasting(format!("{} is in {}", self.what[index], place()));
        }
    }
}

/// Every row of every table but the one that is made for secrets.
async fn rows(scene: &Scene<'_>, wanted: &Wanted<'_>, found: &mut Finding) -> anyhow::Result<usize> {
    let tables = sqlx::query(
        "select format('%I.%I', table_schema, table_name) from information_schema.tables
         where (table_schema in ('public', 'read', 'ops') or starts_with(table_schema, 'gen_')) and (table_schema, table_name) <> ('public', 'secret')
           and table_type = 'BASE TABLE'",
    );
    let mut count = 0;
    for table in tables.fetch_all(&scene.pool).await? {
        let table: String = table.try_get(0)?;
        let query = AssertSqlSafe(format!("select t::text from {table} t"));
        let mut rows = sqlx::query_scalar::<_, String>(query).fetch(&scene.pool);
        while let Some(row) = rows.try_next().await? {
            count += 1;
            wanted.look(&row, found, || {
                let beginning: String = row.chars().take(60).collect();
                format!("a row of {table}: {beginning}")
            });
        }
    }
    Ok(count)
}

/// Every message of the stream, with its headers.
async fn messages(scene: &Scene<'_>, wanted: &Wanted<'_>, found: &mut Finding) -> anyhow::Result<usize> {
    let mut bus = Bus::find(scene.bus().await?).await?;
    let count = usize::try_from(bus.info().await?.state.messages)?;
    let mut messages = bus.messages(count).await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let headers = message.headers.values().map(String::as_str);
        for text in headers.chain([message.subject.as_str(), message.payload.as_str()]) {
            wanted.look(text, found, || format!("the message {} on {}", message.sequence, message.subject));
        }
    }
    Ok(count)
}

/// Every line of every log file, of roles and of servers.
fn logs(scene: &Scene<'_>, wanted: &Wanted<'_>, found: &mut Finding) -> anyhow::Result<usize> {
    let mut files = scene.target.logs.clone();
    log_files(&scene.target.folder, &mut files)?;
    files.sort();
    files.dedup();
    let mut count = 0;
    for file in files {
        let bytes = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        count += text.lines().count();
        wanted.look(&text, found, || file.display().to_string());
    }
    Ok(count)
}

/// The log files in a folder and in those below it.
fn log_files(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("looking into {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            // PostgreSQL's own files, and the store of the bus, come and go; what is in them is looked through as rows and
            // as messages.
            if !matches!(&*name, "base" | "pg_wal" | "jetstream") {
                log_files(&path, files)?;
            }
        } else if name.ends_with(".log") || name.contains(".log.") {
            files.push(path);
        }
    }
    Ok(())
}

/// Hashes of passwords are in their own table, one for each user, beside what each session has there; and requests are kept as
/// authentication codes only.
async fn apart(scene: &Scene<'_>, found: &mut Finding) -> anyhow::Result<()> {
    let row = sqlx::query(
        "select (select count(*) from event where kind = 'user_registered') as users,
                (select count(*) from secret s join event e on e.id = s.id and e.kind = 'user_registered'
                 where s.stream = 'user' and s.kind = 'password' and starts_with(convert_from(s.value, 'utf8'), $1)) as hashes,
                (select count(*) from secret where stream <> 'session') as secrets,
                (select count(*) from event where kind = 'session_opened') as sessions,
                (select count(*) from secret where stream = 'session' and kind in ('refresh', 'client')) as of_sessions,
                (select count(*) from command) as commands,
                (select count(*) from command where octet_length(request) <> 32) as plain",
    )
    .bind(HASH)
    .fetch_one(&scene.pool)
    .await?;
    let number = |name: &str| row.try_get::<i64, _>(name);
    let (users, hashes, secrets) = (number("users")?, number("hashes")?, number("secrets")?);
    found.check(users == hashes && hashes == secrets, || {
        format!("there are {users} users, {hashes} hashes of their passwords and {secrets} secrets")
    });
    let (sessions, of_sessions) = (number("sessions")?, number("of_sessions")?);
    found.check(2 * sessions == of_sessions, || {
        format!("{sessions} sessions have {of_sessions} secrets, and not two each")
    });
    let (commands, plain) = (number("commands")?, number("plain")?);
    found.check(commands > 0 && plain == 0, || format!("{plain} of {commands} requests are kept as more than a code"));
    Ok(())
}
