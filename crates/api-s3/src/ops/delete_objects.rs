//! DeleteObjects: up to 1000 keys in one request, answered key by key.

use http::HeaderMap;
use tenancy::action::DeleteObject;
use types::{ObjectKey, limits};

use crate::address::parse_key;
use crate::call::{Call, check_checksum};
use crate::error::{ApiError, ApiResult, Code};
use crate::headers::checksum_value;
use crate::mapping;
use crate::reply::Reply;
use crate::xml::{Element, Malformed, Writer};

/// Room for 1000 keys of 1024 bytes, each character escaped.
const DOCUMENT_MAX_BYTES: usize = 8 << 20;

pub(super) async fn run(mut call: Call) -> ApiResult<Reply> {
    require_digest(&mut call)?;
    // Before anything of the document is read: whoever may not delete costs no memory.
    call.may_objects::<DeleteObject>(Vec::new()).await?;
    let document = call.document("Delete", DOCUMENT_MAX_BYTES, check_digest).await?;
    let order = Order::read(&*document.ok_or(Code::MalformedXml)?)?;
    let place = call.shared.pages.place().await?;
    let keys: Vec<ObjectKey> =
        order.entries.iter().filter_map(|entry| entry.key.as_ref().ok().cloned()).collect();
    let proofs = call.may_objects::<DeleteObject>(keys).await?;
    let mut results = call.engine().delete_objects(proofs).await.into_iter();

    let mut xml = Writer::new();
    xml.open_root("DeleteResult");
    for entry in &order.entries {
        let outcome = match &entry.key {
            Err(error) => Err(error.clone()),
            Ok(_) => match results.next() {
                Some(result) => result.map_err(mapping::failure),
                None => Err(Code::InternalError.into()),
            },
        };
        match outcome {
            Ok(_) if order.quiet => {}
            Ok(_) => {
                xml.open("Deleted");
                xml.text("Key", &entry.name);
                xml.optional("VersionId", entry.version.as_deref());
                xml.close("Deleted");
            }
            Err(error) => {
                xml.open("Error");
                xml.text("Key", &entry.name);
                xml.optional("VersionId", entry.version.as_deref());
                xml.text("Code", error.code().as_str());
                xml.text("Message", error.message());
                xml.close("Error");
            }
        }
    }
    xml.close("DeleteResult");
    let mut reply = Reply::xml(xml.finish());
    place.attach(&mut reply);
    Ok(reply)
}

/// As on AWS, the body must carry a digest of its own.
fn require_digest(call: &mut Call) -> ApiResult<()> {
    let trailer = call.body.get_mut().as_ref().is_some_and(|body| body.trailer().is_some());
    let md5 = call.headers.contains_key("content-md5");
    if trailer || md5 || checksum_value(&call.headers)?.is_some() {
        return Ok(());
    }
    Err(ApiError::with(
        Code::InvalidRequest,
        "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
    ))
}

fn check_digest(headers: &HeaderMap, document: &[u8]) -> ApiResult<()> {
    match checksum_value(headers)? {
        Some(value) => check_checksum(&value, document),
        None => Ok(()),
    }
}

/// What is to be deleted.
struct Order {
    quiet: bool,
    entries: Vec<Entry>,
}

struct Entry {
    name: String,
    version: Option<String>,
    /// The key, or why this one is refused.
    key: ApiResult<ObjectKey>,
}

impl Order {
    fn read(document: &Element) -> ApiResult<Self> {
        let malformed = |_| ApiError::new(Code::MalformedXml);
        let quiet = match document.only("Quiet").map_err(malformed)?.map(str::trim) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(malformed(Malformed)),
        };
        let mut entries = Vec::new();
        for child in document.children.iter().filter(|c| c.name != "Quiet") {
            if child.name != "Object" || entries.len() == limits::LIST_PAGE_MAX_KEYS {
                return Err(malformed(Malformed));
            }
            entries.push(Entry::read(child).map_err(malformed)?);
        }
        if entries.is_empty() {
            return Err(malformed(Malformed));
        }
        Ok(Self { quiet, entries })
    }
}

impl Entry {
    fn read(element: &Element) -> Result<Self, Malformed> {
        let name = element.only("Key")?.filter(|key| !key.is_empty()).ok_or(Malformed)?;
        let version = element.only("VersionId")?.filter(|v| !v.is_empty()).map(str::to_owned);
        let conditions = ["ETag", "LastModifiedTime", "Size"];
        let condition = element.children.iter().find(|c| conditions.contains(&c.name.as_str()));
        let key = match (condition, version.as_deref()) {
            // A condition that nobody checks would delete what it was to protect.
            (Some(condition), _) => Err(ApiError::unbuilt(&condition.name)),
            (None, None | Some("null")) => parse_key(name),
            (None, Some(_)) => Err(Code::NoSuchVersion.into()),
        };
        Ok(Self { name: name.to_owned(), version, key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(inner: &str) -> Result<Order, Code> {
        let document = format!("<Delete>{inner}</Delete>");
        let element = Element::parse(document.as_bytes(), "Delete").expect("XML");
        Order::read(&element).map_err(|e| e.code())
    }

    #[test]
    fn keys_are_taken_as_they_are() {
        let order = ask("<Quiet>true</Quiet><Object><Key> a </Key></Object>\
             <Object><Key>../b&amp;&#x1F980;</Key><VersionId>null</VersionId></Object>\
             <Object><Key>c</Key><VersionId/></Object>")
        .expect("an order");
        assert!(order.quiet);
        let keys: Vec<_> = order.entries.iter().map(|e| e.key.clone().expect("a key")).collect();
        assert_eq!(keys.iter().map(ObjectKey::as_str).collect::<Vec<_>>(), [" a ", "../b&🦀", "c"]);
    }

    #[test]
    fn one_bad_key_does_not_spoil_the_others() {
        let long = "k".repeat(1025);
        let order = ask(&format!(
            "<Object><Key>a</Key></Object><Object><Key>{long}</Key></Object>\
             <Object><Key>b</Key><VersionId>7</VersionId></Object>\
             <Object><Key>c</Key><ETag>x</ETag></Object>"
        ))
        .expect("an order");
        let codes: Vec<_> =
            order.entries.iter().map(|e| e.key.as_ref().err().map(ApiError::code)).collect();
        let expected = [Code::KeyTooLong, Code::NoSuchVersion, Code::NotImplemented];
        assert_eq!(codes[0], None);
        assert_eq!(codes[1..], expected.map(Some));
    }

    #[test]
    fn bad_orders_are_refused() {
        for inner in [
            "",
            "<Quiet>true</Quiet>",
            "<Quiet>maybe</Quiet><Object><Key>a</Key></Object>",
            "<Object/>",
            "<Object><Key/></Object>",
            "<Object><Key>a</Key><Key>b</Key></Object>",
            "<Else/>",
        ] {
            assert_eq!(ask(inner).map(|_| ()), Err(Code::MalformedXml), "{inner}");
        }
        let thousand = "<Object><Key>a</Key></Object>".repeat(1000);
        assert_eq!(ask(&thousand).map(|o| o.entries.len()), Ok(1000));
        let more = "<Object><Key>a</Key></Object>".repeat(1001);
        assert_eq!(ask(&more).map(|_| ()), Err(Code::MalformedXml));
    }
}
