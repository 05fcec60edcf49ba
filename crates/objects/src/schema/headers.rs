//! The stored form of [`ObjectHeaders`], inside objects and uploads.

use std::collections::BTreeMap;

use crate::model::ObjectHeaders;

/// The message.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Wire {
    #[prost(string, optional, tag = "1")]
    content_type: Option<String>,
    #[prost(string, optional, tag = "2")]
    content_encoding: Option<String>,
    #[prost(string, optional, tag = "3")]
    content_disposition: Option<String>,
    #[prost(string, optional, tag = "4")]
    content_language: Option<String>,
    #[prost(string, optional, tag = "5")]
    cache_control: Option<String>,
    #[prost(string, optional, tag = "6")]
    expires: Option<String>,
    #[prost(string, optional, tag = "7")]
    website_redirect: Option<String>,
    #[prost(btree_map = "string, string", tag = "8")]
    user: BTreeMap<String, String>,
}

/// `None` when there are none, which takes no room.
pub(crate) fn to_wire(headers: &ObjectHeaders) -> Option<Wire> {
    if *headers == ObjectHeaders::default() {
        return None;
    }
    let headers = headers.clone();
    Some(Wire {
        content_type: headers.content_type,
        content_encoding: headers.content_encoding,
        content_disposition: headers.content_disposition,
        content_language: headers.content_language,
        cache_control: headers.cache_control,
        expires: headers.expires,
        website_redirect: headers.website_redirect,
        user: headers.user,
    })
}

/// Undoes [`to_wire`].
pub(crate) fn from_wire(wire: Option<Wire>) -> ObjectHeaders {
    let Some(wire) = wire else { return ObjectHeaders::default() };
    ObjectHeaders {
        content_type: wire.content_type,
        content_encoding: wire.content_encoding,
        content_disposition: wire.content_disposition,
        content_language: wire.content_language,
        cache_control: wire.cache_control,
        expires: wire.expires,
        website_redirect: wire.website_redirect,
        user: wire.user,
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn headers() -> impl Strategy<Value = ObjectHeaders> {
        let text = || prop::option::of("\\PC{0,20}");
        let user = prop::collection::btree_map("[a-z-]{1,8}", "\\PC{0,12}", 0..4);
        (text(), text(), text(), text(), text(), text(), text(), user).prop_map(
            |(a, b, c, d, e, f, g, user)| ObjectHeaders {
                content_type: a,
                content_encoding: b,
                content_disposition: c,
                content_language: d,
                cache_control: e,
                expires: f,
                website_redirect: g,
                user,
            },
        )
    }

    proptest! {
        #[test]
        fn headers_round_trip(headers in headers()) {
            prop_assert_eq!(from_wire(to_wire(&headers)), headers);
        }
    }
}
