//! How a row is written: begin with its group, then add what sets it apart.

use super::{Handling, Kind, Reader};
use crate::Unenforced;

/// A kind of the core group. All constructors make it namespaced and not served.
pub(super) const fn core(kind: &'static str, handling: Handling) -> Kind {
    of("", &["v1"], kind, handling)
}

/// A kind of `group` that is read or served, in these versions.
pub(super) const fn of(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    handling: Handling,
) -> Kind {
    Kind {
        group,
        kind,
        versions,
        old_api_versions: &[],
        namespaced: true,
        plural: "",
        singular: "",
        short_names: &[],
        categories: &[],
        field_selectors: &[],
        subresources: &[],
        is_custom: false,
        is_confidential: false,
        is_provided: false,
        owns_pods: false,
        serves_requests: false,
        is_named_by_label: false,
        handling,
    }
}

/// A kind of the Gateway API.
pub(super) const fn gateway_api(kind: &'static str, read: Reader) -> Kind {
    Kind {
        old_api_versions: &["gateway.networking.k8s.io/v1alpha2"],
        is_custom: true,
        ..of(
            "gateway.networking.k8s.io",
            &["v1", "v1beta1"],
            kind,
            Handling::Enforced(read),
        )
    }
}

/// A kind of Istio's.
pub(super) const fn istio(kind: &'static str, read: Reader) -> Kind {
    Kind {
        is_custom: true,
        ..of(
            "networking.istio.io",
            &["v1", "v1beta1", "v1alpha3"],
            kind,
            Handling::Enforced(read),
        )
    }
}

/// A kind of Istio's access control until 1.5.
pub(super) const fn rbac(kind: &'static str, read: Reader) -> Kind {
    of(
        "rbac.istio.io",
        &["v1alpha1"],
        kind,
        Handling::Enforced(read),
    )
    .custom()
}

/// A kind of Istio's security API.
pub(super) const fn istio_security(kind: &'static str, read: Reader) -> Kind {
    Kind {
        is_custom: true,
        ..of(
            "security.istio.io",
            &["v1", "v1beta1"],
            kind,
            Handling::Enforced(read),
        )
    }
}

/// A kind of Istio's authentication API until Istio 1.5.
pub(super) const fn istio_authentication(kind: &'static str, read: Reader) -> Kind {
    Kind {
        is_custom: true,
        ..of(
            "authentication.istio.io",
            &["v1alpha1"],
            kind,
            Handling::Enforced(read),
        )
    }
}

/// A kind that is left to the cluster.
pub(super) const fn left(group: &'static str, kind: &'static str) -> Kind {
    of(group, &[], kind, Handling::NotEnforced)
}

/// A kind that is left to the cluster and forbids something there.
pub(super) const fn restriction(group: &'static str, kind: &'static str) -> Kind {
    restriction_named(kind, group, kind)
}

/// As [`restriction`], for a kind whose name is not unique: operators call it `name`.
pub(super) const fn restriction_named(
    name: &'static str,
    group: &'static str,
    kind: &'static str,
) -> Kind {
    of(
        group,
        &[],
        kind,
        Handling::Restriction(Unenforced::new(name)),
    )
}

impl Kind {
    /// Its names in the admin API.
    pub(super) const fn served(
        self,
        plural: &'static str,
        singular: &'static str,
        short_names: &'static [&'static str],
    ) -> Self {
        Self {
            plural,
            singular,
            short_names,
            ..self
        }
    }

    pub(super) const fn old(self, old_api_versions: &'static [&'static str]) -> Self {
        Self {
            old_api_versions,
            ..self
        }
    }

    pub(super) const fn of_cluster(self) -> Self {
        Self {
            namespaced: false,
            ..self
        }
    }

    /// Shown by `kubectl get all`.
    pub(super) const fn in_all(self) -> Self {
        Self {
            categories: &["all"],
            ..self
        }
    }

    pub(super) const fn selected_by(self, field_selectors: &'static [&'static str]) -> Self {
        Self {
            field_selectors,
            ..self
        }
    }

    pub(super) const fn subresources(self, subresources: &'static [&'static str]) -> Self {
        Self {
            subresources,
            ..self
        }
    }

    pub(super) const fn custom(self) -> Self {
        Self {
            is_custom: true,
            ..self
        }
    }

    pub(super) const fn confidential(self) -> Self {
        Self {
            is_confidential: true,
            ..self
        }
    }

    pub(super) const fn provided(self) -> Self {
        Self {
            is_provided: true,
            ..self
        }
    }

    pub(super) const fn owns_pods(self) -> Self {
        Self {
            owns_pods: true,
            ..self
        }
    }

    pub(super) const fn serves_requests(self) -> Self {
        Self {
            serves_requests: true,
            ..self
        }
    }

    pub(super) const fn named_by_label(self) -> Self {
        Self {
            is_named_by_label: true,
            ..self
        }
    }
}
