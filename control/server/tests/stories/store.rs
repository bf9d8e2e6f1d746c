//! The disk is full, or the database refuses what it is given.

use duocast_wire::v1::{CallState, EndReason};
use http::StatusCode;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::pages::get;
use crate::support::{World, eventually};

#[tokio::test]
async fn a_server_whose_calls_cannot_be_written_is_not_ready_until_they_can() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let world = World::with(|config| config.metrics = Some(handle)).await;
    world.friends(&["alice", "bob"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let gauge = async |value: &str| {
        let line = format!("duocast_control_store_writable {value}");
        get(&world, "/metrics").await.1.lines().any(|l| l == line).then_some(())
    };
    let operator = rusqlite::Connection::open(world.dir.join("duocast.db")).unwrap();
    operator.execute_batch("ALTER TABLE calls RENAME TO hidden").unwrap();

    let call = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    eventually("it is not ready, and says why", async || {
        let (response, text) = get(&world, "/ready").await;
        let is_so = response.status() == StatusCode::SERVICE_UNAVAILABLE;
        (is_so && text.contains("cannot be written")).then_some(())
    })
    .await;
    eventually("the gauge says it", async || gauge("0").await).await;

    operator.execute_batch("ALTER TABLE hidden RENAME TO calls").unwrap();
    eventually("it is ready again", async || {
        (get(&world, "/ready").await.0.status() == StatusCode::OK).then_some(())
    })
    .await;
    eventually("the gauge says it", async || gauge("1").await).await;
    alice.hang_up(&call).await.unwrap();
    assert_eq!(bob.end().await, EndReason::Cancelled);
}

#[tokio::test]
async fn a_call_whose_record_is_refused_keeps_no_other_call_from_being_written() {
    let world = World::new().await;
    world.friends(&["alice", "bob", "carol", "dave"]).await;
    let _node = world.node("n1").await;
    let alice = world.device("alice", "laptop").await;
    let mut bob = world.device("bob", "phone").await;
    let carol = world.device("carol", "laptop").await;
    let _dave = world.device("dave", "phone").await;
    let operator = rusqlite::Connection::open(world.dir.join("duocast.db")).unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON calls WHEN NEW.caller_handle = 'alice'
                  BEGIN SELECT RAISE(ABORT, 'refused'); END";
    operator.execute_batch(refuse).unwrap();

    let refused = alice.place("bob", "r1").await.unwrap();
    bob.call_is(CallState::Ringing).await;
    let kept = carol.place("dave", "r1").await.unwrap();
    eventually("the other call is written", async || {
        let mut callers = operator.prepare("SELECT caller_handle FROM calls").unwrap();
        let callers: Vec<String> = callers.query_map([], |row| row.get(0)).unwrap().flatten().collect();
        (callers == ["carol"]).then_some(())
    })
    .await;
    assert_eq!(get(&world, "/ready").await.0.status(), StatusCode::OK, "the database is well");
    carol.hang_up(&kept).await.unwrap();

    operator.execute_batch("DROP TRIGGER refuse").unwrap();
    bob.accept(&refused).await.unwrap();
    eventually("its next change is written", async || {
        let state = "SELECT state FROM calls WHERE caller_handle = 'alice'";
        let state = operator.query_row(state, [], |row| row.get::<_, String>(0));
        state.ok().filter(|state| state == "accepted")
    })
    .await;
}
