//! The images of a target, made and verified before a deploy's plan is closed.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Build, BuildOrder, ImageBuilder, ImageEvent, ImageEvents, Registry, StepState, VerifiedImage, name::short,
};
use crate::{
    context::{StepContext, StepLine},
    error::{Error, ErrorKind, Result},
    model::{Component, Release, Step, StepKind},
    prepare::Preparer,
    source::Source,
};

/// How long one image may take if nothing else is said.
const BUILD_MS: u64 = 60 * 60 * 1_000;

/// What makes the images of a target's commits, for [`Target::prepare`](crate::Target::prepare).
///
/// An image whose commit's tag is in the registry and is what it says is not built. All images of a release are verified
/// before any is deployed, and deployed by digest. Releases without a commit are left as they are.
///
/// Costs, of `plan` and of `deploy`: for each image what [`Registry::find`] costs, and the same once more when a plan
/// is closed.
#[derive(Debug, Clone)]
pub struct Images {
    registry: Registry,
    source: Arc<dyn Source>,
    made: BTreeMap<String, Made>,
}

#[derive(Debug, Clone)]
struct Made {
    build: Build,
    builder: Arc<dyn ImageBuilder>,
}

/// What a step is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    image: String,
    commit: String,
}

impl Images {
    /// No images yet; the source is that of the target.
    #[must_use]
    pub fn new(registry: Registry, source: Arc<dyn Source>) -> Self {
        Self { registry, source, made: BTreeMap::new() }
    }

    /// The image of a container: [`Build::in_repository`], and who builds it.
    #[must_use]
    pub fn image(
        mut self,
        container: impl Into<String>,
        build: Build,
        builder: Arc<dyn ImageBuilder>,
    ) -> Self {
        self.made.insert(container.into(), Made { build, builder });
        self
    }

    async fn find(&self, made: &Made, commit: &str) -> Result<Option<VerifiedImage>> {
        self.registry.find(made.build.repository(), commit, made.build.platforms()).await
    }
}

#[async_trait]
impl Preparer for Images {
    async fn missing(&self, release: &Release) -> Result<Vec<Step>> {
        let mut missing = Vec::new();
        let Some(commit) = &release.commit else { return Ok(missing) };
        for (container, made) in &self.made {
            if self.find(made, commit).await?.is_some() {
                continue;
            }
            let words = format!("build {container} from {} with {}", short(commit), made.builder.name());
            let order = Order { image: container.clone(), commit: commit.clone() };
            let name = format!("build-{container}");
            let step = Step::new(name.as_str(), Component::from(container.as_str()), StepKind::Effect, words);
            missing.push(step.within_ms(BUILD_MS).with(json!(order)));
        }
        Ok(missing)
    }

    async fn make(&self, step: &Step, cx: &StepContext) -> Result<Value> {
        let order: Order = serde_json::from_value(step.data.clone()).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("step {} says no image: {error}", step.id))
        })?;
        let Some(made) = self.made.get(&order.image) else {
            let text = format!("nobody here builds the image of {}", order.image);
            return Err(Error::new(ErrorKind::Unsupported, text)
                .next("resume with the configuration that the deploy was started with"));
        };
        let build = made.build.of(&order.commit);
        let (events, mut stream) = ImageEvents::channel();
        let writer = step.id.to_string();
        let tell = |event: ImageEvent| {
            if let Some((stream, line)) = line(event) {
                cx.log(StepLine { writer: writer.clone(), stream, line, cut: false });
            }
        };
        let asked = BuildOrder { build: &build, source: &*self.source, cx, events: &events };
        let mut making = pin!(made.builder.make(asked));
        let result = loop {
            tokio::select! {
                result = &mut making => break result,
                Some(event) = stream.next() => tell(event),
            }
        };
        while let Some(Some(event)) = stream.next().now_or_never() {
            tell(event);
        }
        result?;
        let image = self.find(made, &order.commit).await?.ok_or_else(|| gone(&build))?;
        Ok(json!({ "image": image.reference() }))
    }

    async fn finish(&self, release: &Release) -> Result<Release> {
        let Some(commit) = &release.commit else { return Ok(release.clone()) };
        let mut finished = release.clone();
        for (container, made) in &self.made {
            let image = self.find(made, commit).await?.ok_or_else(|| gone(&made.build.of(commit)))?;
            finished = finished.image(container, image.reference());
        }
        Ok(finished)
    }
}

fn gone(build: &Build) -> Error {
    let text = format!("there is no image {}:{} after its build", build.repository(), build.commit());
    Error::new(ErrorKind::Refused, text).next("look whether something removes tags there, then deploy again")
}

/// An event as a line of the step: the stream that it is told as, and the text.
fn line(event: ImageEvent) -> Option<(&'static str, String)> {
    let of = |step: String, line: String| if step.is_empty() { line } else { format!("{step}: {line}") };
    Some(match event {
        ImageEvent::Started { builder, entries, bytes } => {
            ("stdout", format!("{builder} builds {entries} files, {} kB", bytes.div_ceil(1_000)))
        }
        ImageEvent::Step { step, state: StepState::Running } => ("stdout", step),
        ImageEvent::Step { step, state: StepState::Cached } => ("stdout", of(step, "cached".into())),
        ImageEvent::Step { step, state: StepState::Failed } => ("stderr", of(step, "failed".into())),
        ImageEvent::Step { .. } => return None,
        ImageEvent::Log { step, line } => ("stdout", of(step, line)),
        // Every piece of every layer: only what says how it ends is of use to a reader of lines.
        ImageEvent::Pushing { status, sent: 0, .. } => ("stdout", status),
        ImageEvent::Pushing { .. } => return None,
        ImageEvent::Retrying { what, because, after } => {
            ("stderr", format!("{what} again in {} s: {because}", after.as_secs_f32()))
        }
        ImageEvent::Dropped(count) => ("stderr", format!("{count} lines are missing here")),
    })
}
