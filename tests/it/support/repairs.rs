//! Repairs a vault as `verify --repair` does: verifies, puts again what is lost, and looks again.

use std::sync::Arc;

use deltavault::Error;
use deltavault::ids::Timestamp;
use deltavault::plan::verify::{ReadBytes, VerifyPlan};
use deltavault::progress::NoProgress;
use deltavault::store::{ReadStore, WriteStore};
use deltavault::vault::Vault;
use deltavault::vault::repair::{Repaired, Repairer, outcome};
use deltavault::vault::verify::Losses;

use super::world::source;

/// Something that repairs the vault in `store` at a time, from the table in `live` and a replica.
pub(crate) async fn repairer(
    store: Arc<dyn WriteStore>,
    live: Arc<dyn ReadStore>,
    replica: Option<Arc<dyn ReadStore>>,
    now: Timestamp,
) -> Repairer {
    let readable: Arc<dyn ReadStore> = Arc::clone(&store) as Arc<dyn ReadStore>;
    Repairer {
        vault: Vault::open(readable).await.unwrap(),
        structure: Arc::clone(&store),
        store,
        open: Arc::new(move |_| {
            let live = Arc::clone(&live);
            Box::pin(async move { Ok(source(live)) })
        }),
        replica: match replica {
            Some(replica) => Some(Vault::open(replica).await.unwrap()),
            None => None,
        },
        pages: None,
        now,
        temp: std::env::temp_dir(),
        progress: Arc::new(NoProgress),
    }
}

/// What is lost, all bytes read.
pub(crate) async fn losses(vault: &Vault, now: Timestamp) -> Losses {
    let spill = tempfile::tempdir().unwrap();
    let mut found = |_| Ok(());
    let plan = VerifyPlan {
        read: ReadBytes::All,
        subset: None,
        now,
    };
    let verified = vault.verify(None, plan, spill.path(), &NoProgress, &mut found);
    verified.await.unwrap().1
}

/// Repairs until nothing more is found, as the command does.
pub(crate) async fn repair(repairer: &Repairer) -> Result<Vec<Repaired>, Error> {
    let mut all = Vec::new();
    for _ in 0..3 {
        let losses = losses(&repairer.vault, repairer.now).await;
        if losses.needed().next().is_none() {
            break;
        }
        let plan = repairer.plan(&losses).await?;
        let done = repairer.execute(plan, &mut |_| Ok(())).await?;
        let whole = outcome(&losses, &done);
        assert!(!whole.is_empty());
        let is_done = done.iter().all(|it| it.put.is_empty());
        all.extend(done);
        if is_done {
            break;
        }
    }
    Ok(all)
}
