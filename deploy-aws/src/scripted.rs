//! AWS as far as the tests of builds and logins need it: in process, in virtual time, with faults.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use deploy_core::clock::{Clock, TokioClock};
use deploy_core::model::Timestamp;
use serde_json::{Value, json};

use crate::Aws;

mod log;

pub(crate) use log::logged;

/// What a call of the server meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Throttled,
    Error500,
    ResetBefore,
    ResetAfter,
    Expired,
    Denied,
    Malformed,
    Hangs,
    Quota,
    NotFound,
}

pub(crate) const FAULTS: [Fault; 8] = [
    Fault::Throttled,
    Fault::Error500,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::Expired,
    Fault::Denied,
    Fault::Malformed,
    Fault::Hangs,
];

/// A build of the project.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) id: String,
    pub(crate) variables: Value,
    at: Duration,
    ends: (&'static str, u64),
    pub(crate) stopped: Option<Duration>,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    /// Action, region that it was signed for, and body.
    pub(crate) calls: Vec<(String, String, Value)>,
    pub(crate) faults: Vec<(&'static str, Fault)>,
    pub(crate) builds: Vec<Fake>,
    tokens: BTreeMap<String, (usize, Value)>,
    /// How the next builds end, and after how many seconds; else well, after thirty.
    pub(crate) ends: VecDeque<(&'static str, u64)>,
    /// What all builds write: after so many seconds, a line.
    pub(crate) log: Vec<(u64, String)>,
    /// The answer to a start shows no variables.
    pub(crate) bare_start: bool,
    /// For how long a new build is in no list.
    pub(crate) list_lag: Duration,
    /// How long every answer takes.
    pub(crate) latency: Duration,
    /// What is answered instead of a login.
    pub(crate) login: Option<Value>,
    pub(crate) login_hours: f64,
    logins: u32,
}

/// The server, and the clock that everything runs by.
#[derive(Clone)]
pub(crate) struct Server {
    world: Arc<Mutex<World>>,
    pub(crate) clock: TokioClock,
}

/// What the project's own environment holds.
pub(crate) const CANARY: &str = "canary-of-the-project";

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server")
    }
}

enum Reply {
    Json(u16, Value),
    Raw(&'static str, String),
}

impl Server {
    pub(crate) fn new() -> Self {
        let world = World { login_hours: 12.0, ..World::default() };
        let clock = TokioClock::starting_at(Timestamp::from_millis(1_800_000_000_000));
        Self { world: Arc::new(Mutex::new(world)), clock }
    }

    pub(crate) fn aws(&self) -> Aws {
        let http = SharedHttpClient::new(self.clone());
        Aws::in_process(http, "http://emulator", "us-east-1", Arc::new(self.clock.clone())).unwrap()
    }

    pub(crate) fn world<T>(&self, work: impl FnOnce(&mut World) -> T) -> T {
        work(&mut self.world.lock().unwrap())
    }

    /// So many calls of this action meet a fault.
    pub(crate) fn fault(&self, action: &'static str, fault: Fault, times: usize) {
        self.world(|world| world.faults.extend(std::iter::repeat_n((action, fault), times)));
    }

    pub(crate) fn called(&self, action: &str) -> usize {
        self.world(|world| world.calls.iter().filter(|(called, ..)| called == action).count())
    }

    pub(crate) fn bodies(&self, action: &str) -> Vec<Value> {
        self.world(|world| {
            let calls = world.calls.iter().filter(|(called, ..)| called == action);
            calls.map(|(_, _, body)| body.clone()).collect()
        })
    }

    /// The states of all builds, oldest first.
    pub(crate) fn states(&self) -> Vec<String> {
        let now = self.clock.elapsed();
        self.world(|world| world.builds.iter().map(|build| build.state(now).to_owned()).collect())
    }

    /// Somebody stops the newest build.
    pub(crate) fn stop_newest(&self) {
        let now = self.clock.elapsed();
        self.world(|world| world.builds.last_mut().unwrap().stopped = Some(now));
    }

