//! A task definition as the JSON that ECS sends: what is not understood is kept.

use std::{collections::BTreeMap, fmt};

use deploy_aws::{ImageName, ImagePlatform, LogPlace};
use deploy_core::{
    Error, ErrorKind, Result, hash,
    model::{Component, Fingerprint, Revision},
};
use serde_json::{Map, Value, json};

/// What DescribeTaskDefinition tells and RegisterTaskDefinition does not take.
const OUTPUT_ONLY: [&str; 9] = [
    "taskDefinitionArn",
    "revision",
    "status",
    "requiresAttributes",
    "compatibilities",
    "registeredAt",
    "registeredBy",
    "deregisteredAt",
    "deleteRequestedAt",
];

/// Tags that we write. Images are deployed by digest, so the commit must be kept where it survives and changes nothing
/// that runs: a Docker label would be part of the container, an environment variable would be seen by it.
const TAG_COMMIT: &str = "deploy-kit:commit";
/// What the commit tag belongs to: a person who copies a revision copies its tags too, and changes the image.
const TAG_IMAGES: &str = "deploy-kit:images";
const TAG_ROLLOUT: &str = "deploy-kit:rollout";
/// Which sending made it: settles a registration whose answer was lost.
const TAG_INTENT: &str = "deploy-kit:intent";

/// The one component of a service.
pub(crate) fn component() -> Component {
    Component::from("service")
}

/// The declared state of a service that runs this task definition.
pub(crate) fn declared(arn: &str) -> Fingerprint {
    hash::fingerprint(&("ecs", arn))
}

/// `family:revision` of a task definition's ARN; any other text as it is.
pub(crate) fn name_of(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, name)| name)
}

/// The family of a task definition's ARN or name.
pub(crate) fn family_of(arn: &str) -> &str {
    let name = name_of(arn);
    name.rsplit_once(':').map_or(name, |(family, _)| family)
}

/// A revision of which only the ARN is known.
pub(crate) fn bare_revision(arn: &str) -> Revision {
    Revision::new(name_of(arn), [(component(), declared(arn))], json!({ "taskDefinitionArn": arn }))
}

/// The ARN that a revision of ours is found by.
pub(crate) fn arn_of(revision: &Revision) -> Result<&str> {
    revision.handle.get("taskDefinitionArn").and_then(Value::as_str).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, format!("{} is not a revision of an ECS service", revision.name))
    })
}

/// A registered task definition. Its variables do not show in `Debug`.
#[derive(Clone, PartialEq)]
pub(crate) struct Definition {
    pub(crate) arn: String,
    pub(crate) active: bool,
    /// What RegisterTaskDefinition takes, tags excepted.
    pub(crate) content: Map<String, Value>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl fmt::Debug for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Definition({})", self.name())
    }
}

impl Definition {
    /// Reads the answer of DescribeTaskDefinition or RegisterTaskDefinition.
    pub(crate) fn read(answer: &Value) -> Result<Self> {
        let malformed =
            |what: &str| Error::new(ErrorKind::Malformed, format!("a task definition has no {what}"));
        let content = answer.get("taskDefinition").and_then(Value::as_object);
        let mut content = content.cloned().ok_or_else(|| malformed("content"))?;
        let text = |key: &str| content.get(key).and_then(Value::as_str).map(str::to_owned);
        let arn = text("taskDefinitionArn").ok_or_else(|| malformed("ARN"))?;
        let active = text("status").is_none_or(|status| status == "ACTIVE");
        content.retain(|key, value| !OUTPUT_ONLY.contains(&key.as_str()) && !value.is_null());
        let tags = answer.get("tags").and_then(Value::as_array).into_iter().flatten();
        let tags = tags.filter_map(|tag| {
            Some((tag.get("key")?.as_str()?.to_owned(), tag.get("value").and_then(Value::as_str)?.to_owned()))
        });
        Ok(Self { arn, active, tags: tags.collect(), content })
    }

    /// `family:revision`.
    pub(crate) fn name(&self) -> &str {
        name_of(&self.arn)
    }

    pub(crate) fn family(&self) -> &str {
        family_of(&self.arn)
    }

