use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

const POD: &str = "/pod";

struct Lab {
    tree: TempDir,
}

impl Lab {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        let at = |path: &str| tree.path().join(path);
        fs::create_dir_all(at("srv/data")).unwrap();
        fs::write(at("file"), "").unwrap();
        fs::set_permissions(at("srv/data"), PermissionsExt::from_mode(0o1770)).unwrap();
        symlink("srv/data", at("data")).unwrap();
        symlink("/", at("root")).unwrap();
        Self { tree }
    }

    /// The volumes of a pod, and one app's.
    fn plan(
        &self,
        volumes: &[&str],
        points: &[(&str, &str, bool)],
        mounts: &[(&str, &str)],
    ) -> Result<(AppVolumes, Vec<VolumePlan>)> {
        let volumes: Result<Vec<_>> = volumes.iter().map(|text| parse_volume(text)).collect();
        let mut planned = Volumes::new(Path::new(POD), &volumes?)?;
        let tree = Tree::open(self.tree.path())?;
        let points = points.iter().map(|(name, path, read_only)| MountPoint {
            name: (*name).into(),
            path: (*path).into(),
            read_only: *read_only,
        });
        let points: Vec<_> = points.collect();
        let image = Image {
            app: "web",
            tree: &tree,
            path: self.tree.path(),
            points: &points,
            is_oci: true,
        };
        let requests = mounts.iter().map(|(volume, target)| MountRequest {
            volume: (*volume).into(),
            target: (*target).into(),
        });
        let requests: Vec<_> = requests.collect();
        Ok((planned.mounts(&image, &requests)?, planned.into_plans()))
    }

    /// Mounts as `VOLUME TARGET[ ro]`, and names as `NAME=TARGET`.
    fn told(
        &self,
        volumes: &[&str],
        points: &[(&str, &str, bool)],
        mounts: &[(&str, &str)],
    ) -> (Vec<String>, Vec<String>) {
        let (app, _) = self.plan(volumes, points, mounts).unwrap();
        let mount = |mount: &MountPlan| {
            let ro = if mount.read_only { " ro" } else { "" };
            format!("{} {}{ro}", mount.volume, mount.target.display())
        };
        let name = |(name, target): &(String, PathBuf)| format!("{name}={}", target.display());
        (
            app.mounts.iter().map(mount).collect(),
            app.names.iter().map(name).collect(),
        )
    }

    fn refused(
        &self,
        volumes: &[&str],
        points: &[(&str, &str, bool)],
        mounts: &[(&str, &str)],
    ) -> String {
        format!("{:#}", self.plan(volumes, points, mounts).unwrap_err())
    }
}

#[test]
fn outer_mounts_come_first_and_links_are_followed() {
    let (mounts, names) = Lab::new().told(
        &["a,kind=empty", "b,kind=empty,readOnly=true"],
        &[],
        &[("b", "/data/in//b/"), ("a", "/z"), ("a", "/data")],
    );
    assert_eq!(mounts, ["a /srv/data", "b /srv/data/in/b ro", "a /z"]);
    // The first place of a volume that was asked for is told, in the order of the requests.
    assert_eq!(names[0], "b=/srv/data/in/b");
    assert_eq!(names.len(), 2);
}

#[test]
fn what_a_link_of_the_image_says_is_checked_like_a_target() {
    let lab = Lab::new();
    for (link, to) in [
        ("line", "srv/x\nstate=exited"),
        ("tab", "a\tb"),
        ("csi", "a\u{9b}2J"),
    ] {
        symlink(to, lab.tree.path().join(link)).unwrap();
        let target = format!("/{link}/in");
        let error = lab.refused(&["a,kind=empty"], &[], &[("a", &target)]);
        assert!(error.contains("a control character"), "{error}");
        assert!(!error.contains(char::is_control), "{error}");
        let error = lab.refused(&[], &[("point", &target, false)], &[]);
        assert!(error.contains("a control character"), "{error}");
    }
}

