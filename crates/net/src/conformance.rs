//! What every [`Carrier`] has to do: called in one line by the tests of each.

use bytes::Bytes;
use shards::{DriveState, Frame, Presence, ScrubBudget, ShardError, ShardHeader, ShardId};
use types::limits::FRAME_BYTES;
use types::{BlobId, CopyId, DriveId, SessionId};

use crate::Carrier;

/// Runs the suite on `drive`, which is up, has no shards and room for 32 MiB; `away` is no drive of the carrier.
///
/// # Panics
/// When the carrier does not conform.
pub async fn run(carrier: &dyn Carrier, drive: DriveId, away: DriveId) {
    let headers: Vec<ShardHeader> =
        [0, 1, 5000, 70_000, 3_000_000].into_iter().zip(1..).map(|(l, n)| header(n, l)).collect();
    for header in &headers {
        write(carrier, drive, header).await.expect("committed");
        read_back(carrier, drive, header).await;
    }
    listing(carrier, drive, &headers).await;
    upkeep(carrier, drive, &headers).await;
    refusals(carrier, drive).await;
    absence(carrier, away, &headers).await;
    for header in &headers {
        assert_eq!(carrier.delete(drive, header.id).await, Ok(true));
        assert_eq!(carrier.delete(drive, header.id).await, Ok(false));
        let gone = Err(ShardError::NotFound(header.id));
        assert_eq!(carrier.header(drive, header.id).await, gone);
    }
    assert_eq!(carrier.list(drive, None, 10).await, Ok(Vec::new()));
}

fn header(sequence: u64, payload_len: u64) -> ShardHeader {
    let blob = BlobId { session: SessionId::new(77), sequence };
    let id = ShardId { blob, index: 1, copy: CopyId::new(!sequence) };
    let (blob_len, home) = (2 * payload_len, sequence);
    ShardHeader { id, data_shards: 2, parity_shards: 1, blob_len, payload_len, home }
}

fn frames(header: &ShardHeader) -> Vec<Frame> {
    let block = Bytes::from((0..FRAME_BYTES).map(|n| n as u8).collect::<Vec<u8>>());
    (0..header.frames())
        .map(|n| Frame::seal(&header.id, n, block.slice(..header.frame_len(n))))
        .collect()
}

async fn write(
    carrier: &dyn Carrier,
    drive: DriveId,
    header: &ShardHeader,
) -> Result<(), ShardError> {
    let mut writer = carrier.create(drive, *header).await?;
    for chunk in frames(header).chunks(3) {
        writer.write(chunk.to_vec()).await?;
    }
    writer.commit().await
}

async fn read_back(carrier: &dyn Carrier, drive: DriveId, header: &ShardHeader) {
    assert_eq!(carrier.header(drive, header.id).await.as_ref(), Ok(header));
    let all = frames(header);
    let read = carrier.read(drive, header.id, 0, 1000).await.expect("frames");
    assert_eq!(read, all);
    let last = header.frames().saturating_sub(1);
    let tail = carrier.read(drive, header.id, last, 1).await.expect("frames");
    assert!(all.ends_with(&tail));
    assert_eq!(carrier.read(drive, header.id, header.frames(), 1).await, Ok(Vec::new()));
}

async fn listing(carrier: &dyn Carrier, drive: DriveId, headers: &[ShardHeader]) {
    let mut after = None;
    for page in headers.chunks(2) {
        let listed = carrier.list(drive, after, 2).await.expect("a page");
        assert_eq!(listed, page);
        after = page.last().map(|header| header.id);
    }
    assert_eq!(carrier.list(drive, after, 2).await, Ok(Vec::new()));
    let status = carrier.status(drive).await;
    assert_eq!(status.state, DriveState::Up);
    assert!(status.used_bytes >= headers.iter().map(|h| h.payload_len).sum());
}

/// What the drive has is seen whole, in slices and by asking for it, and compaction changes nothing of that.
async fn upkeep(carrier: &dyn Carrier, drive: DriveId, headers: &[ShardHeader]) {
    let ids = headers.iter().map(|header| header.id).chain([header(51, 9).id]).collect();
    let mut expected = vec![Presence::Whole; headers.len()];
    expected.push(Presence::Absent);
    assert_eq!(carrier.presence(drive, ids).await, Ok(expected));
    assert!(carrier.compact(drive, 1 << 20).await.is_ok());
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let budget = ScrubBudget { bytes: 100_000, shards: 2 };
        let slice = carrier.scrub(drive, after, budget).await.expect("a slice");
        assert!(slice.seen.len() <= 2);
        seen.extend(slice.seen);
        after = slice.next;
        if after.is_none() {
            break;
        }
    }
    assert!(seen.iter().all(|shard| shard.is_whole()));
    let seen: Vec<_> = seen.into_iter().filter_map(|shard| shard.header).collect();
    assert_eq!(seen, headers);
}

async fn refusals(carrier: &dyn Carrier, drive: DriveId) {
    for len in [5000, 2_000_000] {
        let header = header(50, len);
        let misuse = Err(ShardError::Misuse(header.id));
        let writer = carrier.create(drive, header).await.expect("begun");
        assert_eq!(writer.commit().await, misuse, "frames are missing");
        let mut writer = carrier.create(drive, header).await.expect("begun");
        writer.write(frames(&header)).await.expect("accepted");
        drop(writer);
        let gone = Err(ShardError::NotFound(header.id));
        assert_eq!(carrier.header(drive, header.id).await, gone, "it was not committed");
    }
}

async fn absence(carrier: &dyn Carrier, away: DriveId, headers: &[ShardHeader]) {
    let Some(header) = headers.first() else { return };
    assert_eq!(write(carrier, away, header).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.read(away, header.id, 0, 1).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.header(away, header.id).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.delete(away, header.id).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.list(away, None, 1).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.presence(away, vec![header.id]).await, Err(ShardError::Away(away)));
    let budget = ScrubBudget { bytes: 1, shards: 1 };
    assert_eq!(carrier.scrub(away, None, budget).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.compact(away, 1).await, Err(ShardError::Away(away)));
    assert_eq!(carrier.status(away).await.state, DriveState::Away);
}