    fn answer(&self, action: &str, body: &Value) -> Reply {
        let now = self.clock.elapsed();
        let mut world = self.world.lock().unwrap();
        let world = &mut *world;
        match action {
            "GetCallerIdentity" => Reply::Raw(
                "text/xml",
                "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
                 <Arn>arn:aws:iam::123456789012:user/deployer</Arn><UserId>AIDA</UserId><Account>123456789012</Account>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>"
                    .to_owned(),
            ),
            "GetAuthorizationToken" => {
                world.logins += 1;
                let token = STANDARD.encode(format!("AWS:canary-password-{}", world.logins));
                #[expect(clippy::cast_precision_loss, reason = "seconds of this century")]
                let now = self.clock.now().as_millis() as f64 / 1_000.0;
                let expires_at = now + world.login_hours * 3_600.0;
                let given = json!({"authorizationData": [{
                    "authorizationToken": token, "expiresAt": expires_at,
                    "proxyEndpoint": "https://123456789012.dkr.ecr.us-east-1.amazonaws.com",
                }]});
                Reply::Json(200, world.login.clone().unwrap_or(given))
            }
            "ListBuildsForProject" => {
                let listed = world.builds.iter().rev().filter(|build| now >= build.at + world.list_lag);
                let ids: Vec<&str> = listed.map(|build| build.id.as_str()).collect();
                Reply::Json(200, json!({ "ids": ids }))
            }
            "BatchGetBuilds" => {
                let asked = body["ids"].as_array().unwrap();
                let known = world.builds.iter().filter(|build| asked.contains(&json!(build.id)));
                Reply::Json(200, json!({"builds": known.map(|build| build.view(now)).collect::<Vec<_>>()}))
            }
            "StartBuild" => {
                let token = body["idempotencyToken"].as_str().unwrap().to_owned();
                if let Some((at, before)) = world.tokens.get(&token) {
                    let build = &world.builds[*at];
                    if now < build.at + Duration::from_secs(300) {
                        assert_eq!(before, body, "CodeBuild answers this with a parameter mismatch");
                        return Reply::Json(200, json!({"build": build.view(now)}));
                    }
                }
                let number = world.builds.len();
                let mut variables = body["environmentVariablesOverride"].clone();
                variables.as_array_mut().unwrap().push(json!({"name": "DATABASE_URL", "value": CANARY}));
                let build = Fake {
                    id: format!("shop:{number:08}"),
                    variables,
                    at: now,
                    ends: world.ends.pop_front().unwrap_or(("SUCCEEDED", 30)),
                    stopped: None,
                };
                let mut view = build.view(now);
                if world.bare_start {
                    view["environment"]["environmentVariables"] = json!([]);
                }
                world.builds.push(build);
                world.tokens.insert(token, (number, body.clone()));
                Reply::Json(200, json!({ "build": view }))
            }
            "StopBuild" => {
                let build = world.builds.iter_mut().find(|build| json!(build.id) == body["id"]).unwrap();
                if build.state(now) == "IN_PROGRESS" && build.stopped.is_none() {
                    // It takes a while.
                    build.stopped = Some(now + Duration::from_secs(5));
                }
                Reply::Json(200, json!({"build": build.view(now)}))
            }
            "GetLogEvents" => {
                let stream = body["logStreamName"].as_str().unwrap();
                let Some(build) = world.builds.iter().find(|build| build.id.ends_with(stream)) else {
                    return Reply::Json(400, json!({"__type": "ResourceNotFoundException", "message": "no stream"}));
                };
                let from: usize = body["nextToken"].as_str().map_or(0, |token| token[2..].parse().unwrap());
                let ended = build.stopped.unwrap_or(build.at + Duration::from_secs(build.ends.1));
                let written = world.log.iter().filter(|(after, _)| {
                    let at = build.at + Duration::from_secs(*after);
                    at <= now && at <= ended
                });
                let lines: Vec<Value> =
                    written.skip(from).take(2).map(|(_, line)| json!({"timestamp": 0, "message": line})).collect();
                let next = format!("f/{}", from + lines.len());
                Reply::Json(200, json!({"events": lines, "nextForwardToken": next}))
            }
            other => panic!("nobody answers {other}"),
        }
    }

