//! Rollouts in the emulator, driven by the real SDK over its transport seam, in virtual time.

use std::time::Duration;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_ecs::types::{
    ContainerDefinition, ContainerOverride, Deployment, DeploymentRolloutState, DesiredStatus, Service,
    ServiceDeploymentStatus, Task, TaskOverride, TaskStopCode,
};
use deploy_ecs::emulator::{Config, Emulator, Seed};

fn client(emulator: &Emulator) -> Client {
    let config = aws_sdk_ecs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .http_client(emulator.http_client())
        .build();
    Client::from_conf(config)
}

fn emulator() -> (Emulator, Client) {
    let emulator = Emulator::new(Config::default());
    let client = client(&emulator);
    (emulator, client)
}

fn seed(emulator: &Emulator) -> Seed {
    Seed::new("prod", "chat", "chat", "app", &emulator.image("chat", "ok-1"), 2)
}

async fn register(client: &Client, image: &str) -> String {
    let container = ContainerDefinition::builder().name("app").image(image).build();
    let answer = client
        .register_task_definition()
        .family("chat")
        .container_definitions(container)
        .send()
        .await
        .unwrap();
    answer.task_definition().and_then(|d| d.task_definition_arn()).unwrap().to_owned()
}

async fn service(client: &Client) -> Service {
    let answer = client.describe_services().cluster("prod").services("chat").send().await.unwrap();
    answer.services()[0].clone()
}

/// Updates to an image of the given tag; returns the new deployment.
async fn update(emulator: &Emulator, client: &Client, tag: &str) -> Deployment {
    let definition = register(client, &emulator.image("chat", tag)).await;
    let answer = client
        .update_service()
        .cluster("prod")
        .service("chat")
        .task_definition(definition)
        .send()
        .await
        .unwrap();
    answer.service().unwrap().deployments()[0].clone()
}

/// Looks once a second until it is so; the number of seconds that it took.
async fn until(client: &Client, limit: u64, mut so: impl FnMut(&Service) -> bool) -> (Service, u64) {
    for second in 0..limit {
        let service = service(client).await;
        if so(&service) {
            return (service, second);
        }
        let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
        tokio::time::sleep_until(deadline).await;
    }
    panic!("not so after {limit} s: {:#?}", service(client).await);
}

async fn stopped(client: &Client) -> Vec<Task> {
    let listed = client
        .list_tasks()
        .cluster("prod")
        .service_name("chat")
        .desired_status(DesiredStatus::Stopped)
        .send()
        .await
        .unwrap();
    let answer = client.describe_tasks().cluster("prod").set_tasks(listed.task_arns).send().await.unwrap();
    answer.tasks().to_vec()
}

fn state(service: &Service, id: &str) -> Option<DeploymentRolloutState> {
    service.deployments().iter().find(|d| d.id() == Some(id))?.rollout_state().cloned()
}

fn primary(service: &Service) -> &Deployment {
    service.deployments().iter().find(|d| d.status() == Some("PRIMARY")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_good_update_completes() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator)).unwrap();
    let before = service(&client).await;
    assert_eq!((before.running_count(), before.deployments().len()), (2, 1));
    assert_eq!(primary(&before).rollout_state(), Some(&DeploymentRolloutState::Completed));
    let ours = update(&emulator, &client, "ok-2").await;
    assert_eq!(ours.rollout_state(), Some(&DeploymentRolloutState::InProgress));
    assert_ne!(ours.id(), before.deployments()[0].id());
    let id = ours.id().unwrap();
    let (_, seconds) = until(&client, 10, |s| primary(s).running_count() == 2).await;
    assert!(seconds <= 3, "the new tasks run after {seconds} s");
    let (after, seconds) =
        until(&client, 120, |s| state(s, id) == Some(DeploymentRolloutState::Completed)).await;
    assert!((30..60).contains(&seconds), "without health checks tasks count after 40 s: {seconds} s");
    assert_eq!((after.running_count(), after.deployments().len()), (2, 1));
    assert!(after.events()[0].message().unwrap().contains("has reached a steady state"));
    let arn = after.current_service_deployment().unwrap();
    let answer = client.describe_service_deployments().service_deployment_arns(arn).send().await.unwrap();
    let deployment = &answer.service_deployments()[0];
    assert_eq!(deployment.status(), Some(&ServiceDeploymentStatus::Successful));
    let revision = deployment.target_service_revision().and_then(|r| r.arn()).unwrap();
    let answer = client.describe_service_revisions().service_revision_arns(revision).send().await.unwrap();
    let digest = answer.service_revisions()[0].container_images()[0].image_digest().unwrap().to_owned();
    assert_eq!(Some(digest), emulator.with(|w| w.image_digest("chat", "ok-2")));
}

