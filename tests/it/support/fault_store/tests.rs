//! What a fault store does, on a store in memory.

use deltavault::store::memory::MemoryStore;
use deltavault::store::read_all;

use super::*;

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

fn store() -> FaultStore<MemoryStore> {
    FaultStore::new(MemoryStore::new("s3://bucket/root"))
}

fn is_interrupted<T: fmt::Debug>(result: Result<T, StoreError>) -> bool {
    matches!(result.unwrap_err().kind, StoreErrorKind::Interrupted)
}

#[tokio::test]
async fn a_fault_before_the_call_leaves_no_trace_and_one_after_leaves_the_object() {
    for (fault, is_there) in [(Fault::Before, false), (Fault::After, true)] {
        let store = store();
        let payload = Payload::from_bytes("x");
        store.put_new(&key("a"), &payload, None).await.unwrap();
        store.fail_call(2, fault);
        store.put_new(&key("b"), &payload, None).await.unwrap();
        assert!(is_interrupted(
            store.put_new(&key("c"), &payload, None).await
        ));
        let kept = store.inner().attributes(&key("c"), None).await;
        assert_eq!(kept.is_ok(), is_there, "{fault:?}");

        assert!(store.is_dead());
        assert!(is_interrupted(
            store.put_new(&key("d"), &payload, None).await
        ));
        assert!(is_interrupted(store.attributes(&key("a"), None).await));
        let rows: Vec<_> = store.list("", None).collect().await;
        assert!(is_interrupted(
            rows.into_iter().collect::<Result<Vec<_>, _>>()
        ));
        assert_eq!(store.calls().len(), 3);
        assert_eq!(store.calls()[2].key, "c");

        store.revive();
        store.put_new(&key("d"), &payload, None).await.unwrap();
        assert_eq!(store.count("put_new"), 1);
    }
}

#[tokio::test]
async fn every_method_can_be_the_one_that_fails() {
    let store = store();
    let now = Timestamp::UNIX_EPOCH;
    let later: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    store.inner().set_now(now);
    let written = store.inner().plant(&key("a"), "x");
    let payload = Payload::from_bytes("y");
    for method in 0..8 {
        store.revive();
        store.fail_call(1, Fault::Before);
        let a = key("a");
        let failed = match method {
            0 => is_interrupted(store.open(&a, None, None).await),
            1 => is_interrupted(store.attributes(&a, None).await),
            2 => is_interrupted(store.list("", None).try_collect::<Vec<_>>().await),
            3 => is_interrupted(store.list_versions("", None).try_collect::<Vec<_>>().await),
            4 => is_interrupted(store.put_new(&key("b"), &payload, None).await),
            5 => is_interrupted(store.extend_lock(&a, None, later).await),
            6 => is_interrupted(store.replace(&a, &payload, &written.etag).await),
            _ => is_interrupted(store.remove(&a, &written.etag).await),
        };
        assert!(failed, "method {method}");
        assert_eq!(store.calls().len(), 1);
    }
    store.revive();
    let left: Vec<_> = store.list("", None).try_collect().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].locked_until, None);
}

#[tokio::test]
async fn a_listing_counts_one_call_for_every_started_thousand() {
    for (objects, calls) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (2001, 3)] {
        let store = store();
        for number in 0..objects {
            store.inner().plant(&key(&format!("p/{number:04}")), "");
        }
        let rows: Vec<_> = store.list("p/", None).try_collect().await.unwrap();
        assert_eq!(rows.len(), objects);
        assert_eq!(store.count("list"), calls, "{objects}");

        store.revive();
        store.fail_call(2, Fault::After);
        let rows: Vec<_> = store.list_versions("p/", None).collect().await;
        assert_eq!(rows.last().is_some_and(Result::is_err), calls > 1);
        assert_eq!(
            rows.iter().filter(|row| row.is_ok()).count(),
            objects.min(1000)
        );
    }
}

#[tokio::test]
async fn a_body_ends_in_an_error_when_the_process_dies_meanwhile() {
    let store = store();
    store.inner().plant(&key("a"), vec![0; 3 << 20]);
    let mut reader = store.open(&key("a"), None, None).await.unwrap();
    reader.body.try_next().await.unwrap().unwrap();
    store.fail_call(1, Fault::Before);
    store.attributes(&key("a"), None).await.unwrap_err();
    assert!(is_interrupted(reader.body.try_next().await));
}

#[tokio::test]
async fn a_hook_acts_before_the_nth_matching_call_and_only_once() {
    let store = store();
    let planter = store.inner().clone();
    store.before_call(
        2,
        |call| call.method == "put_new",
        move || {
            Box::pin(async move {
                planter.plant(&key("b"), "first");
            })
        },
    );
    let payload = Payload::from_bytes("second");
    store.put_new(&key("a"), &payload, None).await.unwrap();
    let lost = store.put_new(&key("b"), &payload, None).await.unwrap_err();
    assert!(matches!(lost.kind, StoreErrorKind::AlreadyExists));
    store.put_new(&key("c"), &payload, None).await.unwrap();
    let (_, bytes) = read_all(&store, &key("b"), None, 100).await.unwrap();
    assert_eq!(bytes, "first");
}
