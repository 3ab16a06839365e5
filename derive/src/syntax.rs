//! What the derives ask of the code that they are given.

use syn::{DeriveInput, Expr, ExprLit, Field, Fields, Lit, Variant};

/// A variant's name as serde writes it with `rename_all = "snake_case"`.
pub fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// The named fields of a struct.
pub fn fields(input: &DeriveInput) -> syn::Result<Vec<&Field>> {
    match &input.data {
        syn::Data::Struct(syn::DataStruct { fields: Fields::Named(named), .. }) => Ok(named.named.iter().collect()),
        _ => Err(syn::Error::new_spanned(&input.ident, "must be a struct with named fields")),
    }
}

/// The variants of an enum.
pub fn variants(input: &DeriveInput) -> syn::Result<Vec<&Variant>> {
    match &input.data {
        syn::Data::Enum(of) => Ok(of.variants.iter().collect()),
        _ => Err(syn::Error::new_spanned(&input.ident, "must be an enum")),
    }
}

/// What the documentation of a field says, on one line.
pub fn documentation(field: &Field) -> String {
    let lines = field.attrs.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn names_are_as_serde_writes_them() {
        assert_eq!(snake_case("SubSpecialtyCreated"), "sub_specialty_created");
        assert_eq!(snake_case("Mfa2Enabled"), "mfa2_enabled");
    }
}
