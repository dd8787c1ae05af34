//! A registry behind a network that fails, and a bundle.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bndlr::content::{Copied, CopyOptions, Error, ErrorKind, Memory, Open, Source, copy};
use bndlr::pack::{Bundle, pack};
use bndlr::remote::{Client, ClientOptions, RemoteRepository};

use crate::embedded::Embedded;
use crate::proxy::{Proxy, Rule};

/// One mebibyte.
pub const MB: u64 = 1024 * 1024;

/// A bundle of 20 MB that no compressor makes smaller.
pub fn bundle() -> &'static Bundle {
    static BUNDLE: OnceLock<Bundle> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        write_tree(directory.path());
        pack(directory.path()).unwrap()
    })
}

/// The directory that it is made of.
pub fn write_tree(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    for number in 0..4 {
        std::fs::write(directory.join(number.to_string()), noise(number, 5 * MB)).unwrap();
    }
}

/// So many bytes that follow no rule that a compressor knows.
pub fn noise(seed: u64, length: u64) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length as usize).collect()
}

/// The digest of its layer.
pub fn layer() -> String {
    bundle().layers()[0].digest.to_string()
}

/// Options under which a failure costs next to no time.
pub fn options() -> ClientOptions {
    ClientOptions {
        stall_timeout: Duration::from_secs(30),
        retry_delay: Duration::from_millis(5),
        ..ClientOptions::default()
    }
}

/// The same, when nothing may stand still for long.
pub fn impatient() -> ClientOptions {
    ClientOptions { stall_timeout: Duration::from_millis(1500), ..options() }
}

/// A registry, and a network before it.
pub struct Scene {
    pub proxy: Proxy,
    registry: SocketAddr,
    /// Keeps the registry, if it is this scene's own.
    _own: Option<Embedded>,
}

impl Scene {
    pub async fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        let registry = Embedded::in_memory().await;
        let address = registry.address().parse().unwrap();
        Self { _own: Some(registry), ..Self::before(address, rules).await }
    }

    /// One whose registry has the bundle. It is the same one for all tests that ask for this.
    pub async fn with_bundle(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::before(with_bundle(), rules).await
    }

    async fn before(registry: SocketAddr, rules: impl IntoIterator<Item = Rule>) -> Self {
        let proxy = Proxy::start(registry, rules.into_iter().collect()).await;
        Self { proxy, registry, _own: None }
    }

    /// The registry's repository, as it is seen through the network.
    pub fn repository(&self, options: ClientOptions) -> RemoteRepository {
        repository(&self.proxy.address.to_string(), options)
    }

    /// The same repository, with nothing between.
    pub fn direct(&self) -> RemoteRepository {
        repository(&self.registry.to_string(), options())
    }
}

/// A registry that has the bundle, and lives as long as the tests do: not in the runtime of any of them.
fn with_bundle() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let registry = Embedded::in_memory().await;
                push(&repository(&registry.address(), options())).await.unwrap();
                sender.send(registry.address().parse().unwrap()).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().unwrap()
    })
}

/// The repository `team/app` at `address`, with a client of its own.
pub fn repository(address: &str, options: ClientOptions) -> RemoteRepository {
    Client::new(options).unwrap().repository(&format!("{address}/team/app").parse().unwrap()).unwrap()
}

/// Pushes the bundle as `v1`.
pub async fn push(to: &RemoteRepository) -> Result<Copied, Error> {
    let digest = bundle().raw_manifest().digest();
    copy(bundle(), &digest.into(), to, &["v1".parse().unwrap()], &CopyOptions::default()).await
}

/// Pulls `v1` into memory.
pub async fn pull(from: &RemoteRepository) -> Result<Memory, Error> {
    let memory = Memory::new();
    let v1: bndlr::reference::Tag = "v1".parse().unwrap();
    copy(from, &v1.clone().into(), &memory, &[v1], &CopyOptions::default()).await?;
    Ok(memory)
}

/// Fails unless `store` has the bundle as `v1`, with the right bytes.
pub async fn assert_has_bundle(store: &dyn Source) {
    let v1: bndlr::reference::Tag = "v1".parse().unwrap();
    assert_eq!(store.manifest(&v1.into()).await.unwrap(), *bundle().raw_manifest());
    for descriptor in bundle().raw_manifest().manifest().successors() {
        let [found, expected] = [store as &dyn Open, bundle()].map(|source| source.open(descriptor));
        let (found, expected) = futures::join!(found, expected);
        assert!(found.unwrap().read_all().await.unwrap() == expected.unwrap().read_all().await.unwrap());
    }
}

/// Fails unless the network or the registry is to blame (exit code 6), or the bytes are wrong (exit code 5).
pub fn assert_kind<T>(outcome: Result<T, Error>, expected: ErrorKind, rules: &str) -> Error {
    let error = outcome.map(|_| ()).expect_err(rules);
    assert_eq!(error.kind(), expected, "{rules}: {error}");
    error
}
