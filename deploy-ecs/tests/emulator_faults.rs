//! What may go wrong between client and emulator, over the SDK's transport seam, in virtual time.

use std::time::Duration;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_ecs::error::{ProvideErrorMetadata as _, SdkError};
use deploy_ecs::emulator::{
    CallInfo, CallOutcome, Config, Emulator, FaultKind, FaultRule, ServeOptions, World,
};

fn builder(emulator: &Emulator) -> aws_sdk_ecs::config::Builder {
    aws_sdk_ecs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .http_client(emulator.http_client())
}

fn started(config: Config) -> (Emulator, Client) {
    let emulator = Emulator::new(config);
    emulator.seed_service("prod", "chat", "chat", "app", &emulator.image("chat", "ok-1"), 1).unwrap();
    let client = Client::from_conf(builder(&emulator).build());
    (emulator, client)
}

async fn scale(
    client: &Client,
    to: i32,
) -> Result<(), SdkError<aws_sdk_ecs::operation::update_service::UpdateServiceError>> {
    client.update_service().cluster("prod").service("chat").desired_count(to).send().await.map(drop)
}

async fn desired(client: &Client) -> i32 {
    let answer = client.describe_services().cluster("prod").services("chat").send().await.unwrap();
    answer.services()[0].desired_count()
}

