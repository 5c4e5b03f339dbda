//! Settings of Marathon: one login at most, and readable files.

use std::path::{Path, PathBuf};

use super::bad_setting::BadSetting;
use super::files::{given, read};
use super::typed::{Marathon, Typed};
use crate::marathon::{BaseUrl, ClientCertificate, Config, MarathonLogin, ServiceAccount};

const CREDENTIALS_FILE: &str = "MARATHON_CREDENTIALS_FILE";
const TOKEN_FILE: &str = "MARATHON_TOKEN_FILE";
const SERVICE_ACCOUNT_FILE: &str = "MARATHON_SERVICE_ACCOUNT_FILE";
const CLIENT_CERT: &str = "MARATHON_CLIENT_CERT";
const CLIENT_KEY: &str = "MARATHON_CLIENT_KEY";

impl Typed {
    /// The configuration of the subscription to Marathon.
    ///
    /// # Errors
    ///
    /// The first setting of Marathon that is refused.
    pub fn subscription(&self) -> Result<Config, BadSetting> {
        let stale_after = self.marathon.stale_after;
        let defaults = Config::new(self.marathon.bases()?);
        Ok(Config {
            login: self.marathon.login()?,
            ca_file: self.marathon.ca_file()?,
            client_certificate: self.marathon.client_certificate()?,
            leader_hosts: self.marathon.leader_hosts()?,
            pods: self.marathon.pods,
            readiness: self.marathon.readiness,
            resync_interval: self.resync_interval,
            confirmation_delay: self.sudden_loss_delay,
            ping_after: stale_after / 2,
            // The other half leaves time to ask twice.
            ping_limit: defaults.ping_limit.min(stale_after / 6),
            ..defaults
        })
    }
}

impl Marathon {
    fn bases(&self) -> Result<Vec<BaseUrl>, BadSetting> {
        let bad = |text: &str, why: String, remedy| BadSetting {
            variable: "MARATHON",
            // It may hold a password.
            value: if text.contains('@') { "(hidden)" } else { text }.to_owned(),
            why: format!("the URL of Marathon cannot be used: {why}"),
            remedy,
        };
        let base = |text: &str| {
            let url = BaseUrl::parse(text).map_err(|error| {
                let remedy = "write http://host:port or https://host:port, several as a comma list";
                bad(text, error.to_string(), remedy)
            })?;
            let (_, path) = url.origin_and_path();
            if path.split('/').any(|segment| segment == "v2") {
                let why = format!("{path} is within Marathon's API");
                return Err(bad(text, why, "leave out the path from /v2 on"));
            }
            Ok(url)
        };
        let texts = self.bases.iter().map(|text| text.trim());
        let bases: Vec<_> = texts
            .filter(|text| !text.is_empty())
            .map(base)
            .collect::<Result<_, _>>()?;
        if bases.is_empty() {
            let remedy = "write http://host:port or https://host:port, several as a comma list";
            return Err(bad(&self.bases.join(","), "there is none".into(), remedy));
        }
        Ok(bases)
    }

    fn leader_hosts(&self) -> Result<Vec<String>, BadSetting> {
        let hosts = self.marathon_leader_hosts.iter().map(|host| host.trim());
        let hosts = hosts.filter(|host| !host.is_empty());
        hosts
            .map(|host| {
                let authority: Option<http::uri::Authority> = host.parse().ok();
                let is_host = |authority: &http::uri::Authority| {
                    !authority.as_str().contains('@') && !authority.host().is_empty()
                };
                match authority.filter(is_host) {
                    Some(_) => Ok(host.to_owned()),
                    None => Err(BadSetting {
                        variable: "MARATHON_LEADER_HOSTS",
                        value: if host.contains('@') { "(hidden)" } else { host }.to_owned(),
                        why: "it is no host".into(),
                        remedy: "write host or host:port without a scheme and a path, several as a \
                                 comma list",
                    }),
                }
            })
            .collect()
    }

    fn login(&self) -> Result<MarathonLogin, BadSetting> {
        let owned = |path: &Option<PathBuf>| given(path).map(Path::to_owned);
        let credentials = owned(&self.marathon_credentials_file).map(MarathonLogin::Credentials);
        let token = owned(&self.marathon_token_file).map(|file| MarathonLogin::Token {
            file,
            scheme: self.marathon_token_scheme,
        });
        let account = owned(&self.marathon_service_account_file).map(MarathonLogin::ServiceAccount);
        let mut logins = [credentials, token, account].into_iter().flatten();
        let login = logins.next().unwrap_or_default();
        if let (Some((variable, path)), Some((other, _))) =
            (source(&login), logins.next().as_ref().and_then(source))
        {
            return Err(bad(
                variable,
                path,
                format!("{other} is set too, and a request carries one login"),
                "take one of the two away",
            ));
        }
        match &login {
            MarathonLogin::None => {}
            MarathonLogin::Credentials(path) => check_credentials(path)?,
            MarathonLogin::Token { file, .. } => check_token(file)?,
            MarathonLogin::ServiceAccount(path) => check_service_account(path)?,
        }
        Ok(login)
    }

