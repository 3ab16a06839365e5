use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    DeriveInput, Ident, LitStr, Token, parenthesized,
    parse::{Parse, ParseStream},
};

use crate::syntax::variants;

/// `Class, "code"`, and what may follow.
struct Attribute {
    class: Ident,
    code: LitStr,
    faults: Vec<(LitStr, LitStr)>,
    carries_faults: bool,
    taken: Taken,
}

/// Whether a variant is what to say of a claim that another aggregate holds.
enum Taken {
    No,
    Of(LitStr),
    OfAnyOther,
}

impl Parse for Attribute {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let class = input.parse()?;
        input.parse::<Token![,]>()?;
        let mut attribute =
            Self { class, code: input.parse()?, faults: Vec::new(), carries_faults: false, taken: Taken::No };
        while !input.is_empty() {
            input.parse::<Token![,]>()?;
            let word: Ident = input.parse()?;
            match word.to_string().as_str() {
                "at" => {
                    let arguments;
                    parenthesized!(arguments in input);
                    let pointer = arguments.parse()?;
                    arguments.parse::<Token![,]>()?;
                    attribute.faults.push((pointer, arguments.parse()?));
                }
                "faults" => attribute.carries_faults = true,
                "taken" if input.peek(syn::token::Paren) => {
                    let arguments;
                    parenthesized!(arguments in input);
                    attribute.taken = Taken::Of(arguments.parse()?);
                }
                "taken" => attribute.taken = Taken::OfAnyOther,
                _ => return Err(syn::Error::new_spanned(word, "must be at, faults or taken")),
            }
        }
        Ok(attribute)
    }
}

pub fn derive(input: &DeriveInput) -> syn::Result<TokenStream> {
    let name = &input.ident;
    let (mut classes, mut codes, mut faults, mut scopes, mut fallback) = (vec![], vec![], vec![], vec![], None);
    for variant in variants(input)? {
        let ident = &variant.ident;
        let attribute = variant.attrs.iter().find(|attribute| attribute.path().is_ident("refusal"));
        let attribute = attribute.ok_or_else(|| syn::Error::new_spanned(ident, "say #[refusal(Class, \"code\")]"))?;
        let Attribute { class, code, faults: said, carries_faults, taken } = attribute.parse_args()?;
        classes.push(quote!(Self::#ident { .. } => ::event_store::Class::#class));
        codes.push(quote!(Self::#ident { .. } => #code));
        let (pointers, details): (Vec<_>, Vec<_>) = said.into_iter().unzip();
        faults.push(if carries_faults {
            quote!(Self::#ident(faults) => faults.clone())
        } else {
            quote!(Self::#ident { .. } => vec![#(::event_store::refusal::Fault::new(#pointers, #details)),*])
        });
        match taken {
            Taken::No => {}
            Taken::Of(scope) => scopes.push(quote!(#scope => Self::#ident)),
            Taken::OfAnyOther => fallback = Some(quote!(Self::#ident)),
        }
    }
    let fallback = match (fallback, scopes.is_empty()) {
        (Some(fallback), _) => fallback,
        // Its aggregate claims nothing.
        (None, true) => {
            quote!(::core::unreachable!("{} claims nothing of the scope {}", ::core::stringify!(#name), claim.scope))
        }
        (None, false) => {
            return Err(syn::Error::new_spanned(name, "one variant must say `taken`, for any other scope"));
        }
    };
    Ok(quote! {
        impl ::event_store::Refusal for #name {
            fn class(&self) -> ::event_store::Class {
                match self { #(#classes),* }
            }

            fn code(&self) -> &'static str {
                match self { #(#codes),* }
            }

            fn faults(&self) -> ::std::vec::Vec<::event_store::refusal::Fault> {
                match self { #(#faults),* }
            }

            fn taken(claim: &::event_store::Claim) -> Self {
                match claim.scope.split(':').next().unwrap_or_default() { #(#scopes,)* _ => #fallback }
            }
        }
    })
}
