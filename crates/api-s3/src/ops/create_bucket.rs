//! CreateBucket.

use http::{StatusCode, header};

use crate::call::Call;
use crate::error::{ApiError, ApiResult, Code};
use crate::reply::Reply;
use crate::xml::{Element, Malformed};
use crate::{address, mapping};

const DOCUMENT_MAX_BYTES: usize = 64 * 1024;

pub(super) async fn run(mut call: Call) -> ApiResult<Reply> {
    let document =
        call.document("CreateBucketConfiguration", DOCUMENT_MAX_BYTES, |_, _| Ok(())).await?;
    if let Some(configuration) = document {
        check_configuration(&configuration, &call.shared.config.region)?;
    }
    let name = call.bucket()?.clone();
    let location = format!("/{name}");
    let proof = call.shared.config.gate.new_bucket(&call.principal, name);
    call.engine().create_bucket(proof).await.map_err(mapping::create_bucket)?;
    let mut reply = Reply::empty(StatusCode::OK);
    reply.set(header::LOCATION, &location);
    Ok(reply)
}

fn check_configuration(configuration: &Element, region: &str) -> ApiResult<()> {
    for child in &configuration.children {
        match child.name.as_str() {
            "LocationConstraint" => {}
            "Bucket" | "Location" | "Tags" => {
                return Err(ApiError::unbuilt(&format!(
                    "CreateBucketConfiguration/{}",
                    child.name
                )));
            }
            _ => return Err(Code::MalformedXml.into()),
        }
    }
    let constraint =
        configuration.only("LocationConstraint").map_err(|Malformed| Code::MalformedXml)?;
    let asked = match constraint.map(str::trim) {
        None | Some("") => return Ok(()),
        Some("EU") => "eu-west-1",
        Some(asked) => asked,
    };
    if asked == region {
        return Ok(());
    }
    let asked = address::clip(asked);
    Err(ApiError::with(
        Code::IllegalLocationConstraint,
        format!(
            "The {asked} location constraint is incompatible for the region specific endpoint this request was \
             sent to."
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_must_be_this_region() {
        let check = |inner: &str| {
            let document =
                format!("<CreateBucketConfiguration>{inner}</CreateBucketConfiguration>");
            let element =
                Element::parse(document.as_bytes(), "CreateBucketConfiguration").expect("XML");
            check_configuration(&element, "eu-west-1").map_err(|e| e.code())
        };
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("<LocationConstraint/>"), Ok(()));
        assert_eq!(check("<LocationConstraint>eu-west-1</LocationConstraint>"), Ok(()));
        assert_eq!(check("<LocationConstraint>EU</LocationConstraint>"), Ok(()));
        assert_eq!(
            check("<LocationConstraint>us-east-2</LocationConstraint>"),
            Err(Code::IllegalLocationConstraint)
        );
        assert_eq!(check("<Tags/>"), Err(Code::NotImplemented));
        assert_eq!(check("<Else/>"), Err(Code::MalformedXml));
    }
}
