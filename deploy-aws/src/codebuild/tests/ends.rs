//! How builds end, and who ends them.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_stopped() {
    let server = Server::new();
    let making = making(&server, "0F3KQ8Z7VN", 1);
    let running = async { making.run().await.0 };
    tokio::select! {
        ended = running => panic!("{ended:?}"),
        () = seconds(&server, 10) => {}
    }
    seconds(&server, 10).await;
    assert_eq!(server.states(), ["STOPPED"]);
    // Whoever resumes it begins anew.
    make(&server, "0F3KQ8Z7VN").await.unwrap();
    assert_eq!(server.states(), ["STOPPED", "SUCCEEDED"]);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_step_stops_its_build_and_sees_it_stopped() {
    for (at, fault, text, state) in [
        (0, None, "nothing was started", None),
        (10, None, "has ended", Some("STOPPED")),
        (10, Some((Fault::Throttled, 2)), "has ended", Some("STOPPED")),
        (10, Some((Fault::ResetBefore, 1)), "has ended", Some("STOPPED")),
        (10, Some((Fault::ResetAfter, 3)), "could not be stopped", Some("STOPPED")),
        (10, Some((Fault::Malformed, 1)), "has ended", Some("STOPPED")),
        (10, Some((Fault::Denied, 1)), "could not be stopped", Some("IN_PROGRESS")),
        (10, Some((Fault::Expired, 1)), "could not be stopped", Some("IN_PROGRESS")),
        (10, Some((Fault::Hangs, 1)), "has ended", Some("STOPPED")),
    ] {
        let server = Server::new();
        server.world(|world| world.ends.push_back(("SUCCEEDED", 600)));
        if let Some((fault, times)) = fault {
            server.fault("StopBuild", fault, times);
        }
        let making = making(&server, "0F3KQ8Z7VN", 1);
        let interrupt = async {
            seconds(&server, at).await;
            making.interrupt.send_replace(true);
        };
        let began = server.clock.elapsed();
        if at == 0 {
            making.interrupt.send_replace(true);
        }
        let ((ended, _), ()) = tokio::join!(making.run(), interrupt);
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted, "{error:?}");
        assert!(error.to_string().contains(text), "{fault:?}: {error:?}");
        assert!(server.clock.elapsed() - began < Duration::from_secs(100));
        seconds(&server, 6).await;
        assert_eq!(server.states().first().map(String::as_str), state, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_meets_a_start_without_an_answer() {
    for (fault, text) in [(Fault::Hangs, "not known"), (Fault::Throttled, "nothing was started")] {
        let server = Server::new();
        server.fault("StartBuild", fault, 1_000);
        let making = making(&server, "0F3KQ8Z7VN", 1);
        let interrupt = async {
            seconds(&server, 1).await;
            making.interrupt.send_replace(true);
        };
        let ((ended, _), ()) = tokio::join!(making.run(), interrupt);
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Interrupted);
        assert!(error.to_string().contains(text) && server.called("StartBuild") <= 2, "{error:?}");
    }
    // It landed: it is found, and stopped.
    let server = Server::new();
    server.world(|world| world.ends.push_back(("SUCCEEDED", 600)));
    server.fault("StartBuild", Fault::ResetAfter, 1);
    let making = making(&server, "0F3KQ8Z7VN", 1);
    let interrupt = async {
        while server.called("StartBuild") == 0 {
            tokio::task::yield_now().await;
        }
        making.interrupt.send_replace(true);
    };
    let ((ended, _), ()) = tokio::join!(making.run(), interrupt);
    assert_eq!(
        (ended.unwrap_err().kind(), server.states()),
        (ErrorKind::Interrupted, vec!["STOPPED".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_build_of_another_deploy_is_followed_and_not_stopped() {
    let server = Server::new();
    server.world(|world| world.ends.push_back(("SUCCEEDED", 100)));
    killed_after(&server, "0F3KQ8Z7VN", 10).await;
    let other = making(&server, "0F3KQ8Z7VP", 1);
    let interrupt = async {
        seconds(&server, 10).await;
        other.interrupt.send_replace(true);
    };
    let ((ended, _), ()) = tokio::join!(other.run(), interrupt);
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().contains("0F3KQ8Z7VN/build-api began it"), "{error}");
    // Nor when it is dropped.
    let dropped = making(&server, "0F3KQ8Z7VP", 2);
    tokio::select! {
        ended = dropped.run() => panic!("{ended:?}"),
        () = seconds(&server, 10) => {}
    }
    make(&server, "0F3KQ8Z7VQ").await.unwrap();
    assert_eq!(server.states(), ["SUCCEEDED"]);
    // One that has ended is not theirs to use: the registry is asked for the image.
    make(&server, "0F3KQ8Z7VR").await.unwrap();
    assert_eq!(server.states().len(), 2);
    // And another commit, image or project is another build.
    let mut another = making(&server, "0F3KQ8Z7VS", 1);
    another.build = Build::new(another.build.repository().clone(), ".", "a".repeat(40));
    another.run().await.0.unwrap();
    assert_eq!(server.states().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_bad_end_has_its_kind() {
    use ErrorKind::*;
    for (state, kind, again, text) in [
        ("FAILED", Invalid, false, "BUILD failed: COMMAND_EXECUTION_ERROR: Error while executing command"),
        ("FAULT", Unavailable, true, "faulted"),
        ("TIMED_OUT", Unavailable, false, "timed out"),
        ("STOPPED", Conflict, false, "not by this deploy"),
        ("SURPRISE", Malformed, false, "not known here"),
    ] {
        let server = Server::new();
        server.world(|world| {
            world.ends.push_back((state, 30));
            world.log = (0..150).map(|n| (n / 10, format!("line {n}"))).collect();
            world.log.push((30, "npm ERR! token=canary-token".to_owned()));
        });
        let (ended, events) = making(&server, "0F3KQ8Z7VN", 1).run().await;
        let error = ended.unwrap_err();
        assert_eq!((error.kind(), error.retry() != Retry::Never), (kind, again), "{error:?}");
        assert!(error.to_string().contains(text) && error.to_string().contains("shop:00000000"), "{error}");
        let step = std::error::Error::source(&error).unwrap().downcast_ref::<FailedStep>().unwrap();
        assert_eq!(step.log.len(), 100);
        assert!(step.log[99].starts_with("npm ERR!") && step.log[98] == "line 149", "{step}");
        assert!(!all_of(&error).contains("canary"), "{error:?}");
        assert_eq!(lines(&events).iter().filter(|line| line.starts_with("line ")).count(), 150);
        if state != "SURPRISE" {
            let failed = ImageEvent::Step { step: "BUILD".into(), state: StepState::Failed };
            assert!(events.contains(&failed), "{events:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_no_fault_of_the_commit_is_built_again_with_a_new_token() {
    let server = Server::new();
    server.world(|world| world.ends.extend([("FAULT", 5), ("FAULT", 5)]));
    for attempt in 1..=2 {
        let (ended, _) = making(&server, "0F3KQ8Z7VN", attempt).run().await;
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    making(&server, "0F3KQ8Z7VN", 3).run().await.0.unwrap();
    assert_eq!(server.states(), ["FAULT", "FAULT", "SUCCEEDED"]);
    assert!(server.clock.elapsed() < Duration::from_secs(300), "within the life of the first token");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_stop_is_said_and_not_fought() {
    let server = Server::new();
    let making = making(&server, "0F3KQ8Z7VN", 1);
    let somebody = async {
        seconds(&server, 10).await;
        server.stop_newest();
    };
    let ((ended, _), ()) = tokio::join!(making.run(), somebody);
    let error = ended.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Conflict, Retry::Never));
    assert_eq!(server.called("StartBuild"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_started_is_ours_whatever_the_answer_shows_of_it() {
    let server = Server::new();
    server.world(|world| world.bare_start = true);
    let making = making(&server, "0F3KQ8Z7VN", 1);
    let interrupt = async {
        seconds(&server, 10).await;
        making.interrupt.send_replace(true);
    };
    let ((ended, _), ()) = tokio::join!(making.run(), interrupt);
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(server.states(), ["STOPPED"]);
}
