//! A file that holds one document of our own that is no Kubernetes object, read with the same
//! errors as manifests.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::document::{DEPTH_MAX, not_yaml};
use super::node::{Node, Position};
use super::{Errors, Problem, Source, schema};

/// A document and where its fields stand.
#[derive(Debug)]
pub(crate) struct Document<T> {
    pub(crate) value: T,
    source: Arc<Source>,
    node: Node,
}

impl<T: JsonSchema + DeserializeOwned> Document<T> {
    /// Reads YAML or JSON.
    ///
    /// # Errors
    /// Everything that does not fit the schema of `T`.
    pub(crate) fn read(source: Source) -> Result<Self, Errors> {
        let source = Arc::new(source);
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        };
        let node: Node = serde_saphyr::from_str_with_options(&source.text, options)
            .map_err(|error| Errors(vec![not_yaml(&source, &error)]))?;
        let schema = schemars::schema_for!(T).to_value();
        let misfits = schema::check(&schema, &node).into_iter().map(|misfit| Problem {
            source: Some(Arc::clone(&source)),
            at: misfit.at,
            object: String::new(),
            path: misfit.path,
            what: misfit.what,
            expected: misfit.expected,
            hint: misfit.hint,
        });
        Errors::check(misfits.collect())?;
        match serde_json::from_value(node.to_json()) {
            Ok(value) => Ok(Self { value, source, node }),
            Err(error) => {
                let mut problem = Problem::general(error.to_string());
                problem.source = Some(source);
                problem.at = Position { line: 1, column: 1 };
                Err(Errors(vec![problem]))
            }
        }
    }

    /// Something wrong with the field at `path`.
    pub(crate) fn problem(&self, path: &str, what: String) -> Problem {
        let mut problem = Problem::general(what);
        problem.source = Some(Arc::clone(&self.source));
        problem.at = self.node.locate(path);
        path.clone_into(&mut problem.path);
        problem
    }
}
