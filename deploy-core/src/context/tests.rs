//! A permit, as a step meets it.

use super::*;
use crate::{clock::TokioClock, context::LocalSecrets, error::EffectState};

pub(super) fn plan() -> Plan {
    let can = crate::model::Capabilities::new(crate::model::WriteGuard::None, crate::model::Lateness::NONE);
    let revision = crate::model::Revision::new("r1", [], Value::Null);
    let now =
        crate::model::Snapshot::new(Timestamp::default(), "test", Default::default(), can, revision.clone());
    let name = crate::model::TargetName::new("shop", "production").unwrap();
    Plan::new(name, crate::model::Goal::Adopt, &now, vec![crate::model::Claim::from("c")], revision)
}

/// An effect under a permit of this window, whose process is paused for so long between the granting of the permit and the
/// step's hearing of it, and between that and the sending.
async fn send_after(window_ms: u64, deaf_ms: u64, pause_ms: u64) -> (Result<Value>, bool) {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000)));
    let (to_driver, mut from_step) = mpsc::unbounded_channel();
    let cx = StepContext::new(StepSetting {
        step: StepId::from("update"),
        attempt: 1,
        rollout: RolloutId::from("r"),
        outputs: Outputs::new(),
        going_back: false,
        key: StoreKey::new(vec![1]),
        clock: Arc::clone(&clock),
        secrets: Arc::new(LocalSecrets),
        to_driver,
        interrupted: watch::channel(false).1,
        plan: Arc::new(plan()),
        check_clock: true,
    });
    let granted_by = Arc::clone(&clock);
    let granting = tokio::spawn(async move {
        while let Some(said) = from_step.recv().await {
            if let FromStep::Ask(_, answer) = said {
                let grant = Grant {
                    intent: 1,
                    fence: Fence(1),
                    signed_at: Timestamp::from_millis(0),
                    window_ms,
                    attempt_ms: 60_000,
                };
                let send_by = granted_by.elapsed() + Duration::from_millis(window_ms);
                granted_by.sleep(Duration::from_millis(deaf_ms)).await;
                let _ = answer.send(Answer::Grant(grant, send_by));
            }
        }
    });
    let sent = std::sync::atomic::AtomicBool::new(false);
    let result = cx
        .effect("k", "v")
        .idempotent(|permit| {
            let (sent, clock) = (&sent, Arc::clone(&clock));
            async move {
                clock.sleep(Duration::from_millis(pause_ms)).await;
                permit.check()?;
                sent.store(true, std::sync::atomic::Ordering::Relaxed);
                Ok(Value::Null)
            }
        })
        .await;
    drop(cx);
    granting.await.unwrap();
    (result, sent.load(std::sync::atomic::Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_nothing_is_sent_under_an_old_permit() {
    let (result, sent) = send_after(30_000, 0, 29_999).await;
    assert!(result.is_ok() && sent);
    for (window, deaf, pause) in
        [(30_000, 0, 30_000), (30_000, 0, 31_000), (30_000, 121_000, 0), (30_000, 20_000, 10_000), (0, 0, 0)]
    {
        let (result, sent) = send_after(window, deaf, pause).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::LeaseLost, EffectState::NotApplied));
        assert!(!sent, "a window of {window} ms, and pauses of {deaf} and {pause} ms");
    }
}
