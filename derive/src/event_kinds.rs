use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::syntax::{snake_case, variants};

pub fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let variants = variants(input)?;
    for variant in &variants {
        // serde reads an adjacently tagged unit variant from null alone, and writes a tuple as an array.
        let is_object = match &variant.fields {
            syn::Fields::Named(_) => true,
            syn::Fields::Unnamed(fields) => fields.unnamed.len() == 1,
            syn::Fields::Unit => false,
        };
        if !is_object {
            return Err(syn::Error::new_spanned(variant, "must have named fields or one struct: write {} for none"));
        }
    }
    let kinds: Vec<String> = variants.iter().map(|variant| snake_case(&variant.ident.to_string())).collect();
    let idents = variants.iter().map(|variant| &variant.ident);
    Ok(quote! {
        impl #name {
            /// Every kind of this event, as stored.
            pub const KINDS: &'static [&'static str] = &[#(#kinds),*];

            /// Its own kind, as stored.
            pub const fn kind(&self) -> &'static str {
                match self { #(Self::#idents { .. } => #kinds),* }
            }
        }

        impl ::event_store::EventKinds for #name {
            const KINDS: &'static [&'static str] = Self::KINDS;

            fn kind(&self) -> &'static str {
                self.kind()
            }
        }

        impl ::cqrs_es::DomainEvent for #name {
            fn event_type(&self) -> ::std::string::String {
                self.kind().to_owned()
            }

            fn event_version(&self) -> ::std::string::String {
                ::event_store::Fact::schema(self).to_string()
            }
        }
    })
}
