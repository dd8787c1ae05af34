//! Certificates that the user has put somewhere: authorities to believe, and those that say who the user is.
//!
//! Beside files that are named there are Docker's folders: `certs.d/HOST:PORT` has authorities in `*.crt`, and what the
//! registry is shown in `*.cert` with its key in a file of the same name that ends in `.key`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::reference::Registry;

use super::Error;

/// A certificate that says who the user is, and its key, each in a file in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those that lead from it to an authority.
    pub certificate: PathBuf,
    /// The key that belongs to it.
    pub key: PathBuf,
}

/// The folders in which Podman and Docker look for `HOST:PORT` with certificates: the user's own, then the system's.
#[must_use]
pub fn certificate_folders() -> Vec<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let own = config.into_iter().flat_map(|folder| [folder.join("containers"), folder.join("docker")]);
    own.chain(["/etc/containers".into(), "/etc/docker".into()]).map(|folder| folder.join("certs.d")).collect()
}

/// The folder for `registry`: the first that there is, and that this user may look into.
pub(super) fn folder_for(registry: &Registry, folders: &[PathBuf]) -> Option<PathBuf> {
    // References have it under this name.
    let name = if registry.is_docker_hub() { "docker.io" } else { registry.as_str() };
    folders.iter().map(|folder| folder.join(name)).find(|folder| folder.read_dir().is_ok())
}

/// What a folder for one registry has in it.
pub(super) fn read_folder(folder: &Path) -> Result<(Vec<CertificateDer<'static>>, Option<Arc<CertifiedKey>>), Error> {
    let listed = folder.read_dir().and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let listed = listed.map_err(|error| failed(folder, error.to_string()))?;
    let mut paths: Vec<_> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    let with = |ending: &'static str| paths.iter().filter(move |path| path.extension().is_some_and(|it| it == ending));
    let mut authorities = Vec::new();
    for path in with("crt") {
        authorities.extend(read_authorities(path)?);
    }
    let identity = with("cert")
        .next()
        .map(|path| read_identity(&ClientCertificate { certificate: path.clone(), key: path.with_extension("key") }));
    Ok((authorities, identity.transpose()?))
}

/// The certificates of a file, all of which can be believed to be authorities.
pub(super) fn read_authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = read_certificates(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone()).map_err(|error| failed(path, error.to_string()))?;
    }
    Ok(certificates)
}

/// A certificate with the key that belongs to it.
pub(super) fn read_identity(files: &ClientCertificate) -> Result<Arc<CertifiedKey>, Error> {
    let certificates = read_certificates(&files.certificate)?;
    let pem = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| failed(&files.key, "there is no private key in it"))?;
    let identity = CertifiedKey::from_der(certificates, key, &ring::default_provider());
    let identity = identity.map_err(|_| {
        let certificate = files.certificate.display();
        failed(&files.key, format!("it is no key that can be used, or not the one of {certificate}"))
    })?;
    Ok(Arc::new(identity))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| failed(path, format!("not valid PEM: {error}")))?;
    if certificates.is_empty() { Err(failed(path, "there is no certificate in it")) } else { Ok(certificates) }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| failed(path, error.to_string()))
}

fn failed(path: &Path, why: impl Into<String>) -> Error {
    Error::CaFile { path: path.to_owned(), why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_the_first_folder_of_its_name() {
        let home = tempfile::tempdir().unwrap();
        let folders = ["a", "b"].map(|name| home.path().join(name));
        for path in ["b/h.io", "b/h.io:5000", "a/h.io:5000", "a/docker.io", "b/index.docker.io"] {
            std::fs::create_dir_all(home.path().join(path)).unwrap();
        }
        std::fs::write(home.path().join("a/h.io"), "a file").unwrap();
        for (registry, expected) in [
            ("h.io", Some("b/h.io")),
            ("h.io:5000", Some("a/h.io:5000")),
            ("h.io:5001", None),
            ("docker.io", Some("a/docker.io")),
        ] {
            let found = folder_for(&registry.parse().unwrap(), &folders);
            assert_eq!(found, expected.map(|path| home.path().join(path)), "{registry}");
        }
    }
}
