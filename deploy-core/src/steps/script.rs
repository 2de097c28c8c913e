//! The shell script that a command is run by: its supervisor, here and on other machines.
//!
//! A POSIX `sh` reads it from its standard input, which is a pipe from the deployer and nothing else. It starts the command
//! in its own process group, and before it a watcher that reads on: in a session apart (where there is `setsid`), so that a
//! command which stops its whole group stops everything but the reading. When the watcher reads `done`, it leaves; when the pipe
//! ends, because the deployer let go of it, was killed or lost the connection, or when it falls silent, because the
//! deployer was stopped, the watcher ends everything of the run: its process group, and (on Linux) whatever carries the
//! run's mark in its environment, which children inherit wherever they went with `setsid` or by a double fork.
//! The end is SIGTERM, a second of grace at most, and SIGKILL until nothing is left.
//!
//! What is left out of that: a process that has both left the group and dropped the mark from its environment, one of
//! another user (`sudo`), and, elsewhere than on Linux, whatever left the group.

use std::fmt::Write;

/// How often the deployer says that it is there.
pub(super) const BEAT_MS: u64 = 3_000;
/// How long the deployer may be silent. With the grace, it has to stay below what
/// [`Effect::within`](crate::context::Effect::within) promises.
const SILENT_S: u32 = 15;
/// The variable that marks the processes of a run.
const MARK: &str = "DEPLOY_KIT_RUN";

/// What tells a run apart: random, known to nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// In front of what the script itself says on standard error. The command does not know it.
    pub(super) token: String,
    /// In the environment of all that it runs.
    pub(super) mark: String,
}

/// What a script is to run.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) program: &'a str,
    pub(super) args: &'a [String],
    pub(super) dir: Option<&'a str>,
    /// With the values of secrets: a script is written to the pipe and nowhere else.
    pub(super) env: &'a [(String, String)],
}

/// Text that the shell takes as one word and leaves as it is.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What `sh -c` is given. It reads the script up to the token on a line of its own; half a script is never run. It is one
/// line without anything that is special to a login shell of another kind within single quotes.
pub(super) fn bootstrap(names: &Names) -> String {
    let token = &names.token;
    format!(
        r#"s=; n=$(printf "\n."); n=${{n%.}}; printf "%s ready\n" {token} >&2; while IFS= read -r l; do case $l in {token}) eval "$s"; exit;; esac; s=$s$l$n; done; exit 125"#
    )
}

/// The script, with the token at its end.
pub(super) fn script(names: &Names, task: &Task<'_>) -> String {
    let Names { token, mark } = names;
    let mut run = String::new();
    for (name, value) in task.env {
        let _ = writeln!(run, "export {name}={}", quoted(value));
    }
    if let Some(dir) = task.dir {
        let dir = quoted(dir);
        let _ = writeln!(run, "cd -- {dir} || {{ printf '\\n%s nodir\\n' {token} >&2; exit 126; }}");
    }
    let program = quoted(task.program);
    let _ = writeln!(
        run,
        "command -v {program} >/dev/null 2>&1 || {{ printf '\\n%s missing\\n' {token} >&2; exit 127; }}"
    );
    let _ = write!(run, "exec {program}");
    for arg in task.args {
        let _ = write!(run, " {}", quoted(arg));
    }
    // A caught signal is back at its default in what is run; an ignored one would stay ignored. What is run is a function,
    // because some shells print the text of what a signal has ended, and this one has secrets.
    format!(
        r#"trap : TERM INT HUP
exec 3<&0 4>&2 </dev/null
dk_marked() {{ grep -lsF -- {MARK}={mark} /proc/[0-9]*/environ | sed 's,^/proc/\([0-9]*\)/environ$,\1,'; }}
dk_watch() {{
  trap '' TERM INT HUP
  dk_limit=
  command -v timeout >/dev/null && dk_limit='timeout -s KILL {SILENT_S}'
  dk_apart=
  command -v setsid >/dev/null && dk_apart=setsid
  $dk_apart sh -c '
    kill -s USR1 "$1"
    while word=$($2 sh -c "IFS= read -r w && printf %s \"\$w\""); do
      case $word in done) exit 0;; esac
    done
    kill -s CONT -- "-$1"
    exit 1' sh $$ "$dk_limit" <&3 3<&- 4>&- && exit 0
  kill -TERM 0
  dk_left=$(dk_marked)
  case $dk_left in ?*) kill -TERM $dk_left;; esac
  if [ -d /proc/self ]; then
    dk_tries=0
    while [ $dk_tries -lt 9 ]; do
      case $(dk_marked) in '') break;; esac
      sleep 0.1 || sleep 1
      dk_tries=$((dk_tries + 1))
    done
    dk_tries=0
    while [ $dk_tries -lt 200 ]; do
      dk_left=$(dk_marked)
      case $dk_left in '') break;; esac
      kill -KILL $dk_left
      dk_tries=$((dk_tries + 1))
    done
  else
    sleep 1
  fi
  printf '%s gone\n' {token} >&4
  kill -KILL 0
}}
dk_run() {{
exec 3<&- 4>&-
export {MARK}={mark}
{run}
}}
dk_up=
trap dk_up=1 USR1
dk_watch >/dev/null 2>&1 &
dk_watcher=$!
dk_tries=0
while [ -z "$dk_up" ] && [ $dk_tries -lt 200 ]; do
  sleep 0.01 || sleep 1
  dk_tries=$((dk_tries + 1))
done 2>/dev/null
printf '%s started\n' {token} >&2
( dk_run )
printf '\n%s ended %s\n' {token} $? >&2
wait $dk_watcher
printf '%s closed\n' {token} >&2
{token}
"#
    )
}

/// What the script says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It waits for the script.
    Ready,
    /// It was read, and the command comes next.
    Started,
    /// There is no such directory; nothing was run.
    NoDirectory,
    /// There is no such program; nothing was run.
    NoProgram,
    /// The command has ended with this exit code; above 128, by a signal.
    Ended(i32),
    /// Its watcher has left.
    Closed,
    /// Its watcher has ended everything.
    Gone,
}

impl Said {
    /// A line of standard error that the script itself has written.
    pub(super) fn of(line: &str, names: &Names) -> Option<Self> {
        let words = line.strip_prefix(&names.token)?.strip_prefix(' ')?;
        match words {
            "ready" => Some(Self::Ready),
            "started" => Some(Self::Started),
            "nodir" => Some(Self::NoDirectory),
            "missing" => Some(Self::NoProgram),
            "closed" => Some(Self::Closed),
            "gone" => Some(Self::Gone),
            _ => words.strip_prefix("ended ")?.parse().ok().map(Self::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_quoted_is_one_word() {
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("$(rm -rf /)\n"), "'$(rm -rf /)\n'");
    }

    #[test]
    fn what_the_script_says_is_told_from_what_the_command_does() {
        let names = Names { token: "t1".into(), mark: "m1".into() };
        assert_eq!(Said::of("t1 ended 137", &names), Some(Said::Ended(137)));
        assert_eq!(Said::of("t1 ready", &names), Some(Said::Ready));
        for line in ["t1ready", "t1 ended", "t1 ended x", " t1 ready", "t2 ready", "t1", ""] {
            assert_eq!(Said::of(line, &names), None, "{line}");
        }
    }

    #[test]
    fn a_bootstrap_fits_into_single_quotes_of_any_shell() {
        let text = bootstrap(&Names { token: "t1".into(), mark: "m1".into() });
        assert!(!text.contains(['\'', '!', '\n', '`']), "{text}");
    }
}
