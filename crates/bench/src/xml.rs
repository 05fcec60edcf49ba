//! The little that a load generator has to find in a reply. Not a parser: elements without
//! attributes, as S3 services write them.

/// The text of the first element of this name; `None` when there is none, or it holds an unknown
/// entity.
pub(crate) fn text_of(xml: &str, element: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{element}>"))?;
    let (text, _) = rest.split_once(&format!("</{element}>"))?;
    unescape(text)
}

/// How many elements of this name begin.
pub(crate) fn count(xml: &str, element: &str) -> u64 {
    xml.matches(&format!("<{element}>")).count() as u64
}

fn unescape(mut text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    while let Some((before, rest)) = text.split_once('&') {
        let (entity, after) = rest.split_once(';')?;
        plain.push_str(before);
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = entity.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code)?
            }
        });
        text = after;
    }
    plain.push_str(text);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_entities() {
        let xml = "<A><B>x &amp;lt; &#65;&#x42;&quot;</B><C></C><B>y</B></A>";
        assert_eq!(text_of(xml, "B").as_deref(), Some("x &lt; AB\""));
        assert_eq!(text_of(xml, "C").as_deref(), Some(""));
        assert_eq!((count(xml, "B"), count(xml, "D")), (2, 0));
        for (broken, element) in [
            ("<B>x", "B"),
            ("", "B"),
            ("<B>&</B>", "B"),
            ("<B>&nbsp;</B>", "B"),
            ("<B>&#xd800;</B>", "B"),
            ("<B>&#99999999999;</B>", "B"),
        ] {
            assert_eq!(text_of(broken, element), None, "{broken}");
        }
    }
}
