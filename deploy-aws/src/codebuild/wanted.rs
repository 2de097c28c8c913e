//! What a build is asked for, and which builds of a project are the same.

use deploy_core::{
    Error, ErrorKind, Result, hash,
    image::{BuildOrder, REVISION},
};

use super::calls::{Seen, State};

const COMMIT: &str = "DEPLOY_COMMIT";
const IMAGE: &str = "DEPLOY_IMAGE";
/// Which step of which deploy began it.
const STARTED_BY: &str = "DEPLOY_STARTED_BY";
/// What the names of our variables begin with.
const OURS: &str = "DEPLOY_";

/// One build of a project, before it is started.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) project: String,
    pub(super) commit: String,
    image: String,
    started_by: String,
    pub(super) variables: Vec<(String, String)>,
}

/// What to do about a build that is wanted.
#[derive(Debug)]
pub(super) enum Found {
    /// It is there: it runs, or its end says all.
    There(Box<Seen>),
    /// It has to be started; these are ended ones of the same step.
    Missing(Vec<String>),
}

impl Wanted {
    /// What an order means.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it asks for what a project's buildspec decides.
    pub(super) fn of(project: &str, order: &BuildOrder<'_>) -> Result<Self> {
        let build = order.build;
        let (commit, repository) = (build.commit(), build.repository());
        let hex = commit.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !matches!(commit.len(), 40 | 64) || !hex {
            let text = format!("`{}` is not the full id of a commit", commit.escape_debug());
            return Err(Error::new(ErrorKind::Invalid, text).next("resolve the revision first"));
        }
        let settings = build.engine_settings();
        if !settings.is_empty() {
            let text = format!("the build of {repository} sets {}", settings.join(", "));
            return Err(Error::new(ErrorKind::Invalid, text)
                .next(format!("that is for a Docker Engine: leave it to the buildspec of {project}")));
        }
        // One of this machine's would mean nothing there.
        let Some(folder) = build.folder().to_str().filter(|_| build.folder().is_relative()) else {
            let text = format!("{} is no folder of a repository", build.folder().display());
            return Err(Error::new(ErrorKind::Invalid, text)
                .next("name it relative to the commit's top: Build::in_repository"));
        };
        let image = format!("{repository}:{commit}");
        let started_by = format!("{}/{}", order.cx.rollout(), order.cx.step());
        let platforms: Vec<String> = build.platforms().iter().map(ToString::to_string).collect();
        let mut variables = vec![
            (COMMIT.to_owned(), commit.to_owned()),
            (IMAGE.to_owned(), image.clone()),
            ("DEPLOY_REGISTRY".to_owned(), repository.registry().to_owned()),
            ("DEPLOY_REVISION_LABEL".to_owned(), format!("{REVISION}={commit}")),
            ("DEPLOY_FOLDER".to_owned(), folder.to_owned()),
            (STARTED_BY.to_owned(), started_by.clone()),
        ];
        if !platforms.is_empty() {
            variables.push(("DEPLOY_PLATFORMS".to_owned(), platforms.join(",")));
        }
        if let Some(version) = build.version_tag() {
            variables.push(("DEPLOY_VERSION_IMAGE".to_owned(), format!("{repository}:{version}")));
        }
        let (project, commit) = (project.to_owned(), commit.to_owned());
        Ok(Self { project, commit, image, started_by, variables })
    }

    pub(super) fn is_ours(variable: &str) -> bool {
        variable.starts_with(OURS)
    }

    /// Whether it makes the same image, whoever began it.
    fn is_same(&self, seen: &Seen) -> bool {
        seen.says(COMMIT, &self.commit) && seen.says(IMAGE, &self.image)
    }

    /// Whether this step of this deploy began it.
    pub(super) fn began(&self, seen: &Seen) -> bool {
        self.is_same(seen) && seen.says(STARTED_BY, &self.started_by)
    }

    /// Looks for it among a project's builds.
    pub(super) fn find(&self, builds: Vec<Seen>) -> Found {
        let mut same: Vec<Seen> = builds.into_iter().filter(|seen| self.is_same(seen)).collect();
        same.sort_by_key(|seen| std::cmp::Reverse(seen.age));
        // The same commit would fail again, and one that succeeded has to be verified and not built twice. What else
        // ended was no fault of the commit.
        let decides = |seen: &Seen| matches!(seen.state, State::Running | State::Succeeded | State::Failed);
        let newest = same.iter().position(|seen| self.began(seen));
        let there = newest
            .filter(|at| same.get(*at).is_some_and(decides))
            .or_else(|| same.iter().position(|seen| seen.state == State::Running));
        match there {
            Some(at) => Found::There(Box::new(same.swap_remove(at))),
            None => {
                Found::Missing(same.into_iter().filter(|seen| self.began(seen)).map(|seen| seen.id).collect())
            }
        }
    }

    /// The token of a start: for the same content and the same ended builds before it the same, in every process.
    pub(super) fn token(&self, ended: &[String]) -> String {
        let mut ended = ended.to_vec();
        ended.sort();
        hash::of(&(&self.project, &self.commit, &self.variables, ended))
    }
}

impl Seen {
    fn says(&self, name: &str, value: &str) -> bool {
        self.variables.iter().any(|(known, is)| known == name && is == value)
    }

    /// Which deploy's step began it, as far as it says so.
    pub(super) fn started_by(&self) -> Option<&str> {
        self.variables.iter().find(|(name, _)| name == STARTED_BY).map(|(_, value)| value.as_str())
    }
}
