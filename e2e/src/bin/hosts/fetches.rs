//! Fetching over ssh: with every kind of key, and without.

use std::{fs, path::Path, process::Command, time::Duration};

use deploy_core::{
    BoxError,
    clock::{Clock, SystemClock},
};

use crate::{
    Checked, Tally, expect,
    person::{Person, Told},
    processes::until,
    remote::{Remote, is_whole},
    stage::{STRANGE_KEYS, Stage, run},
};

/// What whoever may log in tries at most, and how often.
const CONNECTIONS_MAX: usize = 1;

pub(crate) async fn all(stage: &Stage, tally: &Tally) {
    tally.count("a key of the agent", with_agent(stage).await);
    tally.count("a key that ssh's configuration names, of a host that it names", by_name(stage).await);
    tally.count("a key of the configuration, with the address of a dead agent", dead_agent(stage).await);
    tally.count("the fourth key of the agent", fourth_key(stage).await);
    tally.count("a host whose key nobody knows", unknown_host(stage).await);
    tally.count("a host with another key", other_host_key(stage).await);
    tally.count("a key that is refused", refused(stage, &["refused"]).await);
    let many: Vec<String> = (0..STRANGE_KEYS).map(|number| format!("strange-{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    tally.count("more keys that are refused than the server hears", refused(stage, &many).await);
    tally.count("a key with a passphrase", locked(stage).await);
    tally.count("nothing to log in with", nothing(stage).await);
    tally.count("a repository that is not there", no_repository(stage).await);
    tally.count("a branch that is not there", no_branch(stage).await);
    tally.count("a host by way of another", by_way_of(stage).await);
    tally.count("a server that does not run", no_server(stage).await);
    tally.count("a server that says nothing", silent(stage).await);
    tally.count("a server that is killed in the middle", killed_in_the_middle(stage).await);
}

/// What was fetched is what is there.
async fn fetches(stage: &Stage, who: &Person, remote: &Remote, clone: &Path) -> Checked {
    let told = who.fetch(clone, "main").await?;
    expect(told.tip()? == remote.tip()?, &told)?;
    is_whole(stage, clone, told.tip()?)
}

async fn with_agent(stage: &Stage) -> Checked {
    let who = stage.person("agent")?.with_agent(&["agent"]).await?;
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &stage.url(&remote.bare))?;
    fetches(stage, &who, &remote, &clone).await?;
    // And what comes later.
    let before = remote.tip()?;
    let tip = remote.commit("second")?;
    remote.push()?;
    let told = who.fetch(&clone, "main").await?;
    expect(told.tip()? == tip && told.0["before"] == before.as_str(), &told)?;
    is_whole(stage, &clone, &tip)
}

async fn by_name(stage: &Stage) -> Checked {
    let who = stage.person("named")?.naming("named")?.hashed()?;
    let remote = Remote::make(stage, "remote")?;
    for url in [format!("forge:{}", remote.bare.display()), format!("ssh://forge{}", remote.bare.display())] {
        let clone = remote.empty_clone(stage, &url)?;
        fetches(stage, &who, &remote, &clone).await?;
    }
    Ok(())
}

async fn dead_agent(stage: &Stage) -> Checked {
    let line = format!("IdentityFile {}/keys/named", stage.path().display());
    let who = stage.person("dead-agent")?.saying(&line)?.with_a_dead_agent();
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &stage.url(&remote.bare))?;
    fetches(stage, &who, &remote, &clone).await
}

async fn fourth_key(stage: &Stage) -> Checked {
    let keys = ["strange-0", "strange-1", "strange-2", "agent"];
    let who = stage.person("four-keys")?.with_agent(&keys).await?;
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &stage.url(&remote.bare))?;
    fetches(stage, &who, &remote, &clone).await
}

/// A fetch that ends after one connection, without anything in the clone.
async fn ends(stage: &Stage, who: &Person, url: &str, branch: &str) -> Result<Told, BoxError> {
    let remote = Remote::make(stage, "remote")?;
    let url = if url.is_empty() { stage.url(&remote.bare) } else { url.to_owned() };
    let clone = remote.empty_clone(stage, &url)?;
    let before = stage.sshd.connections();
    let told = who.fetch(&clone, branch).await?;
    let connections = stage.sshd.connections() - before;
    expect(connections <= CONNECTIONS_MAX, (connections, &told))?;
    let names = stage.git(&clone, &["for-each-ref"])?;
    expect(names.is_empty() && told.0["effect"] == "NotApplied", (names, &told))?;
    Ok(told)
}

fn fingerprint(stage: &Stage) -> Result<String, BoxError> {
    let key = stage.path().join("keys/host.pub");
    let line = run(Command::new("ssh-keygen").arg("-lf").arg(key))?;
    Ok(line.split(' ').nth(1).ok_or("no fingerprint")?.to_owned())
}

async fn unknown_host(stage: &Stage) -> Checked {
    let who = stage.person("knows-nobody")?.with_agent(&["agent"]).await?;
    who.knows_nobody()?;
    let logins = stage.sshd.count("Accepted ");
    let told = ends(stage, &who, "", "main").await?;
    told.is("Invalid", &["127.0.0.1", "known_hosts", &fingerprint(stage)?])?;
    expect(told.0["retry"] == "Never" && stage.sshd.count("Accepted ") == logins, &told)
}

