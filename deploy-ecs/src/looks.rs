//! One DescribeServices for up to ten services of a cluster, shared by every place of the process.
//!
//! Whoever needs a look makes it for all services of the cluster that are being watched. The others find it when they
//! ask, and ask again when it has become old: so watchers fall into step, and ten services cost what one costs. A look
//! is told with the time at which it began, and the same look is never given twice to the same watcher.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_ecs::types::Service;
use deploy_core::{Error, ErrorKind, Result, model::Timestamp};

use crate::client::Client;

/// How many services one DescribeServices takes.
const BATCH: usize = 10;
/// How old a look of somebody else's may be: half of the usual time between two looks.
const FRESH: Duration = Duration::from_millis(2_400);
/// Who has not asked for this long is not watching any more.
const WATCHING: Duration = Duration::from_secs(60);

/// What a look has shown, and when it began.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) at: Timestamp,
    /// The same moment on the clock that only differences are taken of.
    pub(crate) began: Duration,
    found: std::result::Result<Arc<Service>, Arc<Error>>,
}

impl Shown {
    /// The service.
    ///
    /// # Errors
    /// What the call said, for this service.
    pub(crate) fn service(&self) -> Result<&Service> {
        self.found.as_deref().map_err(|error| same(error))
    }
}

#[derive(Debug, Default)]
struct Watched {
    asked: Duration,
    last: Option<Shown>,
}

#[derive(Debug, Default)]
struct Cluster {
    watched: BTreeMap<String, Watched>,
    /// Somebody may see one service and not another: each is looked at alone from then on.
    alone: bool,
}

/// The looks of a connection, by cluster.
#[derive(Debug, Default)]
pub(crate) struct Looks(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Cluster>>>>);

impl Looks {
    fn cluster(&self, name: &str) -> Arc<tokio::sync::Mutex<Cluster>> {
        let mut clusters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(clusters.entry(name.to_owned()).or_default())
    }

    /// A look at the client's service that began after `newer_than`: somebody else's of a moment ago, else one
    /// `DescribeServices`, not repeated.
    pub(crate) async fn look(&self, client: &Client, newer_than: Option<Duration>) -> Shown {
        let clock = client.aws.clock();
        let cluster = self.cluster(&client.cluster);
        // One at a time: who waits here finds what it waited for.
        let mut cluster = cluster.lock().await;
        let now = clock.elapsed();
        let watched = cluster.watched.entry(client.service.clone()).or_default();
        watched.asked = now;
        if let Some(last) = &watched.last
            && newer_than.is_none_or(|than| last.began > than)
            && now.saturating_sub(last.began) < FRESH
        {
            return last.clone();
        }
        cluster.watched.retain(|_, watched| now.saturating_sub(watched.asked) < WATCHING);
        let names = cluster.due(&client.service);
        let (at, began) = (clock.now(), now);
        let mut answer = client.describe_all(&names).await;
        if names.len() > 1 && answer.as_ref().is_err_and(|error| is_about_one(error.kind())) {
            cluster.alone = true;
            answer = client.describe_all(std::slice::from_ref(&client.service)).await;
        }
        let mut mine = Shown { at, began, found: Err(Arc::new(client.neither())) };
        let names = if cluster.alone { vec![client.service.clone()] } else { names };
        let answer = answer.map_err(Arc::new);
        for name in names {
            let found = match &answer {
                Ok(answer) => answer.of(client, &name).map_err(Arc::new),
                Err(error) => Err(Arc::clone(error)),
            };
            let shown = Shown { at, began, found };
            if name == client.service {
                mine = shown.clone();
            }
            cluster.watched.entry(name).or_default().last = Some(shown);
        }
        mine
    }
}

impl Cluster {
    /// This service, and those whose last look is the oldest.
    fn due(&self, service: &str) -> Vec<String> {
        let mut others: Vec<(Option<Duration>, &String)> = self
            .watched
            .iter()
            .filter(|(name, _)| !self.alone && name.as_str() != service)
            .map(|(name, watched)| (watched.last.as_ref().map(|last| last.began), name))
            .collect();
        others.sort();
        let others = others.into_iter().take(BATCH - 1).map(|(_, name)| name.clone());
        std::iter::once(service.to_owned()).chain(others).collect()
    }
}

/// An error that several are told of.
fn same(error: &Error) -> Error {
    let told = Error::new(error.kind(), error.message()).retry_as(error.retry()).effect_as(error.effect());
    match error.what_next() {
        Some(next) => told.next(next),
        None => told,
    }
}

/// Whether an error may be that of one service among those asked for.
fn is_about_one(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PermissionDenied | ErrorKind::Invalid | ErrorKind::NotFound)
}

/// The answer of a DescribeServices.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) services: Vec<Arc<Service>>,
    /// ARN and reason of what was not found.
    pub(crate) failures: Vec<(String, String)>,
}

impl Described {
    pub(crate) fn of(&self, client: &Client, name: &str) -> Result<Arc<Service>> {
        let named = |one: &&Arc<Service>| one.service_name() == Some(name) || one.service_arn() == Some(name);
        if let Some(service) = self.services.iter().find(named) {
            return Ok(Arc::clone(service));
        }
        let failure = self.failures.iter().find(|(arn, _)| arn == name || arn.ends_with(&format!("/{name}")));
        match failure {
            Some((_, reason)) => Err(Error::new(
                ErrorKind::NotFound,
                format!("DescribeServices {}/{name}: {reason}", client.cluster),
            )
            .next("check account, region, cluster and service")),
            None => Err(client.neither()),
        }
    }
}
