//! The suites that need more than a test: real processes, real components, many seeds.
//!
//! `e2e/run [--quick|--full] [--require] [SUITE...]` runs `e2e/suites/NAME.sh` and ends with one line a suite. What a
//! suite needs that shell does badly is a binary of this package, called with `--quick` or `--full`:
//!
//! | binary | suite | what |
//! |---|---|---|
//! | `kills` | `ecs` | deployer processes against the served ECS emulator: killed at every write, raced, aborted from elsewhere |
//! | `ecs-emulator` | `ecs` | the ECS emulator alone, for the aws CLI and boto3 |
//! | `moto` | `ecs` | our client against a server that others wrote |
//! | `moto-images` | `ecs` | our logins to ECR and our builds by CodeBuild against the same |
//! | `images` | `docker` | images with a real Docker Engine and a real registry, interrupted in every way |
//! | `hosts` | `hosts` | git remotes and commands over ssh, with a real git and a real sshd, killed at every end |
//! | `sim` | `sim` | the real machine and driver over simulated platforms: seeds decide about faults, crashes and rivals |
//!
//! A binary prints what it measured and ends with `RESULT passed=N failed=M`; it exits with 0 if nothing failed and
//! something passed. A run that proves nothing (a fault that never happened, no seed at all) fails. Everything random
//! comes from seeds that are printed with the command that runs them again. Nothing here is published.
