//! Damage over the wire, by those who have the right to do it.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use futures_util::TryStreamExt as _;
use tokio::time::sleep;

/// How often a server that has just come back is asked again.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Deletes the stream of events.
pub async fn delete_stream(url: &str) -> anyhow::Result<()> {
    let jetstream = connect(url).await?;
    let stream = stream(&jetstream).await?;
    jetstream.delete_stream(&stream).await?;
    Ok(())
}

/// Deletes all consumers of the stream, those of the workers and of everybody else.
pub async fn delete_consumers(url: &str) -> anyhow::Result<()> {
    let jetstream = connect(url).await?;
    let stream = jetstream.get_stream(stream(&jetstream).await?).await?;
    let names: Vec<String> = stream.consumer_names().try_collect().await?;
    let mut last = None;
    for name in names {
        // One that ends by itself meanwhile is gone as well.
        last = stream.delete_consumer(&name).await.err().or(last);
    }
    let left: Vec<String> = stream.consumer_names().try_collect().await?;
    anyhow::ensure!(last.is_none() || left.is_empty(), "{last:?}");
    Ok(())
}

/// The name of the stream, which the relay may just be making.
async fn stream(jetstream: &jetstream::Context) -> anyhow::Result<String> {
    let mut tries = 1;
    loop {
        match jetstream.stream_by_subject("events.>").await {
            Ok(name) => return Ok(name),
            Err(error) if tries == TRIES => return Err(error).context("the stream of events"),
            Err(_) => sleep(PAUSE).await,
        }
        tries += 1;
    }
}

/// Connects as the user in the URL, each of which has inboxes of its own.
async fn connect(url: &str) -> anyhow::Result<jetstream::Context> {
    let address: async_nats::ServerAddr = url.parse().context("NATS' URL")?;
    let user = address.username().unwrap_or_default().to_owned();
    let password = address.password().unwrap_or_default().to_owned();
    let options = async_nats::ConnectOptions::with_user_and_password(user.clone(), password)
        .custom_inbox_prefix(format!("_INBOX_{user}"));
    let client = options.connect(address).await.context("NATS")?;
    Ok(jetstream::new(client))
}
