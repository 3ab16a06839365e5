//! I8: who sees what.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::Row as _;
use uuid::Uuid;

use super::{Finding, Promise, Scene};
use crate::drill::record::{Reading, User};

pub(super) const PROMISE: Promise =
    ("I8", "nobody but an admin sees another's executions or private prompts, or changes them");

/// How many of the newest private things of each user are asked for by others.
const OF_EACH: i64 = 3;
/// How many users ask, and are asked for.
const USERS: usize = 8;

/// Things that only their owner may see, newest first, with their owners.
const PRIVATE: &str = "
    select '/api/v1/executions/' || id as path, owner from (
        select id, (data ->> 'user_id')::uuid as owner,
               row_number() over (partition by data ->> 'user_id' order by position desc) as n
        from event where kind = 'execution_requested') e where n <= $1
    union all
    select '/api/v1/expert-prompts/' || id, owner from (
        select id, owner, row_number() over (partition by owner order by position desc) as n from (
            select distinct on (id) id, position, (data ->> 'user_id')::uuid as owner, data ->> 'is_public' as is_public
            from event where stream = 'prompt' order by id, version desc) p
        where is_public = 'false') q where n <= $1";

/// What was read while everything was being crashed, and what is answered now.
pub(super) async fn kept(scene: &Scene<'_>) -> anyhow::Result<Finding> {
    let mut found = Finding::new(PROMISE.0, PROMISE.1);
    let mut foreign = 0;
    for reading in scene.record.readings.iter().filter(|reading| !reading.is_admin) {
        let Reading { asker, path, owner, status, seen, .. } = reading;
        let others = owner.filter(|owner| owner != asker);
        foreign += u64::from(others.is_some());
        // Nothing at all may be told of what is another's: not even that it is there.
        let told = others.is_some() && !matches!(status, 404 | 429 | 503);
        found.seen(1);
        if told {
            found.lasting(format!("{asker} asked for {path}, of {others:?}, and was answered {status}"));
        }
        if let Some(other) = seen.iter().find(|other| *other != asker) {
            found.lasting(format!("{asker} asked for {path} and saw what is {other}'s"));
        }
    }
    found.figure("times that somebody asked for what is another's under load", foreign);
    let asked = now(scene, &mut found).await?;
    found.figure("times that the auditor did", asked);
    found.check(asked > 0, || "there was nobody's to ask for, so nothing is proved".to_owned());
    Ok(found)
}

/// Everybody asks for everybody's: their own is there, another's is not.
async fn now(scene: &Scene<'_>, found: &mut Finding) -> anyhow::Result<u64> {
    let mut private: BTreeMap<Uuid, Vec<String>> = BTreeMap::new();
    for row in sqlx::query(PRIVATE).bind(OF_EACH).fetch_all(&scene.pool).await? {
        private.entry(row.try_get("owner")?).or_default().push(row.try_get("path")?);
    }
    let plain = || scene.record.users.iter().filter(|user| !user.is_admin && private.contains_key(&user.id));
    let mut asked = 0;
    for asker in plain().take(USERS) {
        lists(scene, asker, found).await?;
        for owner in plain().take(USERS) {
            for path in &private[&owner.id] {
                let (status, _) = get(scene, asker, path).await?;
                let own = asker.id == owner.id;
                asked += u64::from(!own);
                let expected = if own { 200 } else { 404 };
                found.check(status == expected, || {
                    format!("{} asked for {path} of {} and was answered {status}", asker.email, owner.email)
                });
                if !own {
                    changed(scene, asker, path, found).await?;
                }
            }
        }
    }
    Ok(asked)
}

/// What another owns cannot be changed, either: it is not even there.
async fn changed(scene: &Scene<'_>, asker: &User, path: &str, found: &mut Finding) -> anyhow::Result<()> {
    let url = format!("{}{path}", scene.target.command_url);
    let request = if path.contains("/executions/") {
        scene.http.post(format!("{url}/cancel")).json(&json!({}))
    } else {
        scene.http.patch(url).json(&json!({ "title": "another's" }))
    };
    let status = request.bearer_auth(&asker.token).send().await?.status().as_u16();
    found.check(status == 404, || format!("{} tried to change {path} and was answered {status}", asker.email));
    Ok(())
}

/// In lists there is nothing of others, either.
async fn lists(scene: &Scene<'_>, asker: &User, found: &mut Finding) -> anyhow::Result<()> {
    for path in ["/api/v1/executions?limit=100", "/api/v1/expert-prompts?limit=100"] {
        let (status, body) = get(scene, asker, path).await?;
        found.check(status == 200, || format!("{} asked for {path} and was answered {status}", asker.email));
        for item in body["items"].as_array().into_iter().flatten() {
            let public = item["is_public"].as_bool().unwrap_or(false);
            let own = item["user_id"].as_str() == Some(asker.id.to_string().as_str());
            found.check(public || own, || format!("{} saw in {path} what is {}'s", asker.email, item["user_id"]));
        }
    }
    Ok(())
}

async fn get(scene: &Scene<'_>, asker: &User, path: &str) -> anyhow::Result<(u16, Value)> {
    let url = format!("{}{path}", scene.target.query_url);
    let answer = scene.http.get(url).bearer_auth(&asker.token).send().await?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await.unwrap_or_default()))
}