    fn ca_file(&self) -> Result<Option<PathBuf>, BadSetting> {
        let Some(path) = given(&self.marathon_cacert) else {
            return Ok(None);
        };
        let bad = |why| {
            let remedy = "name a PEM file of CA certificates that this user may read";
            bad("MARATHON_CACERT", path, why, remedy)
        };
        let text = read(path).map_err(bad)?;
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            return Err(bad("it holds no certificate".into()));
        }
        Ok(Some(path.to_owned()))
    }

    fn client_certificate(&self) -> Result<Option<ClientCertificate>, BadSetting> {
        let certificate = given(&self.marathon_client_cert);
        let key = given(&self.marathon_client_key);
        let (certificate, key) = match (certificate, key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(path), None) => {
                let why = format!("{CLIENT_KEY} is not set");
                let remedy = "name the file of its key; it may be the same file";
                return Err(bad(CLIENT_CERT, path, why, remedy));
            }
            (None, Some(path)) => {
                let why = format!("{CLIENT_CERT} is not set");
                let remedy = "name the file of its certificate; it may be the same file";
                return Err(bad(CLIENT_KEY, path, why, remedy));
            }
        };
        for (variable, path) in [(CLIENT_CERT, certificate), (CLIENT_KEY, key)] {
            let remedy = "name a PEM file that this user may read";
            read(path).map_err(|why| bad(variable, path, why, remedy))?;
        }
        let files = ClientCertificate {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        files.check().map_err(|why| {
            let remedy = "name the PEM files of a certificate with its chain, and of its key \
                          without a passphrase";
            bad(CLIENT_CERT, certificate, why.to_string(), remedy)
        })?;
        Ok(Some(files))
    }
}

fn bad(variable: &'static str, path: &Path, why: String, remedy: &'static str) -> BadSetting {
    BadSetting {
        variable,
        value: path.display().to_string(),
        why,
        remedy,
    }
}

/// The variable that names a login's file, and the file.
fn source(login: &MarathonLogin) -> Option<(&'static str, &Path)> {
    match login {
        MarathonLogin::None => None,
        MarathonLogin::Credentials(path) => Some((CREDENTIALS_FILE, path)),
        MarathonLogin::Token { file, .. } => Some((TOKEN_FILE, file)),
        MarathonLogin::ServiceAccount(path) => Some((SERVICE_ACCOUNT_FILE, path)),
    }
}

fn check_credentials(path: &Path) -> Result<(), BadSetting> {
    let bad = |why| {
        let remedy = "name a file that this user may read, with one line user:password";
        bad(CREDENTIALS_FILE, path, why, remedy)
    };
    let text = read(path).map_err(bad)?;
    if text.trim_end().lines().count() != 1 || !text.contains(':') {
        return Err(bad("it does not hold one line user:password".into()));
    }
    Ok(())
}

fn check_token(path: &Path) -> Result<(), BadSetting> {
    let bad = |why| {
        let remedy = "name a file that this user may read, with one line, the token alone";
        bad(TOKEN_FILE, path, why, remedy)
    };
    let text = read(path).map_err(bad)?;
    let token = text.trim_end_matches(['\r', '\n']);
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad("it does not hold one word, the token".into()));
    }
    Ok(())
}

