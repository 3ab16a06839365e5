//! What is not in the log and must come along all the same, passwords' hashes, in a file encrypted under a passphrase.
//!
//! The key is made of the passphrase by Argon2id (RFC 9106); with it the rest is encrypted by AES-256-GCM in chunks, whose
//! nonces count and mark the last (the construction STREAM, as in age). So memory is bounded, and a file that was changed, cut
//! short or put together anew does not open. docs/audit.md has the form.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use anyhow::{Context as _, bail};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use events::store::{KeptSecret, SecretPages};
use serde::{Deserialize, Serialize};
use service::config::Secret;
use sqlx::PgConnection;
use uuid::Uuid;

const FORMAT: &str = "daybook credentials v1";
const KDF: &str = "argon2id";
const CIPHER: &str = "aes-256-gcm";
/// The second recommended option of RFC 9106, 4: KiB of memory, passes, lanes.
const COST: (u32, u32, u32) = (65_536, 3, 4);
/// The most that a file may ask for: KiB of memory, passes, lanes.
const MOST: (u32, u32, u32) = (1 << 20, 64, 64);
/// Bytes of a chunk before it is encrypted.
const CHUNK: usize = 65_536;
const TAG: usize = 16;
/// No first line and no secret is longer, in bytes.
const LINE: u64 = 1 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: String,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: String,
    cipher: String,
    chunk: usize,
}

/// A secret as a line of what is encrypted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    stream: String,
    id: Uuid,
    kind: String,
    value: String,
}

/// Writes the secrets of all things that began up to the position `until`. Returns how many.
pub async fn write(
    database: &mut PgConnection,
    until: i64,
    passphrase: &Secret,
    out: impl Write,
) -> anyhow::Result<u64> {
    let mut closed = Closed::new(passphrase, out)?;
    let mut pages = SecretPages::new(until);
    let mut count = 0;
    loop {
        let page = pages.next(database).await?;
        if page.is_empty() {
            break;
        }
        count += page.len() as u64;
        for KeptSecret { stream, id, kind, value } in page {
            let mut line = serde_json::to_vec(&Line { stream, id, kind, value: BASE64_STANDARD.encode(value) })?;
            line.push(b'\n');
            closed.write(&line)?;
        }
    }
    closed.finish().context("the credentials cannot be written")?;
    Ok(count)
}

