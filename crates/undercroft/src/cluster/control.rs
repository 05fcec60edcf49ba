//! The control records that the binary owns: `/cluster` and `/layout`, JSON.

use std::sync::Arc;

use anyhow::{Context, bail};
use erasure::Geometry;
use kv::{Batch, Key, Kv, Outcome};
use placement::Layout;
use runtime::Runtime;
use serde::{Deserialize, Serialize};
use types::{AccountId, BatchId, Revision, SessionId, UnixMillis};

/// What is recorded about a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterRecord {
    /// Version of this record's format: 1.
    pub(crate) v: u32,
    /// A random 128-bit number in hex; every drive repeats it.
    pub(crate) id: String,
    /// When it was made.
    pub(crate) created_at_ms: UnixMillis,
    /// The account of keys that name none.
    pub(crate) root_account: AccountId,
    /// Every geometry that blobs were ever cut by: old blobs keep theirs when drives are added.
    pub(crate) geometries: Vec<String>,
}

impl ClusterRecord {
    /// Drives that may be lost while all are there: the smallest parity of any geometry ever used.
    pub(crate) fn parity(&self) -> usize {
        let parities = self.geometries.iter().filter_map(|text| text.parse().ok());
        parities.map(Geometry::parity).min().unwrap_or(0)
    }
}

/// Reads and writes the control records, under a writer session that is opened when it is first needed.
pub(super) struct Control {
    kv: Arc<dyn Kv>,
    runtime: Runtime,
    session: Option<SessionId>,
    sequence: u64,
    record_revision: Option<Revision>,
    layout_revision: Option<Revision>,
}

/// How often a batch is repeated when its outcome is not known.
const ATTEMPTS: u32 = 3;

impl Control {
    /// Over `kv`.
    pub(super) fn new(kv: Arc<dyn Kv>, runtime: Runtime) -> Self {
        Self {
            kv,
            runtime,
            session: None,
            sequence: 0,
            record_revision: None,
            layout_revision: None,
        }
    }

    /// The cluster's record, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub(super) async fn record(&mut self) -> anyhow::Result<Option<ClusterRecord>> {
        let found = self.kv.get(&key("/cluster")?).await.context("reading the cluster's record")?;
        let Some(found) = found else { return Ok(None) };
        self.record_revision = Some(found.revision);
        let record: ClusterRecord =
            serde_json::from_slice(&found.value).context("the cluster's record is damaged")?;
        if record.v != 1 {
            bail!(
                "the cluster's record has version {}, which this program is too old for",
                record.v
            );
        }
        Ok(Some(record))
    }

    /// The layout, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub(super) async fn layout(&mut self) -> anyhow::Result<Option<Layout>> {
        let found = self.kv.get(&key("/layout")?).await.context("reading the layout")?;
        let Some(found) = found else { return Ok(None) };
        self.layout_revision = Some(found.revision);
        serde_json::from_slice(&found.value).map(Some).context("the layout's record is damaged")
    }

    /// Makes the record of a new cluster. It is durable before any drive bears the cluster's id.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn create_record(&mut self) -> anyhow::Result<ClusterRecord> {
        let entropy = self.runtime.entropy.clone();
        // Twelve digits, the first not 0, so that spreadsheets keep them all.
        let account = 100_000_000_000 + entropy.nonzero_u64() % 900_000_000_000;
        let record = ClusterRecord {
            v: 1,
            id: format!("{:032x}", entropy.u128()),
            created_at_ms: self.runtime.clock.now(),
            root_account: AccountId::new(account).context("twelve digits are an account")?,
            geometries: Vec::new(),
        };
        let mut batch = Batch::default();
        batch.unchanged(key("/cluster")?, None).put(key("/cluster")?, serde_json::to_vec(&record)?);
        self.record_revision = Some(self.commit(batch).await?);
        Ok(record)
    }

    /// Records the layout and the geometry of new blobs, if either is new. Gives the record as it is then.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) async fn publish(
        &mut self,
        mut record: ClusterRecord,
        stored: Option<&Layout>,
        layout: &Layout,
        geometry: Geometry,
    ) -> anyhow::Result<ClusterRecord> {
        let mut batch = Batch::default();
        if stored != Some(layout) {
            let path = key("/layout")?;
            batch
                .unchanged(path.clone(), self.layout_revision)
                .put(path, serde_json::to_vec(layout)?);
        }
        if !record.geometries.contains(&geometry.to_string()) {
            record.geometries.push(geometry.to_string());
            let path = key("/cluster")?;
            batch
                .unchanged(path.clone(), self.record_revision)
                .put(path, serde_json::to_vec(&record)?);
        }
        if !batch.writes.is_empty() {
            self.commit(batch).await?;
        }
        Ok(record)
    }

    /// Ends the session, if one was opened.
    ///
    /// # Errors
    /// When that cannot be recorded.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        if let Some(session) = self.session {
            self.kv.end_session(session).await.context("ending the control session")?;
        }
        Ok(())
    }

    async fn commit(&mut self, batch: Batch) -> anyhow::Result<Revision> {
        let session = match self.session {
            Some(session) => session,
            None => {
                let session = SessionId::new(self.runtime.entropy.nonzero_u64());
                let now = self.runtime.clock.now();
                self.kv.open_session(session, "control", now).await.context("opening a session")?;
                *self.session.insert(session)
            }
        };
        self.sequence += 1;
        let id = BatchId { session, sequence: self.sequence };
        for _ in 0..ATTEMPTS {
            match self.kv.commit(id, batch.clone()).await.context("writing the control records")? {
                Outcome::Committed(revision) => return Ok(revision),
                Outcome::Conflict(_) => {
                    bail!("somebody else changed the control records meanwhile")
                }
                Outcome::Fenced => bail!("the control session was ended by somebody else"),
                Outcome::Unknown => {}
            }
        }
        bail!("nobody can say whether the control records were written; start again")
    }
}

fn key(path: &str) -> anyhow::Result<Key> {
    Key::control(path).context("a control key is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parity_is_the_least_of_all_geometries() {
        let record = |geometries: &[&str]| ClusterRecord {
            v: 1,
            id: "0".repeat(32),
            created_at_ms: UnixMillis(0),
            root_account: AccountId::new(1).expect("small"),
            geometries: geometries.iter().map(|g| (*g).to_owned()).collect(),
        };
        assert_eq!(record(&["1+0", "3+2"]).parity(), 0);
        assert_eq!(record(&["3+2", "8+2"]).parity(), 2);
        assert_eq!(record(&[]).parity(), 0);
    }

    #[test]
    fn the_stored_form_is_golden() {
        let record = ClusterRecord {
            v: 1,
            id: "00000000000000000000000000000abc".to_owned(),
            created_at_ms: UnixMillis(5),
            root_account: AccountId::new(123_456_789_012).expect("twelve digits"),
            geometries: vec!["3+2".to_owned()],
        };
        let text = r#"{"v":1,"id":"00000000000000000000000000000abc","created_at_ms":5,"root_account":"123456789012","geometries":["3+2"]}"#;
        assert_eq!(serde_json::to_string(&record).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<ClusterRecord>(text).expect("JSON"), record);
    }
}
