//! Service accounts for the workloads of test manifests.

/// Gives the Deployments service accounts.
pub fn with_accounts(manifest: &str, accounts: &[(&str, &str)]) -> String {
    let documents = manifest.split("---\n").map(|document| {
        let account = accounts.iter().find(|(name, _)| {
            document.contains(&format!("kind: Deployment\nmetadata: {{name: {name},"))
        });
        match account {
            None => document.to_owned(),
            Some((_, account)) => document.replacen(
                "      containers:",
                &format!("      serviceAccountName: {account}\n      containers:"),
                1,
            ),
        }
    });
    let mut manifest = documents.collect::<Vec<_>>().join("---\n");
    for (number, (_, account)) in accounts.iter().enumerate() {
        if accounts[..number].iter().any(|(_, other)| other == account) {
            continue;
        }
        manifest.push_str(&format!(
            "---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: \
             test}}\n"
        ));
    }
    manifest
}
