//! The images of a release: tags to digests, and whether they can run where the task definition puts them.

use std::collections::{BTreeMap, BTreeSet};

use deploy_aws::{EcrImage, ImageName, ImagePlatform};
use deploy_core::{Error, ErrorKind, Result};

use crate::{client::Client, definition::Definition};

/// Whether who deploys may not read it: what cannot be looked at is noted, and no reason to refuse.
fn hidden(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported)
}

/// Images by digest, so that what is deployed cannot change its meaning afterwards. One ECR call for each, and two more
/// requests for one whose manifest does not name its platform, if the task definition asks for one.
///
/// # Errors
/// [`ErrorKind::Refused`] for an image that does not exist or is for another architecture, else what ECR says.
pub(crate) async fn by_digest(
    client: &Client,
    wanted: BTreeMap<String, String>,
    base: &Definition,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, String>> {
    let mut images = BTreeMap::new();
    for (container, reference) in wanted {
        let name = ImageName::parse(&reference);
        let found = match client.aws.image(&name).await {
            // It is named by its digest: nothing else has to be known to deploy it.
            Err(error) if name.digest.is_some() && hidden(&error) => {
                notes.push(format!("container {container}: cannot tell whether {reference} exists: {error}"));
                None
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let text = format!("container {container} of {}: {}", base.family(), error.message());
                return Err(Error::new(ErrorKind::Refused, text)
                    .next("build and push it first, or name an existing one")
                    .because(error));
            }
            found => found?,
        };
        if found.is_none() && name.digest.is_none() {
            notes.push(format!(
                "container {container}: the digest of {reference} is not known, its tag is deployed"
            ));
        }
        if let (Some(found), Some(asked)) = (&found, base.image_platform()) {
            fits(client, &container, &name, found, &asked, base, notes).await?;
        }
        let digest = found.map(|found| found.digest).or_else(|| name.digest.clone());
        images.insert(container, digest.map_or(reference, |digest| name.at(&digest).to_string()));
    }
    Ok(images)
}

/// Refuses an image that the tasks could not run.
async fn fits(
    client: &Client,
    container: &str,
    name: &ImageName,
    found: &EcrImage,
    asked: &ImagePlatform,
    base: &Definition,
    notes: &mut Vec<String>,
) -> Result<()> {
    let platforms = match client.aws.image_platforms(name, found).await {
        Ok(platforms) => platforms,
        Err(error) if hidden(&error) || error.kind() == ErrorKind::NotFound => {
            notes.push(format!(
                "container {container}: cannot tell which architecture {name} is for: {error}"
            ));
            BTreeSet::new()
        }
        Err(error) => return Err(error),
    };
    if platforms.is_empty() || platforms.contains(asked) {
        return Ok(());
    }
    let list: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    let text = format!(
        "wrong architecture: container {container} of {} runs on {asked}; {name} is for {}",
        base.family(),
        list.join(", ")
    );
    Err(Error::new(ErrorKind::Refused, text).next(format!("build it for {asked}, and deploy that one")))
}
