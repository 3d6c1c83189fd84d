//! A look at the files of a program that could not be executed: why that was.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags, fstat, fstatvfs, open, openat2,
};
use rustix::io::Errno;

use super::elf::{self, Elf, Machine};
use super::libraries;
use crate::pod::Credentials;

/// How much of a file the kernel looks at (BINPRM_BUF_SIZE).
const HEAD: usize = 256;
/// How many scripts may be each other's interpreters (fs/exec.c, exec_binprm).
const SCRIPTS_MAX: usize = 5;

/// What is wrong with a program's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// There is no such file.
    Missing(PathBuf),
    /// The first path's interpreter, the second, is not there.
    MissingInterpreter(PathBuf, PathBuf),
    /// It is a directory, or something else that cannot be executed.
    NotAFile(PathBuf),
    /// It is for another machine, by name.
    Foreign(PathBuf, String),
    /// It is no ELF file and has no `#!` line.
    NotAProgram(PathBuf),
    /// It is a damaged ELF file.
    Damaged(PathBuf),
    /// Its permission bits do not let it be executed by whom it was to be.
    NotExecutable(PathBuf),
    /// Its file system is mounted `noexec`.
    NoExec(PathBuf),
    /// This directory above it cannot be entered by whom it was to be executed.
    Closed(PathBuf),
    /// A library is not there, and the file that needs it.
    MissingLibrary(OsString, PathBuf),
}

impl Finding {
    /// The error that `execve` of `program` gives for it, where there is but one.
    pub fn errno(&self, program: &Path) -> Option<i32> {
        let errno = match self {
            Self::Missing(_) | Self::MissingInterpreter(..) => Errno::NOENT,
            Self::NotAFile(_) | Self::NotExecutable(_) | Self::NoExec(_) | Self::Closed(_) => {
                Errno::ACCESS
            }
            // The loader of a program gives another error than the program itself.
            Self::Foreign(path, _) | Self::NotAProgram(path) if path == program => Errno::NOEXEC,
            _ => return None,
        };
        Some(errno.raw_os_error())
    }
}

/// What a program takes for `/`.
pub struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// The tree at `root`.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(root: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(root, flags, Mode::empty())?;
        Ok(Self { root })
    }

    /// What is at `path`, links followed within the tree; nothing is done to it.
    fn find(&self, path: &Path) -> rustix::io::Result<(OwnedFd, Stat)> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let found = openat2(
            self.root.as_fd(),
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        let stat = fstat(&found)?;
        Ok((found, stat))
    }

    /// The regular file at `path`, to be read: opening anything else may do something.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open_file(&self, path: &Path) -> rustix::io::Result<File> {
        let (found, stat) = self.find(path)?;
        if !is_file(&stat) {
            return Err(Errno::INVAL);
        }
        let path = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(File::from(open(path, flags, Mode::empty())?))
    }
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// What the kernel would execute for a program.
enum Step {
    /// A script: by this interpreter.
    Script(PathBuf),
    Program(Box<Elf>),
    Wrong(Finding),
}

/// A program, and who was to execute it.
pub struct Program<'a> {
    /// Its path in the tree.
    pub path: &'a Path,
    /// Where it is started: a relative interpreter is looked for from there.
    pub working_directory: &'a Path,
    /// Who executes it.
    pub who: &'a Credentials,
    /// `LD_LIBRARY_PATH`.
    pub library_path: Option<&'a str>,
}