/// The secrets of a file, as they come. The first of them tells whether the passphrase is right.
pub fn read<R: BufRead>(
    source: R,
    passphrase: &Secret,
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<KeptSecret>> + use<R>> {
    let mut opened = io::BufReader::new(Opened::new(source, passphrase)?);
    // Before anything is begun.
    opened.fill_buf()?;
    Ok(std::iter::from_fn(move || next(&mut opened).transpose()))
}

fn next(opened: &mut impl BufRead) -> anyhow::Result<Option<KeptSecret>> {
    let mut line = Vec::new();
    if opened.take(LINE).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let Line { stream, id, kind, value } =
        serde_json::from_slice(&line).context("what was encrypted is no credential")?;
    let value = BASE64_STANDARD.decode(value).context("what was encrypted is no credential")?;
    Ok(Some(KeptSecret { stream, id, kind, value }))
}

/// The key, and the nonces of the chunks.
struct Cipher {
    key: LessSafeKey,
    /// What is not encrypted, and cannot be changed all the same.
    header: Vec<u8>,
    count: u64,
}

impl Cipher {
    fn new(header: &Header, line: Vec<u8>, passphrase: &Secret) -> anyhow::Result<Self> {
        let salt = BASE64_STANDARD.decode(&header.salt).context("the salt is not Base64")?;
        let mut key = [0; 32];
        let made = Params::new(header.memory_kib, header.passes, header.lanes, Some(key.len())).and_then(|params| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into(passphrase.expose().as_bytes(), &salt, &mut key)
        });
        made.map_err(|why| anyhow::anyhow!("no key can be made of the passphrase: {why}"))?;
        let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow::anyhow!("no key can be made"))?;
        Ok(Self { key: LessSafeKey::new(key), header: line, count: 0 })
    }

    /// Used once each: the count goes up, and the key is of this file alone, by its salt.
    fn nonce(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.count.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts what is written to it.
struct Closed<W> {
    cipher: Cipher,
    chunk: Vec<u8>,
    out: W,
}

impl<W: Write> Closed<W> {
    fn new(passphrase: &Secret, mut out: W) -> anyhow::Result<Self> {
        let (memory_kib, passes, lanes) = COST;
        let salt = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
        let own = |text: &str| text.to_owned();
        let (format, kdf, cipher) = (own(FORMAT), own(KDF), own(CIPHER));
        let header = Header { format, kdf, memory_kib, passes, lanes, salt, cipher, chunk: CHUNK };
        let line = serde_json::to_vec(&header)?;
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).context("the credentials cannot be written")?;
        Ok(Self { cipher: Cipher::new(&header, line, passphrase)?, chunk: Vec::with_capacity(CHUNK + TAG), out })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // The last chunk is the one after which nothing comes.
            if self.chunk.len() == CHUNK {
                self.put(false)?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn put(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.cipher.nonce(is_last);
        let aad = Aad::from(&self.cipher.header[..]);
        let done = self.cipher.key.seal_in_place_append_tag(nonce, aad, &mut self.chunk);
        done.map_err(|_| io::Error::other("they cannot be encrypted"))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.put(true)?;
        self.out.flush()
    }
}

/// Decrypts what is read from it.
struct Opened<R> {
    cipher: Cipher,
    source: R,
    chunk: Vec<u8>,
    read: usize,
    is_over: bool,
}

impl<R: BufRead> Opened<R> {
    fn new(mut source: R, passphrase: &Secret) -> anyhow::Result<Self> {
        let mut line = Vec::new();
        source.by_ref().take(LINE).read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\n").unwrap_or(&line).to_vec();
        let header: Header =
            serde_json::from_slice(&line).ok().context("these are no credentials of daybook log export")?;
        let Header { format, kdf, cipher, chunk, memory_kib, passes, lanes, .. } = &header;
        if (format.as_str(), kdf.as_str(), cipher.as_str(), *chunk) != (FORMAT, KDF, CIPHER, CHUNK) {
            bail!("these are {format} by {kdf} and {cipher}, and this program reads {FORMAT} by {KDF} and {CIPHER}");
        }
        if *memory_kib > MOST.0 || *passes > MOST.1 || *lanes > MOST.2 {
            let (most, most_passes, most_lanes) = MOST;
            bail!(
                "they ask for {memory_kib} KiB of memory, {passes} passes and {lanes} lanes, of at most {most}, {most_passes} and \
                 {most_lanes}"
            );
        }
        let cipher = Cipher::new(&header, line, passphrase)?;
        Ok(Self { cipher, source, chunk: Vec::new(), read: 0, is_over: false })
    }

    fn chunk(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.read = 0;
        self.source.by_ref().take((CHUNK + TAG) as u64).read_to_end(&mut self.chunk)?;
        let is_last = self.source.fill_buf()?.is_empty();
        let is_first = self.cipher.count == 0;
        let nonce = self.cipher.nonce(is_last);
        let opened = self.cipher.key.open_in_place(nonce, Aad::from(&self.cipher.header[..]), &mut self.chunk);
        let length = opened.map(|plain| plain.len()).map_err(|_| {
            let why = if is_first {
                "the passphrase is not the one that the credentials were written with, or they were changed or cut short"
            } else {
                "the credentials were changed or cut short"
            };
            io::Error::new(ErrorKind::InvalidData, why)
        })?;
        self.chunk.truncate(length);
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: BufRead> Read for Opened<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.chunk.len() {
            if self.is_over {
                return Ok(0);
            }
            self.chunk()?;
        }
        let read = (&self.chunk[self.read..]).read(into)?;
        self.read += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of so many bytes.
    fn closed(passphrase: &str, plain: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut closed = Closed::new(&Secret::from(passphrase.to_owned()), &mut file).unwrap();
        for part in plain.chunks(1_000) {
            closed.write(part).unwrap();
        }
        closed.finish().unwrap();
        file
    }

    fn opened(passphrase: &str, file: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Opened::new(file, &Secret::from(passphrase.to_owned()))?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn only_the_passphrase_opens_what_it_has_closed() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            let plain: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let file = closed("correct horse", &plain);
            assert_eq!(opened("correct horse", &file).unwrap(), plain, "{length}");
            if length > 8 {
                assert!(!file.windows(8).any(|window| window == &plain[..8]), "it is not encrypted");
            }
        }
        let file = closed("correct horse", b"secret");
        let refused = opened("correct house", &file).unwrap_err().to_string();
        assert!(refused.contains("the passphrase is not the one"), "{refused}");
    }

    #[test]
    fn what_was_changed_or_cut_short_does_not_open() {
        let plain = vec![7; 2 * CHUNK + 100];
        let file = closed("correct horse", &plain);
        let header = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let chunk = CHUNK + TAG;
        let mut swapped = file[..header].to_vec();
        swapped.extend(&file[header + chunk..header + 2 * chunk]);
        swapped.extend(&file[header..header + chunk]);
        swapped.extend(&file[header + 2 * chunk..]);
        let mut flipped = file.clone();
        flipped[header + chunk + 5] ^= 1;
        let other = String::from_utf8_lossy(&file[..header]).replace("\"passes\":3", "\"passes\":4").into_bytes();
        let cases = [
            ("a chunk less at the end", file[..header + 2 * chunk].to_vec()),
            ("half a chunk", file[..header + chunk + 9].to_vec()),
            ("nothing but the first line", file[..header].to_vec()),
            ("two exchanged", swapped),
            ("a bit flipped", flipped),
            ("another first line", [other, file[header..].to_vec()].concat()),
            ("something more", [&file[..], b"x"].concat()),
        ];
        for (what, file) in cases {
            let refused = opened("correct horse", &file).unwrap_err().to_string();
            assert!(refused.contains("changed or cut short"), "{what}: {refused}");
        }
        for (file, why) in [
            (&b""[..], "no credentials"),
            (b"{}\n", "no credentials"),
            (
                &String::from_utf8_lossy(&file[..header]).replace("65536,\"passes", "9999999,\"passes").into_bytes(),
                "at most",
            ),
            (
                &String::from_utf8_lossy(&file[..header]).replace("\"passes\":3", "\"passes\":99999").into_bytes(),
                "at most",
            ),
            (&String::from_utf8_lossy(&file[..header]).replace("v1", "v2").into_bytes(), "credentials v2"),
        ] {
            let refused = opened("correct horse", file).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
