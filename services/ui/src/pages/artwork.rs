//! Drawings of products: one motif per category, one palette per product. They are
//! decorative and hidden from screen readers.

use maud::{Markup, PreEscaped, html};

/// The motifs, in a box of 240 by 180. `currentColor` is the line colour, and the classes
/// `soft`, `mid` and `glow` are shades of it.
const PHONE: &str = r#"<rect x="88" y="28" width="64" height="124" rx="12"/><rect class="soft" x="94" y="36" width="52" height="108" rx="6"/><circle class="mid" cx="120" cy="44" r="2.5"/><path class="glow" d="M94 118l52-40v60a6 6 0 0 1-6 6h-40a6 6 0 0 1-6-6z"/>"#;
const LAPTOP: &str = r#"<rect x="62" y="42" width="116" height="80" rx="8"/><rect class="soft" x="69" y="49" width="102" height="66" rx="3"/><path class="glow" d="M69 112l102-52v52a3 3 0 0 1-3 3H72a3 3 0 0 1-3-3z"/><path class="mid" d="M44 126h152l-7 9a6 6 0 0 1-5 2H56a6 6 0 0 1-5-2z"/>"#;
const AUDIO: &str = r#"<path d="M70 108v-10a50 50 0 0 1 100 0v10h-9v-10a41 41 0 0 0-82 0v10z"/><rect x="62" y="98" width="26" height="44" rx="11"/><rect x="152" y="98" width="26" height="44" rx="11"/><rect class="soft" x="80" y="104" width="8" height="32" rx="4"/><rect class="soft" x="152" y="104" width="8" height="32" rx="4"/>"#;
const CAMERA: &str = r#"<path class="mid" d="M96 58l8-14h32l8 14z"/><rect x="58" y="56" width="124" height="80" rx="11"/><rect class="glow" x="58" y="74" width="124" height="10"/><circle class="soft" cx="120" cy="98" r="30"/><circle cx="120" cy="98" r="22"/><circle class="mid" cx="120" cy="98" r="13"/><circle class="soft" cx="114" cy="92" r="4"/><circle class="soft" cx="167" cy="67" r="4"/>"#;
const WEARABLE: &str = r#"<path class="mid" d="M103 62l5-32h24l5 32zm0 56l5 32h24l5-32z"/><circle cx="120" cy="90" r="40"/><circle class="soft" cx="120" cy="90" r="32"/><path class="hand" d="M120 90V70m0 20l13 9"/><circle cx="120" cy="90" r="3.5"/>"#;
const HOME: &str = r#"<path class="glow" d="M128 74l58 66H84z"/><path class="hand" d="M86 142l-6-58 44-30"/><path d="M112 40l34 22-20 26a26 26 0 0 1-34-22z"/><circle class="mid" cx="80" cy="84" r="5"/><rect x="62" y="138" width="48" height="9" rx="4.5"/>"#;
const PARCEL: &str = r#"<path d="M120 36l58 28v56l-58 28-58-28V64z"/><path class="mid" d="M120 36l58 28-58 28-58-28z"/><path class="glow" d="M120 92v56l-58-28V64z"/><path class="soft" d="M86 52l58 28v16l-10-5-4 2V87L72 59z"/>"#;

/// The picture of a product.
pub(super) fn product(product_id: i64, category: &str) -> Markup {
    let motif = match category {
        "1" => PHONE,
        "2" => LAPTOP,
        "3" => AUDIO,
        "4" => CAMERA,
        "5" => WEARABLE,
        "6" => HOME,
        _ => PARCEL,
    };
    // Adjacent products in the catalogue differ by a step that visits every palette.
    let palette = product_id.rem_euclid(6);
    html! {
        svg class={ "motif palette-" (palette) } viewBox="0 0 240 180" aria-hidden="true"
            preserveAspectRatio="xMidYMid slice" {
            rect.ground width="240" height="180" {}
            circle.halo cx="196" cy="30" r="74" {}
            ellipse.shade cx="120" cy="152" rx="82" ry="7" {}
            g { (PreEscaped(motif)) }
        }
    }
}

/// The shop's logo: an arcade.
pub(super) fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" aria-hidden="true" {
            path d="M4 28V14a12 12 0 0 1 24 0v14h-6V14a6 6 0 0 0-12 0v14z" {}
        }
    }
}

/// A closed shutter, for pages without content.
pub(super) fn closed() -> Markup {
    html! {
        svg.shutter viewBox="0 0 120 80" aria-hidden="true" {
            path d="M10 76V36a50 34 0 0 1 100 0v40z" {}
            path.slats d="M18 44h84M18 54h84M18 64h84" {}
        }
    }
}
