//! One folder of PEM bundles: which files differ since the last look, and what was read from each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;

use super::Reading;
use crate::net::watched_file::{UnreadFile, WatchedFile};
use crate::state::certificate::Certificate;
use crate::state::problem::{Problem, Reason, Subject};

/// The most certificates that are read. Each is a filter chain in every proxy.
const MAX_BUNDLES: usize = 10_000;

/// The longest name of a certificate, in bytes.
const MAX_NAME_BYTES: usize = 200;

/// A folder, and what was found in it so far.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    bundles: BTreeMap<String, Bundle>,
    /// Problems of files that are not even read.
    strays: Vec<Problem>,
}

/// Treatment of a file that is missing or wrong: it may still be about to change, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// It may: what was known stays.
    Wait,
    /// It had its time.
    Judge,
}

/// One file.
#[derive(Debug)]
struct Bundle {
    file: WatchedFile,
    last_good: Option<Arc<Certificate>>,
    /// Problems of the file: if it is good, the parts that were left out.
    problems: Vec<Problem>,
    /// True if `last_good` is the content of the file.
    good: bool,
}

impl Folder {
    /// A folder that was not looked at yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            bundles: BTreeMap::new(),
            strays: Vec::new(),
        }
    }

    /// Reads what differs since the last look. True when it is settled: nothing is missing or
    /// wrong that was not known to be, or this is the look that judges. Blocks.
    ///
    /// # Errors
    ///
    /// When the folder cannot be listed. Then nothing changes.
    pub(super) fn look(&mut self, now_seconds: i64, patience: Patience) -> io::Result<bool> {
        let names = self.list()?;
        let mut settled = true;
        for name in &names {
            let path = self.path.join(format!("{name}.pem"));
            let bundle = self.bundles.entry(name.clone());
            let bundle = bundle.or_insert_with(|| Bundle::new(path));
            settled &= bundle.look(name, now_seconds, patience);
        }
        match patience {
            Patience::Wait => settled &= self.bundles.keys().all(|name| names.contains(name)),
            Patience::Judge => self.bundles.retain(|name, _| names.contains(name)),
        }
        Ok(settled)
    }

    /// Has the next look read every file, also those that look as they did.
    pub(super) fn forget_reads(&mut self) {
        for bundle in self.bundles.values_mut() {
            bundle.file.forget();
        }
    }

    /// The certificates and problems to announce. `unreadable`: the error by which the last look
    /// found nothing.
    pub(super) fn reading(&self, now_seconds: i64, unreadable: Option<&io::Error>) -> Reading {
        let mut reading = Reading::default();
        for bundle in self.bundles.values() {
            reading.problems.extend(bundle.problems.iter().cloned());
            let Some(certificate) = &bundle.last_good else {
                continue;
            };
            let expiry = certificate.not_after_seconds;
            reading.expiries.insert(certificate.name.clone(), expiry);
            if bundle.good {
                match certificate.problem_at(now_seconds) {
                    None => reading.certificates.push(certificate.clone()),
                    Some(problem) => reading.problems.push(problem),
                }
            }
        }
        reading.problems.extend(self.strays.iter().cloned());
        if let Some(error) = unreadable {
            reading.problems.push(problem(
                &self.path.display().to_string(),
                format!("the folder cannot be read: {error}"),
                "make it readable for this daemon; what was read before stays",
            ));
        }
        reading
    }

    /// The names of the certificates whose files are there.
    fn list(&mut self) -> io::Result<BTreeSet<String>> {
        let mut names = BTreeSet::new();
        let mut strays = BTreeSet::new();
        for entry in fs::read_dir(&self.path)? {
            let file_name = entry?.file_name();
            let file_name = file_name.to_string_lossy();
            match file_name.strip_suffix(".pem") {
                // Hidden.
                Some(_) if file_name.starts_with('.') => {}
                Some(name) if is_name(name) => {
                    names.insert(name.to_owned());
                }
                Some(name) => {
                    let shown: String = name.escape_debug().take(MAX_NAME_BYTES).collect();
                    strays.insert(shown);
                }
                None => {}
            }
        }
        self.strays = strays
            .iter()
            .map(|name| {
                problem(
                    name,
                    "its file name makes no name for a certificate".to_owned(),
                    "rename it: letters, digits and any of . _ - * in front of .pem",
                )
            })
            .collect();
        if let Some(first) = names.iter().nth(MAX_BUNDLES).cloned() {
            let left_out = names.split_off(&first);
            self.strays.push(problem(
                &first,
                format!(
                    "it and {} after it are left out: more than {MAX_BUNDLES} certificates",
                    left_out.len() - 1
                ),
                "delete what is not needed",
            ));
        }
        Ok(names)
    }
}

impl Bundle {
    /// The file at this path, not read yet.
    fn new(path: PathBuf) -> Self {
        Self {
            file: WatchedFile::secret(path),
            last_good: None,
            problems: Vec::new(),
            good: false,
        }
    }

