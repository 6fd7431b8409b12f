//! What is published was read back from the vault before: bytes that changed on their way are never believed.

use std::sync::Arc;

use deltavault::plan::restore::Mode;
use deltavault::store::ReadStore;
use deltavault::store::memory::MemoryStore;
use futures::{FutureExt, TryStreamExt};

use super::support::fault_store::FaultStore;
use super::support::table::Table;
use super::support::world::{init, request, restore_request, restorer, snapshotter, source};

#[tokio::test]
async fn a_log_page_that_went_bad_on_its_way_is_not_published() {
    let live = MemoryStore::new("s3://lake/orders");
    let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
    // A store that attests what it was sent cannot see what became of it.
    vault.inner().attest_sha256(false);
    init(&vault).await;
    let mut table = Table::create(Arc::new(live.clone()), "orders").await;
    table.append(3, 100).await;
    let inner = vault.inner().clone();
    // The first page that a first snapshot reads is the log page that it has just written.
    vault.before_call(
        1,
        |call| call.method == "open" && call.key.starts_with("pages/"),
        move || {
            async move {
                let pages: Vec<_> = inner.list("pages/", None).try_collect().await.unwrap();
                inner.flip_bit(&pages[0].key, None, 77).unwrap();
            }
            .boxed()
        },
    );
    let snapshotter = snapshotter(Arc::new(vault.clone())).await.unwrap();
    let live: Arc<dyn ReadStore> = Arc::new(live);
    let taken = snapshotter
        .take(&source(Arc::clone(&live)), &request(live.uri(), 0))
        .await;
    let done = taken.unwrap();

    let target = MemoryStore::new("s3://elsewhere/orders");
    let restorer = restorer(Arc::new(vault), Arc::new(target.clone()))
        .await
        .unwrap();
    let request = restore_request(&done, Mode::To, 1);
    let plan = restorer.plan(&request).await.unwrap();
    restorer.execute(&request, plan).await.unwrap();
    let back = Table::open(Arc::new(target));
    for (name, bytes) in table.closure().await {
        assert_eq!(back.read(&name).await, bytes, "{name}");
    }
}
