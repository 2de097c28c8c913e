//! What has really changed, and who did it: the ground truth that nobody was told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::core::Core;
use super::params::last_part;

/// Who makes a call, as far as the request tells.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Caller {
    /// The request's user agent; empty for a call that was made without a request.
    pub(super) agent: String,
    /// Whether nobody waits for the answer any more.
    pub(super) late: bool,
}

/// What kind of change it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A task definition was registered.
    Registered,
    /// A service was updated.
    Updated,
    /// ECS took a service back by itself.
    RolledBack,
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Change {
    /// The emulator's time at which it took effect.
    pub at_ms: i64,
    /// What kind.
    pub kind: ChangeKind,
    /// `cluster/service`; empty for a registration.
    pub service: String,
    /// `family:revision` that was registered, or that the service runs now.
    pub task_definition: String,
    /// Whether that is another one than before.
    pub changed: bool,
    /// Whether it came after its caller had been told that there is no answer.
    pub late: bool,
    /// The caller's user agent; empty for ECS itself, and for calls without a request.
    pub agent: String,
}

/// Writes down what a successful call has changed. `before`: what the service ran before an update.
pub(super) fn called(core: &mut Core, action: &str, before: Option<&str>, answer: &Value) {
    let text = |at: &str| answer.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let (kind, service, arn) = match action {
        "RegisterTaskDefinition" => {
            (ChangeKind::Registered, String::new(), text("/taskDefinition/taskDefinitionArn"))
        }
        "UpdateService" => {
            let cluster = last_part(text("/service/clusterArn"));
            let service = format!("{cluster}/{}", text("/service/serviceName"));
            (ChangeKind::Updated, service, text("/service/taskDefinition"))
        }
        _ => return,
    };
    let change = Change {
        at_ms: core.now,
        kind,
        service,
        task_definition: last_part(arn).to_owned(),
        changed: before != Some(arn),
        late: core.caller.late,
        agent: core.caller.agent.clone(),
    };
    core.ledger.push(change);
}

/// Writes down that ECS took a service back.
pub(super) fn rolled_back(core: &mut Core, cluster: &str, service: &str, arn: &str, changed: bool) {
    core.ledger.push(Change {
        at_ms: core.now,
        kind: ChangeKind::RolledBack,
        service: format!("{cluster}/{service}"),
        task_definition: last_part(arn).to_owned(),
        changed,
        late: false,
        agent: String::new(),
    });
}
