use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::syntax::{documentation, fields};

pub fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let (mut columns, mut values, mut reads, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (at, field) in fields(input)?.into_iter().enumerate() {
        let Some(ident) = &field.ident else { continue };
        let (column, ty, doc) = (ident.to_string(), &field.ty, documentation(field));
        let mut kind = quote!(<#ty as ::event_store::read_model::Cell>::KIND);
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("column")) {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("json") {
                    return Err(meta.error("must be json"));
                }
                kind = quote!(::event_store::read_model::Kind::Json);
                texts.push(ty);
                Ok(())
            })?;
        }
        columns.push(quote!(::event_store::read_model::Column {
            name: #column,
            kind: #kind,
            nullable: <#ty as ::event_store::read_model::Cell>::NULLABLE,
            doc: #doc,
        }));
        values.push(quote!(#at => ::event_store::read_model::Cell::value(&self.#ident)));
        reads.push(quote!(#ident: ::event_store::read_model::Cell::read(row, first + #at)?));
    }
    Ok(quote! {
        // JSON is kept as text.
        #(const _: () =
            assert!(matches!(<#texts as ::event_store::read_model::Cell>::KIND, ::event_store::read_model::Kind::Text));)*

        impl ::event_store::read_model::Columns for #name {
            const COLUMNS: &'static [::event_store::read_model::Column] = &[#(#columns),*];

            fn value(&self, column: usize) -> ::event_store::read_model::Value<'_> {
                match column { #(#values,)* _ => ::event_store::read_model::Value::Null }
            }

            fn read(
                row: &::event_store::read_model::PgRow,
                first: usize,
            ) -> ::core::result::Result<Self, ::event_store::read_model::ReadError> {
                Ok(Self { #(#reads),* })
            }
        }
    })
}
