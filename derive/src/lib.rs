//! Derives for contexts, so that a list of fields or variants is written once: the kinds of an event, the columns of a read
//! model, the class, code and faults of an error.
//!
//! The traits are those of `event_store`; its documentation says what they are for.

mod columns;
mod domain_error;
mod event_kinds;
mod syntax;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// `event_store::EventKinds` and `cqrs_es::DomainEvent` of an enum of struct variants: its variants' names in `snake_case`, as
/// serde writes them.
#[proc_macro_derive(EventKinds)]
pub fn event_kinds(input: TokenStream) -> TokenStream {
    expand(event_kinds::derive(&parse_macro_input!(input as DeriveInput)))
}

/// `event_store::read_model::Columns` of a struct whose fields are columns, in their order. A field's documentation is that of
/// its column, wherever it is answered. `#[column(json)]` on a text says that its column is of the type `json`.
#[proc_macro_derive(Columns, attributes(column))]
pub fn columns(input: TokenStream) -> TokenStream {
    expand(columns::derive(&parse_macro_input!(input as DeriveInput)))
}

/// `event_store::Refusal` of an enum, by `#[refusal(Class, "code")]` on each variant.
///
/// After the code may follow: `at("/field", "is taken")`, a fault of the body, as often as there are any; `faults`, if the
/// variant is a tuple of a `Vec<Fault>`; `taken("scope")`, if it is what to say when another aggregate holds a claim of that
/// scope (up to its first `:`), and `taken` for any other scope.
#[proc_macro_derive(DomainError, attributes(refusal))]
pub fn domain_error(input: TokenStream) -> TokenStream {
    expand(domain_error::derive(&parse_macro_input!(input as DeriveInput)))
}

fn expand(made: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    made.unwrap_or_else(syn::Error::into_compile_error).into()
}
