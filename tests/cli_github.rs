//! In GitHub Actions: errors as annotations of the run, and a summary of the job.

mod embedded;
mod program;

use embedded::Embedded;
use program::Desk;

#[test]
fn an_error_is_an_annotation_too() {
    let desk = Desk::with_tree();
    let run = |arguments: &[&str], actions: &str| desk.run_with(arguments, &[("GITHUB_ACTIONS", actions)]);
    let ran = run(&["push", "no%where", "oci:x"], "true");
    assert_eq!(ran.code, Some(8));
    let (annotation, error) = ran.stderr.split_once('\n').unwrap();
    assert_eq!(annotation, "::error title=bndlr::cannot read no%25where: No such file or directory (os error 2)");
    assert!(error.starts_with("error: cannot read no%where"), "{error}");
    let hinted = run(&["push", "tree", "oci:x", "--exclud", "x", "--format", "json"], "true");
    assert_eq!(hinted.json()["error"]["code"], "usage");
    assert_eq!(hinted.stderr.lines().count(), 1, "{hinted:?}");
    assert!(hinted.stderr.contains("%0Ahint: tip: ") || hinted.stderr.contains("%0Ahint: a similar"), "{hinted:?}");
    assert!(!run(&["push", "nowhere", "oci:x"], "false").stderr.contains("::error"));
    // Nothing that somebody wrote into an argument shows up there.
    let ran = run(&["pull", "https://eve:annotated-secret@h.io/app:v1"], "true");
    assert!(ran.stderr.starts_with("::error "), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_pushed_is_in_the_summary_of_the_job() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let host = registry.address();
    desk.write("summary.md", "before\n");
    let summary = [("GITHUB_STEP_SUMMARY", "summary.md")];
    let push = |tag: &str| desk.run_with(&["push", "tree", &format!("{host}/app:{tag}"), "-q"], &summary);
    let pushed = push("v1").ok();
    let text = desk.read("summary.md");
    let digest = pushed.trim_end().split_once('@').unwrap().1;
    let start =
        format!("before\n### bndlr push\n\n| | |\n|---|---|\n| Reference | `{host}/app@{digest}` |\n| Tags | `v1` |\n");
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains(&format!("| Digest | `{digest}` |\n| Result | pushed |\n| Layers | 1 layer, 2")), "{text}");
    push("v1").ok();
    assert_eq!(desk.read("summary.md").matches("| Result | unchanged |\n").count(), 1);
    let ran =
        desk.run_with(&["push", "tree", &format!("{host}/app:v1"), "-q"], &[("GITHUB_STEP_SUMMARY", "/nowhere/x")]);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.starts_with("warning: cannot write the summary of the job to /nowhere/x: "), "{ran:?}");
}
