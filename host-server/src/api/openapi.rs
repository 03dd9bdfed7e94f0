//! `/api/openapi.json`: the description of this interface, kept by hand beside this file.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// The OpenAPI 3.1 document.
const DOCUMENT: &str = include_str!("openapi.json");

/// Answers the document.
pub(crate) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::problem::Kind;
    use super::super::routes::ROUTES;
    use super::*;

    fn parsed() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    #[test]
    fn every_route_is_documented_and_every_documented_path_is_a_route() {
        let document = parsed();
        let mut documented = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in item
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "parameters")
            {
                documented.insert((method.to_uppercase(), path.as_str()));
            }
        }
        let routes: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.method.to_string(), route.path))
            .collect();
        assert_eq!(documented, routes);
    }

    #[test]
    fn every_problem_is_documented_with_its_status() {
        let document = parsed();
        let listed = document["components"]["schemas"]["ProblemType"]["enum"]
            .as_array()
            .unwrap();
        let listed: BTreeSet<_> = listed
            .iter()
            .map(|uri| uri.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(listed, Kind::ALL.map(Kind::uri).into());
    }

    #[test]
    fn every_reference_points_somewhere() {
        fn visit(root: &Value, value: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(reference)) = members.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|member| visit(root, member));
                }
                Value::Array(items) => items.iter().for_each(|item| visit(root, item)),
                _ => {}
            }
        }
        let document = parsed();
        visit(&document, &document);
    }

    #[test]
    fn the_document_has_the_version_of_the_package() {
        assert_eq!(parsed()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
