//! The recipes of the README, as they stand there.

use ratchet_tests::Ratchet;

/// A recipe of the documentation: the command line, and what it prints.
struct Recipe {
    title: String,
    script: String,
    prints: String,
}

fn recipes() -> Vec<Recipe> {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("\n## Recipes\n").expect("recipes");
    let (chapter, _) = rest.split_once("\n## ").expect("a chapter after it");
    let block = |text: &str, kind: &str| {
        let (_, rest) = text.split_once(&format!("```{kind}\n")).expect("a block");
        let (block, _) = rest.split_once("```").expect("the end of a block");
        block.to_owned()
    };
    let sections = chapter.split("\n### ").skip(1);
    sections
        .map(|section| Recipe {
            title: section.lines().next().unwrap_or_default().to_owned(),
            script: block(section, "sh"),
            prints: block(section, "text"),
        })
        .collect()
}

#[test]
fn each_recipe_of_the_readme_prints_the_output_below_it() {
    let recipes = recipes();
    assert_eq!(recipes.len(), 12);
    for recipe in recipes {
        // The shell finds ratchet as a reader's does.
        let script = format!("PATH=$(dirname \"$1\"):$PATH\nset -eu\n{}", recipe.script);
        let ended = Ratchet::new().by_shell(&script).run();
        assert_eq!(
            ended.stdout(),
            recipe.prints,
            "{}\n{}",
            recipe.title,
            ended.stderr()
        );
    }
}
