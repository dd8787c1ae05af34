//! An authority that issues certificates for tests.
#![allow(dead_code)] // each test binary uses a part of it

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use tempfile::TempDir;

/// An authority, and a place for what it issues.
pub struct Authority {
    pub home: TempDir,
    pub issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { home: TempDir::new().unwrap(), issuer };
        fs::write(authority.file("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Issues a certificate for this machine and for some hosts that tests play, and writes it and its key to `server.pem` and `server.key`.
    pub fn issue(&self) {
        let (certificate, key) = self.certificate(ExtendedKeyUsagePurpose::ServerAuth);
        fs::write(self.file("server.pem"), certificate).unwrap();
        fs::write(self.file("server.key"), key).unwrap();
    }

    pub fn certificate(&self, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = ["127.0.0.1", "localhost", "registry.test", "index.docker.io", "auth.docker.io"];
        let mut params = CertificateParams::new(names.map(str::to_owned)).unwrap();
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Issues a certificate for a client, and writes it and its key to `client.pem` and `client.key`.
    pub fn issue_client(&self) {
        let (certificate, key) = self.certificate(ExtendedKeyUsagePurpose::ClientAuth);
        fs::write(self.file("client.pem"), certificate).unwrap();
        fs::write(self.file("client.key"), key).unwrap();
    }
}
