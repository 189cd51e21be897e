//! Who may speak to an API server: its certificate, the keys of service accounts, and a token and a kubeconfig for each
//! user.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;

/// A user of the API server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name that RBAC sees.
    pub name: String,
    /// The groups; `system:authenticated` comes by itself.
    pub groups: Vec<String>,
}

impl User {
    /// A person, who may do nothing until a test binds roles to the name.
    #[must_use]
    pub fn person(name: &str) -> User {
        User {
            name: name.to_owned(),
            groups: Vec::new(),
        }
    }

    /// What a pod of this service account is: bindings to the account hold for it.
    #[must_use]
    pub fn service_account(namespace: &str, name: &str) -> User {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
            ],
        }
    }

    /// Who may do everything.
    #[must_use]
    pub fn admin() -> User {
        User {
            name: ADMIN.to_owned(),
            groups: vec!["system:masters".to_owned()],
        }
    }
}

/// The name of [`User::admin`].
pub const ADMIN: &str = "admin";

/// The files of one API server's identities.
#[derive(Debug)]
pub(super) struct Identity {
    folder: PathBuf,
    users: Vec<User>,
}

impl Identity {
    /// Makes keys, a certificate for 127.0.0.1, tokens, and kubeconfigs that lead to `url`.
    pub(super) fn create(folder: PathBuf, url: &str, users: Vec<User>) -> Result<Identity> {
        let identity = Identity { folder, users };
        identity.certify()?;
        let service_accounts = KeyPair::generate().context("failed to make a key")?;
        identity.write("sa.key", &service_accounts.serialize_pem())?;
        identity.write("sa.pub", &service_accounts.public_key_pem())?;
        let mut tokens = String::new();
        for (number, user) in identity.users.iter().enumerate() {
            let groups = user.groups.join(",");
            let line = format!("{},{},{number},\"{groups}\"\n", token(number), user.name);
            tokens.push_str(&line);
            identity.write(&kubeconfig_name(number), &identity.kubeconfig(number, url))?;
        }
        identity.write("tokens.csv", &tokens)?;
        Ok(identity)
    }

    /// The files as arguments of kube-apiserver.
    pub(super) fn arguments(&self) -> Vec<String> {
        [
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
            ("token-auth-file", "tokens.csv"),
        ]
        .map(|(flag, file)| format!("--{flag}={}", self.file(file).display()))
        .into()
    }

    /// The kubeconfig of a user.
    pub(super) fn kubeconfig_of(&self, name: &str) -> Result<PathBuf> {
        let Some(number) = self.users.iter().position(|user| user.name == name) else {
            let names: Vec<&str> = self.users.iter().map(|user| user.name.as_str()).collect();
            bail!("the API server knows no user '{name}', but {names:?}: name it in the setup");
        };
        Ok(self.file(kubeconfig_name(number)))
    }

    fn certify(&self) -> Result<()> {
        let authority_key = KeyPair::generate().context("failed to make a key")?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = authority.self_signed(&authority_key)?;
        self.write("ca.crt", &certificate.pem())?;
        let key = KeyPair::generate().context("failed to make a key")?;
        let mut server = CertificateParams::new(vec!["localhost".to_owned()])?;
        let address = SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST));
        server.subject_alt_names.push(address);
        let issuer = Issuer::from_params(&authority, &authority_key);
        self.write("server.crt", &server.signed_by(&key, &issuer)?.pem())?;
        self.write("server.key", &key.serialize_pem())
    }

    fn kubeconfig(&self, number: usize, url: &str) -> String {
        // JSON is YAML.
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "serin", "cluster": {"server": url, "certificate-authority": self.file("ca.crt")}}],
            "users": [{"name": "user", "user": {"token": token(number)}}],
            "contexts": [{"name": "serin", "context": {"cluster": "serin", "user": "user"}}],
            "current-context": "serin",
        })
        .to_string()
    }

    fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

fn kubeconfig_name(number: usize) -> String {
    format!("user-{number}.kubeconfig")
}

/// No secret: the API server is on 127.0.0.1 and gone after the test.
fn token(number: usize) -> String {
    format!("token-of-user-{number}")
}