async fn other_host_key(stage: &Stage) -> Checked {
    let who = stage.person("knows-another")?.with_agent(&["agent"]).await?;
    who.knows(&fs::read_to_string(stage.path().join("keys/refused.pub"))?)?;
    let logins = stage.sshd.count("Accepted ");
    let told = ends(stage, &who, "", "main").await?;
    told.is("Invalid", &["known_hosts", &fingerprint(stage)?])?;
    expect(stage.sshd.count("Accepted ") == logins, &told)
}

async fn refused(stage: &Stage, keys: &[&str]) -> Checked {
    let who = stage.person(&format!("refused-{}", keys.len()))?.with_agent(keys).await?;
    let failed = stage.sshd.count("Failed publickey");
    let told = ends(stage, &who, "", "main").await?;
    told.is("Unauthenticated", &["cannot be logged in to", "agent", "ssh-add -l"])?;
    let says = told.0["text"].as_str().is_some_and(|text| text.contains("too many keys"));
    expect(says == (keys.len() > 1), &told)?;
    let tries = stage.sshd.count("Failed publickey") - failed;
    expect(told.0["retry"] == "Never" && (1..=keys.len()).contains(&tries), (tries, &told))
}

async fn locked(stage: &Stage) -> Checked {
    let who = stage.person("locked")?.naming("locked")?;
    let told = ends(stage, &who, "", "main").await?;
    told.is("Unauthenticated", &["passphrase", "ssh-add"])
}

async fn nothing(stage: &Stage) -> Checked {
    let told = ends(stage, &stage.person("nothing")?, "", "main").await?;
    told.is("Unauthenticated", &["nothing to log in with"])
}

async fn no_repository(stage: &Stage) -> Checked {
    let url = stage.url(&stage.path().join("nowhere.git"));
    let told = ends(stage, &stage.operator, &url, "main").await?;
    told.is("NotFound", &["no repository", "nowhere.git", "git remote get-url origin"])
}

async fn no_branch(stage: &Stage) -> Checked {
    let told = ends(stage, &stage.operator, "", "mian").await?;
    told.is("NotFound", &["no branch mian", "git push origin mian"])
}

async fn by_way_of(stage: &Stage) -> Checked {
    let who = stage.person("by-way-of")?.naming("named")?.saying("ProxyJump bastion")?;
    let told = ends(stage, &who, "", "main").await?;
    told.is("Unsupported", &["bastion", "git fetch origin"])
}

async fn no_server(stage: &Stage) -> Checked {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("ssh://{}@127.0.0.1:{port}/srv/shop.git", stage.user);
    let told = ends(stage, &stage.operator, &url, "main").await?;
    told.is("Unavailable", &["cannot be reached"])?;
    expect(told.0["retry"] == "Always", &told)
}

async fn silent(stage: &Stage) -> Checked {
    let remote = Remote::make(stage, "remote")?;
    let clone = remote.empty_clone(stage, &stage.url(&remote.bare))?;
    let began = SystemClock.elapsed();
    stage.sshd.freeze();
    let told = stage.operator.fetch_within(&clone, "main", Duration::from_secs(2), None).await;
    stage.sshd.thaw();
    let took = SystemClock.elapsed() - began;
    told?.is("TimedOut", &["within 2 s", "git fetch"])?;
    expect(took < Duration::from_secs(4), took)?;
    fetches(stage, &stage.operator, &remote, &clone).await
}

/// A repository with a megabyte that cannot be made smaller.
pub(crate) fn large(stage: &Stage) -> Result<Remote, BoxError> {
    let remote = Remote::make(stage, "large")?;
    let mut bytes = vec![0; 1 << 20];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut bytes)?;
    fs::write(remote.work.join("large"), bytes)?;
    remote.commit("large")?;
    remote.push()?;
    Ok(remote)
}

async fn killed_in_the_middle(stage: &Stage) -> Checked {
    let remote = large(stage)?;
    let clone = remote.empty_clone(stage, &stage.url(&remote.bare))?;
    let slow = remote.bare.join("slow");
    fs::write(&slow, "")?;
    let fetch = stage.operator.fetch(&clone, "main");
    let kill = async {
        let middle = until("the middle of the pack", || remote.bare.join("middle").exists()).await;
        SystemClock.sleep(Duration::from_millis(100)).await;
        stage.sshd.kill();
        let began = SystemClock.elapsed();
        (middle, began)
    };
    let (told, (middle, began)) = tokio::join!(fetch, kill);
    let took = SystemClock.elapsed() - began;
    fs::remove_file(&slow)?;
    stage.sshd.run().await?;
    middle?;
    let told = told?;
    println!("a fetch whose server was killed ended after {} ms: {}", took.as_millis(), told.0["text"]);
    let known = told.is("Unavailable", &["cannot be reached"]).or_else(|_| told.is("TimedOut", &[]));
    known?;
    expect(told.0["retry"] == "Always" && took < Duration::from_secs(5), (took, &told))?;
    let names = stage.git(&clone, &["for-each-ref"])?;
    expect(names.is_empty(), names)?;
    fetches(stage, &stage.operator, &remote, &clone).await
}
