//! Which known name somebody meant who wrote an unknown one.

/// The known name that is nearest to `written`, if one is near enough to be meant.
pub(crate) fn nearest<'n>(
    written: &str,
    known: impl IntoIterator<Item = &'n str>,
) -> Option<&'n str> {
    let written = written.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&written, &name.to_lowercase());
    let (distance, name) = known
        .into_iter()
        .map(|name| (distance(name), name))
        .min_by_key(|(distance, _)| *distance)?;
    // Up to a third of the letters may be wrong.
    (distance <= name.chars().count().div_ceil(3)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognized_and_another_word_is_not() {
        let known = ["idApp", "popup", "popupText", "content"];
        for (written, meant) in [
            ("contnt", Some("content")),
            ("Content", Some("content")),
            ("id_app", Some("idApp")),
            ("popuptext", Some("popupText")),
            ("payload", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known), meant, "{written}");
        }
    }
}
