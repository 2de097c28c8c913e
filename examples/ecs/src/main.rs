//! Deploys to Amazon ECS from a `deploy.toml`: `cargo run -p ecs -- plan shop/production`.
//!
//! Credentials, region and endpoint are found as the AWS CLI finds them. `--emulator` runs against an ECS emulator inside
//! the tool instead, and `ecs emulator --listen 127.0.0.1:4566` serves one to any client.

mod backend;
mod crossing;
mod kept;
mod seed;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use examples_common::Cli;

const TOOL: &str = "ecs";

#[tokio::main]
async fn main() -> ExitCode {
    let matches = Cli::command().name(TOOL).bin_name(TOOL).get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let backend = backend::EcsBackend::new(&cli);
    Box::pin(examples_common::run(TOOL, &backend, cli)).await
}