    async fn exchange(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let bytes = request.body().bytes().unwrap_or_default().to_vec();
        let target = request.headers().get("x-amz-target").map(str::to_owned);
        let action =
            target.as_deref().and_then(|target| target.rsplit('.').next()).unwrap_or("GetCallerIdentity");
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let signed = request.headers().get("authorization").unwrap_or_default();
        let region = signed.split('/').nth(2).unwrap_or_default().to_owned();
        let fault = self.world(|world| {
            world.calls.push((action.to_owned(), region, body.clone()));
            let at = world.faults.iter().position(|(meets, _)| *meets == action)?;
            Some(world.faults.remove(at).1)
        });
        let latency = self.world(|world| world.latency);
        if !latency.is_zero() {
            self.clock.sleep(latency).await;
        }
        let error = |status, code: &str| {
            let body = json!({"__type": code, "message": format!("{code}, said the server")});
            Ok(response(status, "application/x-amz-json-1.1", &body.to_string()))
        };
        let reset = || Err(ConnectorError::io("connection reset by peer".into()));
        match fault {
            Some(Fault::Throttled) => return error(400, "ThrottlingException"),
            Some(Fault::Error500) => return error(500, "InternalFailure"),
            Some(Fault::Expired) => return error(400, "ExpiredTokenException"),
            Some(Fault::Denied) => return error(400, "AccessDeniedException"),
            Some(Fault::Quota) => return error(400, "AccountLimitExceededException"),
            Some(Fault::NotFound) => return error(400, "ResourceNotFoundException"),
            Some(Fault::ResetBefore) => return reset(),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::ResetAfter | Fault::Malformed) | None => {}
        }
        let (status, kind, text) = match self.answer(action, &body) {
            Reply::Json(status, value) => (status, "application/x-amz-json-1.1", value.to_string()),
            Reply::Raw(kind, text) => (200, kind, text),
        };
        match fault {
            Some(Fault::ResetAfter) => reset(),
            // Cut off: it holds what it held, and is no JSON.
            Some(_) => Ok(response(status, kind, &text[..text.len() - 2])),
            None => Ok(response(status, kind, &text)),
        }
    }
}

fn response(status: u16, kind: &'static str, body: &str) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::try_from(status).unwrap(), SdkBody::from(body));
    response.headers_mut().insert("content-type", kind);
    response
}

impl Fake {
    fn state(&self, now: Duration) -> &'static str {
        let end = self.at + Duration::from_secs(self.ends.1);
        match self.stopped {
            Some(at) if at <= now && at < end => "STOPPED",
            _ if now >= end => self.ends.0,
            _ => "IN_PROGRESS",
        }
    }

    fn view(&self, now: Duration) -> Value {
        let state = self.state(now);
        let phase =
            |name: &str, status: &str| json!({"phaseType": name, "phaseStatus": status, "contexts": []});
        let mut phases = vec![phase("SUBMITTED", "SUCCEEDED"), phase("QUEUED", "SUCCEEDED")];
        if now >= self.at + Duration::from_secs(5) {
            phases.push(phase("PRE_BUILD", "SUCCEEDED"));
            phases.push(match state {
                "IN_PROGRESS" => json!({"phaseType": "BUILD"}),
                "SUCCEEDED" => phase("BUILD", "SUCCEEDED"),
                failed => json!({"phaseType": "BUILD", "phaseStatus": failed, "contexts": [{
                    "statusCode": "COMMAND_EXECUTION_ERROR",
                    "message": "Error while executing command: docker build. Reason: exit status 1",
                }]}),
            });
        }
        if state != "IN_PROGRESS" {
            phases.push(json!({"phaseType": "COMPLETED"}));
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds of a test")]
        let started = 1_800_000_000.0 + self.at.as_millis() as f64 / 1_000.0;
        json!({
            "id": self.id, "buildStatus": state, "buildComplete": state != "IN_PROGRESS", "phases": phases,
            "startTime": started, "environment": {
                "type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL",
                "environmentVariables": self.variables,
            },
            "logs": {"groupName": "/aws/codebuild/shop", "streamName": self.id.split(':').nth(1)},
        })
    }
}

impl HttpClient for Server {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Server {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().exchange(request))
    }
}

/// An error and all that caused it, in every form that somebody may print.
pub(crate) fn all_of(error: &deploy_core::Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    text
}
