//! Manual.
#[tokio::test]
async fn manual() {
    let repo = deploy_core::source::git::Repo::open(std::env::var("ZZ_REPO").unwrap()).unwrap();
    let mut fetch = deploy_core::source::git::Fetch::branch("main").within(std::time::Duration::from_secs(8));
    if let Ok(file) = std::env::var("ZZ_TOKEN") {
        fetch = fetch.token(deploy_core::model::SecretRef::File(file));
    }
    println!("{:?}", repo.fetch(&fetch).await);
    println!("{:?}", deploy_core::source::Source::work_tree(&repo).await);
}
