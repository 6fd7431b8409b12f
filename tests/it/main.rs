//! The one integration-test binary.

mod corpus_closure;
mod support;
