//! XML as S3 speaks it: a small writer, and a small reader into a tree.
//!
//! Not a general XML library. The reader is bounded (depth, and by the caller the length), takes text, entities
//! and CDATA as they are (keys may begin or end with spaces), ignores namespaces and comments, and refuses
//! document type definitions.

use quick_xml::Reader;
use quick_xml::events::Event;

/// The namespace of every S3 document.
pub(crate) const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

const DEPTH_MAX: usize = 8;

/// Writes one document.
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    /// With the XML declaration.
    pub(crate) fn new() -> Self {
        let mut out = String::with_capacity(512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        Self { out }
    }

    /// `<name>`
    pub(crate) fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    /// `<name xmlns="…">`, for the root.
    pub(crate) fn open_root(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        self.out.push_str(NAMESPACE);
        self.out.push_str("\">");
    }

    /// `</name>`
    pub(crate) fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// `<name>text</name>`
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(&mut self.out, text);
        self.close(name);
    }

    /// Text inside the open element.
    pub(crate) fn raw_text(&mut self, text: &str) {
        escape(&mut self.out, text);
    }

    /// Like [`Writer::text`], if there is something.
    pub(crate) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// A number.
    pub(crate) fn number(&mut self, name: &str, number: u64) {
        self.text(name, &number.to_string());
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.text(name, if flag { "true" } else { "false" });
    }

    /// An ETag in its quotes, which AWS writes as entities.
    pub(crate) fn etag(&mut self, etag: &str) {
        self.open("ETag");
        self.out.push_str("&quot;");
        escape(&mut self.out, etag);
        self.out.push_str("&quot;");
        self.close("ETag");
    }

    /// The document.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }
}

fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) =
        rest.find(|c: char| c < ' ' || matches!(c, '&' | '<' | '>' | '"' | '\u{7f}'))
    {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('&') => out.push_str("&amp;"),
            Some('<') => out.push_str("&lt;"),
            Some('>') => out.push_str("&gt;"),
            Some('"') => out.push_str("&quot;"),
            Some(c) => {
                // Not allowed in XML 1.0 even so, but it is what AWS sends; `encoding-type=url` is the cure.
                out.push_str("&#x");
                out.push_str(&format!("{:x}", u32::from(c)));
                out.push(';');
            }
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// An element with its text and its children, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its name without a namespace prefix.
    pub(crate) name: String,
    /// All text directly in it.
    pub(crate) text: String,
    /// Its child elements.
    pub(crate) children: Vec<Element>,
}

/// The document is not well-formed, or is not one that S3 takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Element {
    /// Reads a document with that root.
    pub(crate) fn parse(document: &[u8], root: &str) -> Result<Self, Malformed> {
        let mut reader = Reader::from_reader(document);
        let mut open: Vec<Element> = Vec::new();
        let mut done: Option<Element> = None;
        loop {
            match reader.read_event().map_err(|_| Malformed)? {
                Event::Start(start) => {
                    if done.is_some() || open.len() == DEPTH_MAX {
                        return Err(Malformed);
                    }
                    open.push(Self::named(start.local_name().as_ref())?);
                }
                Event::Empty(start) => {
                    let element = Self::named(start.local_name().as_ref())?;
                    Self::attach(&mut open, &mut done, element)?;
                }
                Event::End(_) => {
                    let element = open.pop().ok_or(Malformed)?;
                    Self::attach(&mut open, &mut done, element)?;
                }
                Event::Text(text) => {
                    let text = std::str::from_utf8(text.as_ref()).map_err(|_| Malformed)?;
                    Self::append(&mut open, text)?;
                }
                Event::CData(text) => {
                    let text = std::str::from_utf8(text.as_ref()).map_err(|_| Malformed)?;
                    Self::append(&mut open, text)?;
                }
                Event::GeneralRef(reference) => {
                    let text = match reference.resolve_char_ref().map_err(|_| Malformed)? {
                        Some(c) => c.to_string(),
                        None => match reference.as_ref() {
                            b"amp" => "&".to_owned(),
                            b"lt" => "<".to_owned(),
                            b"gt" => ">".to_owned(),
                            b"quot" => "\"".to_owned(),
                            b"apos" => "'".to_owned(),
                            _ => return Err(Malformed),
                        },
                    };
                    Self::append(&mut open, &text)?;
                }
                Event::DocType(_) => return Err(Malformed),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof => break,
            }
        }
        let element = done.filter(|e| open.is_empty() && e.name == root);
        element.ok_or(Malformed)
    }

    /// The text of the only child of that name; `None` when there is none.
    pub(crate) fn only(&self, name: &str) -> Result<Option<&str>, Malformed> {
        let mut found = self.children.iter().filter(|c| c.name == name);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(child), None) if child.children.is_empty() => Ok(Some(&child.text)),
            _ => Err(Malformed),
        }
    }

    fn named(name: &[u8]) -> Result<Self, Malformed> {
        let name = std::str::from_utf8(name).map_err(|_| Malformed)?;
        Ok(Self { name: name.to_owned(), ..Self::default() })
    }

    fn attach(
        open: &mut [Element],
        done: &mut Option<Element>,
        element: Element,
    ) -> Result<(), Malformed> {
        match open.last_mut() {
            Some(parent) => parent.children.push(element),
            None if done.is_none() => *done = Some(element),
            None => return Err(Malformed),
        }
        Ok(())
    }

    fn append(open: &mut [Element], text: &str) -> Result<(), Malformed> {
        match open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.chars().all(|c| c.is_ascii_whitespace() || c == '\u{feff}') => {}
            None => return Err(Malformed),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["", " a ", "a&b<c>d\"e'f", "🦀", "a\r\nb", "]]>"] {
            let mut xml = Writer::new();
            xml.open_root("Root");
            xml.text("Key", text);
            xml.close("Root");
            let root = Element::parse(&xml.finish(), "Root").expect("well-formed");
            assert_eq!(root.only("Key"), Ok(Some(text)));
        }
    }

    #[test]
    fn entities_character_references_and_cdata() {
        let document = b"<r><k>&#x1F980;&#129408;&amp;<![CDATA[<x>]]>&#10;</k></r>";
        let root = Element::parse(document, "r").expect("well-formed");
        assert_eq!(root.only("k"), Ok(Some("🦀🦀&<x>\n")));
    }

    #[test]
    fn namespaces_and_prefixes_do_not_matter() {
        let document = b"<s3:Delete xmlns:s3=\"x\"><s3:Quiet>true</s3:Quiet></s3:Delete>";
        let root = Element::parse(document, "Delete").expect("well-formed");
        assert_eq!(root.only("Quiet"), Ok(Some("true")));
    }

    #[test]
    fn bad_documents_are_refused() {
        let deep = format!("{}{}", "<a>".repeat(9), "</a>".repeat(9));
        for document in [
            "",
            "text",
            "<r>",
            "<r></x>",
            "<r/><r/>",
            "<x/>",
            "<r>&unknown;</r>",
            "<r>&#xD800;</r>",
            "<!DOCTYPE r [<!ENTITY a \"b\">]><r>&a;</r>",
            "<r/>trailing",
            &deep,
        ] {
            assert_eq!(Element::parse(document.as_bytes(), "r"), Err(Malformed), "{document}");
        }
        assert!(Element::parse(b"<r>\xff</r>", "r").is_err());
    }

    #[test]
    fn a_field_may_stand_once() {
        let root = Element::parse(b"<r><k>a</k><k>b</k></r>", "r").expect("well-formed");
        assert_eq!(root.only("k"), Err(Malformed));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = Element::parse(&bytes, "r");
        }
    }
}
