//! ECS behind the grammar: an account, a served emulator, or the emulator inside the tool.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use deploy_ecs::emulator::{Config as EmulatorConfig, Emulator, ServeOptions};
use deploy_kit::{
    Error, ErrorKind, Result,
    clock::{Clock, SystemClock},
    config::{Builders, Config, Platform, TargetConfig},
    model::Snapshot,
};
use examples_common::{Backend, Cli, Connected, Crossing, Stop};

use crate::{crossing, kept::Kept};

#[derive(Debug)]
pub(crate) struct EcsBackend {
    kept: Option<Kept>,
}

impl EcsBackend {
    pub(crate) fn new(cli: &Cli) -> Self {
        let kept = cli.is_emulated().then(|| Kept::beside(cli.config_path()));
        Self { kept }
    }
}

/// The last part of an ARN, or the name itself.
pub(crate) fn short(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[async_trait]
impl Backend for EcsBackend {
    async fn connect(&self, config: &Config, target: &TargetConfig) -> Result<Connected> {
        let Some(kept) = &self.kept else {
            let (ecs, service) = config.ecs(target).await?;
            let namespace = ecs.aws().endpoint().map(str::to_owned);
            let builders = Builders::aws(&ecs);
            return Ok(Connected { place: Arc::new(service), namespace, builders });
        };
        let Platform::Ecs(place) = &target.platform else {
            return Err(Error::new(ErrorKind::Unsupported, format!("{} is not on ECS", target.name)));
        };
        let ecs = kept.ecs(config, place).await?;
        let (namespace, builders) = (Some("emulator".into()), Builders::local());
        Ok(Connected { place: Arc::new(place.of(&ecs)?), namespace, builders })
    }

    fn place(&self, now: &Snapshot) -> String {
        let part = |name: &str| now.identity.get(name).unwrap_or("?");
        let (cluster, service) = (short(part("cluster")), short(part("service")));
        format!("{} {}, {cluster} / {service}", part("region"), part("account"))
    }

    fn crossing(&self, config: &Config, target: &TargetConfig, now: &Snapshot) -> Option<Crossing> {
        crossing::find(config, target, now)
    }

    async fn serve_emulator(&self, listen: SocketAddr, speed: u32) -> Result<()> {
        let mut stop = Stop::new();
        let settings =
            EmulatorConfig { start_ms: SystemClock.now().as_millis(), ..EmulatorConfig::default() };
        let served = Emulator::new(settings).serve(listen, ServeOptions::speed(speed)).await;
        let served = served.map_err(|error| {
            Error::new(ErrorKind::Invalid, format!("cannot listen on {listen}: {error}"))
                .next("name another address: --listen 127.0.0.1:0 takes a free port")
        })?;
        println!("ECS emulator ready: AWS_ENDPOINT_URL={}", served.endpoint_url());
        stop.asked().await;
        served.shutdown().await;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        match &self.kept {
            Some(kept) => kept.close().await,
            None => Ok(()),
        }
    }
}
