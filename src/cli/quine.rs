//! `bndlr quine`

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use super::connect::Connection;
use super::deliver::{Delivery, Destination};
use super::error::{Error, Exit};
use super::location::Location;
use super::output::{Output, size};
use super::trace::{self, Access, Shown};
use crate::digest::Digest;
use crate::pack::ImageFormat;
use crate::protocol::Endpoint;
use crate::quine::{self, Part};
use crate::reference::{Name, Tag};
use crate::server::Server;

/// Serve this program as an image of itself
///
/// The image has this program in it, which serves the same image, with the same digest, wherever it is run. Nothing can
/// be pushed here, so everybody may pull, on any address. It needs a static program. Prints the address.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr quine
  bndlr quine --listen 0.0.0.0:8080 --name tools/bndlr --tag v1
  bndlr quine --export archive:bndlr.tar")]
pub(super) struct Quine {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The repository that the image is in
    #[arg(long, value_name = "REPOSITORY", default_value = "quinistry")]
    name: Name,
    /// The tag that it has there
    #[arg(long, default_value = "latest")]
    tag: Tag,
    /// Write the image to oci:DIR[:tag] or archive:FILE[:tag] instead, and print its digest
    #[arg(long, value_name = "LOCATION", conflicts_with_all = ["listen", "name", "tag"])]
    export: Option<String>,
}

impl Quine {
    /// Whether it goes on until it is interrupted.
    pub(super) fn serves(&self) -> bool {
        self.export.is_none()
    }

    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        match &self.export {
            Some(location) => export(location, output).await,
            None => self.serve(output).await,
        }
    }

    async fn serve(self, output: &Output) -> Result<(), Error> {
        let image = of_this_program(output).await?;
        let [oci, docker] = [ImageFormat::Oci, ImageFormat::Docker].map(|of| image.image(of).raw_manifest().digest());
        let log = Log { parts: image.parts().into_iter().collect() };
        let registry = image.into_registry(self.name.clone(), self.tag.clone()).await?;
        let server = Server::bind(self.listen, registry).await.map_err(|error| {
            Error::new(Exit::Local, format!("cannot listen on {}: {error}", self.listen))
                .hint("is another registry running there? --listen 127.0.0.1:0 takes any free port")
        })?;
        let told = Access::Told(Arc::new(move |method, path, status| log.line(method, path, status)));
        // With -v, requests are traced already, with all that is known of them.
        trace::start(Shown::Warnings, if output.quiet { Access::Off } else { told });
        output.say(format!("Serving {}:{} with digest {oci}, and in schema 2 with {docker}", self.name, self.tag));
        let address = server.address().to_string();
        // Whoever reads the address may end the program at once.
        let interrupted = super::interrupt::interrupted();
        output.result(&address, || json!({"address": address, "digest": oci, "schema2": docker}))?;
        server.run(interrupted).await;
        Ok(())
    }
}

/// Packs this program, away from the runtime's threads.
pub(super) async fn of_this_program(output: &Output) -> Result<quine::Quine, Error> {
    let packed = tokio::task::spawn_blocking(quine::Quine::of_this_program).await;
    let image = packed.map_err(|_| Error::new(Exit::Local, "packing stopped"))??;
    let layers = image.image(ImageFormat::Oci).layers();
    output.say(format!("Packed this program (layer {})", size(layers.iter().map(|layer| layer.size).sum())));
    Ok(image)
}

async fn export(location: &str, output: &Output) -> Result<(), Error> {
    let location = Location::parse(location)?;
    if let Location::Registry(_) = location {
        return Err(Error::usage(format!(
            "--export writes to oci:DIR or archive:FILE, and {location} is in a registry"
        ))
        .hint(format!("bndlr push --self {location}")));
    }
    let bundle = of_this_program(output).await?.into_image(ImageFormat::Oci);
    let (connection, destinations) = (Connection::none(), Destination::group(&[location], &[]));
    Delivery::of(&bundle, bundle.raw_manifest(), &connection).to(&destinations, output).await?;
    let digest = bundle.raw_manifest().digest().to_string();
    output.result(&digest, || {
        let outputs: Vec<_> = destinations.iter().flat_map(Destination::names).collect();
        json!({"digest": digest, "outputs": outputs})
    })
}

/// What requests were about, in words.
struct Log {
    parts: HashMap<Digest, Part>,
}

impl Log {
    fn line(&self, method: &str, path: &str, status: u64) -> String {
        let what = match Endpoint::parse(path) {
            _ if status >= 400 => return format!("Refusing with {status}: {method} {path}"),
            Ok(Endpoint::Base) => "Acknowledging the API",
            Ok(Endpoint::Manifest(..)) => "Serving the manifest",
            Ok(Endpoint::Blob(_, digest)) => match self.parts.get(&digest) {
                Some(Part::Config) => "Serving the config",
                Some(Part::Layer) => "Serving the layer",
                None => "Answering",
            },
            _ => "Answering",
        };
        format!("{what}: {method} {path}")
    }
}

impl From<quine::Error> for Error {
    fn from(error: quine::Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        match error {
            quine::Error::Pack(error) => error.into(),
            quine::Error::Content(error) => error.into(),
            error => Self { hint, ..Self::new(Exit::Local, error) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_told_in_words() {
        let [config, layer, other] = [&b"config"[..], b"layer", b"other"].map(Digest::sha256);
        let log = Log { parts: HashMap::from([(config, Part::Config), (layer, Part::Layer)]) };
        let blob = |digest| format!("/v2/quinistry/blobs/{digest}");
        for (path, status, expected) in [
            ("/v2/".to_owned(), 200, "Acknowledging the API: GET /v2/"),
            ("/v2/quinistry/manifests/latest".to_owned(), 200, "Serving the manifest: GET /v2/"),
            (blob(config), 200, "Serving the config: GET /v2/"),
            (blob(layer), 206, "Serving the layer: GET /v2/"),
            (blob(other), 404, "Refusing with 404: GET /v2/"),
            ("/v2/quinistry/tags/list".to_owned(), 200, "Answering: GET /v2/"),
            ("/no/such/path".to_owned(), 404, "Refusing with 404: GET /no/"),
        ] {
            assert!(log.line("GET", &path, status).starts_with(expected), "{path}");
        }
    }
}
