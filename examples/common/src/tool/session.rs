//! What all commands of one run share: configuration, state, and where results go.

use std::io::{self, Write};

use deploy_kit::{
    Error, ErrorKind, Result, Target,
    config::{Config, TargetConfig},
    event::{Event, EventKind},
    model::millis,
    observers::{JsonLines, Observer, PlainLines, Terminal, message},
    report::duration_words,
    state::journal::Fact,
};

use super::{Backend, Cli};

pub(super) struct Session<'a> {
    pub(super) tool: &'static str,
    pub(super) config: Config,
    pub(super) json: bool,
    pub(super) backend: &'a dyn Backend,
    options: String,
}

impl<'a> Session<'a> {
    pub(super) fn open(tool: &'static str, backend: &'a dyn Backend, cli: &Cli) -> Result<Self> {
        let mut config = Config::load(&cli.config)?;
        if let Some(url) = &cli.state {
            config = config.with_state(url)?;
        }
        // Commands that are shown must work as they are shown.
        let mut options = String::new();
        if cli.config.as_os_str() != "deploy.toml" {
            options += &format!(" --config {}", cli.config.display());
        }
        if let Some(url) = &cli.state {
            options += &format!(" --state {url}");
        }
        if cli.emulator {
            options += " --emulator";
        }
        Ok(Self { tool, config, json: cli.json, backend, options })
    }

    /// A command of this tool, with the options of this run.
    pub(super) fn command(&self, words: &str) -> String {
        format!("{}{} {words}", self.tool, self.options)
    }

    /// The one target that is meant: the only one, if none is named.
    pub(super) fn one(&self, name: Option<&str>) -> Result<&TargetConfig> {
        match (name, self.config.targets()) {
            (Some(name), _) if name.contains('*') => {
                let text = format!("`{name}` means several targets, and this command takes one");
                Err(Error::new(ErrorKind::Invalid, text))
            }
            (Some(name), _) => self.config.find(name),
            (None, [only]) => Ok(only),
            (None, targets) => {
                let names: Vec<String> = targets.iter().map(|target| target.name.to_string()).collect();
                let text = format!("which target? the file has: {}", names.join(", "));
                Err(Error::new(ErrorKind::Invalid, text))
            }
        }
    }

    /// The targets that a name or a pattern means: all, if there is none.
    pub(super) fn some(&self, pattern: Option<&str>) -> Result<Vec<&TargetConfig>> {
        match pattern {
            Some(pattern) => self.config.select(pattern),
            None => Ok(self.config.targets().iter().collect()),
        }
    }

    /// A target, quiet.
    pub(super) async fn target(&self, config: &TargetConfig) -> Result<Target> {
        let connected = self.backend.connect(&self.config, config).await?;
        let mut deployer = self.config.deployer()?;
        if let Some(namespace) = connected.namespace {
            deployer = deployer.namespace(namespace);
        }
        config.on(&deployer, connected.place, &connected.builders)
    }

    /// With what is watched: progress on standard error, results on standard output.
    pub(super) fn watched(&self, target: Target) -> Target {
        let progress: Box<dyn Observer> = match (Terminal::stderr(), self.json) {
            (Some(terminal), true) => Box::new(terminal),
            (Some(terminal), false) => Box::new(terminal.without_the_one_line()),
            (None, true) => Box::new(PlainLines::new(io::stderr())),
            (None, false) => Box::new(PlainLines::new(io::stderr()).without_the_one_line()),
        };
        let target = target.observe(progress);
        if self.json { target.observe(JsonLines::new(io::stdout())) } else { target }
    }

    /// Writes a result. A reader that went away is no reason to fail.
    pub(super) fn say(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// The one line of an event that ends a deploy, with how long it took.
pub(super) fn one_line(event: &Event) -> Option<String> {
    let EventKind::Fact(fact) = &event.kind else { return None };
    let Fact::Ended { outcome, .. } = &**fact else { return None };
    let took = duration_words(millis(outcome.ended_at.since(outcome.started_at)));
    Some(format!("{}   {took}", message(event)))
}
