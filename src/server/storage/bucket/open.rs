//! Where a bucket is, how it is reached, and whether it can keep a registry.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};

use super::super::Error;
use super::object::Object;
use super::objects::{Objects, Store};
use super::{Bucket, paths};

/// How long a store may say nothing, while something is asked of it.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A request that fails is repeated for about as long as a client waits for an answer.
const RETRIES: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a bucket cannot be opened as a storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// It is not known what kind of bucket that is.
    #[error("{0:?} is no bucket, expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX")]
    Url(String),
    /// What the URL and the environment say makes no bucket.
    #[error("cannot use {url}: {source}")]
    Settings {
        /// The bucket.
        url: String,
        /// What is wrong.
        source: object_store::Error,
    },
    /// It cannot be read or written.
    #[error("cannot open {url}: {source}")]
    Storage {
        /// The bucket.
        url: String,
        /// Why it failed.
        source: Error,
    },
    /// There is no registry in it.
    #[error("there is no registry in {0}")]
    Absent(String),
    /// It puts objects even where the condition does not hold.
    #[error(
        "{0} ignores the conditions of conditional puts (If-None-Match, If-Match): registries in it would lose what they acknowledged"
    )]
    Unconditional(String),
    /// There are other things in it.
    #[error("{0} is neither empty nor a registry's: nothing in it was touched")]
    NotOurs(String),
    /// A newer version of this program wrote it.
    #[error("{0} is a registry's, but of another version of its layout")]
    Version(String),
}

impl Bucket {
    /// Opens the storage below `url`, which is `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`, or
    /// makes a new one where there is nothing. Credentials, endpoint and the like come from the environment.
    ///
    /// # Errors
    /// [`BucketError`]: also when the bucket does not do what this rests on.
    pub async fn open(url: &str) -> Result<Self, BucketError> {
        Self::open_with(url, environment()).await
    }

    /// Opens the storage that is below `url`, and makes none.
    ///
    /// # Errors
    /// [`BucketError::Absent`] when there is none, and as [`open`](Self::open).
    pub async fn open_existing(url: &str) -> Result<Self, BucketError> {
        Self::open_existing_with(url, environment()).await
    }

    /// The same with these variables instead of the environment's: those that `object_store` knows, which begin with
    /// `AWS_`, `GOOGLE_` or `AZURE_`.
    ///
    /// Installs ring as the process's cryptography for TLS, if it has none.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_with(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BucketError> {
        let objects = objects(url, variables)?;
        claim(url, &objects).await?;
        check(url, &objects).await?;
        Ok(Self::of(objects))
    }

    /// The same for a storage that is there.
    ///
    /// # Errors
    /// As [`open_existing`](Self::open_existing).
    pub async fn open_existing_with(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, BucketError> {
        let objects = objects(url, variables)?;
        let found = objects.get(paths::MARKER).await;
        match found.map_err(|source| BucketError::Storage { url: url.to_owned(), source })? {
            Some(_) => Ok(Self::of(objects)),
            None => Err(BucketError::Absent(url.to_owned())),
        }
    }
}

/// The variables of the environment that are text.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()))
}

fn objects(url: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Objects, BucketError> {
    // If there is one already, that does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (store, prefix) = connect(url, variables)?;
    Ok(Objects::new(store, prefix))
}

/// The bucket, and the prefix without slashes at its ends.
fn connect(
    url: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<(Arc<dyn Store>, &str), BucketError> {
    let not_understood = || BucketError::Url(url.to_owned());
    let (scheme, place) = url.split_once("://").ok_or_else(not_understood)?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() || bucket.contains(['@', '?', '#']) {
        return Err(not_understood());
    }
    let retry = RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
        backoff: BackoffConfig { max_backoff: Duration::from_secs(3), ..BackoffConfig::default() },
    };
    let store: Result<Arc<dyn Store>, object_store::Error> = match scheme {
        "s3" => settings("AWS_", variables)
            .fold(AmazonS3Builder::new(), |builder, (key, value)| builder.with_config(key, value))
            .with_bucket_name(bucket)
            // Objects are deleted one by one, which all stores can.
            .with_config(AmazonS3ConfigKey::DisableBulkDelete, "true")
            .with_retry(retry)
            .with_http_connector(Connector)
            .build()
            .map(|store| Arc::new(store) as _),
        "gs" => settings("GOOGLE_", variables)
            .fold(GoogleCloudStorageBuilder::new(), |builder, (key, value)| builder.with_config(key, value))
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_http_connector(Connector)
            .build()
            .map(|store| Arc::new(store) as _),
        "az" => settings("AZURE_", variables)
            .fold(MicrosoftAzureBuilder::new(), |builder, (key, value)| builder.with_config(key, value))
            .with_container_name(bucket)
            .with_retry(retry)
            .with_http_connector(Connector)
            .build()
            .map(|store| Arc::new(store) as _),
        _ => return Err(not_understood()),
    };
    let store = store.map_err(|source| BucketError::Settings { url: url.to_owned(), source })?;
    Ok((store, prefix.trim_matches('/')))
}

/// The variables that are settings of a store, whose names begin so.
fn settings<K: FromStr>(
    start: &'static str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> impl Iterator<Item = (K, String)> {
    let variables = variables.into_iter().filter(move |(name, _)| name.starts_with(start));
    variables.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
}

/// Connects as the settings say, and believes also those authorities that Mozilla's programs do: a container may have
/// none. A body may take as long as its reader does, as long as something comes.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut options = options.clone().with_timeout_disabled().with_read_timeout(READ_TIMEOUT);
        for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
            options = options.with_root_certificate(Certificate::from_der(root)?);
        }
        ReqwestConnector::default().connect(&options)
    }
}

/// Makes sure that what is below the prefix is ours, and of this version.
async fn claim(url: &str, objects: &Objects) -> Result<(), BucketError> {
    let failed = |source| BucketError::Storage { url: url.to_owned(), source };
    if objects.get(paths::MARKER).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    let first = objects.list("", false, None, 1, |name, _| Some(name.to_owned())).await.map_err(failed)?;
    let after = Some(paths::ANY_MARKER);
    let next = objects.list("", false, after, 1, |name, _| Some(name.to_owned())).await.map_err(failed)?;
    match (first.first(), next.first()) {
        // Another process may have been faster.
        (_, Some(name)) if name == paths::MARKER => Ok(()),
        (_, Some(name)) if name.starts_with(paths::ANY_MARKER) => Err(BucketError::Version(url.to_owned())),
        (Some(_), _) => Err(BucketError::NotOurs(url.to_owned())),
        (None, _) => objects.replace(paths::MARKER, None, Object::of(Bytes::new())).await.map(drop).map_err(failed),
    }
}

/// Makes sure that a put is refused when its condition does not hold.
async fn check(url: &str, objects: &Objects) -> Result<(), BucketError> {
    let failed = |source| BucketError::Storage { url: url.to_owned(), source };
    let put = async |found| objects.replace(paths::MARKER, found, Object::of(Bytes::new())).await.map_err(failed);
    let found = objects.get(paths::MARKER).await.map_err(failed)?;
    // It is there, and it is replaced: by this, or by another process that is just starting.
    let is_created_again = put(None).await?.is_some();
    put(found.as_ref()).await?;
    let is_replaced_again = put(found.as_ref()).await?.is_some();
    if is_created_again || is_replaced_again {
        return Err(BucketError::Unconditional(url.to_owned()));
    }
    Ok(())
}