fn check_service_account(path: &Path) -> Result<(), BadSetting> {
    let bad = |why| {
        let remedy = "name a file that this user may read, with the JSON of a DC/OS service \
                      account's secret: uid, private_key, login_endpoint, scheme";
        bad(SERVICE_ACCOUNT_FILE, path, why, remedy)
    };
    let text = read(path).map_err(bad)?;
    ServiceAccount::parse(&text).map(drop).map_err(bad)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;
    use crate::marathon::TokenScheme;

    /// Files of all kinds, and the settings that name them.
    struct Files(TempDir);

    impl Files {
        fn new() -> Self {
            let this = Self(TempDir::new().unwrap());
            let account = json!({
                "uid": "edge",
                "private_key": include_str!("../../tests/certificates/service-account.pem"),
                "login_endpoint": "https://leader.mesos/acs/api/v1/auth/login",
                "scheme": "RS256",
            });
            let CertifiedKey { cert, signing_key } =
                generate_simple_self_signed(["edge".to_owned()]).unwrap();
            this.put("credentials", "user:hunter2\n");
            this.put("token", "hunter2\n");
            this.put("account", &account.to_string());
            this.put("cert", &cert.pem());
            this.put("key", &signing_key.serialize_pem());
            this
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// What these flags mean, each of which names a file.
        fn meant(&self, flags: &[(&str, &str)]) -> Result<Config, String> {
            let flag = |(flag, name): &(&str, &str)| {
                format!("--marathon-{flag}={}", self.path(name).display())
            };
            let typed = Typed::from_flags(flags.iter().map(flag)).unwrap();
            typed.subscription().map_err(|error| error.to_string())
        }

        fn refused(&self, flags: &[(&str, &str)]) -> String {
            let error = self.meant(flags).unwrap_err();
            assert!(
                !error.contains("hunter2") && !error.contains("PRIVATE"),
                "{error}"
            );
            error
        }
    }

    #[test]
    fn each_login_is_meant_as_it_is_typed() {
        let files = Files::new();
        let login = |flag: &str, name: &str| files.meant(&[(flag, name)]).unwrap().login;
        assert_eq!(
            login("credentials-file", "credentials"),
            MarathonLogin::Credentials(files.path("credentials"))
        );
        assert_eq!(
            login("token-file", "token"),
            MarathonLogin::Token {
                file: files.path("token"),
                scheme: TokenScheme::Bearer
            }
        );
        assert_eq!(
            login("service-account-file", "account"),
            MarathonLogin::ServiceAccount(files.path("account"))
        );
        let token = format!("--marathon-token-file={}", files.path("token").display());
        let flags = [token, "--marathon-token-scheme=token".to_owned()];
        let meant = Typed::from_flags(flags).unwrap().subscription().unwrap();
        assert_eq!(
            meant.login,
            MarathonLogin::Token {
                file: files.path("token"),
                scheme: TokenScheme::Token
            }
        );
        let wrong = ["--marathon-token-scheme=basic".to_owned()];
        assert!(Typed::from_flags(wrong).is_err());
    }

    #[test]
    fn two_logins_are_refused_with_both_names() {
        let files = Files::new();
        let logins = [
            ("credentials-file", "credentials", CREDENTIALS_FILE),
            ("token-file", "token", TOKEN_FILE),
            ("service-account-file", "account", SERVICE_ACCOUNT_FILE),
        ];
        for (at, (flag, name, variable)) in logins.into_iter().enumerate() {
            for (other_flag, other_name, other) in logins.into_iter().skip(at + 1) {
                let error = files.refused(&[(flag, name), (other_flag, other_name)]);
                assert!(error.starts_with(variable), "{error}");
                assert!(error.contains(&format!("{other} is set too")), "{error}");
            }
        }
    }

    #[test]
    fn a_login_that_cannot_be_used_is_refused_with_its_remedy() {
        let files = Files::new();
        for (flag, text, expected) in [
            (
                "credentials-file",
                "hunter2",
                "it does not hold one line user:password; name",
            ),
            (
                "credentials-file",
                "a:hunter2\nb:hunter2",
                "it does not hold one line",
            ),
            (
                "token-file",
                "",
                "it does not hold one word, the token; name",
            ),
            (
                "token-file",
                "hunter2\nhunter2",
                "it does not hold one word",
            ),
            ("token-file", "Bearer hunter2", "it does not hold one word"),
            (
                "service-account-file",
                "hunter2",
                "it is not JSON (noticed at line 1, column 1); name",
            ),
        ] {
            files.put("wrong", text);
            let error = files.refused(&[(flag, "wrong")]);
            assert!(error.contains(expected), "{error}");
            assert!(
                error.contains(&files.path("wrong").display().to_string()),
                "{error}"
            );
            let error = files.refused(&[(flag, "missing")]);
            assert!(error.contains("it cannot be read"), "{error}");
        }
    }

    #[test]
    fn a_client_certificate_comes_with_its_key() {
        let files = Files::new();
        let meant = files.meant(&[("client-cert", "cert"), ("client-key", "key")]);
        assert_eq!(
            meant.unwrap().client_certificate,
            Some(ClientCertificate {
                certificate: files.path("cert"),
                key: files.path("key"),
            })
        );
        let both = files.path("cert");
        let text =
            fs::read_to_string(&both).unwrap() + &fs::read_to_string(files.path("key")).unwrap();
        files.put("both", &text);
        assert!(
            files
                .meant(&[("client-cert", "both"), ("client-key", "both")])
                .is_ok()
        );
        for (flags, expected) in [
            (
                &[("client-cert", "cert")][..],
                "MARATHON_CLIENT_KEY is not set; name",
            ),
            (
                &[("client-key", "key")],
                "MARATHON_CLIENT_CERT is not set; name",
            ),
            (
                &[("client-cert", "cert"), ("client-key", "no")],
                "it cannot be read",
            ),
            (
                &[("client-cert", "cert"), ("client-key", "token")],
                "there is no key in PEM form",
            ),
            (
                &[("client-cert", "key"), ("client-key", "key")],
                "there is no certificate",
            ),
        ] {
            let error = files.refused(flags);
            assert!(error.contains(expected), "{error}");
        }
        let CertifiedKey { signing_key, .. } =
            generate_simple_self_signed(["other".to_owned()]).unwrap();
        files.put("key", &signing_key.serialize_pem());
        let error = files.refused(&[("client-cert", "cert"), ("client-key", "key")]);
        assert!(
            error.contains("the key is not that of the certificate"),
            "{error}"
        );
    }
}
