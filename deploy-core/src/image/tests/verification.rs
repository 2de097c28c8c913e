//! Images that are not what they should be, and clean-up.

use std::{collections::BTreeSet, time::Duration};

use super::*;
use crate::image::{KeepReason, Retention};

const CREATED: &str = "2026-11-01T00:00:00.123456789Z";

fn other() -> String {
    "4be81d00".repeat(5)
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_right_is_verified() {
    let bench = Bench::new();
    let [amd, arm] = ["linux/amd64", "linux/arm64"].map(platform);
    let one = bench.fake_registry.image("", "linux/amd64", Some(&commit()), CREATED);
    let two = bench.fake_registry.image("", "linux/arm64/v8", Some(&commit()), CREATED);
    let index = bench
        .fake_registry
        .index("", &[(&one, "linux/amd64"), (&two, "linux/arm64"), (&two, "unknown/unknown")]);
    for (digest, wanted, found) in [
        (&one, vec![amd.clone()], vec![amd.clone()]),
        (&one, vec![], vec![amd.clone()]),
        (&index, vec![arm.clone()], vec![arm.clone()]),
        (&index, vec![arm.clone(), amd.clone()], vec![amd.clone(), arm.clone()]),
        (&index, vec![], vec![amd.clone(), arm.clone()]),
    ] {
        let image = bench.registry.verify(&repository(), digest, &commit(), &wanted).await.unwrap();
        assert_eq!((&image.digest, &image.commit, image.platforms.clone()), (digest, &commit(), found));
        assert_eq!(image.reference(), format!("127.0.0.1:5000/shop/api@{digest}"));
    }
}

#[tokio::test(start_paused = true)]
async fn another_commit_or_platform_is_refused_with_both_named() {
    let bench = Bench::new();
    let ours = bench.fake_registry.image("ours", "linux/arm64", Some(&commit()), CREATED);
    let theirs = bench.fake_registry.image("theirs", "linux/amd64", Some(&other()), CREATED);
    let unnamed = bench.fake_registry.image("unnamed", "linux/amd64", None, CREATED);
    let odd =
        bench.fake_registry.image("odd", "linux/amd64", Some("main\u{1b}[31m password=hunter2"), CREATED);
    // An index that says what is not true of the image it lists.
    let lying = bench.fake_registry.index("", &[(&ours, "linux/amd64")]);
    let mixed = bench.fake_registry.index("", &[(&ours, "linux/arm64"), (&theirs, "linux/amd64")]);
    for (digest, wanted, said) in [
        (&ours, "linux/amd64", "is for linux/arm64; linux/amd64 is needed"),
        (&ours, "linux/arm64/v7", "is for linux/arm64; linux/arm64/v7 is needed"),
        (&theirs, "linux/amd64", "was built from 4be81d0, not from 9f2c1ab"),
        (&unnamed, "linux/amd64", "does not say that it was built from 9f2c1ab"),
        (&odd, "linux/amd64", "was built from main password=***, not from 9f2c1ab"),
        (&lying, "linux/amd64", "is for linux/arm64; linux/amd64 is needed"),
        (&lying, "linux/s390x", "is for linux/amd64; linux/s390x is needed"),
        (&mixed, "linux/amd64", "was built from 4be81d0, not from 9f2c1ab"),
    ] {
        let error =
            bench.registry.verify(&repository(), digest, &commit(), &[platform(wanted)]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error:?}");
        assert!(error.message().contains(said), "{error}");
    }
    let both = [platform("linux/arm64"), platform("linux/amd64")];
    let error = bench.registry.verify(&repository(), &ours, &commit(), &both).await.unwrap_err();
    assert!(error.message().ends_with("is for linux/arm64; linux/amd64 is needed"), "{error}");
    let error = bench.registry.verify(&repository(), &mixed, &commit(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn a_tag_with_another_commits_image_is_no_reason_to_build() {
    let bench = Bench::new();
    bench.fake_registry.image(&commit(), "linux/amd64", Some(&other()), CREATED);
    let error = bench.build().publish(&bench.engine, &bench.registry, &bench.cx()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.message().contains("was built from 4be81d0, not from 9f2c1ab"), "{error}");
    assert!(bench.fake_engine.calls("/build").is_empty());
    assert_eq!(bench.registry.find(&repository(), &other(), &[]).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_what_its_digest_promises_is_malformed() {
    let bench = Bench::new();
    let digest = bench.fake_registry.image("x", "linux/amd64", Some(&commit()), CREATED);
    let missing = format!("sha256:{}", "0".repeat(64));
    let error = bench.registry.verify(&repository(), &missing, &commit(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    for bad in ["latest", "sha256:ff", ""] {
        let error = bench.registry.verify(&repository(), bad, &commit(), &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
    let broken = bench.fake_registry.index("", &[(&missing, "linux/amd64")]);
    let error = bench
        .registry
        .verify(&repository(), &broken, &commit(), &[platform("linux/amd64")])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    bench.fake_registry.put(
        "old",
        "application/vnd.docker.distribution.manifest.v1+json",
        "{\"schemaVersion\":1}".into(),
    );
    assert_eq!(bench.registry.find(&repository(), &other(), &[]).await.unwrap(), None);
    bench.fake_registry.put(
        &other(),
        "application/vnd.docker.distribution.manifest.v1+json",
        "{\"schemaVersion\":1}".into(),
    );
    let error = bench.registry.find(&repository(), &other(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    bench.fake_registry.corrupt();
    let error = bench.registry.verify(&repository(), &digest, &commit(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
}

fn commit_of(n: u32) -> String {
    format!("{n:040x}")
}

#[tokio::test(start_paused = true)]
async fn old_images_go_one_by_one_and_needed_ones_stay() {
    let bench = Bench::new();
    let image = |n: u32, tag: &str, platform: &str| {
        bench.fake_registry.image(tag, platform, Some(&commit_of(n)), &format!("2026-10-{n:02}T00:00:00Z"))
    };
    let digests: Vec<String> = (1..=6).map(|n| image(n, &commit_of(n), "linux/amd64")).collect();
    let part = image(7, &format!("{}-linux-arm64", commit_of(7)), "linux/arm64");
    let index = bench.fake_registry.index(&commit_of(7), &[(&part, "linux/arm64")]);
    bench.fake_registry.image("latest", "linux/amd64", None, CREATED);
    let retention = Retention { newest: 1, younger_than: Duration::from_secs(24 * 60 * 60) };
    let needed = BTreeSet::from([digests[1].clone(), index.clone()]);
    let plan = bench.registry.plan_cleanup(&repository(), retention, &needed).await.unwrap();
    let going: Vec<&String> = plan.delete.iter().map(|image| &image.digest).collect();
    assert_eq!(going, [&digests[0], &digests[2], &digests[3], &digests[4], &digests[5]]);
    let reason =
        |digest: &String| plan.keep.iter().find(|kept| kept.digest == *digest).map(|kept| kept.reason);
    assert_eq!(reason(&digests[1]), Some(KeepReason::Needed));
    assert_eq!((reason(&index), reason(&part)), (Some(KeepReason::Needed), Some(KeepReason::PartOfKept)));
    assert_eq!(bench.fake_registry.calls("DELETE"), 0, "planning deletes nothing");
    for (image, gone) in [(&plan.delete[0], true), (&plan.delete[0], false), (&plan.delete[1], true)] {
        assert_eq!(bench.registry.delete_image(&plan, image).await.unwrap(), gone);
    }
    assert!(
        !bench.fake_registry.tags().contains(&commit_of(1))
            && bench.fake_registry.tags().contains(&commit_of(2))
    );
    let mut stranger = plan.delete[2].clone();
    stranger.digest = index;
    assert_eq!(bench.registry.delete_image(&plan, &stranger).await.unwrap_err().kind(), ErrorKind::Invalid);
    bench.fake_registry.state().deletes = false;
    let error = bench.registry.delete_image(&plan, &plan.delete[2]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("storage.delete.enabled"), "{error}");
}
