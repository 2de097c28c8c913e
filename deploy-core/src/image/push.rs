//! Pushing an image from the Engine to its registry.

use std::time::Duration;

use bollard::{
    models::{ProgressDetail, PushImageInfo},
    query_parameters::PushImageOptionsBuilder,
};
use futures_util::StreamExt;

use super::{
    build::Built,
    engine::{Engine, cannot},
    event::{ImageEvent, ImageEvents},
    logins::server_of,
    name::is_digest,
    redact::Redactor,
    registry::Registry,
};
use crate::error::{Error, ErrorKind, Result, Retry};

/// How often a push is tried.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_secs(1);
/// A push of which nothing was heard for so long hangs. The Engine speaks at least twice a second while it sends.
const SILENCE_MAX: Duration = Duration::from_secs(300);

impl Engine {
    /// Pushes an image that was built, and gives its digest: from the registry's answer, asked for again by HEAD.
    ///
    /// Layers that the registry has are not sent again: the Engine asks for each. Tried three times if the registry is too
    /// busy or the connection breaks, and once more with a new login if it is refused; the same bytes pushed again are the
    /// same image. To cancel, drop the future.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`], [`ErrorKind::PermissionDenied`], [`ErrorKind::NotFound`] (no such repository),
    /// [`ErrorKind::Throttled`], [`ErrorKind::Unavailable`], [`ErrorKind::TimedOut`] after five silent minutes;
    /// [`ErrorKind::Conflict`] if the tag means another image by then.
    pub async fn push(&self, built: &Built, registry: &Registry, events: &ImageEvents) -> Result<String> {
        let Built { repository, tag, .. } = built;
        let name = format!("{repository}:{tag}");
        let (mut pause, mut renewed) = (PAUSE, false);
        for attempt in 1.. {
            let error = match self.push_once(built, registry, events).await {
                Ok(digest) => return confirmed(built, registry, &digest).await,
                Err(error) => error,
            };
            let expired = error.kind() == ErrorKind::Unauthenticated && !renewed;
            if expired {
                renewed = true;
                registry.logins().forget(repository.registry());
            }
            let may = match error.retry() {
                Retry::Never => expired,
                Retry::After(wait) => wait <= SILENCE_MAX,
                Retry::Always | Retry::IfIdempotent => true,
            };
            if !may || attempt >= TRIES {
                return Err(error);
            }
            let after = if let Retry::After(wait) = error.retry() { wait } else { pause };
            let (what, because) = (format!("push {name}"), error.message().to_owned());
            events.send(ImageEvent::Retrying { what, because, after });
            self.time().sleep(after).await;
            pause *= 2;
        }
        Err(Error::new(ErrorKind::Unexpected, format!("{name} was never pushed")))
    }

    async fn push_once(&self, built: &Built, registry: &Registry, events: &ImageEvents) -> Result<String> {
        let Built { repository, tag, .. } = built;
        let redactor = Redactor::default();
        let login = registry.logins().login(repository.registry()).await?;
        let credentials = login.map(|login| {
            login.redact(&redactor);
            login.for_engine(server_of(repository.registry()))
        });
        let doing = format!("push {repository}:{tag}");
        let (client, _lifeline) = self.client().await?;
        let options = PushImageOptionsBuilder::default().tag(tag).build();
        let name = repository.to_string();
        let mut answers = client.push_image(&name, Some(options), credentials).boxed();
        let mut digest = None;
        loop {
            let answer = tokio::select! {
                answer = answers.next() => answer,
                () = self.time().sleep(SILENCE_MAX) => {
                    let text = format!("cannot {doing}: nothing was heard of it for {} s", SILENCE_MAX.as_secs());
                    return Err(Error::new(ErrorKind::TimedOut, text).retry_as(Retry::Always));
                }
            };
            match answer {
                Some(Ok(info)) => {
                    digest = info.status.as_deref().and_then(|status| digest_in(status, tag)).or(digest);
                    tell(events, info, &redactor);
                }
                Some(Err(error)) => return Err(cannot(&doing, error, &redactor)),
                None => break,
            }
        }
        digest.ok_or_else(|| {
            let text = format!("cannot {doing}: the Docker Engine broke it off, without a word");
            Error::new(ErrorKind::Unavailable, text).retry_as(Retry::Always)
        })
    }
}

/// The registry has what the Engine says it has.
async fn confirmed(
    Built { repository, tag, .. }: &Built,
    registry: &Registry,
    digest: &str,
) -> Result<String> {
    match registry.digest(repository, tag).await? {
        Some(stored) if stored == digest => Ok(stored),
        Some(other) => {
            let text = format!("{repository}:{tag} was pushed as {digest}, and is {other} now");
            Err(Error::new(ErrorKind::Conflict, text).retry_as(Retry::Never).next(
                "somebody else pushed the same commit meanwhile: deploy again, and that image is verified",
            ))
        }
        None => {
            let text =
                format!("{repository}:{tag} was pushed as {digest}, and the registry does not have it");
            Err(Error::new(ErrorKind::NotFound, text).next("is another registry behind that name?"))
        }
    }
}

/// `TAG: digest: sha256:... size: 528`, the last thing that the Engine says.
fn digest_in(status: &str, tag: &str) -> Option<String> {
    let rest = status.strip_prefix(tag)?.strip_prefix(": digest: ")?;
    let digest = rest.split(' ').next()?;
    is_digest(digest).then(|| digest.to_owned())
}

fn tell(events: &ImageEvents, info: PushImageInfo, redactor: &Redactor) {
    let Some(status) = info.status else { return };
    let ProgressDetail { current, total } = info.progress_detail.unwrap_or_default();
    let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    events.send(ImageEvent::Pushing {
        status: redactor.line(&status),
        sent: bytes(current),
        of: bytes(total),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_in_the_last_line() {
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(digest_in(&format!("v1: digest: {digest} size: 528"), "v1"), Some(digest.clone()));
        for other in
            [format!("v2: digest: {digest} size: 1"), "v1: digest: sha256:ff size: 1".into(), "Pushed".into()]
        {
            assert_eq!(digest_in(&other, "v1"), None, "{other}");
        }
    }
}
