//! Puts figures into the documentation, between two marks.

use std::fs;

use crate::Result;

const PAGE: &str = "docs/PERFORMANCE.md";
const PICTURE: &str = "docs/performance.svg";
const SHOWN: &str = "![Bars: Redkeep beside other ways to Redis](performance.svg)\n";
const BEGIN: &str = "<!-- figures: written by `make bench BENCH=--write-docs`, not by hand -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Replaces the figures and the picture.
pub fn write(tables: &str, picture: &str) -> Result<()> {
    let page = fs::read_to_string(PAGE).map_err(|error| format!("{PAGE}: {error}"))?;
    fs::write(PAGE, replaced(&page, &format!("{SHOWN}\n{tables}"))?)?;
    fs::write(PICTURE, picture)?;
    eprintln!("written: {PAGE} and {PICTURE}");
    Ok(())
}

fn replaced(page: &str, tables: &str) -> Result<String> {
    let marks = || format!("{PAGE} has no marks {BEGIN:?} and {END:?}, in this order");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok(format!("{before}{BEGIN}\n{}\n{END}{after}", tables.trim_end_matches('\n').to_owned() + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        let once = replaced(&page, "new\n").unwrap_or_default();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n\n{END}after\n"));
        assert_eq!(replaced(&once, "new\n").unwrap_or_default(), once);
        assert!(replaced("no marks\n", "new\n").is_err());
    }
}
