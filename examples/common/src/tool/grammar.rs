//! What can be typed.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// Deploys, watches, judges and undoes releases.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true, arg_required_else_help = true)]
pub struct Cli {
    /// The configuration.
    #[arg(long, global = true, value_name = "FILE", default_value = "deploy.toml")]
    pub(super) config: PathBuf,
    /// Where the state is, instead of where the configuration says: sqlite:PATH
    #[arg(long, global = true, value_name = "URL")]
    pub(super) state: Option<String>,
    /// JSON lines on standard output.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Against the platform's emulator inside this tool, kept in .deploy/
    #[arg(long, global = true)]
    pub(super) emulator: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Cli {
    /// Whether the emulator inside the tool is wanted.
    #[must_use]
    pub fn is_emulated(&self) -> bool {
        self.emulator
    }

    /// The configuration's path.
    #[must_use]
    pub fn config_path(&self) -> &std::path::Path {
        &self.config
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what a deploy would do; change nothing
    Plan(Wished),
    /// Deploy a commit, images or configuration
    Deploy(Deploying),
    /// Go back to what is known good
    Rollback(RollingBack),
    /// What serves
    Status { target: Option<String> },
    /// What was deployed
    History {
        target: Option<String>,
        /// How many deploys
        #[arg(long, default_value_t = 10, value_name = "N")]
        limit: usize,
    },
    /// What a deploy's instances wrote
    Logs(Logging),
    /// Stop the deploy before its next step
    Pause {
        target: Option<String>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Go on with an unfinished deploy, whoever stopped it
    Resume { target: Option<String> },
    /// Pass the gate at which the deploy waits, or end its bake
    Promote { target: Option<String> },
    /// Stop the deploy and go back
    Abort {
        target: Option<String>,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Keep a commit from being deployed
    Hold { target: String, commit: String },
    /// Lift a hold
    Unhold {
        target: String,
        commit: String,
        #[arg(long)]
        reason: String,
    },
    /// Pin the target to the place as it is now
    Pin {
        target: Option<String>,
        #[arg(long)]
        reason: String,
    },
    /// Show a target's configuration, and where each value comes from
    Config { target: Option<String> },
    /// Run the checks of a target
    Check { target: Option<String> },
    /// Look for what would stop a deploy
    Doctor { target: Option<String> },
    /// Serve the platform's emulator
    Emulator {
        /// Where: 127.0.0.1:4566
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
        /// How many times as fast as the real one
        #[arg(long, default_value_t = 1, value_name = "N")]
        speed: u32,
    },
}

/// What is to be put in place.
#[derive(Debug, Args)]
pub(super) struct Wished {
    /// app/env; may be left out if the file has one target
    pub(super) target: Option<String>,
    /// The commit; without it the pushed tip of the target's branch, else HEAD
    pub(super) rev: Option<String>,
    /// Set an environment variable
    #[arg(long = "set", value_name = "CONTAINER:KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Remove an environment variable
    #[arg(long = "unset", value_name = "CONTAINER:KEY")]
    pub(super) unset: Vec<String>,
    /// Deploy an existing image by tag or digest
    #[arg(long = "image", value_name = "CONTAINER=REF")]
    pub(super) image: Vec<String>,
    /// Show the values of variables
    #[arg(long)]
    pub(super) show_values: bool,
}

#[derive(Debug, Args)]
pub(super) struct Deploying {
    #[command(flatten)]
    pub(super) wished: Wished,
    /// Only if the plan is still this one
    #[arg(long, value_name = "HASH")]
    pub(super) plan: Option<String>,
    /// Let a guard's refusal pass
    #[arg(long = "override", value_name = "GUARD", requires = "reason")]
    pub(super) overrides: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RollingBack {
    pub(super) target: Option<String>,
    /// Where to: a revision or a commit
    #[arg(long, value_name = "REV")]
    pub(super) to: Option<String>,
    /// Over this migration
    #[arg(long, value_name = "MIGRATION", requires = "reason")]
    pub(super) across: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(super) reason: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Logging {
    pub(super) target: Option<String>,
    /// Follow the deploy that runs
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Which deploy; without it the newest
    #[arg(long, value_name = "ID")]
    pub(super) deploy: Option<String>,
    /// Only lines that call themselves errors
    #[arg(long)]
    pub(super) errors: bool,
}
