//! Registering a new revision of the task definition: nobody runs it before the service is updated.

use std::collections::BTreeMap;

use deploy_core::{
    Error, ErrorKind, Result,
    context::StepContext,
    model::{ConfigChange, ConfigValue, Revision, Step, StepKind, Undo},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    client::Client,
    definition::{ContainerChange, Definition, Variable, registration},
    limits,
};

/// What the step is told. In the plan record alone, like all plain configuration values.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Data {
    pub(crate) base: String,
    pub(crate) images: BTreeMap<String, String>,
    pub(crate) commit: Option<String>,
    pub(crate) changes: Vec<ConfigChange>,
}

/// What the step returns, and what `update` and `scope` read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registered {
    pub(crate) revision: Revision,
}

/// The step.
pub(crate) fn step(data: &Data) -> Result<Step> {
    let family = crate::definition::family_of(&data.base);
    let data = serde_json::to_value(data).map_err(|error| {
        Error::new(ErrorKind::Unexpected, "the plan of a registration cannot be written").because(error)
    })?;
    let nobody = Undo::None { reason: "a revision that nobody runs does no harm".into() };
    Ok(Step::new(
        "register",
        crate::definition::component(),
        StepKind::Effect,
        format!("register a new revision of {family}"),
    )
    .with(data)
    .undone_by(nobody))
}

/// Registers: one `DescribeTaskDefinition`, one `RegisterTaskDefinition`. A second sending makes a second revision,
/// which nobody runs: harmless.
pub(crate) async fn execute(client: &Client, step: &Step, cx: &StepContext) -> Result<Value> {
    let data: Data = serde_json::from_value(step.data.clone()).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("the data of step {}", step.id)).because(error)
    })?;
    let base = client.definition(&data.base).await?;
    let content = base.changed(&changes(&data, cx).await?)?;
    let mut images = base.images();
    images.extend(data.images.clone());
    let tags = base.tags_for(data.commit.as_deref(), &images, cx.rollout().as_str());
    let keys: Vec<String> =
        data.changes.iter().map(|change| format!("{} {}", change.container, change.key)).collect();
    let intent = json!({"base": data.base, "images": data.images, "env": keys, "commit": data.commit});
    let (sent, family) = (content.clone(), base.family().to_owned());
    let (again, rollout) = (cx.attempt() > 1, cx.rollout().clone());
    client.pace(&limits::DEFINITION_MODIFY).await;
    let registered: Registered = cx
        .effect("register", intent)
        .sealing((&content, &tags))
        .idempotent(|permit| async move {
            // An earlier attempt may have made one, and nobody heard of it: every registration leaves one more for ever.
            if again && let Some(made) = find(client, &data.base, |made| made.is_of(rollout.as_str())).await?
            {
                return Ok(made);
            }
            let body = registration(content, tags, permit.token());
            let made = client.register(&family, body, permit).await?;
            Ok(Registered { revision: made.revision() })
        })
        .await?;
    // Read back rather than taken from the answer: after a resume there is no answer.
    let made = client.definition(crate::definition::arn_of(&registered.revision)?).await?;
    if let Some(lost) = made.lost(&sent) {
        let text = format!("ECS did not keep {lost} of {} in {}", base.name(), made.name());
        return Err(Error::new(ErrorKind::Unsupported, text)
            .next("register this revision by hand, and deploy it by `rollback --to`"));
    }
    serde_json::to_value(registered)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "the output of register").because(error))
}

/// What changes in which container, with every secret resolved now.
async fn changes(data: &Data, cx: &StepContext) -> Result<BTreeMap<String, ContainerChange>> {
    let mut changes: BTreeMap<String, ContainerChange> = BTreeMap::new();
    for (container, image) in &data.images {
        changes.entry(container.clone()).or_default().image = Some(image.clone());
    }
    for change in &data.changes {
        let variable = match &change.value {
            None => Variable::Gone,
            Some(ConfigValue::Plain(value)) => Variable::Plain(value.clone()),
            Some(ConfigValue::Secret(reference)) => {
                let secret = cx.secret(reference).await?;
                // The ARN of a secret is what a container's `secrets` take; the agent fetches the value then.
                let arn = secret.expose().starts_with("arn:")
                    && [":secretsmanager:", ":ssm:"].iter().any(|service| secret.expose().contains(service));
                if arn {
                    Variable::Reference(secret.expose().into())
                } else {
                    Variable::Plain(secret.expose().into())
                }
            }
            Some(other) => {
                return Err(Error::new(ErrorKind::Unsupported, format!("a value of the form {other:?}")));
            }
        };
        changes.entry(change.container.clone()).or_default().variables.insert(change.key.clone(), variable);
    }
    Ok(changes)
}

/// The revision that a registration whose answer was lost has made, known by its tags. `ListTaskDefinitions`, and a
/// `DescribeTaskDefinition` for each revision after the base (ten at most).
pub(crate) async fn find(
    client: &Client,
    base: &str,
    is_it: impl Fn(&Definition) -> bool,
) -> Result<Option<Registered>> {
    const NEWER: usize = 10;
    for arn in client.definitions(crate::definition::family_of(base), NEWER).await? {
        if arn == base {
            break;
        }
        let made: Definition = client.definition(&arn).await?;
        if is_it(&made) {
            return Ok(Some(Registered { revision: made.revision() }));
        }
    }
    Ok(None)
}
