//! "Did you mean": the nearest existing name.

/// The candidate of which `name` is most likely a misspelling.
pub(crate) fn nearest<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let lower = name.to_lowercase();
    candidates
        .filter(|candidate| *candidate != name)
        .map(|candidate| {
            (
                strsim::osa_distance(&lower, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= tolerance(name, candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, or nothing.
pub(crate) fn did_you_mean<'c>(name: &str, candidates: impl Iterator<Item = &'c str>) -> String {
    nearest(name, candidates).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// A third of the shorter name may differ, but no more than four characters.
fn tolerance(name: &str, candidate: &str) -> usize {
    (name
        .chars()
        .count()
        .min(candidate.chars().count())
        .div_ceil(3))
    .min(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelling_is_found_and_another_name_is_not() {
        let names = ["productservice", "productreviewservice", "ui"];
        assert_eq!(
            nearest("prodcutservice", names.into_iter()),
            Some("productservice")
        );
        assert_eq!(nearest("payments", names.into_iter()), None);
        assert_eq!(
            nearest("virtualservice", ["VirtualService"].into_iter()),
            Some("VirtualService")
        );
    }
}