    fn container_list(&self) -> impl Iterator<Item = &Map<String, Value>> {
        let list = self.content.get("containerDefinitions").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object)
    }

    /// How many variables of all containers are references to secrets.
    pub(crate) fn secrets(&self) -> usize {
        let list = |container: &Map<String, Value>| container.get("secrets")?.as_array().map(Vec::len);
        self.container_list().filter_map(list).sum()
    }

    /// Image reference by container.
    pub(crate) fn images(&self) -> BTreeMap<String, String> {
        let text = |container: &Map<String, Value>, key: &str| {
            container.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        self.container_list().map(|container| (text(container, "name"), text(container, "image"))).collect()
    }

    /// The commit that it was built from: an image's tag, else our tag if it was written for these images.
    pub(crate) fn commit(&self) -> Option<String> {
        let images = self.images();
        let tagged = images.values().find_map(|image| ImageName::parse(image).commit().map(str::to_owned));
        tagged.or_else(|| {
            let ours = self.tags.get(TAG_IMAGES).is_some_and(|of| *of == images_mark(&images));
            self.tags.get(TAG_COMMIT).filter(|_| ours).cloned()
        })
    }

    /// As a revision that the service can be put back to.
    pub(crate) fn revision(&self) -> Revision {
        let mut revision = bare_revision(&self.arn).built_from(self.commit());
        revision.images = self
            .images()
            .into_iter()
            .map(|(container, image)| {
                let digest = ImageName::parse(&image).digest;
                (container, digest.unwrap_or(image))
            })
            .collect();
        revision
    }

    /// The platform that its images have to be for, if it asks for one: on instances without a `runtimePlatform` the
    /// instances decide. On Fargate the default is `X86_64` and `LINUX`
    /// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html>).
    pub(crate) fn image_platform(&self) -> Option<ImagePlatform> {
        let asked = self.content.get("runtimePlatform").and_then(Value::as_object);
        let compatibilities = self.content.get("requiresCompatibilities").and_then(Value::as_array);
        let fargate = compatibilities.is_some_and(|list| list.iter().any(|one| one == "FARGATE"));
        let text = |key: &str| asked.and_then(|asked| asked.get(key)).and_then(Value::as_str);
        let architecture = match text("cpuArchitecture") {
            Some("ARM64") => "arm64",
            Some("X86_64") => "amd64",
            None if fargate => "amd64",
            _ => return None,
        };
        let windows = text("operatingSystemFamily").is_some_and(|family| family.starts_with("WINDOWS"));
        Some(ImagePlatform::new(if windows { "windows" } else { "linux" }, architecture))
    }

    /// Where a container of a task writes its lines, if it writes to CloudWatch.
    pub(crate) fn logs_of(&self, container: Option<&str>, task: &str) -> Option<LogPlace> {
        let text =
            |value: &Map<String, Value>, at: &str| value.get(at).and_then(Value::as_str).map(str::to_owned);
        self.container_list()
            .filter(|described| container.is_none() || text(described, "name").as_deref() == container)
            .find_map(|described| {
                let log = described.get("logConfiguration")?.as_object()?;
                let options = log.get("options")?.as_object()?;
                let name = text(described, "name")?;
                // Without a prefix the stream is named by Docker's container id, which ECS does not tell.
                let prefix = text(options, "awslogs-stream-prefix")?;
                let awslogs = text(log, "logDriver")? == "awslogs";
                let stream = format!("{prefix}/{name}/{task}");
                awslogs.then(|| {
                    Some(LogPlace::new(
                        text(options, "awslogs-group")?,
                        stream,
                        text(options, "awslogs-region"),
                    ))
                })?
            })
    }

    /// The first thing of `sent` that is not here: a key of the definition or of a container. Values are not compared,
    /// because ECS orders lists anew and fills in defaults.
    pub(crate) fn lost(&self, sent: &Map<String, Value>) -> Option<String> {
        let missing = |was: &Map<String, Value>, is: &Map<String, Value>| {
            let lost = was.iter().find(|(key, value)| !is_empty(value) && !is.contains_key(*key));
            lost.map(|(key, _)| key.clone())
        };
        if let Some(key) = missing(sent, &self.content) {
            return Some(key);
        }
        let containers = sent.get("containerDefinitions").and_then(Value::as_array);
        containers.into_iter().flatten().filter_map(Value::as_object).find_map(|was| {
            let name = was.get("name").and_then(Value::as_str).unwrap_or_default();
            match self.container_list().find(|is| is.get("name") == was.get("name")) {
                None => Some(format!("container {name}")),
                Some(is) => missing(was, is).map(|key| format!("{key} of container {name}")),
            }
        })
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) => false,
    }
}

fn images_mark(images: &BTreeMap<String, String>) -> String {
    hash::fingerprint(images).as_str().to_owned()
}

/// A variable of a container, as it will be registered.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Variable {
    /// A plain value, which everybody who may describe the task definition can read.
    Plain(String),
    /// The ARN of a secret: the agent fetches the value.
    Reference(String),
    /// Removed.
    Gone,
}