#[tokio::test(start_paused = true)]
async fn tasks_say_why_they_stopped() {
    use TaskStopCode::{EssentialContainerExited as Exited, ServiceSchedulerInitiated as Scheduler};
    let failed = TaskStopCode::TaskFailedToStart;
    let rows = [
        ("crash-1", Exited, "Essential container in task exited", Some(1)),
        ("exit0", Exited, "Essential container in task exited", Some(0)),
        ("oom-2", Exited, "Essential container in task exited", Some(137)),
        ("nopull", failed.clone(), "CannotPullContainerError", None),
        ("v1.2.3", failed.clone(), "CannotPullContainerError", None),
        ("badcmd", failed.clone(), "CannotStartContainerError", None),
        ("nosecret", failed, "ResourceInitializationError", None),
        ("unhealthy", Scheduler, "Task failed ELB health checks in (target-group ", Some(143)),
    ];
    for (tag, code, reason, exit) in rows {
        let (emulator, client) = emulator();
        emulator.seed(&seed(&emulator).target_group(8080)).unwrap();
        let ours = update(&emulator, &client, tag).await;
        until(&client, 300, |s| primary(s).failed_tasks() > 0).await;
        let tasks = stopped(&client).await;
        let task = tasks.iter().find(|t| t.started_by() == ours.id()).unwrap();
        assert_eq!(task.stop_code(), Some(&code), "{tag}");
        assert!(task.stopped_reason().unwrap().starts_with(reason), "{tag}: {:?}", task.stopped_reason());
        assert_eq!(task.containers()[0].exit_code(), exit, "{tag}");
        let now = service(&client).await;
        assert!(now.running_count() >= 2, "{tag}: the old tasks still serve");
        let unhealthy =
            now.events().iter().any(|e| e.message().unwrap().contains("is unhealthy in (target-group"));
        assert_eq!(unhealthy, tag == "unhealthy", "{tag}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_rolls_back_to_the_old_id() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator).breaker(true)).unwrap();
    let old = service(&client).await;
    let ours = update(&emulator, &client, "crash").await;
    let (ours, old_id) = (ours.id().unwrap(), old.deployments()[0].id());
    let (now, _) = until(&client, 120, |s| state(s, ours) == Some(DeploymentRolloutState::Failed)).await;
    let failed = now.deployments().iter().find(|d| d.id() == Some(ours)).unwrap();
    assert_eq!(failed.status(), Some("ACTIVE"), "failed and no longer primary in the same instant");
    assert_eq!(primary(&now).id(), old_id);
    assert_eq!(now.task_definition(), old.task_definition());
    let (after, _) = until(&client, 60, |s| s.deployments().len() == 1).await;
    assert_eq!(primary(&after).id(), old_id);
    assert_eq!(primary(&after).rollout_state(), Some(&DeploymentRolloutState::Completed));
    let arn = after.current_service_deployment().unwrap();
    let answer = client.describe_service_deployments().service_deployment_arns(arn).send().await.unwrap();
    let deployment = &answer.service_deployments()[0];
    assert_eq!(deployment.status(), Some(&ServiceDeploymentStatus::RollbackSuccessful));
    assert_eq!(deployment.deployment_circuit_breaker().unwrap().threshold(), 3);
    assert!(deployment.rollback().unwrap().service_revision_arn().unwrap().ends_with(&old_id.unwrap()[8..]));
}

#[tokio::test(start_paused = true)]
async fn the_breaker_without_rollback_stalls() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator).breaker(false)).unwrap();
    let ours = update(&emulator, &client, "nopull").await;
    let id = ours.id().unwrap();
    until(&client, 120, |s| state(s, id) == Some(DeploymentRolloutState::Failed)).await;
    let before = stopped(&client).await.len();
    emulator.skip_ms(120_000);
    let later = service(&client).await;
    assert_eq!(primary(&later).id(), Some(id), "nothing takes its place");
    assert_eq!((later.running_count(), stopped(&client).await.len()), (2, before));
}

#[tokio::test(start_paused = true)]
async fn a_second_update_supersedes_the_first() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator)).unwrap();
    let first = update(&emulator, &client, "ok-2").await;
    until(&client, 10, |s| primary(s).running_count() == 2).await;
    let second = update(&emulator, &client, "ok-3").await;
    let now = service(&client).await;
    assert_eq!(now.deployments().len(), 3);
    let superseded = now.deployments().iter().find(|d| d.id() == first.id()).unwrap();
    assert_eq!(superseded.status(), Some("ACTIVE"));
    let (after, _) = until(&client, 120, |s| {
        assert!(s.running_count() >= 2, "fewer than the minimum run: {:?}", s.events().first());
        s.deployments().len() == 1
    })
    .await;
    assert_eq!(primary(&after).id(), second.id());
    let listed = client.list_service_deployments().cluster("prod").service("chat").send().await.unwrap();
    let statuses: Vec<&str> =
        listed.service_deployments().iter().filter_map(|d| d.status()).map(|s| s.as_str()).collect();
    assert_eq!(statuses, ["SUCCESSFUL", "STOPPED", "SUCCESSFUL"]);
}