#[tokio::test(start_paused = true)]
async fn each_fault_has_its_face_and_its_effect() {
    let rows = [
        (FaultKind::Throttled, "ThrottlingException", false),
        (FaultKind::ServerError500, "ServerException", false),
        (FaultKind::ExpiredToken, "ExpiredTokenException", false),
        (FaultKind::AccessDenied403, "AccessDeniedException", false),
        (FaultKind::Refused, "refused", false),
        (FaultKind::ResetBefore, "reset", false),
        (FaultKind::ResetAfter, "reset", true),
        (FaultKind::LateApply(20_000), "reset", false),
        (FaultKind::Malformed200, "malformed", true),
        (FaultKind::Slow(5_000), "slow", true),
    ];
    for (kind, face, effect) in rows {
        let (emulator, client) = started(Config::default());
        emulator.fault(FaultRule::new(kind).action("UpdateService"));
        let began = emulator.now_ms();
        let answer = scale(&client, 3).await;
        let seen = match &answer {
            Ok(()) => "slow",
            Err(SdkError::DispatchFailure(f)) if f.as_connector_error().is_some_and(|c| c.is_io()) => {
                if format!("{f:?}").contains("ConnectionRefused") {
                    "refused"
                } else {
                    "reset"
                }
            }
            Err(SdkError::ResponseError(_)) => "malformed",
            Err(error) => error.code().unwrap_or("malformed"),
        };
        assert_eq!(seen, face, "{kind:?}: {answer:?}");
        assert_eq!(desired(&client).await == 3, effect, "{kind:?}");
        if let FaultKind::Slow(ms) = kind {
            assert!(emulator.now_ms() - began >= ms);
        }
        assert_eq!(emulator.calls()[0].outcome, CallOutcome::Fault(kind));
        emulator.skip_ms(20_000);
        assert_eq!(
            desired(&client).await == 3,
            effect || matches!(kind, FaultKind::LateApply(_)),
            "{kind:?} later"
        );
        assert!(scale(&client, 4).await.is_ok(), "{kind:?} happens once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_meets_the_clients_limit() {
    let (emulator, _) = started(Config::default());
    let limits = TimeoutConfig::builder().read_timeout(Duration::from_secs(2)).build();
    let client = Client::from_conf(builder(&emulator).timeout_config(limits).build());
    emulator.fault(FaultRule::new(FaultKind::Slow(60_000)).action("UpdateService"));
    match scale(&client, 2).await {
        Err(SdkError::DispatchFailure(f)) => assert!(f.is_timeout(), "{f:?}"),
        Err(SdkError::TimeoutError(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_and_rules_decide_by_number() {
    let (emulator, client) = started(Config::default());
    emulator
        .fault_source(|call: &CallInfo| (call.mutating && call.number == 2).then_some(FaultKind::Refused));
    emulator.fault(FaultRule::new(FaultKind::Throttled).action("UpdateService").nth(4));
    let mut seen = Vec::new();
    for n in 0..5 {
        seen.push(scale(&client, n).await.is_ok());
    }
    assert_eq!(seen, [true, false, true, false, true]);
    assert_eq!((emulator.counts().mutating(), emulator.counts().reads()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn reads_are_stale_for_a_while() {
    let (_, client) = started(Config { stale_ms: 4_000, ..Config::default() });
    scale(&client, 5).await.unwrap();
    assert_eq!(desired(&client).await, 1);
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(desired(&client).await, 5);
}

#[tokio::test(start_paused = true)]
async fn throttling_has_burst_and_refill() {
    let (emulator, client) = started(Config { latency_ms: 0, ..Config::default() });
    let mut ok = 0;
    while scale(&client, ok % 2).await.is_ok() {
        ok += 1;
    }
    assert_eq!(ok, 50);
    let error = scale(&client, 1).await.unwrap_err();
    assert_eq!(error.code(), Some("ThrottlingException"));
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..5 {
        scale(&client, 1).await.unwrap();
    }
    assert!(scale(&client, 1).await.is_err());
    emulator.with(|w| w.config_mut().throttling = false);
    assert!(scale(&client, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_world_goes_on_from_its_snapshot_as_if_nothing_had_happened() {
    let (emulator, client) = started(Config::default());
    let container = aws_sdk_ecs::types::ContainerDefinition::builder()
        .name("app")
        .image(emulator.image("chat", "crash"))
        .build();
    client.register_task_definition().family("chat").container_definitions(container).send().await.unwrap();
    client.update_service().cluster("prod").service("chat").task_definition("chat:2").send().await.unwrap();
    let text = emulator.snapshot().to_string();
    let mut one = World::restore(serde_json::from_str(&text).unwrap()).unwrap();
    let mut two = emulator.with(|w| w.clone());
    let end = one.now_ms() + 60_000;
    one.advance(end);
    while two.now_ms() < end {
        two.advance((two.now_ms() + 777).min(end));
    }
    assert_eq!(one.snapshot(), two.snapshot(), "how often time is looked at must not matter");
    assert_ne!(one.snapshot().to_string(), text);
}

#[tokio::test(start_paused = true)]
async fn the_last_words_of_a_task_can_be_read() {
    let (emulator, _) = started(Config::default());
    let image = emulator.image("chat", "crash-1");
    emulator.seed_service("prod", "other", "other", "app", &image, 0).unwrap();
    emulator.with(|w| {
        let now = w.now_ms();
        let body = serde_json::json!({"cluster": "prod", "service": "other", "desiredCount": 1});
        w.call(now, deploy_ecs::emulator::Api::Ecs, "UpdateService", &body).unwrap();
    });
    emulator.skip_ms(6_000);
    let logs = aws_sdk_cloudwatchlogs::Client::from_conf(
        aws_sdk_cloudwatchlogs::Config::builder()
            .behavior_version(aws_sdk_cloudwatchlogs::config::BehaviorVersion::latest())
            .region(aws_sdk_cloudwatchlogs::config::Region::new("us-east-1"))
            .credentials_provider(Credentials::for_tests())
            .http_client(emulator.http_client())
            .build(),
    );
    let streams = logs.describe_log_streams().log_group_name("/ecs/other").send().await.unwrap();
    let stream = streams.log_streams()[0].log_stream_name().unwrap();
    assert!(stream.starts_with("app/app/"));
    let tail = logs
        .get_log_events()
        .log_group_name("/ecs/other")
        .log_stream_name(stream)
        .limit(5)
        .send()
        .await
        .unwrap();
    let lines: Vec<&str> = tail.events().iter().filter_map(|e| e.message()).collect();
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().any(|l| l.contains("Error: Cannot find module './chat/router'")), "{lines:?}");
}

#[tokio::test]
async fn a_socket_serves_all_services_and_breaks_when_told() {
    let emulator = Emulator::new(Config::default());
    emulator.seed_service("prod", "chat", "chat", "app", &emulator.image("chat", "ok-1"), 1).unwrap();
    let served = emulator.serve(([127, 0, 0, 1], 0).into(), ServeOptions::speed(1000)).await.unwrap();
    let shared = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(served.endpoint_url())
        .credentials_provider(aws_sdk_ecs::config::SharedCredentialsProvider::new(Credentials::for_tests()))
        .retry_config(RetryConfig::disabled())
        .build();
    let client = Client::new(&shared);
    assert_eq!(desired(&client).await, 1);
    let identity = aws_sdk_sts::Client::new(&shared).get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some("123456789012"));
    emulator.fault(FaultRule::new(FaultKind::ResetAfter).action("UpdateService"));
    assert!(matches!(scale(&client, 2).await, Err(SdkError::DispatchFailure(_))));
    assert_eq!(desired(&client).await, 2);
    served.shutdown().await;
    assert!(scale(&client, 3).await.is_err());
}