/// A change of one container, with every secret resolved.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ContainerChange {
    pub(crate) image: Option<String>,
    pub(crate) variables: BTreeMap<String, Variable>,
}

impl Definition {
    /// The content with these changes, all else kept.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] for a container that it does not have.
    pub(crate) fn changed(&self, changes: &BTreeMap<String, ContainerChange>) -> Result<Map<String, Value>> {
        let mut content = self.content.clone();
        let list = content.get_mut("containerDefinitions").and_then(Value::as_array_mut);
        let mut containers: Vec<&mut Map<String, Value>> =
            list.into_iter().flatten().filter_map(Value::as_object_mut).collect();
        for (name, change) in changes {
            let found = containers.iter_mut().find(|c| c.get("name").and_then(Value::as_str) == Some(name));
            let Some(container) = found else { return Err(no_container(self, name)) };
            if let Some(image) = &change.image {
                container.insert("image".into(), Value::from(image.as_str()));
            }
            for (key, variable) in &change.variables {
                let (plain, reference) = match variable {
                    Variable::Plain(value) => (Some(json!({"name": key, "value": value})), None),
                    Variable::Reference(arn) => (None, Some(json!({"name": key, "valueFrom": arn}))),
                    Variable::Gone => (None, None),
                };
                put_named(container, "environment", key, plain);
                put_named(container, "secrets", key, reference);
            }
        }
        Ok(content)
    }

    /// How a container has a variable now: `Some(None)` is a secret.
    pub(crate) fn variable(&self, container: &str, key: &str) -> Option<Option<String>> {
        let described =
            self.container_list().find(|c| c.get("name").and_then(Value::as_str) == Some(container))?;
        let named = |list: &str| {
            let list = described.get(list).and_then(Value::as_array)?;
            list.iter().find(|entry| entry.get("name").and_then(Value::as_str) == Some(key)).cloned()
        };
        if named("secrets").is_some() {
            return Some(None);
        }
        Some(Some(named("environment")?.get("value")?.as_str()?.to_owned()))
    }

    /// The tags of a revision made from this one for a commit: its own are kept.
    pub(crate) fn tags_for(
        &self,
        commit: Option<&str>,
        images: &BTreeMap<String, String>,
        rollout: &str,
    ) -> BTreeMap<String, String> {
        let mut tags = self.tags.clone();
        tags.retain(|key, _| !key.starts_with("deploy-kit:") && !key.starts_with("aws:"));
        if let Some(commit) = commit {
            tags.insert(TAG_COMMIT.into(), commit.into());
            tags.insert(TAG_IMAGES.into(), images_mark(images));
        }
        tags.insert(TAG_ROLLOUT.into(), rollout.into());
        tags
    }

    /// Whether it was made by this deploy.
    pub(crate) fn is_of(&self, rollout: &str) -> bool {
        self.tags.get(TAG_ROLLOUT).is_some_and(|of| of == rollout)
    }

    /// Whether it was made by this sending.
    pub(crate) fn made_by(&self, token: &str) -> bool {
        self.tags.get(TAG_INTENT).is_some_and(|intent| intent == token)
    }
}

/// What RegisterTaskDefinition is sent.
pub(crate) fn registration(
    mut content: Map<String, Value>,
    mut tags: BTreeMap<String, String>,
    token: String,
) -> Value {
    tags.insert(TAG_INTENT.into(), token);
    let tags: Vec<Value> = tags.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    content.insert("tags".into(), Value::from(tags));
    Value::Object(content)
}

fn put_named(container: &mut Map<String, Value>, list: &str, key: &str, entry: Option<Value>) {
    if entry.is_none() && !container.contains_key(list) {
        return;
    }
    let slot = container.entry(list).or_insert_with(|| Value::Array(Vec::new()));
    let Some(entries) = slot.as_array_mut() else { return };
    let at = entries.iter().position(|e| e.get("name").and_then(Value::as_str) == Some(key));
    match (at, entry) {
        (Some(at), Some(entry)) => entries[at] = entry,
        (Some(at), None) => drop(entries.remove(at)),
        (None, Some(entry)) => entries.push(entry),
        (None, None) => {}
    }
}

/// The error for a container that a task definition does not have.
pub(crate) fn no_container(definition: &Definition, name: &str) -> Error {
    let has: Vec<String> = definition.images().into_keys().collect();
    Error::new(ErrorKind::Refused, format!("{} has no container {name}", definition.name()))
        .next(format!("its containers: {}", has.join(", ")))
}
