//! Reads which paths a source file names.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path into this crate, as it is written, with its line.
#[derive(Debug, Clone)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    /// The name that a `use` gives to it.
    pub(super) name: Option<String>,
}

/// Returns the paths that a source names, with the inline modules in which they stand.
pub(super) fn paths_in(text: &str) -> Vec<(Vec<String>, Path)> {
    let tokens = TokenStream::from_str(text).expect("the sources of the crates compile");
    let mut found = Vec::new();
    walk(tokens, &[], &mut found);
    found
}

fn walk(tokens: TokenStream, inside: &[String], found: &mut Vec<(Vec<String>, Path)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Punct(punct)
                if punct.as_char() == '#' && is_test_only(tokens.get(at + 1)) =>
            {
                at = end_of_item(&tokens, at + 2);
            }
            // A path in a visibility is no import.
            TokenTree::Ident(word) if word == "pub" => {
                at += 1;
                if matches!(tokens.get(at), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis)
                {
                    at += 1;
                }
            }
            // `use<'a>` in a type is no import.
            TokenTree::Ident(word) if word == "use" && !is_punct(tokens.get(at + 1), '<') => {
                let end = end_of_item(&tokens, at);
                use_tree(&tokens[at + 1..end], Vec::new(), &mut |path| {
                    found.push((inside.to_vec(), path));
                });
                at = end;
            }
            TokenTree::Ident(word) if word == "mod" => {
                if let (Some(TokenTree::Ident(name)), Some(TokenTree::Group(body))) =
                    (tokens.get(at + 1), tokens.get(at + 2))
                {
                    let inner: Vec<String> =
                        inside.iter().cloned().chain([name.to_string()]).collect();
                    walk(body.stream(), &inner, found);
                    at += 3;
                } else {
                    at += 1;
                }
            }
            TokenTree::Ident(word)
                if is_root(&word.to_string()) && is_separator(&tokens, at + 1) =>
            {
                let line = word.span().start().line;
                let mut segments = vec![word.to_string()];
                at += 1;
                while is_separator(&tokens, at)
                    && let Some(TokenTree::Ident(next)) = tokens.get(at + 2)
                {
                    segments.push(next.to_string());
                    at += 3;
                }
                let name = None;
                found.push((
                    inside.to_vec(),
                    Path {
                        segments,
                        line,
                        name,
                    },
                ));
            }
            TokenTree::Group(group) => {
                walk(group.stream(), inside, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Passes each path of a `use` tree to a function. `before` is the part of the path that was read already.
fn use_tree(tokens: &[TokenTree], before: Vec<String>, found: &mut dyn FnMut(Path)) {
    let mut segments = before;
    let mut at = 0;
    let mut line = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if word == "as" => break,
            TokenTree::Ident(word) => {
                segments.push(word.to_string());
                line = word.span().start().line;
            }
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for branch in inner.split(|token| is_punct(Some(token), ',')) {
                    if !branch.is_empty() {
                        use_tree(branch, segments.clone(), found);
                    }
                }
                return;
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
        at += 1;
    }
    if segments.last().is_some_and(|last| last == "self") && segments.len() > 1 {
        segments.pop();
    }
    let renamed = tokens.get(at + 1).map(ToString::to_string);
    let name = renamed.or_else(|| segments.last().cloned());
    found(Path {
        segments,
        line,
        name,
    });
}

fn is_root(word: &str) -> bool {
    matches!(word, "crate" | "super" | "self")
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_test_only(attribute: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = attribute else {
        return false;
    };
    group.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Returns the place after the item that begins here: after its semicolon, or after its block.
fn end_of_item(tokens: &[TokenTree], from: usize) -> usize {
    let is_use = tokens[from..]
        .iter()
        .find_map(|token| match token {
            TokenTree::Ident(word) => Some(word == "use"),
            _ => None,
        })
        .unwrap_or_default();
    let end = tokens[from..].iter().position(|token| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        // The braces of a `use` are not its end.
        TokenTree::Group(group) => !is_use && group.delimiter() == Delimiter::Brace,
        _ => false,
    });
    end.map_or(tokens.len(), |end| from + end + 1)
}
