//! The four calls of CodeBuild that are used, and what their answers say.

use std::fmt;

use aws_sdk_codebuild::types::{self, EnvironmentVariable, EnvironmentVariableType, StatusType};
use deploy_core::{Error, ErrorKind, Result, Retry};

use super::wanted::Wanted;
use crate::{
    Aws, LogPlace,
    sdk::{self, Sent},
};

/// CodeBuild in the connection's account and region. What it answers holds the environment of builds, which is the
/// project's own business: it is neither logged nor part of an error.
#[derive(Clone)]
pub(super) struct Calls {
    aws: Aws,
    client: aws_sdk_codebuild::Client,
}

/// A build, as CodeBuild shows it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) state: State,
    /// When it was started, in milliseconds, and its number: larger is newer.
    pub(super) age: (i64, i64),
    /// The variables that are ours.
    pub(super) variables: Vec<(String, String)>,
    pub(super) phases: Vec<Phase>,
    pub(super) log: Option<LogPlace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Running,
    Succeeded,
    Failed,
    Fault,
    TimedOut,
    Stopped,
    /// It ended, in a word that is not known here.
    Odd,
}

/// A phase of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) name: String,
    /// `None` while it runs.
    pub(super) succeeded: Option<bool>,
    /// Why it failed, where CodeBuild says so.
    pub(super) why: String,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.aws.fmt(f)
    }
}

impl Calls {
    pub(super) fn new(aws: Aws) -> Self {
        let client = aws_sdk_codebuild::Client::new(aws.sdk_config());
        Self { aws, client }
    }

    pub(super) fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The project's hundred newest builds. Two calls.
    pub(super) async fn newest(&self, project: &str) -> Result<Vec<Seen>> {
        let doing = format!("ListBuildsForProject {project}");
        let listed = sdk::read(&*self.aws.clock(), || async {
            // Newest first is what it does unasked; asked for an order it refuses projects with more than a hundred
            // builds (https://docs.aws.amazon.com/codebuild/latest/APIReference/API_ListBuildsForProject.html).
            let call = self.client.list_builds_for_project().project_name(project);
            let answer = sdk::unlogged(Box::pin(call.send())).await;
            answer.map_err(|error| no_project(sdk::map_unshown(&doing, Sent::Read, error)))
        })
        .await?;
        let mut ids = listed.ids.unwrap_or_default();
        ids.truncate(100);
        if ids.is_empty() { Ok(Vec::new()) } else { self.get(&ids).await }
    }

    /// A build; `None` if CodeBuild does not know it.
    pub(super) async fn build(&self, id: &str) -> Result<Option<Seen>> {
        let seen = self.get(&[id.to_owned()]).await?;
        Ok(seen.into_iter().find(|seen| seen.id == id))
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<Seen>> {
        let answer = sdk::read(&*self.aws.clock(), || async {
            let call = self.client.batch_get_builds().set_ids(Some(ids.to_vec()));
            let answer = sdk::unlogged(Box::pin(call.send())).await;
            answer.map_err(|error| sdk::map_unshown("BatchGetBuilds", Sent::Read, error))
        })
        .await?;
        Ok(answer.builds().iter().filter_map(seen).collect())
    }

    /// Starts a build, once. The same token with the same content starts no second one for five minutes.
    pub(super) async fn start(&self, wanted: &Wanted, token: &str) -> Result<Seen> {
        let doing = format!("StartBuild {}", wanted.project);
        let variable = |(name, value): &(String, String)| {
            let variable = EnvironmentVariable::builder().name(name).value(value);
            variable.r#type(EnvironmentVariableType::Plaintext).build().map_err(|error| {
                Error::new(ErrorKind::Unexpected, format!("{doing}: the variable {name}")).because(error)
            })
        };
        let variables = wanted.variables.iter().map(variable).collect::<Result<Vec<_>>>()?;
        let call = self.client.start_build().project_name(&wanted.project).source_version(&wanted.commit);
        let call = call.set_environment_variables_override(Some(variables)).idempotency_token(token);
        let answer = sdk::unlogged(Box::pin(call.send())).await;
        let answer = answer.map_err(|error| no_project(sdk::map_unshown(&doing, Sent::Maybe, error)))?;
        answer.build_value().and_then(seen).ok_or_else(|| {
            Error::new(ErrorKind::Malformed, format!("{doing}: the answer names no build"))
                .retry_as(Retry::Always)
                .effect_as(deploy_core::EffectState::Unknown)
        })
    }

    /// Asks a build to stop, once. Harmless twice, and for one that has ended.
    pub(super) async fn stop(&self, id: &str) -> Result<()> {
        let answer = sdk::unlogged(Box::pin(self.client.stop_build().id(id).send())).await;
        answer.map(drop).map_err(|error| sdk::map_unshown(&format!("StopBuild {id}"), Sent::Maybe, error))
    }
}

fn no_project(error: Error) -> Error {
    if error.kind() == ErrorKind::NotFound {
        return error.next("create the project, or correct its name, the account or the region");
    }
    error
}

fn seen(build: &types::Build) -> Option<Seen> {
    let millis = build.start_time().and_then(|at| at.to_millis().ok()).unwrap_or(0);
    let variables = build.environment().map(|environment| environment.environment_variables());
    let ours = variables.unwrap_or_default().iter().filter(|variable| Wanted::is_ours(variable.name()));
    let log = build.logs().and_then(|log| Some(LogPlace::new(log.group_name()?, log.stream_name()?, None)));
    Some(Seen {
        id: build.id()?.to_owned(),
        state: state(build),
        age: (millis, build.build_number().unwrap_or(0)),
        variables: ours.map(|variable| (variable.name().to_owned(), variable.value().to_owned())).collect(),
        phases: build.phases().iter().filter_map(phase).collect(),
        log,
    })
}

fn state(build: &types::Build) -> State {
    match build.build_status() {
        Some(StatusType::InProgress) => State::Running,
        Some(StatusType::Succeeded) => State::Succeeded,
        Some(StatusType::Failed) => State::Failed,
        Some(StatusType::Fault) => State::Fault,
        Some(StatusType::TimedOut) => State::TimedOut,
        Some(StatusType::Stopped) => State::Stopped,
        _ if build.build_complete() => State::Odd,
        _ => State::Running,
    }
}

fn phase(phase: &types::BuildPhase) -> Option<Phase> {
    let name = phase.phase_type()?.as_str();
    let contexts = phase.contexts().iter();
    let words = contexts.map(|context| match (context.status_code(), context.message()) {
        (Some(code), Some(text)) if !code.is_empty() && !text.is_empty() => format!("{code}: {text}"),
        (code, text) => [code, text].into_iter().flatten().collect(),
    });
    let words: Vec<String> = words.filter(|text| !text.is_empty()).collect();
    let succeeded = match phase.phase_status() {
        None | Some(StatusType::InProgress) => None,
        Some(status) => Some(*status == StatusType::Succeeded),
    };
    // The last one marks the end, and has none itself.
    (name != "COMPLETED").then(|| Phase { name: name.to_owned(), succeeded, why: words.join("; ") })
}
