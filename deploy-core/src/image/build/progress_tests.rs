use bollard::errors::Error as BollardError;
use bollard_buildkit_proto::moby::buildkit::v1::VertexLog;

use super::*;
use crate::{image::event::ImageEventStream, model::Secret};

fn progress(builder: BuilderKind) -> (Progress, ImageEventStream) {
    let (events, stream) = ImageEvents::channel();
    let redactor = Redactor::default();
    redactor.add(&Secret::new("canary"));
    (Progress::new(builder, redactor, events), stream)
}

async fn all(mut stream: ImageEventStream) -> Vec<ImageEvent> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event);
    }
    events
}

fn classic(text: &str) -> BuildInfo {
    BuildInfo { stream: Some(text.to_owned()), ..Default::default() }
}

fn said(text: &str) -> BollardError {
    BollardError::DockerStreamError { error: text.to_owned() }
}

fn vertex(digest: &str, name: &str, change: impl FnOnce(&mut Vertex)) -> BuildInfo {
    let mut vertex = Vertex { digest: digest.to_owned(), name: name.to_owned(), ..Default::default() };
    change(&mut vertex);
    status(StatusResponse { vertexes: vec![vertex], ..Default::default() })
}

fn log(digest: &str, text: &[u8]) -> BuildInfo {
    let log = VertexLog { vertex: digest.to_owned(), msg: text.to_vec(), ..Default::default() };
    status(StatusResponse { logs: vec![log], ..Default::default() })
}

fn status(status: StatusResponse) -> BuildInfo {
    BuildInfo { aux: Some(BuildInfoAux::BuildKit(status)), ..Default::default() }
}

fn step(error: &Error) -> FailedStep {
    std::error::Error::source(error).unwrap().downcast_ref::<FailedStep>().unwrap().clone()
}

fn unused(_: BollardError) -> Error {
    panic!("it is about a step")
}

#[tokio::test]
async fn the_classic_builders_stream_becomes_steps_and_lines() {
    let (mut progress, stream) = progress(BuilderKind::Classic);
    for text in [
        "Step 1/3 : FROM scratch",
        "\n",
        " ---> \n",
        "Step 2/3 : COPY tool /tool",
        "\n",
        " ---> Using cache\n",
        " ---> 02f6a0903554\n",
        "Step 3/3 : RUN [\"/tool\"]",
        "\n",
        " ---> Running in baff20deb340\n",
        "one\nthe can",
        "ary\nla",
    ] {
        progress.heard(classic(text));
    }
    let error = progress.failed(said("The command '/tool' returned a non-zero code: 7"), unused);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let expected =
        "the build failed at Step 3/3 : RUN [\"/tool\"], with exit code 7: la (correct it in a new commit)";
    assert_eq!(error.to_string(), expected);
    assert_eq!(step(&error).log, ["one", "the ***", "la"]);
    drop(progress);
    let events = all(stream).await;
    let states: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            ImageEvent::Step { step, state } => Some((step.get(..8)?, *state)),
            _ => None,
        })
        .collect();
    let expected = [
        ("Step 1/3", StepState::Running),
        ("Step 1/3", StepState::Done),
        ("Step 2/3", StepState::Running),
        ("Step 2/3", StepState::Cached),
        ("Step 3/3", StepState::Running),
        ("Step 3/3", StepState::Failed),
    ];
    assert_eq!(states, expected);
    assert!(!format!("{events:?} {error:?}").contains("canary"));
}

#[tokio::test]
async fn buildkits_trace_becomes_steps_and_lines() {
    let (mut progress, stream) = progress(BuilderKind::BuildKit);
    progress.heard(vertex("a", "[1/2] COPY canary", |vertex| vertex.cached = true));
    progress.heard(vertex("b", "[2/2] RUN make", |vertex| vertex.started = Some(Default::default())));
    progress.heard(log("b", b"50%\r100% ca"));
    progress.heard(log("b", b"nary\r\nmake: *** no rule\n"));
    progress.heard(log("unknown", b"x\n"));
    progress.heard(vertex("b", "[2/2] RUN make", |vertex| vertex.error = "exit code: 2".into()));
    progress.heard(vertex("c", "[x] RUN other", |vertex| vertex.error = "context canceled".into()));
    let error = progress.failed(said("executor failed running [/bin/sh -c make]: exit code: 2"), unused);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let failed = step(&error);
    assert_eq!((failed.step.as_str(), failed.log.len()), ("[2/2] RUN make", 2));
    assert_eq!(failed.log[0], "100% ***");
    drop(progress);
    let events = all(stream).await;
    let failures = events.iter().filter(|event| {
        matches!(event, ImageEvent::Step { step, state: StepState::Failed } if step == "[2/2] RUN make")
    });
    assert_eq!(failures.count(), 1);
    assert!(events.contains(&ImageEvent::Step { step: "[1/2] COPY ***".into(), state: StepState::Cached }));
}

#[test]
fn how_a_step_ended_decides_the_kind() {
    for (line, text, kind) in [
        ("oh no", "process \"/bin/sh -c x\" did not complete successfully: exit code: 1", ErrorKind::Invalid),
        (
            "write: No space left on device",
            "executor failed running [x]: exit code: 5",
            ErrorKind::Unavailable,
        ),
        ("working", "executor failed running [x]: exit code: 137", ErrorKind::Unavailable),
    ] {
        let (mut progress, _stream) = progress(BuilderKind::BuildKit);
        progress.heard(vertex("b", "RUN x", |vertex| vertex.started = Some(Default::default())));
        progress.heard(log("b", format!("{line}\n").as_bytes()));
        let error = progress.failed(said(text), unused);
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_eq!(step(&error).log, [line]);
    }
}

#[test]
fn an_engine_that_is_gone_leaves_the_step_and_its_log() {
    let (mut progress, _stream) = progress(BuilderKind::BuildKit);
    progress.heard(vertex("b", "RUN x", |vertex| vertex.started = Some(Default::default())));
    progress.heard(log("b", b"half a li"));
    let error = progress.broken_off();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Always));
    assert_eq!(step(&error).log, ["half a li"]);
    assert!(error.to_string().starts_with("at RUN x: "), "{error}");
}

#[test]
fn only_the_last_lines_are_kept_and_none_is_endless() {
    let (mut progress, _stream) = progress(BuilderKind::BuildKit);
    progress.heard(vertex("b", "RUN yes", |vertex| vertex.started = Some(Default::default())));
    let text: String = (0..1000).map(|n| format!("{n}\n")).collect();
    progress.heard(log("b", text.as_bytes()));
    for _ in 0..10 {
        progress.heard(log("b", &[b'y'; LINE_BYTES_MAX]));
    }
    let failed = step(&progress.broken_off());
    assert_eq!(failed.log.len(), LINES_KEPT);
    assert_eq!(failed.log[0], "910");
}
