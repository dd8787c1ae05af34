//! Storing credentials, and forgetting them: in the program that the first file names for the registry, else in that file.
//!
//! What else is in the file stays as it is, byte for byte. It is replaced as a whole by one that its owner alone may
//! read, and whoever else changes it in this way waits meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::Error;
use super::credential_program::Program;
use super::credentials::{Account, Credentials, Login, Place};
use super::docker_config::{DockerConfig, path_in, server_name};

/// The fields of an object, each as it is written.
type Fields = BTreeMap<String, Box<RawValue>>;

impl Credentials {
    /// Keeps what somebody is known by to `account`, and says where: in the program that the first file names for the
    /// registry, which knows no parts of registries, or in the file, which is made if need be.
    ///
    /// # Errors
    /// When there is no file to name a place, when it cannot be read or written, and when the program fails.
    pub async fn store(&self, account: &Account, login: &Login) -> Result<Place, Error> {
        let file = self.file()?;
        let program = self.program(account, file).await?;
        if let Some(program) = &program {
            program.store(&account.registry, login).await?;
        }
        let entry = program.is_none().then(|| entry(login));
        // What the file said before is no longer true.
        edit(file, account, entry).await?;
        Ok(Place { file: file.to_owned(), program: program.map(|program| program.to_string()) })
    }

    /// Forgets what is stored for `account` where [`Credentials::store`] stores it, and says where that was; nothing, if
    /// there was nothing.
    ///
    /// # Errors
    /// As for storing.
    pub async fn forget(&self, account: &Account) -> Result<Option<Place>, Error> {
        let file = self.file()?;
        let program = self.program(account, file).await?;
        let mut had = false;
        if let Some(program) = &program {
            had = program.erase(&account.registry).await?;
        }
        let place = Place { file: file.to_owned(), program: program.map(|program| program.to_string()) };
        Ok((edit(file, account, None).await? || had).then_some(place))
    }

    /// Where there are credentials for `account`, of all the places that are looked into.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn place(&self, account: &Account) -> Result<Option<Place>, Error> {
        Ok(self.about(&account.registry).await?.find(account.path.as_ref()).await?.place)
    }

    /// The file that is written.
    fn file(&self) -> Result<&Path, Error> {
        self.files.first().map(PathBuf::as_path).ok_or(Error::NoPlace)
    }

    async fn program(&self, account: &Account, file: &Path) -> Result<Option<Program>, Error> {
        if account.path.is_some() {
            return Ok(None);
        }
        let config = DockerConfig::read(file).await?;
        Ok(config.and_then(|config| config.program(&account.registry, self.patience)))
    }
}

/// What a file says of somebody.
fn entry(login: &Login) -> serde_json::Value {
    let encode = |password: &str| BASE64_STANDARD.encode(format!("{}:{password}", login.username));
    if login.is_identity_token() {
        return json!({"auth": encode(""), "identitytoken": login.password.expose()});
    }
    json!({"auth": encode(login.password.expose())})
}

/// What an account is called in a file.
fn key(account: &Account) -> String {
    match account.path {
        None => server_name(&account.registry).to_owned(),
        Some(_) => account.to_string(),
    }
}

/// Removes what the file says about `account`, however that is spelled, lets it say `entry` instead, and returns whether
/// there was anything.
async fn edit(file: &Path, account: &Account, entry: Option<serde_json::Value>) -> Result<bool, Error> {
    let (path, account) = (file.to_owned(), account.clone());
    let edited = tokio::task::spawn_blocking(move || edit_file(&path, &account, entry.as_ref())).await;
    let failed = |why: String| Error::Credentials { path: file.to_owned(), why };
    edited.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

fn edit_file(path: &Path, account: &Account, entry: Option<&serde_json::Value>) -> Result<bool, String> {
    let said = |error: io::Error| error.to_string();
    // A link stays one.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if entry.is_some() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(said)?;
    } else if !path.exists() {
        return Ok(false);
    }
    let lock = File::open(folder).map_err(said)?;
    lock.lock().map_err(said)?;
    let (mut fields, mut auths) = read(&path)?;
    let before = auths.len();
    let part = account.path.as_ref().map_or("", |path| path.as_str());
    auths.retain(|key, _| path_in(key, &account.registry) != Some(part));
    let had = auths.len() != before;
    if let Some(entry) = entry {
        auths.insert(key(account), to_raw_value(entry).map_err(|error| error.to_string())?);
    }
    if had || entry.is_some() {
        let auths = RawValue::from_string(pretty(&auths, "\t")).map_err(|error| error.to_string())?;
        fields.insert("auths".to_owned(), auths);
        write(folder, &path, &pretty(&fields, "")).map_err(said)?;
    }
    Ok(had)
}

