//! What happens to an authority over time: renewal, rotation, interrupted writes.

use crate::causes::with_causes;

use super::*;
use crate::identity::folder::NEXT_ROOT_KEY;

#[test]
fn time_outside_of_the_validity_is_an_error_unless_the_host_can_renew() {
    let now = SystemTime::now();
    let source = made(now);
    let folder = tempfile::tempdir().expect("a folder");
    export(source.path(), folder.path(), now).expect("an intermediate");
    for (time, reason) in [
        (now + 366 * DAY, "has expired on"),
        (now - DAY, "check the clock"),
    ] {
        let error = Identities::shared(&settings(), folder.path(), time).err();
        let error = with_causes(&error.expect(reason));
        assert!(error.contains(reason), "{error}");
    }
    let late = now + 366 * DAY;
    let renewed = host(source.path(), late);
    assert!(accepts(&renewed, &renewed, late));
    let error = Identities::shared(&settings(), source.path(), now + 3651 * DAY).err();
    let error = with_causes(&error.expect("the root has expired"));
    assert!(error.contains("has expired on"), "{error}");
}

#[test]
fn intermediate_is_renewed_by_one_host_and_followed_by_the_others() {
    let now = SystemTime::now();
    let folder = made(now);
    let (one, other) = (host(folder.path(), now), host(folder.path(), now));
    let mut changes = other.changes();
    let intermediate = read(&folder, ISTIO.certificate);
    one.refresh(now + 240 * DAY);
    assert_eq!(read(&folder, ISTIO.certificate), intermediate, "two thirds");
    let later = now + 250 * DAY;
    let proof = one.certificate_at(&id(), later).expect("a certificate");
    one.refresh(later);
    assert_ne!(read(&folder, ISTIO.certificate), intermediate);
    let renewed = one.certificate_at(&id(), later).expect("a certificate");
    assert!(!Arc::ptr_eq(&proof, &renewed));
    assert!(!changes.has_changed().expect("open"));
    let renewed = read(&folder, ISTIO.certificate);
    other.refresh(later);
    assert!(changes.has_changed().expect("open"));
    changes.mark_unchanged();
    other.refresh(later);
    assert!(!changes.has_changed().expect("open"));
    assert_eq!(read(&folder, ISTIO.certificate), renewed);
    let late = now + 400 * DAY;
    assert!(accepts(&one, &other, late) && accepts(&other, &one, late));
}

/// Of two hosts, one always follows later than the other.
#[test]
fn hosts_verify_each_other_throughout_a_rotation() {
    let now = SystemTime::now();
    let folder = made(now);
    let (early, late) = (host(folder.path(), now), host(folder.path(), now));
    let old_root = read(&folder, ISTIO.roots);
    for (step, roots) in [(Step::Add, 2), (Step::Switch, 2), (Step::Drop, 1)] {
        rotate(folder.path(), step, now).expect("a step");
        early.refresh(now);
        assert_eq!(early.roots().len(), roots, "{step:?}");
        for (verifier, prover) in [(&early, &late), (&late, &early), (&early, &early)] {
            assert!(accepts(verifier, prover, now), "{step:?}");
        }
        late.refresh(now);
    }
    assert!(!read(&folder, ISTIO.roots).contains(&old_root));
    assert!(!folder.path().join(NEXT_ROOT_KEY).exists());
    // The next rotation begins with the new root.
    rotate(folder.path(), Step::Add, now).expect("a step");
}

#[test]
fn step_out_of_order_says_which_one_is_next() {
    let now = SystemTime::now();
    let folder = made(now);
    for (done, refused) in [
        (
            None,
            [(Step::Switch, "rotate add"), (Step::Drop, "rotate add")],
        ),
        (
            Some(Step::Add),
            [(Step::Add, "rotate switch"), (Step::Drop, "rotate switch")],
        ),
        (
            Some(Step::Switch),
            [(Step::Add, "rotate drop"), (Step::Switch, "rotate drop")],
        ),
        (
            Some(Step::Drop),
            [(Step::Switch, "rotate add"), (Step::Drop, "rotate add")],
        ),
    ] {
        if let Some(step) = done {
            rotate(folder.path(), step, now).expect("the next step");
        }
        for (step, next) in refused {
            let error = rotate(folder.path(), step, now).expect_err("refused");
            assert!(
                error.to_string().contains(next),
                "{done:?} {step:?}: {error}"
            );
        }
    }
    fs::remove_file(folder.path().join(ROOT_KEY)).expect("a key");
    let error = rotate(folder.path(), Step::Add, now).expect_err("no key");
    assert!(
        error.to_string().contains("root-key.pem` is missing"),
        "{error}"
    );
}

#[test]
fn interrupted_write_is_completed_or_forgotten() {
    let now = SystemTime::now();
    let (folder, other) = (made(now), made(now));
    let names = [ISTIO.certificate, ISTIO.key, ISTIO.roots, "cert-chain.pem"];
    // Not complete: forgotten.
    let staged = folder.path().join(write::STAGED);
    fs::create_dir(&staged).expect("a folder");
    fs::write(staged.join(ISTIO.key), "half").expect("a file");
    let before = read(&folder, ISTIO.key);
    host(folder.path(), now);
    assert_eq!(read(&folder, ISTIO.key), before);
    // Complete, and one of the files already moved.
    let moving = folder.path().join(".moving");
    fs::create_dir(&moving).expect("a folder");
    write(&folder, names[0], &read(&other, names[0]));
    for name in &names[1..] {
        fs::write(moving.join(name), read(&other, name)).expect("a file");
    }
    let host = host(folder.path(), now);
    assert!(accepts(&host, &host, now) && !moving.exists());
    for name in names {
        assert_eq!(read(&folder, name), read(&other, name));
    }
}

#[test]
fn authority_is_never_replaced_by_mistake() {
    let now = SystemTime::now();
    let (folder, other) = (made(now), made(now));
    let before = read(&folder, ISTIO.key);
    let refused = [
        init(folder.path(), "cluster.local", now).err(),
        export(other.path(), folder.path(), now).err(),
        issue(other.path(), &id(), HOUR, folder.path(), now).err(),
    ];
    for error in refused {
        let error = error.expect("refused").to_string();
        assert!(
            error.contains(&folder.path().display().to_string()),
            "{error}"
        );
    }
    assert_eq!(read(&folder, ISTIO.key), before);
    let used = tempfile::tempdir().expect("a folder");
    write(&used, "letter.txt", "hello");
    let error = init(used.path(), "cluster.local", now)
        .expect_err("files")
        .to_string();
    assert!(error.contains("has files"), "{error}");
}

#[test]
fn first_root_to_expire_counts() {
    let now = SystemTime::now();
    let folder = made(now);
    let late = now + 3640 * DAY;
    for step in [Step::Add, Step::Switch] {
        rotate(folder.path(), step, late).expect("a step");
    }
    let expiries = host(folder.path(), late).expiries();
    let [(authority, signer), (roots, root)] = expiries.as_slice() else {
        unreachable!("{expiries:?}");
    };
    assert!(authority.ends_with("ca-cert.pem") && roots.ends_with("root-cert.pem"));
    // The old root is still trusted.
    let day = DAY.as_secs().cast_signed();
    let late = authority::timestamp(late).as_second();
    assert!((9 * day..=10 * day).contains(&(root - late)), "{root}");
    assert!(
        (364 * day..=365 * day).contains(&(signer - late)),
        "{signer}"
    );
}
