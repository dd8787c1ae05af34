//! CNCF Distribution's registry with passwords and TLS, and what others make of the credentials that we store.

use crate::docker_registry::DockerRegistry;
use crate::program::{Desk, finish};
use crate::{ALICE, desk, json, peer, registry, run, run_in};

/// Debian's registry, which asks for alice's password over TLS.
fn guarded(desk: &Desk) -> Option<DockerRegistry> {
    // Its Go knows only bcrypt with this prefix.
    let hash = bcrypt::hash("correct-horse", 5).unwrap().replacen("$2b$", "$2y$", 1);
    desk.write("htpasswd", &format!("alice:{hash}\n"));
    let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}", desk.path("htpasswd").display());
    DockerRegistry::start_with_tls(&desk.path("leaf.pem"), &desk.path("leaf.key"), &auth)
}

#[test]
fn debians_registry_is_logged_in_to_pushed_to_and_pulled_from() {
    let desk = desk();
    let Some(registry) = guarded(&desk) else { return };
    let (host, app) = (registry.address, format!("{}/team/app:v1", registry.address));
    assert_eq!(run(&desk, &format!("login {host} -u alice -p wrong --ca-file ca.pem")).code, Some(4));
    assert_eq!(run(&desk, &format!("push tree {app} --ca-file ca.pem")).code, Some(4));
    let unknown = run(&desk, &format!("login {host} {ALICE} --plain-http=false"));
    assert_eq!(unknown.code, Some(6), "nobody vouches for its certificate: {unknown:?}");

    run(&desk, &format!("login {host} {ALICE} --ca-file ca.pem")).ok();
    let pushed = run(&desk, &format!("push tree {app} --ca-file ca.pem")).ok();
    let resolved = run(&desk, &format!("resolve {app} --insecure --plain-http=false")).ok();
    assert!(pushed.trim_end().ends_with(resolved.trim_end()), "{pushed} {resolved}");
    run(&desk, &format!("pull {app} -o pulled --ca-file ca.pem")).ok();
    assert_eq!(desk.read("pulled/a.txt"), desk.read("tree/a.txt"));
    run(&desk, &format!("logout {host}")).ok();
    assert_eq!(run(&desk, &format!("resolve {app} --ca-file ca.pem")).code, Some(4));
}

#[test]
fn skopeo_uses_what_we_store_and_we_use_what_it_stores() {
    let Some(skopeo) = peer::require("skopeo") else { return };
    let desk = desk();
    let registry = registry(&desk, "--tls-cert leaf.pem --tls-key leaf.key");
    let (host, app) = (&registry.address, registry.reference("team/app:v1"));
    desk.write("certs/ca.crt", &desk.read("ca.pem"));
    let skopeo = |arguments: &str| {
        let mut command = desk.process(skopeo.to_str().unwrap());
        command.args(arguments.split_whitespace()).env("XDG_RUNTIME_DIR", desk.path("run"));
        finish(command)
    };
    std::fs::create_dir(desk.path("run")).unwrap();

    run(&desk, &format!("login {host} {ALICE} --ca-file ca.pem")).ok();
    let digest = run(&desk, &format!("push tree {app} --ca-file ca.pem")).ok();
    let inspect = format!("inspect --cert-dir certs --format {{{{.Digest}}}} docker://{app}");
    let seen = skopeo(&inspect).ok();
    assert!(digest.trim_end().ends_with(seen.trim_end()), "{digest} {seen}");
    run(&desk, &format!("logout {host}")).ok();
    assert_ne!(skopeo(&inspect).code, Some(0), "we have logged out");

    skopeo(&format!("login --cert-dir certs -u alice -p correct-horse {host}")).ok();
    let runtime = desk.path("run").display().to_string();
    run_in(&desk, &format!("push tree {app} --ca-file ca.pem"), &[("XDG_RUNTIME_DIR", &runtime)]).ok();
    assert!(json(&desk, "run/containers/auth.json")["auths"][host].is_object());
}
