//! Logins to ECR and builds by CodeBuild against a server that never saw them.
//!
//! `moto-images PROJECT COMMIT` uses the project, which has to be there, at the endpoint of `AWS_ENDPOINT_URL`. Ends with
//! `RESULT passed=N failed=M`.

use std::{fmt::Debug, process::ExitCode, sync::Arc};

use async_trait::async_trait;
use deploy_aws::{Aws, CodeBuild, EcrLogins};
use deploy_core::{
    BoxError, Error, ErrorKind, Result,
    clock::SystemClock,
    conformance::preparing,
    image::{
        Build, BuildOrder, ImageBuilder, ImageEvent, ImageEvents, Login, NoLogins, RegistryLogins,
        Repository, StepState,
    },
    source::{Ancestry, Between, Commit, Source},
};

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn check(&mut self, what: &str, good: bool, seen: &dyn Debug) {
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            println!("FAILED {what}: {seen:?}");
        }
    }
}

/// CodeBuild fetches the commit itself.
#[derive(Debug)]
struct Unread;

fn unread<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "nobody reads the source here"))
}

#[async_trait]
impl Source for Unread {
    async fn resolve(&self, _: &str) -> Result<Commit> {
        unread()
    }

    async fn tip(&self, _: &str) -> Result<Commit> {
        unread()
    }

    async fn contains(&self, _: &str, _: &str) -> Result<Ancestry> {
        unread()
    }

    async fn between(&self, _: &str, _: &str, _: usize) -> Result<Between> {
        unread()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [project, commit] = &words[..] else {
        eprintln!("usage: moto-images PROJECT COMMIT");
        return ExitCode::from(2);
    };
    let mut tally = Tally::default();
    if let Err(error) = Box::pin(run(&mut tally, project, commit)).await {
        tally.failed += 1;
        println!("FAILED to go on: {error:#}");
    }
    println!("RESULT passed={} failed={}", tally.passed, tally.failed);
    if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(tally: &mut Tally, project: &str, commit: &str) -> Result<(), BoxError> {
    let aws = Aws::from_env().await?;
    logins(tally, &aws).await?;
    builds(tally, &aws, project, commit).await
}

async fn logins(tally: &mut Tally, aws: &Aws) -> Result<(), BoxError> {
    let logins = EcrLogins::new(aws.clone(), Arc::new(NoLogins));
    for region in ["us-east-1", "eu-west-1"] {
        let registry = format!("123456789012.dkr.ecr.{region}.amazonaws.com");
        let login = logins.login(&registry).await?;
        let good = matches!(&login, Some(Login::Password { username, password })
            if username == "AWS" && !password.expose().is_empty());
        tally.check("a login to ECR", good, &login);
        logins.forget(&registry);
        tally.check("another one", logins.login(&registry).await? == login, &"it differs");
    }
    let other = logins.login("registry.example.com").await?;
    tally.check("no login to others", other.is_none(), &other);
    Ok(())
}

async fn builds(tally: &mut Tally, aws: &Aws, project: &str, commit: &str) -> Result<(), BoxError> {
    let repository = Repository::parse("123456789012.dkr.ecr.us-east-1.amazonaws.com/shop")?;
    let build = Build::new(repository, ".", commit);

    let (cx, _interrupt) = preparing("0F3KQ8Z7VN", "build-shop", 1, SystemClock::shared());
    let unheard = ImageEvents::unheard();
    let order = BuildOrder::new(&build, &Unread, &cx, &unheard);
    let missing = CodeBuild::new(aws.clone(), "nothing").make(order).await;
    let kind = missing.as_ref().err().map(Error::kind);
    tally.check("a project that is not there", kind == Some(ErrorKind::NotFound), &missing);

    let (events, mut stream) = ImageEvents::channel();
    let codebuild = CodeBuild::new(aws.clone(), project);
    let made = codebuild.make(BuildOrder::new(&build, &Unread, &cx, &events)).await;
    drop(events);
    tally.check("a build", made.is_ok(), &made);
    let mut heard = Vec::new();
    while let Some(event) = stream.next().await {
        heard.push(event);
    }
    let done = ImageEvent::Step { step: "BUILD".into(), state: StepState::Done };
    tally.check("its phases", heard.contains(&done), &heard);

    let (cx, interrupt) = preparing("0F3KQ8Z7VP", "build-shop", 1, SystemClock::shared());
    let (events, mut stream) = ImageEvents::channel();
    let stopping = async {
        // It says so once the build is started.
        while let Some(event) = stream.next().await {
            if matches!(&event, ImageEvent::Log { line, .. } if line.starts_with("following ")) {
                interrupt.send_replace(true);
            }
        }
    };
    let making = async {
        let made = codebuild.make(BuildOrder::new(&build, &Unread, &cx, &events)).await;
        drop(events);
        made
    };
    let (made, ()) = tokio::join!(making, stopping);
    let stopped = made.as_ref().err().filter(|error| error.kind() == ErrorKind::Interrupted);
    let said = stopped.is_some_and(|error| error.to_string().contains("has ended"));
    tally.check("a build that is stopped", said, &made);
    Ok(())
}
