//! `plan`: what a deploy would do.

use deploy_kit::{
    Look, Result, Target,
    clock::{Clock, SystemClock},
    report::{CommitRow, PlanScreen, plan_screen, plural},
    source::{Commit, Migration, MigrationsBetween},
    state::journal::GuardResult,
};

use super::{change, envelope, grammar::Wished, session::Session, wish::Wish};

pub(super) async fn plan(session: &Session<'_>, given: &Wished) -> Result<u8> {
    if given.target.as_deref().is_some_and(|target| target.contains('*')) {
        return several(session, given).await;
    }
    let wish = Wish::of(session, given).await?;
    one(session, wish, given.show_values).await
}

async fn several(session: &Session<'_>, given: &Wished) -> Result<u8> {
    let mut code = 0;
    for (at, config) in session.some(given.target.as_deref())?.into_iter().enumerate() {
        if at > 0 && !session.json {
            session.say("\n");
        }
        let wish = Wish::for_target(config, given).await?;
        code = code.max(one(session, wish, given.show_values).await?);
    }
    Ok(code)
}

async fn one(session: &Session<'_>, wish: Wish<'_>, show_values: bool) -> Result<u8> {
    let target = session.target(wish.config).await?;
    if let Some(text) = &wish.refused {
        return change::refuse(session, wish.config, "image", text, &[]).await;
    }
    let now = target.status().await?.now;
    if let Some(crossing) = session.backend.crossing(&session.config, wish.config, &now) {
        eprint!("{}", crossing.screen);
        return change::refuse(session, wish.config, "identity", &crossing.text, &crossing.next).await;
    }
    let look = target.deploy(wish.release).look().await?;
    let command = session.command(&format!("deploy {}", wish.words));
    let screen = screen(session, &target, &look, command, show_values).await;
    let refuses = look.guards.iter().any(|finding| finding.result == GuardResult::Refuse);
    let text = plan_screen(&screen);
    if session.json {
        let message = text.lines().last().unwrap_or_default();
        let data = envelope::plan(&look, !refuses);
        session.say(&envelope::line("plan", screen.now, &wish.config.name, None, message, data));
    } else {
        session.say(&text);
    }
    Ok(if refuses { 3 } else { 0 })
}

async fn screen(
    session: &Session<'_>,
    target: &Target,
    look: &Look,
    command: String,
    show_values: bool,
) -> PlanScreen {
    let mut screen = PlanScreen::new(look.plan.clone(), &look.now);
    screen.now = SystemClock.now();
    screen.place = Some(session.backend.place(&look.now));
    screen.pinned = look.pin.as_ref().map(|pin| pin.at);
    screen.standing = match look.known_good.iter().position(|good| good.declared == look.now.declared) {
        Some(0) => Some("last known good".into()),
        Some(_) => Some("known good".into()),
        None => None,
    };
    screen.since = since(target, look).await;
    let migrations = match &look.migrations {
        Some(MigrationsBetween::Known(migrations)) => migrations.as_slice(),
        Some(MigrationsBetween::CannotKnow(_)) | None => &[],
    };
    screen.migrations = migrations.len();
    screen.commits = look.commits.iter().map(|commit| row(commit, migrations)).collect();
    screen.guards.clone_from(&look.guards);
    screen.show_values = show_values;
    screen.command = command;
    screen
}

/// Since when that serves: the end of the deploy that put it there.
async fn since(target: &Target, look: &Look) -> Option<deploy_kit::model::Timestamp> {
    let deploys = target.history(10).await.ok()?;
    let served = |outcome: &deploy_kit::model::Outcome| {
        outcome.serving.revision.as_deref() == Some(look.now.serving.name.as_str()) && outcome.is_success()
    };
    let outcome = deploys.into_iter().filter_map(|deploy| deploy.outcome).find(served)?;
    Some(outcome.ended_at)
}

fn row(commit: &Commit, migrations: &[Migration]) -> CommitRow {
    let brings = migrations.iter().filter(|migration| migration.commit.id == commit.id).count();
    CommitRow {
        commit: commit.id.clone(),
        author: commit.author.clone(),
        at: commit.at,
        subject: commit.subject.clone(),
        note: if brings == 0 { String::new() } else { plural(brings, "migration") },
    }
}
