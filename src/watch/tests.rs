use std::os::unix::fs::symlink;

use super::*;

/// A directory as the kubelet mounts a Secret.
fn mounted(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("redkeep-watch-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(path.join("..1")).unwrap();
    std::fs::write(path.join("..1/tls.crt"), "").unwrap();
    symlink("..1", path.join("..data")).unwrap();
    symlink("..data/tls.crt", path.join("tls.crt")).unwrap();
    path.canonicalize().unwrap()
}

#[test]
fn every_link_on_the_way_to_a_file_is_watched_where_it_stands() {
    let folder = mounted("links");
    let names = names_on_the_way(&folder.join("tls.crt"));
    assert_eq!(names, ["tls.crt", "..data", "..1/tls.crt"].map(|name| folder.join(name)));
    let outside = folder.join("outside");
    symlink(&folder, &outside).unwrap();
    let names = names_on_the_way(&outside.join("..data/../tls.crt"));
    assert_eq!(
        names,
        ["outside", "..data", "tls.crt", "..data", "..1/tls.crt"].map(|name| folder.join(name))
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_missing_is_watched_from_where_it_would_begin_and_a_circle_ends() {
    let folder = mounted("missing");
    assert_eq!(names_on_the_way(&folder.join("a/b/c")), [folder.join("a")]);
    symlink("two", folder.join("one")).unwrap();
    symlink("one", folder.join("two")).unwrap();
    assert!(names_on_the_way(&folder.join("one")).len() <= MAX_LINKS + 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn of_a_folder_every_file_matters() {
    let folder = mounted("folder");
    assert_eq!(names_on_the_way(&folder), [folder.clone(), folder.join("*")]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut directories = Directories::new().unwrap();
        directories.follow([folder.as_path()].into_iter());
        std::fs::write(folder.join("another.crt"), "").unwrap();
        reported(&directories, "the new file").await;
    });
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn swaps_renames_and_writes_are_reported_again_and_again() {
    let folder = mounted("reports");
    let file = folder.join("tls.crt");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut directories = Directories::new().unwrap();
        for round in 2..5 {
            directories.follow([file.as_path()].into_iter());
            let next = folder.join(format!("..{round}"));
            std::fs::create_dir(&next).unwrap();
            std::fs::write(next.join("tls.crt"), "").unwrap();
            symlink(next.file_name().unwrap(), folder.join("..data_tmp")).unwrap();
            std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
            reported(&directories, "the swap").await;
            directories.follow([file.as_path()].into_iter());
            std::fs::write(&file, "more").unwrap();
            reported(&directories, "the write").await;
            std::fs::write(folder.join("new"), "other").unwrap();
            std::fs::rename(folder.join("new"), next.join("tls.crt")).unwrap();
            reported(&directories, "the rename").await;
        }
    });
    std::fs::remove_dir_all(folder).unwrap();
}

async fn reported(directories: &Directories, what: &str) {
    let waited = tokio::time::timeout(Duration::from_secs(10), directories.reported.notified()).await;
    assert!(waited.is_ok(), "{what} was not reported");
    // One change may come as several reports.
    while tokio::time::timeout(Duration::from_millis(100), directories.reported.notified()).await.is_ok() {}
}
