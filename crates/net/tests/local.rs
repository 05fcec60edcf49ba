//! The carrier inside one process.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use net::{Carrier, DriveState, Frame, LocalCarrier, ShardError, ShardHeader, ShardId};
use runtime::Runtime;
use runtime::disk::SimDisk;
use shards::{DRIVE_VERSION, Identity, Store, StoreOptions};
use types::{BlobId, CopyId, DriveId, NodeId, SessionId};

const DRIVE: DriveId = DriveId::new(5);

fn store() -> Arc<Store> {
    let disk = Arc::new(SimDisk::new(128 << 20, 1));
    let identity = Identity {
        v: DRIVE_VERSION,
        cluster: "00".repeat(16),
        drive: DRIVE,
        node: NodeId::new(1),
        created_at_ms: 0,
    };
    Store::format(disk.clone(), Path::new("/d"), &identity).expect("formatted");
    let options =
        StoreOptions { high_watermark: 1.0, min_free_bytes: 0, ..StoreOptions::default() };
    Store::open(disk, Runtime::simulated(1), Path::new("/d"), options).expect("opened")
}

#[tokio::test]
async fn it_conforms() {
    let carrier = LocalCarrier::new(HashMap::from([(DRIVE, store())]));
    net::conformance::run(&carrier, DRIVE, DriveId::new(6)).await;
}

#[tokio::test]
async fn a_detached_drive_is_away_until_it_is_attached_again() {
    let carrier = LocalCarrier::new(HashMap::from([(DRIVE, store())]));
    let id = ShardId {
        blob: BlobId { session: SessionId::new(1), sequence: 1 },
        index: 0,
        copy: CopyId::new(1),
    };
    let (blob_len, payload_len) = (3, 3);
    let header =
        ShardHeader { id, data_shards: 1, parity_shards: 0, blob_len, payload_len, home: 7 };
    let frame = || vec![Frame::seal(&id, 0, Bytes::from_static(b"abc"))];
    let mut writer = carrier.create(DRIVE, header).await.expect("begun");
    let store = carrier.detach(DRIVE).expect("it was there");
    assert!(carrier.detach(DRIVE).is_none() && carrier.drives().is_empty());
    assert_eq!(writer.write(frame()).await, Err(ShardError::Away(DRIVE)));
    assert_eq!(writer.commit().await, Err(ShardError::Away(DRIVE)));
    assert_eq!(carrier.status(DRIVE).await.state, DriveState::Away);

    assert!(carrier.attach(DRIVE, store).is_none());
    assert_eq!(carrier.header(DRIVE, id).await, Err(ShardError::NotFound(id)));
    let mut writer = carrier.create(DRIVE, header).await.expect("begun");
    writer.write(frame()).await.expect("accepted");
    writer.commit().await.expect("committed");
    assert_eq!(carrier.drives(), [DRIVE]);
    assert_eq!(carrier.header(DRIVE, id).await, Ok(header));
}