/// The fields of the file, and those of its `auths`.
fn read(path: &Path) -> Result<(Fields, Fields), String> {
    let json = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|error| error.to_string())?,
    };
    if DockerConfig::parse(&json)?.is_none() {
        return Ok((Fields::new(), Fields::new()));
    }
    let invalid = |_| "not what Docker writes".to_owned();
    let fields: Fields = serde_json::from_slice(&json).map_err(invalid)?;
    let auths = fields.get("auths").map(|auths| serde_json::from_str::<Option<Fields>>(auths.get()));
    let auths = auths.transpose().map_err(invalid)?.flatten();
    Ok((fields, auths.unwrap_or_default()))
}

/// An object with a line for each field, indented as Docker does it, as the value of something in a line that begins with
/// `margin`. Values are as they were.
fn pretty(fields: &Fields, margin: &str) -> String {
    let line = |key: &str, value: &RawValue| format!("\n{margin}\t{}: {}", json!(key), value.get());
    let lines: Vec<_> = fields.iter().map(|(key, value)| line(key, value)).collect();
    if lines.is_empty() { "{}".to_owned() } else { format!("{{{}\n{margin}}}", lines.join(",")) }
}

/// Replaces the file as a whole.
fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    // It is made readable for its owner alone.
    let mut file = tempfile::Builder::new().prefix(".config.json.").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::remote::Secret;

    fn login(username: &str) -> Login {
        Login { username: username.into(), password: Secret::new("p:w") }
    }

    async fn store(credentials: &Credentials, account: &str) -> Place {
        credentials.store(&account.parse().unwrap(), &login("u")).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_not_known_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let before = "{ \"HttpHeaders\": {\"X\":  [1.50, 1e400]},\n\"auths\":{\"b.io\" : {\"auth\":\"YTpi\", \"x\": {} }, \
                      \"https://a.io/v1/\": {\"auth\":\"b2xkOm9sZA==\"}, \"a.io/team\":{}}, \"z\": null}";
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let credentials = Credentials::from_file(&path);
        assert_eq!(store(&credentials, "a.io").await, Place { file: path.clone(), program: None });
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\n\t\"HttpHeaders\": {\"X\":  [1.50, 1e400]},\n\t\"auths\": {\n\t\t\"a.io\": {\"auth\":\"dTpwOnc=\"},\n\
             \t\t\"a.io/team\": {},\n\t\t\"b.io\": {\"auth\":\"YTpi\", \"x\": {} }\n\t},\n\t\"z\": null\n}"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(credentials.forget(&"a.io/team".parse().unwrap()).await.unwrap().is_some());
        assert!(credentials.forget(&"a.io".parse().unwrap()).await.unwrap().is_some());
        assert!(credentials.forget(&"a.io".parse().unwrap()).await.unwrap().is_none());
        assert!(!fs::read_to_string(&path).unwrap().contains("a.io"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_file_is_made_with_its_folders_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/docker/config.json");
        assert!(Credentials::from_file(&path).forget(&"a.io".parse().unwrap()).await.unwrap().is_none());
        assert!(!folder.path().join("new").exists());
        store(&Credentials::from_file(&path), "docker.io").await;
        assert!(fs::read_to_string(&path).unwrap().contains("\"https://index.docker.io/v1/\": {\"auth\""));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));

        let link = folder.path().join("link.json");
        symlink(&path, &link).unwrap();
        store(&Credentials::from_file(&link), "a.io/team").await;
        assert!(link.is_symlink() && fs::read_to_string(&path).unwrap().contains("a.io/team"));
        let place = Credentials::from_file(&link).place(&"docker.io".parse().unwrap()).await.unwrap();
        assert_eq!(place.unwrap().file, link);
    }

    #[tokio::test]
    async fn many_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = Credentials::from_file(folder.path().join("config.json"));
        let names: Vec<_> = (0..16).map(|number| format!("r{number}.io")).collect();
        futures::future::join_all(names.iter().map(|name| store(&credentials, name))).await;
        for name in names {
            assert!(credentials.place(&name.parse().unwrap()).await.unwrap().is_some(), "{name}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_configuration_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for content in ["[]", "{", r#"{"auths":[]}"#, "hunter2"] {
            fs::write(&path, content).unwrap();
            let stored = Credentials::from_file(&path).store(&"a.io".parse().unwrap(), &login("u")).await;
            let error = stored.unwrap_err().to_string();
            assert!(error.contains("config.json") && !error.contains("hunter2"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn an_identity_token_is_written_as_docker_writes_it() {
        let login = Login::of_identity_token(Secret::new("t"));
        assert_eq!(entry(&login), json!({"auth": "PHRva2VuPjo=", "identitytoken": "t"}));
    }
}
