//! A file of an image by its path, as a user writes it: links are followed inside the image.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::error::{Error, Exit};
use super::output::printable;
use crate::unpack::{Listed, ListedKind};

/// How many links are followed, as in a kernel.
const MAX_FOLLOWED: usize = 40;
/// How many letters may be wrong in a name that is asked for.
const MAX_TYPOS: usize = 3;

/// The path in an image that a user means, without `./` and slashes at its ends.
pub(super) fn path_in_image(text: &str) -> Result<PathBuf, Error> {
    let names = Path::new(text).components().filter_map(|component| match component {
        Component::Normal(name) => Some(Ok(name)),
        Component::ParentDir => Some(Err(())),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    });
    match names.collect::<Result<PathBuf, ()>>() {
        Ok(path) if !path.as_os_str().is_empty() => Ok(path),
        _ => Err(Error::usage(format!("{text:?} is not the path of a file in an image"))
            .hint("it is relative to the top, such as base/app.yaml; bndlr ls shows what is there")),
    }
}

/// The number of the file at `path` in `files`, which are in order; or of the file that links lead to from there.
pub(super) fn find(files: &[Listed], path: &Path) -> Result<usize, Error> {
    let at = |place: &Path| files.binary_search_by(|file| file.path.as_path().cmp(place)).ok();
    let (mut place, mut found, mut followed) = (PathBuf::new(), None, 0);
    let mut ahead: Vec<&OsStr> = names(path).collect();
    while let Some(name) = ahead.pop() {
        if name == ".." {
            place.pop();
            found = at(&place);
            continue;
        }
        place.push(name);
        let number = at(&place).ok_or_else(|| missing(files, path, &place))?;
        found = Some(number);
        match &files[number].kind {
            ListedKind::Symlink { target } => {
                followed += 1;
                if followed > MAX_FOLLOWED {
                    return Err(not_found(path, "leads around in a circle of links"));
                }
                place.pop();
                if target.has_root() {
                    place.clear();
                }
                ahead.extend(names(target));
                // A link to `.` or `/` leads to a directory, which no name says.
                found = at(&place);
            }
            ListedKind::File { .. } if !ahead.is_empty() => {
                return Err(not_found(path, &format!("is not in the image: {} is a file", shown(&place))));
            }
            ListedKind::File { .. } | ListedKind::Directory => {}
        }
    }
    match found.filter(|&number| matches!(files[number].kind, ListedKind::File { .. })) {
        Some(number) => Ok(number),
        None => Err(Error::usage(format!("{} is a directory", shown(path))).hint("bndlr ls shows what is in it")),
    }
}

/// The names of a path, the last first, `..` among them.
fn names(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().rev().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    })
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

fn not_found(path: &Path, why: &str) -> Error {
    Error::new(Exit::NotFound, format!("{} {why}", shown(path)))
}

/// `path` leads to `place`, where nothing is.
fn missing(files: &[Listed], path: &Path, place: &Path) -> Error {
    let error = if path == place {
        not_found(path, "is not in the image")
    } else if path.starts_with(place) {
        not_found(path, &format!("is not in the image: there is no {}", shown(place)))
    } else {
        not_found(path, &format!("leads to {}, which is not in the image", shown(place)))
    };
    match near(files, place) {
        Some(near) => error.hint(format!("did you mean {}?", shown(near))),
        None => error.hint("bndlr ls shows what is there"),
    }
}

/// What has the same name elsewhere, if only one has; or what has nearly the same name in the same directory.
fn near<'a>(files: &'a [Listed], place: &Path) -> Option<&'a Path> {
    let name = place.file_name()?.to_str()?;
    let mut namesakes =
        files.iter().map(|file| file.path.as_path()).filter(|path| path.file_name() == place.file_name());
    if let (Some(only), None) = (namesakes.next(), namesakes.next()) {
        return Some(only);
    }
    let beside = files.iter().map(|file| file.path.as_path()).filter(|path| path.parent() == place.parent());
    let typos = |path: &Path| Some(strsim::osa_distance(path.file_name()?.to_str()?, name));
    let ranked = beside.filter_map(|path| Some((typos(path)?, path)));
    ranked.filter(|(typos, _)| *typos <= MAX_TYPOS.min(name.len() / 2)).min().map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<Listed> {
        let file = |path: &str| (path.to_owned(), ListedKind::File { size: 1 });
        let link = |path: &str, target: &str| (path.to_owned(), ListedKind::Symlink { target: target.into() });
        let dir = |path: &str| (path.to_owned(), ListedKind::Directory);
        let mut files = vec![
            dir("a"),
            file("a/app.yaml"),
            link("a/up", ".."),
            file("a-b"),
            link("a.link", "a/app.yaml"),
            dir("b"),
            link("b/abs", "/a/up/a-b"),
            link("b/dangling", "../nothing"),
            link("b/dir", "../a"),
            link("b/self", "self"),
            link("b/top", "/"),
            file("b/only.txt"),
        ];
        files.sort_by(|a, b| Path::new(&a.0).cmp(Path::new(&b.0)));
        files.into_iter().map(|(path, kind)| Listed { path: path.into(), mode: 0o644, kind }).collect()
    }

    fn look(text: &str) -> Result<String, Error> {
        let files = files();
        Ok(files[find(&files, &path_in_image(text)?)?].path.to_str().unwrap().to_owned())
    }

    #[test]
    fn links_are_followed_one_name_at_a_time() {
        for (path, expected) in [
            ("a/app.yaml", "a/app.yaml"),
            ("./a//app.yaml/", "a/app.yaml"),
            ("/a-b", "a-b"),
            ("a.link", "a/app.yaml"),
            ("b/abs", "a-b"),
            ("b/dir/app.yaml", "a/app.yaml"),
            ("b/dir/up/b/top/a-b", "a-b"),
        ] {
            assert_eq!(look(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_file_is_said_so_with_what_is_near() {
        for (path, exit, message, hint) in [
            ("a", Exit::Usage, "a is a directory", "ls"),
            ("b/dir", Exit::Usage, "b/dir is a directory", "ls"),
            ("b/top", Exit::Usage, "b/top is a directory", "ls"),
            ("../a", Exit::Usage, "is not the path", "relative"),
            (".", Exit::Usage, "is not the path", "relative"),
            ("a/ap.yaml", Exit::NotFound, "a/ap.yaml is not in the image", "did you mean a/app.yaml?"),
            ("only.txt", Exit::NotFound, "only.txt is not", "did you mean b/only.txt?"),
            ("c/x", Exit::NotFound, "there is no c", "ls"),
            ("a-b/x", Exit::NotFound, "a-b is a file", ""),
            ("b/dangling", Exit::NotFound, "leads to nothing, which is not", "ls"),
            ("b/self", Exit::NotFound, "circle", ""),
        ] {
            let error = look(path).unwrap_err();
            assert!(error.exit == exit && error.message.contains(message), "{path}: {error:?}");
            assert!(error.hint.unwrap_or_default().contains(hint), "{path}");
        }
    }
}