    /// Reads the file if it differs. True when it is settled.
    fn look(&mut self, name: &str, now_seconds: i64, patience: Patience) -> bool {
        if !self.file.differs() {
            return true;
        }
        let problems = match self.file.read() {
            Ok(bytes) => {
                let parsed = Certificate::parse(name, &bytes, now_seconds);
                if let Some(certificate) = parsed.certificate {
                    self.last_good = Some(Arc::new(certificate));
                    self.problems = parsed.problems;
                    self.good = true;
                    return true;
                }
                parsed.problems
            }
            Err(unread) => {
                let remedy = match unread {
                    UnreadFile::Unreadable(_) => {
                        "make it readable for this daemon, and for nobody else"
                    }
                    UnreadFile::TooLarge => "a bundle is one certificate, its chain and its key",
                    UnreadFile::Moving => "write it under another name and rename it",
                };
                vec![problem(name, format!("its file {unread}"), remedy)]
            }
        };
        // Read again by the next look: what is wrong may also pass by itself, as an early date does.
        self.file.forget();
        let known_to_be_bad = !self.good && !self.problems.is_empty();
        match patience {
            Patience::Wait if !known_to_be_bad => false,
            Patience::Wait | Patience::Judge => {
                self.good = false;
                self.problems = problems;
                true
            }
        }
    }
}

/// True if a text can be the name of a secret, a label of a metric and part of a log line.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME_BYTES
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'*'))
}

/// The problem of a folder that has not answered since `since_seconds` (1970, UTC).
pub(super) fn hung(folder: &Path, since_seconds: i64) -> Problem {
    let since = OffsetDateTime::from_unix_timestamp(since_seconds);
    let since = since.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    problem(
        &folder.display().to_string(),
        format!(
            "reading the folder hangs since {} {} UTC",
            since.date(),
            since.time()
        ),
        "see if the mount that it is on answers; what was read before stays",
    )
}

