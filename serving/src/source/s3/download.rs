//! One object, fetched into a file: what has arrived is never asked for again while the object stays the same.

use std::path::Path;

use futures::StreamExt;
use object_store::{GetOptions, GetRange, ObjectStore};
use tokio::{
    fs::{File, OpenOptions},
    io::AsyncWriteExt,
    time::{Instant, timeout_at},
};

use super::{Bucket, Failure, Kind, Retry};
use crate::source::remote::Object;

/// Less than this within the timeout is as good as nothing.
const LEAST: u64 = 64 << 10;

impl Bucket {
    /// Fetches an object into a file, which may hold the beginning of it: of the object whose ETag is `etag`. Whatever
    /// happens, `etag` says afterwards of which object the bytes in the file are.
    pub(in crate::source) async fn fetch(
        &self,
        rest: &str,
        object: &Object,
        (file, etag): (&Path, &mut Option<String>),
    ) -> Result<(), Failure> {
        let mut retry = Retry::default();
        loop {
            let before = length(file).await;
            let failure = match self.fetch_once(rest, object, (file, &mut *etag)).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if length(file).await >= before.saturating_add(LEAST) {
                retry.progress();
            }
            retry.pause(failure).await?;
        }
    }

    async fn fetch_once(
        &self,
        rest: &str,
        object: &Object,
        (path, etag): (&Path, &mut Option<String>),
    ) -> Result<(), Failure> {
        let wanted = object.etag.clone().or_else(|| etag.clone());
        let mut there = length(path).await;
        if etag.is_none() || *etag != wanted || there > object.size {
            there = 0;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .await?;
        file.set_len(there).await?;
        if there == 0 || there < object.size {
            let options = GetOptions {
                range: (there > 0).then_some(GetRange::Bounded(there..object.size)),
                if_match: wanted.clone(),
                ..GetOptions::default()
            };
            let answer = self.store.get_opts(&self.key(rest)?, options).await?;
            let found = &answer.meta;
            // Not every server heeds If-Match.
            if found.size != object.size || (wanted.is_some() && found.e_tag != wanted) {
                return Err(Kind::Changed.into());
            }
            etag.clone_from(&found.e_tag);
            let arrived = self.receive(answer.into_stream(), &mut file).await;
            // What has arrived counts, whatever came then.
            file.flush().await?;
            arrived?;
        }
        let found = length(path).await;
        if found != object.size {
            let why = format!("{found} of {} bytes arrived", object.size);
            return Err(Kind::Passing(why).into());
        }
        file.sync_all().await?;
        Ok(())
    }

    async fn receive(
        &self,
        mut stream: impl futures::Stream<Item = object_store::Result<bytes::Bytes>> + Unpin,
        file: &mut File,
    ) -> Result<(), Failure> {
        // A link that trickles is as bad as one that is silent, and only the latter ends a read.
        let mut end = Instant::now() + self.timeout;
        let mut arrived = 0;
        loop {
            match timeout_at(end, stream.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(bytes)) => {
                    let bytes = bytes?;
                    arrived += bytes.len() as u64;
                    file.write_all(&bytes).await?;
                }
                Err(_) if arrived < LEAST => return Err(Kind::Silent(self.timeout).into()),
                Err(_) => {
                    end = Instant::now() + self.timeout;
                    arrived = 0;
                }
            }
        }
    }
}

/// Bytes in a file; none if there is no such file.
async fn length(file: &Path) -> u64 {
    tokio::fs::metadata(file).await.map_or(0, |it| it.len())
}