#[test]
fn mount_points_take_the_volume_of_their_name_or_an_empty_one() {
    let lab = Lab::new();
    let points = [("one", "/one", true), ("two", "/data", false)];
    let (mounts, names) = lab.told(&["one,kind=empty"], &points, &[]);
    assert_eq!(mounts, ["one /one ro", "web-two /srv/data"]);
    assert_eq!(names, ["one=/one", "web-two=/srv/data", "two=/srv/data"]);
    // Whatever is mounted at a mount point meets it, and goes by its name, too.
    let (mounts, names) = lab.told(&["x,kind=empty"], &points, &[("x", "/one"), ("x", "two")]);
    assert_eq!(mounts, ["x /one ro", "x /srv/data"]);
    assert_eq!(names, ["x=/one", "one=/one", "two=/srv/data"]);
}

#[test]
fn an_implicit_volume_is_what_the_image_has_there() {
    let lab = Lab::new();
    let points = [("data", "/data", false), ("new", "/new", false)];
    let (_, plans) = lab.plan(&[], &points, &[]).unwrap();
    let fills: Vec<_> = plans
        .iter()
        .map(|plan| match &plan.kind {
            VolumeKind::Empty { mode, fill, .. } => (&*plan.name, *mode, fill.clone()),
            VolumeKind::Host { .. } => panic!("{plan:?}"),
        })
        .collect();
    let data = lab.tree.path().join("srv/data");
    assert_eq!(
        fills,
        [("web-data", 0o1770, Some(data)), ("web-new", 0o755, None)]
    );
    assert_eq!(plans[0].source, Path::new("/pod/volumes/web-data"));
}

#[test]
fn mount_points_in_a_directory_of_the_user_s_are_left_to_it() {
    let lab = Lab::new();
    let points = [("in", "/data/in", false), ("same", "/srv/data", false)];
    let (mounts, names) = lab.told(&["a,kind=host,source=/tmp"], &points, &[("a", "/data")]);
    assert_eq!(mounts, ["a /srv/data"]);
    assert_eq!(names, ["a=/srv/data", "same=/srv/data", "in=/srv/data/in"]);
    // Two mount points at one place are one volume.
    let points = [("b", "/data", false), ("a", "/data/", true)];
    let (mounts, names) = lab.told(&[], &points, &[]);
    assert_eq!(mounts, ["web-b /srv/data ro"]);
    assert_eq!(names, ["web-b=/srv/data", "b=/srv/data", "a=/srv/data"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let lab = Lab::new();
    let empty = "a,kind=empty";
    let none: &[(&str, &str, bool)] = &[];
    for (volumes, points, mounts, says) in [
        (
            &[empty, empty][..],
            none,
            &[][..],
            "duplicate volume name a",
        ),
        (
            &[],
            none,
            &[("v", "/p")],
            "dangling mount point \"/p\": volume \"v\" not found",
        ),
        (
            &["h,kind=host,source=/no/such"],
            none,
            &[],
            "\"/no/such\" does not exist",
        ),
        (&[empty], none, &[("a", "p")], "absolute"),
        (&[empty], none, &[("a", "/")], "whole rootfs"),
        (&[empty], none, &[("a", "/root")], "whole rootfs"),
        (&[empty], none, &[("a", "/x/../y")], "\"..\""),
        (&[empty], none, &[("a", "/file/x")], "no directory"),
        (
            &[empty, "b,kind=empty"],
            none,
            &[("a", "/data"), ("b", "/srv/data")],
            "two volumes are to be mounted at \"/srv/data\": a and b",
        ),
        (&[empty], none, &[("a", "/x"), ("a", "/x")], "two volumes"),
        (
            &[],
            &[("p", "/file", false)],
            &[],
            "no directory: only a volume of kind=host",
        ),
        (
            &[],
            &[("p", "rel", false)],
            &[],
            "mount point p: target \"rel\"",
        ),
        (
            &["web-p,kind=empty"],
            &[("p", "/p", false)],
            &[],
            "duplicate volume name web-p",
        ),
    ] {
        let error = lab.refused(volumes, points, mounts);
        assert!(error.contains(says), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn counts_are_bounded() {
    let lab = Lab::new();
    let names: Vec<_> = (0..=MAX).map(|number| format!("v{number}")).collect();
    let volumes: Vec<_> = names
        .iter()
        .map(|name| format!("{name},kind=empty"))
        .collect();
    let volumes: Vec<_> = volumes.iter().map(|text| &**text).collect();
    assert!(lab.refused(&volumes, &[], &[]).contains("at most"));
    let points: Vec<_> = names.iter().map(|name| (&**name, "/data", false)).collect();
    assert!(lab.refused(&[], &points, &[]).contains("at most"));
}
