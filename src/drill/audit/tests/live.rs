use super::*;
use crate::drill::record::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

#[tokio::test]
async fn live() {
    let Ok(file) = std::env::var("AUDIT_LIVE") else { return };
    let e: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let http = e["http"].as_str().unwrap().to_owned();
    let c = reqwest::Client::new();
    let mut record = Record::default();
    let mut n = 0u128;
    let run = Uuid::now_v7().simple().to_string();
    let mut send = async |record: &mut Record,
                          user: Option<&User>,
                          method: &'static str,
                          path: String,
                          about: Option<Uuid>,
                          key: Option<String>,
                          kind: Kind,
                          marker: Option<String>,
                          body: Value,
                          valid: bool| {
        n += 1;
        let trace = format!("{:016x}{:016x}", u64::from_str_radix(&run[0..16], 16).unwrap(), n);
        let at = Instant::now();
        let mut r = c
            .request(method.parse().unwrap(), format!("{http}{path}"))
            .json(&body)
            .header("traceparent", format!("00-{trace}-00000000000000aa-01"));
        if let Some(u) = user {
            r = r.bearer_auth(&u.token);
        }
        if let Some(k) = &key {
            r = r.header("idempotency-key", k);
        }
        let a = r.send().await.unwrap();
        let status = a.status().as_u16();
        let replayed = a.headers().contains_key("idempotent-replayed");
        let b: Value = a.json().await.unwrap();
        let outcome = if status < 300 {
            Outcome::Accepted {
                status,
                id: b["id"].as_str().unwrap().parse().unwrap(),
                version: b["version"].as_i64().unwrap(),
                position: b["position"].as_i64().unwrap(),
                replayed,
            }
        } else if status < 500 {
            Outcome::Refused { status, code: b["code"].to_string() }
        } else {
            Outcome::Unknown { why: status.to_string() }
        };
        record.answers.push(Answer {
            command: true,
            process: 0,
            at,
            took: at.elapsed(),
            patience: Duration::ZERO,
            status: Some(status),
            given_up: false,
            retry_after: false,
            well_formed: true,
        });
        record.sent.push(Sent {
            user: user.map(|u| u.id),
            method,
            path,
            about,
            key,
            kind,
            marker,
            trace,
            is_valid: valid,
            outcome: outcome.clone(),
            at,
        });
        match outcome {
            Outcome::Accepted { id, .. } => Some(id),
            _ => None,
        }
    };
    for i in 0..3 {
        let name = format!("mark{run}u{i}");
        let password = format!("pass-{run}{i}");
        let id = send(
            &mut record,
            None,
            "POST",
            "/api/v1/auth/register".into(),
            None,
            Some(format!("k{run}{i}")),
            Kind::Register,
            Some(name.clone()),
            json!({"email": format!("{name}@x.example"), "username": name, "password": password}),
            true,
        )
        .await
        .unwrap();
        send(
            &mut record,
            None,
            "POST",
            "/api/v1/auth/register".into(),
            None,
            Some(format!("k{run}{i}")),
            Kind::Register,
            Some(name.clone()),
            json!({"email": format!("{name}@x.example"), "username": name, "password": password}),
            true,
        )
        .await
        .unwrap();
        let t: Value = c
            .post(format!("{http}/api/v1/auth/login"))
            .json(&json!({"email": format!("{name}@x.example"), "password": password}))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let token = t["access_token"].as_str().unwrap().to_owned();
        record.secrets.push(Secret { what: "a password", text: password });
        record.secrets.push(Secret { what: "a token", text: token.clone() });
        record.users.push(User { id, email: format!("{name}@x.example"), is_admin: i == 0, token });
    }
    let admin = record.users[0].clone();
    let m = format!("mark{run}s");
    let s = send(
        &mut record,
        Some(&admin),
        "POST",
        "/api/v1/specialties".into(),
        None,
        None,
        Kind::CreateSpecialty,
        Some(m.clone()),
        json!({"name": m, "description": "d"}),
        true,
    )
    .await
    .unwrap();
    let m = format!("mark{run}ss");
    let ss = send(
        &mut record,
        Some(&admin),
        "POST",
        "/api/v1/sub-specialties".into(),
        None,
        None,
        Kind::CreateSubSpecialty,
        Some(m.clone()),
        json!({"specialty_id": s, "name": m, "description": "d"}),
        true,
    )
    .await
    .unwrap();
    for (i, u) in record.users.clone().iter().enumerate().skip(1) {
        let m = format!("mark{run}x{i}");
        send(
            &mut record,
            Some(u),
            "POST",
            "/api/v1/specialties".into(),
            None,
            None,
            Kind::CreateSpecialty,
            Some(m.clone()),
            json!({"name": m, "description": "d"}),
            false,
        )
        .await;
        let m = format!("mark{run}p{i}");
        let p = send(&mut record, Some(u), "POST", "/api/v1/expert-prompts".into(), None, None, Kind::CreatePrompt, Some(m.clone()), json!({"sub_specialty_id": ss, "title": m, "content": "Hello {{ name }}", "variables": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}, "llm_provider": "echo", "model": "", "parameters": {"temperature": 0.5}, "is_public": false}), true).await.unwrap();
        let m = format!("mark{run}r{i}");
        send(
            &mut record,
            Some(u),
            "PATCH",
            format!("/api/v1/expert-prompts/{p}"),
            Some(p),
            None,
            Kind::RevisePrompt,
            Some(m.clone()),
            json!({"title": m}),
            true,
        )
        .await
        .unwrap();
        let mut last = None;
        for j in 0..400 {
            let m = format!("mark{run}e{i}-{j:05}");
            let key = (j % 10 == 0).then(|| format!("key{run}-{i}-{j}"));
            for _ in 0..if j % 10 == 0 { 2 } else { 1 } {
                last = send(
                    &mut record,
                    Some(u),
                    "POST",
                    format!("/api/v1/execute-prompt/{p}"),
                    Some(p),
                    key.clone(),
                    Kind::Execute,
                    Some(m.clone()),
                    json!({"variables": {"name": m}}),
                    true,
                )
                .await;
            }
            if j % 7 == 0 {
                let m = format!("mark{run}c{i}-{j:05}");
                let path = format!("/api/v1/executions/{}/cancel", last.unwrap());
                send(
                    &mut record,
                    Some(u),
                    "POST",
                    path,
                    last,
                    None,
                    Kind::Cancel,
                    Some(m.clone()),
                    json!({"reason": m}),
                    true,
                )
                .await;
                let path = format!("/api/v1/executions/{}/retry", last.unwrap());
                send(&mut record, Some(u), "POST", path, last, None, Kind::Retry, None, json!({}), true).await;
            }
        }
    }
    let folder = PathBuf::from(&file).parent().unwrap().to_owned();
    let now = Instant::now();
    record.outages.push(Outage {
        part: Part::Nats,
        fault: "x".into(),
        process: None,
        silent: false,
        from: record.answers[0].at,
        to: now,
    });
    record.resident.insert("x".into(), Resident { most: 1, last: 1, samples: 1 });
    let target = Target {
        command_url: http.clone(),
        query_url: http.clone(),
        processes: vec![("up".into(), http.clone())],
        database_url: e["database_url"].as_str().unwrap().into(),
        nats_url: e["nats_url"].as_str().unwrap().into(),
        logs: vec![folder.parent().unwrap().join("up.log")],
        folder,
    };
    let t = Instant::now();
    let verdict = super::super::run(&record, &target, Instant::now() + Duration::from_secs(20)).await.unwrap();
    println!("{}", serde_json::to_string_pretty(&verdict).unwrap());
    println!("audit took {:?}", t.elapsed());
}