fn problem(name: &str, message: String, remedy: &str) -> Problem {
    Problem {
        subject: Subject::Certificate(name.to_owned()),
        label: None,
        reason: Reason::InvalidCertificate,
        message,
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, bundle};
    use super::*;
    use crate::net::watched_file::MAX_FILE_BYTES;

    /// A folder with these files, after its first look.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let mut folder = Folder::new(dir.path().to_owned());
        folder.look(NOW, Patience::Judge).unwrap();
        (dir, folder)
    }

    fn check(folder: &Folder, names: &[&str], problems: &[&str]) {
        let reading = folder.reading(NOW, None);
        let found: Vec<_> = reading.certificates.iter().map(|c| &*c.name).collect();
        assert_eq!(found, names);
        let found: Vec<_> = reading.problems.iter().map(Problem::to_string).collect();
        assert_eq!(found.len(), problems.len(), "{found:?}");
        for (found, part) in found.iter().zip(problems) {
            assert!(found.contains(part), "{part:?} is not in {found:?}");
        }
    }

    #[test]
    fn only_visible_pem_files_with_sane_names_are_certificates() {
        let pem = bundle("a.example");
        let long = format!("{}.pem", "x".repeat(MAX_NAME_BYTES + 1));
        let (_dir, folder) = folder(&[
            ("web.pem", &pem),
            ("*.shop-1_x.example.pem", &pem),
            (".hidden.pem", &pem),
            ("web.pem.old", &pem),
            ("readme", "x"),
            (".pem", &pem),
            ("sp ace.pem", &pem),
            (&long, &pem),
        ]);
        check(
            &folder,
            &["*.shop-1_x.example", "web"],
            &["certificate sp ace: its file name", "certificate xxx"],
        );
    }

    #[test]
    fn what_is_no_readable_file_is_a_problem_of_its_own() {
        let (dir, mut folder) = folder(&[("web.pem", &bundle("a.example"))]);
        fs::create_dir(dir.path().join("folder.pem")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link.pem")).unwrap();
        let large = " ".repeat(usize::try_from(MAX_FILE_BYTES).unwrap() + 1);
        fs::write(dir.path().join("large.pem"), large).unwrap();
        folder.look(NOW, Patience::Judge).unwrap();
        check(
            &folder,
            &["web"],
            &[
                "certificate folder: its file cannot be read: it is no regular file",
                "certificate large: its file is larger than 1048576 bytes",
                "certificate link: its file cannot be read",
            ],
        );
    }

    #[test]
    fn without_stamps_a_file_is_read_that_looks_as_it_did() {
        let (dir, mut folder) = folder(&[("web.pem", &bundle("a.example"))]);
        let names = |folder: &Folder| {
            let reading = folder.reading(NOW, None);
            reading.certificates[0].server_names.clone()
        };
        let path = dir.path().join("web.pem");
        fs::write(&path, bundle("b.example")).unwrap();
        // As on a network mount that remembers what a file looked like.
        folder.bundles.get_mut("web").unwrap().file.look_unchanged();
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        assert_eq!(names(&folder), ["a.example"]);
        folder.forget_reads();
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        assert_eq!(names(&folder), ["b.example"]);
    }

    #[test]
    fn a_file_that_is_half_written_is_never_reported() {
        let (old, new) = (bundle("a.example"), bundle("b.example"));
        let (dir, mut folder) = folder(&[("web.pem", &old)]);
        let path = dir.path().join("web.pem");
        let (new_certificate, _) = new.split_at(new.find("-----BEGIN PRIVATE").unwrap());
        let (_, old_key) = old.split_at(old.find("-----BEGIN PRIVATE").unwrap());

        fs::write(&path, format!("{new_certificate}{old_key}")).unwrap();
        assert!(!folder.look(NOW, Patience::Wait).unwrap());
        check(&folder, &["web"], &[]);
        fs::write(&path, new).unwrap();
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        check(&folder, &["web"], &[]);
        let reading = folder.reading(NOW, None);
        assert_eq!(reading.certificates[0].server_names, ["b.example"]);
    }

    #[test]
    fn a_file_that_stays_bad_is_a_problem_until_it_is_good() {
        let (dir, mut folder) = folder(&[("web.pem", &bundle("a.example"))]);
        let path = dir.path().join("web.pem");
        fs::write(&path, "garbage").unwrap();
        assert!(!folder.look(NOW, Patience::Wait).unwrap());
        assert!(folder.look(NOW, Patience::Judge).unwrap());
        check(&folder, &[], &["certificate web: there is no certificate"]);
        assert_eq!(
            folder.reading(NOW, None).expiries.len(),
            1,
            "its last good one is still served"
        );
        assert!(
            folder.look(NOW, Patience::Wait).unwrap(),
            "nobody waits for what is known to be bad"
        );

        fs::write(&path, bundle("a.example")).unwrap();
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        check(&folder, &["web"], &[]);
    }

    #[test]
    fn a_file_is_gone_only_when_it_stays_away() {
        let pem = bundle("a.example");
        let (dir, mut folder) = folder(&[("web.pem", &pem)]);
        let path = dir.path().join("web.pem");
        fs::remove_file(&path).unwrap();
        assert!(!folder.look(NOW, Patience::Wait).unwrap());
        check(&folder, &["web"], &[]);
        assert!(folder.look(NOW, Patience::Judge).unwrap());
        assert_eq!(folder.reading(NOW, None), Reading::default());
    }

    #[test]
    fn an_exchanged_link_is_seen() {
        let (old, new) = (bundle("a.example"), bundle("b.example"));
        let (dir, mut folder) = folder(&[]);
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("v1")).unwrap();
        fs::create_dir(at("v2")).unwrap();
        fs::write(at("v1/web.pem"), old).unwrap();
        fs::write(at("v2/web.pem"), new).unwrap();
        let link = std::os::unix::fs::symlink::<&str, PathBuf>;
        link("v1", at("..data")).unwrap();
        link("..data/web.pem", at("web.pem")).unwrap();
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        link("v2", at("..next")).unwrap();
        fs::rename(at("..next"), at("..data")).unwrap();
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        let reading = folder.reading(NOW, None);
        assert_eq!(reading.certificates[0].server_names, ["b.example"]);
    }

    #[test]
    fn a_folder_that_cannot_be_listed_keeps_what_was_read() {
        let (dir, mut folder) = folder(&[("web.pem", &bundle("a.example"))]);
        let path = dir.path().to_owned();
        drop(dir);
        let error = folder.look(NOW, Patience::Judge).unwrap_err();
        let reading = folder.reading(NOW, Some(&error));
        assert_eq!(reading.certificates.len(), 1);
        assert_eq!(reading.problems.len(), 1);
        let problem = reading.problems[0].to_string();
        assert!(problem.contains(&*path.to_string_lossy()) && problem.contains("folder"));
    }

    #[test]
    fn time_alone_makes_a_certificate_expire_and_an_early_one_valid() {
        let (_dir, valid) = folder(&[("web.pem", &bundle("a.example"))]);
        let end = valid.reading(NOW, None).certificates[0].not_after_seconds;
        let reading = valid.reading(end + 1, None);
        assert_eq!(reading.certificates, []);
        assert!(reading.problems[0].message.starts_with("expired"));

        let (dir, mut folder) = folder(&[]);
        fs::write(dir.path().join("web.pem"), bundle("a.example")).unwrap();
        folder.look(0, Patience::Judge).unwrap();
        check(&folder, &[], &["not yet valid"]);
        assert!(folder.look(NOW, Patience::Wait).unwrap());
        check(&folder, &["web"], &[]);
    }
}
