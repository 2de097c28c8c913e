use std::collections::BTreeMap;

use super::*;

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn names(context: &Context) -> Vec<String> {
    context.entries.iter().map(|entry| entry.path.display().to_string()).collect()
}

fn scan(dir: &tempfile::TempDir) -> Result<Context> {
    Context::scan(dir.path(), "Dockerfile", CONTEXT_BYTES_MAX)
}

async fn archive(context: Context) -> Vec<u8> {
    let (mut pieces, fault) = context.send(Timestamp::from_millis(1_795_227_187_402));
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.recv().await {
        bytes.extend_from_slice(&piece.unwrap());
    }
    assert!(fault.take().is_none());
    bytes
}

#[test]
fn the_dockerfile_and_the_ignore_file_are_always_sent() {
    let dir = folder(&[("Dockerfile", "FROM scratch"), (".dockerignore", "**"), ("a/b", "x")]);
    assert_eq!(names(&scan(&dir).unwrap()), [".dockerignore", "Dockerfile"]);
    let dir = folder(&[("deploy/web.Dockerfile", ""), (".dockerignore", "deploy\na"), ("a", ""), ("b", "")]);
    let context = Context::scan(dir.path(), "./deploy//web.Dockerfile", 100).unwrap();
    assert_eq!(names(&context), [".dockerignore", "b", "deploy", "deploy/web.Dockerfile"]);
    assert_eq!(context.dockerfile(), "deploy/web.Dockerfile");
}

#[test]
fn the_ignore_file_of_a_dockerfile_comes_first() {
    let dir = folder(&[
        ("Dockerfile", ""),
        ("Dockerfile.dockerignore", "a"),
        (".dockerignore", "b"),
        ("a", ""),
        ("b", ""),
    ]);
    let names = names(&scan(&dir).unwrap());
    assert_eq!(names, [".dockerignore", "Dockerfile", "Dockerfile.dockerignore", "b"]);
}

#[test]
fn an_ignored_folder_is_there_only_for_what_is_brought_back() {
    let files = [("Dockerfile", ""), ("v/a/x", ""), ("v/b/y", ""), ("v/z", ""), ("w/x", "")];
    let dir = folder(&[&files[..], &[(".dockerignore", "v\n!v/a/x\nw\n!nothing/**")]].concat());
    assert_eq!(names(&scan(&dir).unwrap()), [".dockerignore", "Dockerfile", "v", "v/a", "v/a/x"]);
}

#[cfg(unix)]
#[tokio::test]
async fn the_same_files_give_the_same_bytes_with_links_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let long = format!("deep/{}/name", "d".repeat(150));
    let make = |mode: u32| {
        let dir = folder(&[("Dockerfile", "FROM scratch"), ("run", "x"), (&long, "y"), ("b", "")]);
        symlink("/etc/passwd", dir.path().join("link")).unwrap();
        symlink("deep", dir.path().join("folder")).unwrap();
        fs::set_permissions(dir.path().join("run"), fs::Permissions::from_mode(mode)).unwrap();
        dir
    };
    let (one, other) = (make(0o700), make(0o755));
    let bytes = archive(scan(&one).unwrap()).await;
    assert_eq!(bytes, archive(scan(&other).unwrap()).await);
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!(
            (header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()),
            (0, 0, 1_795_227_187)
        );
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        found.insert(entry.path().unwrap().display().to_string(), (header.mode().unwrap(), link));
    }
    assert_eq!(found["link"], (0o777, Some("/etc/passwd".to_owned())));
    assert_eq!(found["folder"], (0o777, Some("deep".to_owned())));
    assert_eq!((found["run"].0, found["b"].0, found[&long].0), (0o755, 0o644, 0o644));
    assert!(!found.keys().any(|path| path.starts_with("folder/")), "{found:?}");
}

#[cfg(unix)]
#[test]
fn sockets_and_pipes_are_left_out() {
    let dir = folder(&[("Dockerfile", "")]);
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert_eq!(names(&scan(&dir).unwrap()), ["Dockerfile"]);
}

#[test]
fn a_dockerfile_outside_or_missing_is_refused() {
    let dir = folder(&[("Dockerfile", "")]);
    for bad in ["../Dockerfile", "/etc/passwd", "a/../../x", ".", ""] {
        assert_eq!(Context::scan(dir.path(), bad, 1).unwrap_err().kind(), ErrorKind::Invalid, "{bad}");
    }
    assert_eq!(Context::scan(dir.path(), "Containerfile", 1).unwrap_err().kind(), ErrorKind::NotFound);
    let missing = dir.path().join("missing");
    assert_eq!(Context::scan(&missing, "Dockerfile", 1).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn too_large_a_context_is_refused_and_names_where_it_is() {
    let dir = folder(&[("Dockerfile", "x"), ("a/small", "1234"), ("b/large", &"x".repeat(3000)), ("c", "x")]);
    let error = Context::scan(dir.path(), "Dockerfile", 2048).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let expected = "the build context has more than 2 KiB: 2 KiB of what was counted are in `b` \
        (name what is not needed in .dockerignore)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_an_error_and_no_archive() {
    let change: [fn(&Path); 3] = [
        |path| fs::write(path, "longer than before").unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
    ];
    for change in change {
        let dir = folder(&[("Dockerfile", "FROM scratch"), ("a", "1234")]);
        let context = scan(&dir).unwrap();
        change(&dir.path().join("a"));
        let (mut pieces, fault) = context.send(Timestamp::default());
        let mut failed = false;
        while let Some(piece) = pieces.recv().await {
            failed |= piece.is_err();
        }
        let error = fault.take().unwrap();
        assert!(failed, "the request must not look whole");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    }
}

#[tokio::test]
async fn who_drops_the_archive_ends_the_reading() {
    let dir = folder(&[("Dockerfile", "FROM scratch"), ("a", &"x".repeat(8 << 20))]);
    let (pieces, fault) = scan(&dir).unwrap().send(Timestamp::default());
    drop(pieces);
    loop {
        if let Some(error) = fault.take() {
            assert!(error.to_string().contains("nobody reads"), "{error}");
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn sizes_are_written_for_people() {
    for (bytes, words) in [(5, "5 bytes"), (2048, "2 KiB"), (3 << 20, "3 MiB"), ((3 << 30) / 2, "1.5 GiB")] {
        assert_eq!(size_words(bytes), words);
    }
}