#[tokio::test(start_paused = true)]
async fn stopping_a_service_deployment_rolls_back() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator)).unwrap();
    let old = service(&client).await;
    update(&emulator, &client, "slow").await;
    let arn = service(&client).await.current_service_deployment().unwrap().to_owned();
    for _ in 0..2 {
        client.stop_service_deployment().service_deployment_arn(&arn).send().await.unwrap();
    }
    let (after, _) = until(&client, 60, |s| s.deployments().len() == 1).await;
    assert_eq!(primary(&after).id(), old.deployments()[0].id());
    let again = client.stop_service_deployment().service_deployment_arn(&arn).send().await;
    assert!(again.unwrap_err().into_service_error().is_conflict_exception());
}

#[tokio::test(start_paused = true)]
async fn only_some_changes_start_a_deployment() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator)).unwrap();
    let before = service(&client).await;
    let same = before.task_definition().unwrap();
    let update = || client.update_service().cluster("prod").service("chat");
    let answer = update().task_definition(same).desired_count(3).send().await.unwrap();
    assert_eq!(answer.service().unwrap().deployments()[0].id(), before.deployments()[0].id());
    until(&client, 60, |s| s.running_count() == 3).await;
    let answer = update().force_new_deployment(true).send().await.unwrap();
    assert_ne!(answer.service().unwrap().deployments()[0].id(), before.deployments()[0].id());
    client.deregister_task_definition().task_definition(same).send().await.unwrap();
    let error = update().task_definition(same).send().await.unwrap_err().into_service_error();
    assert!(error.is_client_exception(), "an inactive definition is refused: {error}");
}

#[tokio::test(start_paused = true)]
async fn flaky_tasks_complete_and_crash_later() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator).breaker(true)).unwrap();
    let ours = update(&emulator, &client, "flaky").await;
    let id = ours.id().unwrap();
    until(&client, 120, |s| state(s, id) == Some(DeploymentRolloutState::Completed)).await;
    until(&client, 60, |s| s.running_count() < 2).await;
    let crashed = stopped(&client).await.into_iter().filter(|t| t.started_by() == Some(id)).count();
    assert!(crashed > 0);
    assert_eq!(state(&service(&client).await, id), Some(DeploymentRolloutState::Completed));
}

#[tokio::test(start_paused = true)]
async fn one_off_tasks_run_once_per_token_and_end() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator)).unwrap();
    let command = ContainerOverride::builder().name("app").command("migrate").build();
    let overrides = TaskOverride::builder().container_overrides(command).build();
    let run = || client.run_task().cluster("prod").task_definition("chat").client_token("once");
    let first = run().overrides(overrides.clone()).send().await.unwrap();
    let second = run().overrides(overrides).send().await.unwrap();
    assert_eq!(first.tasks()[0].task_arn(), second.tasks()[0].task_arn());
    let error = run().count(2).send().await.unwrap_err().into_service_error();
    assert!(error.is_conflict_exception());
    emulator.skip_ms(30_000);
    let arn = first.tasks()[0].task_arn().unwrap();
    let answer = client.describe_tasks().cluster("prod").tasks(arn).send().await.unwrap();
    let task = &answer.tasks()[0];
    assert_eq!((task.last_status(), task.containers()[0].exit_code()), (Some("STOPPED"), Some(0)));
    emulator.skip_ms(2 * 3_600_000);
    let answer = client.describe_tasks().cluster("prod").tasks(arn).send().await.unwrap();
    assert_eq!(answer.failures()[0].reason(), Some("MISSING"));
}

#[tokio::test(start_paused = true)]
async fn a_service_is_deleted() {
    let (emulator, client) = emulator();
    emulator.seed(&seed(&emulator)).unwrap();
    let delete = || client.delete_service().cluster("prod").service("chat");
    assert!(delete().send().await.unwrap_err().into_service_error().is_invalid_parameter_exception());
    delete().force(true).send().await.unwrap();
    until(&client, 30, |s| s.status() == Some("INACTIVE")).await;
    let error = client.update_service().cluster("prod").service("chat").send().await.unwrap_err();
    assert!(error.into_service_error().is_service_not_active_exception());
    client.delete_cluster().cluster("prod").send().await.unwrap();
}