impl Program<'_> {
    /// Why `execve` failed, with this error where it is known. `None` where nothing is found to
    /// be wrong.
    pub fn why_not_executed(&self, tree: &Tree, errno: Option<i32>) -> Option<Finding> {
        let errno = errno.map(Errno::from_raw_os_error);
        let mut paths = Vec::new();
        let finding = self.follow(tree, &mut paths).err();
        if errno == Some(Errno::ACCESS) || (errno.is_none() && finding.is_none()) {
            return paths.iter().find_map(|path| self.denied(tree, path));
        }
        // What was found must be able to give this error.
        finding.filter(|finding| match errno {
            None => true,
            Some(Errno::NOENT) => matches!(
                finding,
                Finding::Missing(_) | Finding::MissingInterpreter(..)
            ),
            Some(_) => !matches!(
                finding,
                Finding::Missing(_) | Finding::MissingInterpreter(..)
            ),
        })
    }

    /// Which library the loader did not find, if one is not there.
    pub fn missing_library(&self, tree: &Tree) -> Option<Finding> {
        let (path, program) = self.follow(tree, &mut Vec::new()).ok()?;
        let (library, by) = libraries::missing(tree, &path, program, self.library_path)?;
        Some(Finding::MissingLibrary(library, by))
    }

    /// Goes from interpreter to interpreter, as the kernel does, and notes each in `paths`.
    fn follow(&self, tree: &Tree, paths: &mut Vec<PathBuf>) -> Result<(PathBuf, Elf), Finding> {
        let mut path = self.path.to_path_buf();
        for _ in 0..=SCRIPTS_MAX {
            let path_before = paths.last().cloned();
            paths.push(path.clone());
            match step(tree, &path, path_before.as_deref()) {
                Step::Script(interpreter) => path = self.working_directory.join(interpreter),
                Step::Program(program) => {
                    if let Some(interpreter) = &program.interpreter {
                        let interpreter = self.working_directory.join(interpreter);
                        paths.push(interpreter.clone());
                        check_loader(tree, &path, interpreter)?;
                    }
                    return Ok((path, *program));
                }
                Step::Wrong(finding) => return Err(finding),
            }
        }
        Err(Finding::NotAProgram(path))
    }

    fn denied(&self, tree: &Tree, path: &Path) -> Option<Finding> {
        for directory in path.ancestors().skip(1).collect::<Vec<_>>().iter().rev() {
            let (_, stat) = tree.find(directory).ok()?;
            // CAP_DAC_READ_SEARCH.
            if self.who.uid != 0 && !may_execute(self.who, &stat) {
                return Some(Finding::Closed(directory.to_path_buf()));
            }
        }
        let (file, stat) = tree.find(path).ok()?;
        if !is_file(&stat) {
            return Some(Finding::NotAFile(path.to_path_buf()));
        }
        let is_executable = match self.who.uid {
            0 => stat.st_mode & 0o111 != 0,
            _ => may_execute(self.who, &stat),
        };
        if !is_executable {
            return Some(Finding::NotExecutable(path.to_path_buf()));
        }
        let mount = fstatvfs(&file).ok()?;
        let is_noexec = mount.f_flag.contains(StatVfsMountFlags::NOEXEC);
        is_noexec.then(|| Finding::NoExec(path.to_path_buf()))
    }
}

fn step(tree: &Tree, path: &Path, before: Option<&Path>) -> Step {
    let stat = match tree.find(path) {
        Ok((_, stat)) => stat,
        Err(_) => {
            return Step::Wrong(match before {
                None => Finding::Missing(path.to_path_buf()),
                Some(before) => {
                    Finding::MissingInterpreter(before.to_path_buf(), path.to_path_buf())
                }
            });
        }
    };
    if !is_file(&stat) {
        return Step::Wrong(Finding::NotAFile(path.to_path_buf()));
    }
    let mut head = [0; HEAD];
    let read = tree
        .open_file(path)
        .map_err(std::io::Error::from)
        .and_then(|file| Ok((file.read_at(&mut head, 0)?, file)));
    let (length, file) = match read {
        Ok(read) => read,
        Err(_) => return Step::Wrong(Finding::Damaged(path.to_path_buf())),
    };
    let head = &head[..length];
    if let Some(interpreter) = script_interpreter(head) {
        return Step::Script(interpreter.into());
    }
    if !elf::is_elf(head) {
        return Step::Wrong(Finding::NotAProgram(path.to_path_buf()));
    }
    match Elf::read(&file) {
        Ok(elf) => match Machine::HOST {
            Some(host) if host != elf.machine => {
                Step::Wrong(Finding::Foreign(path.to_path_buf(), elf.machine.name()))
            }
            _ => Step::Program(Box::new(elf)),
        },
        Err(_) => Step::Wrong(Finding::Damaged(path.to_path_buf())),
    }
}

/// An ELF interpreter is an ELF file itself.
fn check_loader(tree: &Tree, program: &Path, loader: PathBuf) -> Result<(), Finding> {
    match step(tree, &loader, Some(program)) {
        Step::Wrong(finding) => Err(finding),
        Step::Script(_) => Err(Finding::NotAProgram(loader)),
        Step::Program(_) => Ok(()),
    }
}

