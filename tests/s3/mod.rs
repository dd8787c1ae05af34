//! An S3 server that keeps buckets in memory: the protocol, its signatures and its XML are those of the crate `s3s`.
//! `s3s-fs` does not do here: its conditional puts are not atomic, and it makes file names of keys, which some are too
//! long for.
#![allow(dead_code)] // each test binary uses a part of it

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{Body, S3, S3Request, S3Response, S3Result, s3_error};
use tokio::runtime::Runtime;

const ACCESS_KEY: &str = "test";
const SECRET_KEY: &str = "a secret of the tests";

/// A server with one bucket, `bucket`. It runs on threads of its own, until this is dropped.
pub struct S3Server {
    address: SocketAddr,
    state: Arc<State>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct State {
    objects: Mutex<BTreeMap<String, Stored>>,
    /// Answers everything with 500.
    fails: AtomicBool,
    /// Puts whatever the conditions say.
    ignores_conditions: AtomicBool,
    requests: AtomicUsize,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    modified: SystemTime,
}

impl Stored {
    /// As S3 has it, what is the same has the same.
    fn etag(&self) -> ETag {
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        ETag::Strong(format!("{:016x}", hasher.finish()))
    }
}

impl S3Server {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, runtime: Some(runtime) }
    }

    /// What a program has to have in its environment to use the bucket.
    pub fn variables(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        [
            ("AWS_ENDPOINT", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The keys that begin so.
    pub fn keys(&self, prefix: &str) -> Vec<String> {
        self.state.lock(|objects| objects.keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    pub fn put(&self, key: &str, bytes: impl Into<Bytes>) {
        let stored = Stored { bytes: bytes.into(), modified: SystemTime::now() };
        self.state.lock(|objects| objects.insert(key.to_owned(), stored));
    }

    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.state.lock(|objects| objects.get(key).map(|stored| stored.bytes.clone()))
    }

    /// Lets all objects be as if they had been written then.
    pub fn age(&self, modified: SystemTime) {
        self.state.lock(|objects| objects.values_mut().for_each(|stored| stored.modified = modified));
    }

    pub fn set_fails(&self, fails: bool) {
        self.state.fails.store(fails, Ordering::SeqCst);
    }

    pub fn ignore_conditions(&self) {
        self.state.ignores_conditions.store(true, Ordering::SeqCst);
    }

    /// How many requests there have been.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut builder = S3ServiceBuilder::new(Buckets(state));
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    let service = builder.build();
    while let Ok((stream, _)) = listener.accept().await {
        let service = service.clone();
        tokio::spawn(async move {
            let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            // A client may go at any moment.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct Buckets(Arc<State>);

impl State {
    fn lock<T>(&self, work: impl FnOnce(&mut BTreeMap<String, Stored>) -> T) -> T {
        work(&mut self.objects.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn enter(&self, bucket: &str) -> S3Result<()> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(s3_error!(InternalError));
        }
        if bucket == "bucket" { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
    }

    fn holds(&self, found: Option<&Stored>, input: &PutObjectInput) -> bool {
        let is_absent = input.if_none_match.is_none() || found.is_none();
        let matches = match &input.if_match {
            Some(ETagCondition::ETag(expected)) => found.is_some_and(|found| found.etag().strong_cmp(expected)),
            Some(ETagCondition::Any) => found.is_some(),
            None => true,
        };
        is_absent && matches || self.ignores_conditions.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl S3 for Buckets {
    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        self.0.enter(&request.input.bucket)?;
        let body = request.input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let chunks: Vec<Bytes> = body.try_collect().await.map_err(|_| s3_error!(IncompleteBody))?;
        let stored = Stored { bytes: chunks.concat().into(), modified: SystemTime::now() };
        let e_tag = Some(stored.etag());
        let input = request.input;
        self.0.lock(|objects| {
            if !self.0.holds(objects.get(&input.key), &input) {
                return Err(s3_error!(PreconditionFailed));
            }
            objects.insert(input.key, stored);
            Ok(())
        })?;
        Ok(S3Response::new(PutObjectOutput { e_tag, ..PutObjectOutput::default() }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        self.0.enter(&input.bucket)?;
        let stored = self.0.lock(|objects| objects.get(&input.key).cloned()).ok_or_else(|| s3_error!(NoSuchKey))?;
        let size = stored.bytes.len() as u64;
        let range = input.range.map(|range| range.check(size)).transpose()?;
        let content_range = range.as_ref().map(|range| format!("bytes {}-{}/{size}", range.start, range.end - 1));
        let range = range.unwrap_or(0..size);
        Ok(S3Response::new(GetObjectOutput {
            e_tag: Some(stored.etag()),
            content_length: Some((range.end - range.start).cast_signed()),
            content_range,
            last_modified: Some(stored.modified.into()),
            body: Some(Body::from(stored.bytes.slice(range.start as usize..range.end as usize)).into()),
            ..GetObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.0.enter(&request.input.bucket)?;
        self.0.lock(|objects| objects.remove(&request.input.key));
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        self.0.enter(&input.bucket)?;
        let (prefix, limit) =
            (input.prefix.unwrap_or_default(), usize::try_from(input.max_keys.unwrap_or(1000)).unwrap());
        let after = input.continuation_token.or(input.start_after);
        let (mut contents, mut folders, mut last, mut is_truncated) = (Vec::new(), BTreeSet::new(), None, false);
        self.0.lock(|objects| {
            let start = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for (key, stored) in objects.range::<str, _>((start, Bound::Unbounded)) {
                let Some(rest) = key.strip_prefix(&prefix) else { continue };
                let folder =
                    input.delimiter.as_ref().and_then(|delimiter| Some(rest.split_once(delimiter.as_str())?.0));
                let folder = folder.map(|name| format!("{prefix}{name}/"));
                // What a list begins after says nothing of the folder that it is in.
                if folder
                    .as_ref()
                    .is_some_and(|name| folders.contains(name) || after.as_ref().is_some_and(|after| name <= after))
                {
                    continue;
                }
                if contents.len() + folders.len() == limit {
                    is_truncated = true;
                    break;
                }
                last = Some(folder.clone().map_or_else(|| key.clone(), |folder| format!("{folder}\u{10ffff}")));
                match folder {
                    Some(folder) => drop(folders.insert(folder)),
                    None => contents.push(Object {
                        key: Some(key.clone()),
                        size: Some(stored.bytes.len().cast_signed() as i64),
                        last_modified: Some(stored.modified.into()),
                        e_tag: Some(stored.etag()),
                        ..Object::default()
                    }),
                }
            }
        });
        let prefixes = folders.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(prefix),
            max_keys: input.max_keys,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            ..ListObjectsV2Output::default()
        }))
    }
}
