//! The real kubectl, run against a host.

use std::process::Command;

use super::host::{Host, Output};

/// Runs `galleria kubeconfig ARGUMENTS` and returns the path that it prints.
#[track_caller]
pub fn kubeconfig(host: &Host, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(["kubeconfig", "--data"])
        .arg(&host.data)
        .args(arguments)
        .output()
        .expect("the galleria binary");
    assert!(output.status.success(), "{output:?}");
    let path = String::from_utf8(output.stdout).expect("text");
    path.trim_end().to_owned()
}

/// kubectl with the kubeconfig of `arguments`, independent of the machine's own
/// configuration.
pub fn kubectl_with(host: &Host, config: &str, arguments: &[&str]) -> Output {
    let output = Command::new("kubectl")
        .env("KUBECONFIG", config)
        .env("HOME", &host.data)
        .arg("--cache-dir")
        .arg(host.data.join("kubectl-cache"))
        .args(arguments)
        .output()
        .expect("kubectl; install it with `apt-get install kubernetes-client`");
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The output of a kubectl command that succeeds.
#[track_caller]
pub fn kubectl(host: &Host, arguments: &[&str]) -> String {
    let output = kubectl_with(host, &kubeconfig(host, &[]), arguments);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output.stdout
}

/// The error output of a kubectl command that fails.
#[track_caller]
pub fn refused(host: &Host, arguments: &[&str]) -> String {
    let output = kubectl_with(host, &kubeconfig(host, &[]), arguments);
    assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
    output.stderr
}

/// The output of a kubectl command that succeeds with `text` on its standard input.
#[track_caller]
pub fn kubectl_fed(host: &Host, arguments: &[&str], text: &str) -> String {
    let output = fed(host, arguments, text);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output.stdout
}

/// The error output of a kubectl command that fails with `text` on its standard input.
#[track_caller]
pub fn refused_fed(host: &Host, arguments: &[&str], text: &str) -> String {
    let output = fed(host, arguments, text);
    assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
    output.stderr
}

fn fed(host: &Host, arguments: &[&str], text: &str) -> Output {
    let file = host.data.join("fed.yaml");
    std::fs::write(&file, text).expect("a file");
    let file = file.display().to_string();
    let all = [arguments, &["-f", &file]].concat();
    kubectl_with(host, &kubeconfig(host, &[]), &all)
}
