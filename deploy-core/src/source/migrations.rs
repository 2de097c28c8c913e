//! Which files of a repository are database migrations.

use std::{fmt, str::FromStr};

use super::Commit;
use crate::error::{Error, ErrorKind};

/// A framework with a fixed place for its migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Framework {
    /// Laravel: `database/migrations/*.php`.
    Laravel,
    /// Ruby on Rails: `db/migrate`, directories in it included, and only names that begin with a digit.
    Rails,
    /// Django: the modules in any package `migrations`, without those that begin with `_` or `~`.
    Django,
    /// Flyway: SQL and Java in any `db/migration`, by its prefixes `V`, `B` and `R`; undo migrations (`U`) do not run
    /// forward and are left out.
    Flyway,
    /// Prisma Migrate: `prisma/migrations/NAME/migration.sql`, in any directory.
    Prisma,
    /// Alembic: `versions` in a directory `alembic`, or `migrations` as Flask-Migrate names it.
    Alembic,
}

impl Framework {
    const ALL: [Self; 6] =
        [Self::Laravel, Self::Rails, Self::Django, Self::Flyway, Self::Prisma, Self::Alembic];

    fn name(self) -> &'static str {
        match self {
            Self::Laravel => "laravel",
            Self::Rails => "rails",
            Self::Django => "django",
            Self::Flyway => "flyway",
            Self::Prisma => "prisma",
            Self::Alembic => "alembic",
        }
    }

    /// Where the frameworks look by default:
    /// - Laravel: `Migrator::getMigrationFiles`, <https://laravel.com/docs/migrations>
    /// - Rails: `ActiveRecord::MigrationContext#migration_files`, <https://guides.rubyonrails.org/active_record_migrations.html>
    /// - Django: `MigrationLoader.load_disk`, <https://docs.djangoproject.com/en/stable/topics/migrations/>
    /// - Flyway: <https://documentation.red-gate.com/flyway/flyway-concepts/migrations>
    /// - Prisma: <https://www.prisma.io/docs/orm/prisma-migrate/understanding-prisma-migrate/migration-histories>
    /// - Alembic: `ScriptDirectory`, <https://alembic.sqlalchemy.org/en/latest/tutorial.html>
    fn globs(self) -> &'static [&'static str] {
        match self {
            Self::Laravel => &["database/migrations/*.php"],
            Self::Rails => &["db/migrate/**/[0-9]*_*.rb"],
            Self::Django => &["**/migrations/[!_~]*.py"],
            Self::Flyway => &[
                "**/db/migration/**/[VB]*__*.sql",
                "**/db/migration/**/R__*.sql",
                "**/db/migration/**/[VB]*__*.java",
                "**/db/migration/**/R__*.java",
            ],
            Self::Prisma => &["**/prisma/migrations/*/migration.sql"],
            // A module `_name` counts and `__init__` does not.
            Self::Alembic => &[
                "**/alembic/versions/[!_]*.py",
                "**/alembic/versions/_[!_]*.py",
                "**/migrations/versions/[!_]*.py",
                "**/migrations/versions/_[!_]*.py",
            ],
        }
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Framework {
    type Err = Error;

    /// The names are the variants' in small letters.
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|framework| framework.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            let text = format!("the migrations of `{}` are not known", name.escape_debug());
            Error::new(ErrorKind::Invalid, text).next(format!("known are {names}; or give path patterns"))
        })
    }
}

/// Which files are migrations: path patterns from the top of the repository.
///
/// `*` and `?` stand for characters of one name, `[abc]` and `[!abc]` for one character, and `**` as a whole name for
/// any number of directories, none included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Migrations {
    globs: Vec<String>,
}

impl Migrations {
    /// Where a framework looks by default.
    #[must_use]
    pub fn of(framework: Framework) -> Self {
        Self::matching(framework.globs().iter().copied())
    }

    /// The files that match one of these patterns. A pattern that is none is an error of whoever is asked
    /// ([`Source::migrations`](super::Source::migrations)).
    pub fn matching<T: Into<String>>(globs: impl IntoIterator<Item = T>) -> Self {
        Self { globs: globs.into_iter().map(Into::into).collect() }
    }

    /// These files, too.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.globs.extend(other.globs);
        self
    }

    /// The patterns.
    #[must_use]
    pub fn globs(&self) -> &[String] {
        &self.globs
    }
}

/// A migration that a commit brings.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Migration {
    /// The path from the top of the repository; control characters are replaced.
    pub path: String,
    /// Whether the old commit had it.
    pub change: MigrationChange,
    /// The commit that added it or, if it was changed, the last that did.
    pub commit: Commit,
}

impl Migration {
    /// A migration of all its parts.
    pub fn new(path: impl Into<String>, change: MigrationChange, commit: Commit) -> Self {
        Self { path: path.into(), change, commit }
    }
}

/// Whether the old commit had a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MigrationChange {
    /// It had not.
    Added,
    /// It had, with another content: a framework that ran it already may not run it again.
    Changed,
}

/// The migrations between two commits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum MigrationsBetween {
    /// These, by path.
    Known(Vec<Migration>),
    /// They cannot be known; the reason in one line.
    CannotKnow(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_framework_is_found_by_its_name_and_another_is_refused_with_those_that_are_known() {
        for framework in Framework::ALL {
            assert_eq!(framework.to_string().parse::<Framework>().unwrap(), framework);
            assert!(!Migrations::of(framework).globs().is_empty());
        }
        let error = "symfony".parse::<Framework>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("`symfony`") && error.to_string().contains("laravel"), "{error}");
    }

    #[test]
    fn patterns_of_ones_own_come_beside_those_of_a_framework() {
        let both = Migrations::of(Framework::Laravel).and(Migrations::matching(["sql/*.sql"]));
        assert_eq!(both.globs(), ["database/migrations/*.php", "sql/*.sql"]);
    }
}