/// The interpreter in a `#!` line, as the kernel reads it (fs/binfmt_script.c).
fn script_interpreter(head: &[u8]) -> Option<&OsStr> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let word = line.split(is_blank).find(|word| !word.is_empty())?;
    Some(OsStr::from_bytes(word))
}

/// Whether the permission bits let `who`, who is not root, execute or enter (inode(7)).
fn may_execute(who: &Credentials, stat: &Stat) -> bool {
    let bits = if stat.st_uid == who.uid {
        stat.st_mode >> 6
    } else if stat.st_gid == who.gid || who.supplementary_gids.contains(&stat.st_gid) {
        stat.st_mode >> 3
    } else {
        stat.st_mode
    };
    bits & 1 != 0
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A header of an ELF program for a 64-bit machine, without segments.
    fn elf(machine: u8) -> Vec<u8> {
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = machine;
        elf
    }

    #[test]
    fn finds_what_is_wrong_with_a_program() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
        write("script", b"#! /no/such -x\n");
        write("nested", b"#!/script");
        write("text", b"echo hello\n");
        write("empty", b"");
        write("arm", &elf(183));
        write("cut", b"\x7fELF\x02\x01");
        write("by-arm", b"#!/arm\n");
        fs::create_dir(root.path().join("directory")).unwrap();
        std::os::unix::fs::symlink("/loop", root.path().join("loop")).unwrap();
        let p = PathBuf::from;
        let table = [
            ("/none", 2, Some(Finding::Missing(p("/none")))),
            (
                "/script",
                2,
                Some(Finding::MissingInterpreter(p("/script"), p("/no/such"))),
            ),
            (
                "/nested",
                2,
                Some(Finding::MissingInterpreter(p("/script"), p("/no/such"))),
            ),
            ("/script", 8, None),
            ("/text", 8, Some(Finding::NotAProgram(p("/text")))),
            ("/text", 2, None),
            ("/empty", 8, Some(Finding::NotAProgram(p("/empty")))),
            ("/cut", 8, Some(Finding::Damaged(p("/cut")))),
            ("/directory", 13, Some(Finding::NotAFile(p("/directory")))),
            #[cfg(target_arch = "x86_64")]
            (
                "/arm",
                8,
                Some(Finding::Foreign(p("/arm"), "aarch64".into())),
            ),
            #[cfg(target_arch = "x86_64")]
            (
                "/by-arm",
                8,
                Some(Finding::Foreign(p("/arm"), "aarch64".into())),
            ),
        ];
        let tree = Tree::open(root.path()).unwrap();
        for (path, errno, expected) in table {
            let program = Program {
                path: Path::new(path),
                working_directory: Path::new("/"),
                who: &Credentials::default(),
                library_path: None,
            };
            let found = program.why_not_executed(&tree, Some(errno));
            assert_eq!(found, expected, "{path}, {errno}");
        }
    }

    #[test]
    fn finds_who_may_not() {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let make = |name: &str, mode: u32| {
            let path = root.path().join(name);
            match name.ends_with('/') {
                true => fs::create_dir(&path).unwrap(),
                false => fs::write(&path, "#!/bin/sh\n").unwrap(),
            }
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        make("closed/", 0o700);
        make("closed/x", 0o755);
        make("mine", 0o700);
        make("none", 0o644);
        let tree = Tree::open(root.path()).unwrap();
        let who = |uid| Credentials {
            uid,
            gid: uid,
            supplementary_gids: vec![],
        };
        let p = PathBuf::from;
        for (path, uid, expected) in [
            ("/closed/x", 33, Finding::Closed(p("/closed"))),
            ("/mine", 33, Finding::NotExecutable(p("/mine"))),
            ("/none", 0, Finding::NotExecutable(p("/none"))),
        ] {
            let program = Program {
                path: Path::new(path),
                working_directory: Path::new("/"),
                who: &who(uid),
                library_path: None,
            };
            let found = program.why_not_executed(&tree, Some(13));
            assert_eq!(found, Some(expected), "{path}");
        }
    }
}
