//! GetObject.

use http::{HeaderMap, header};
use objects::{EtagCondition, GetError, GetRequest, Selection};
use tenancy::action::GetObject;

use super::object_reply::described;
use crate::call::Call;
use crate::dates::parse_http_date;
use crate::error::{ApiError, ApiResult, Code};
use crate::gate::only_header;
use crate::headers::{parse_range, read_conditions};
use crate::mapping;
use crate::reply::{Reply, ReplyBody};

pub(super) async fn run(call: Call) -> ApiResult<Reply> {
    let wanted = Wanted::read(&call)?;
    let proof = call.may_object::<GetObject>().await?;
    let mut result = call.engine().get_object(proof, wanted.request.clone()).await;
    if let (Err(GetError::PreconditionFailed), Some(whole)) = (&result, &wanted.otherwise) {
        let proof = call.may_object::<GetObject>().await?;
        result = call.engine().get_object(proof, whole.clone()).await;
    }
    let result = result.map_err(|error| mapping::get(error, range_text(&call.headers)))?;
    let mut reply = described(&call, &result.info);
    let len = result.info.range.end.saturating_sub(result.info.range.start);
    reply.body = ReplyBody::Stream(result.body, len);
    Ok(reply)
}

/// What a reader wants.
pub(super) struct Wanted {
    /// This.
    pub(super) request: GetRequest,
    /// If a precondition fails that only `If-Range` made: this.
    pub(super) otherwise: Option<GetRequest>,
}

impl Wanted {
    pub(super) fn read(call: &Call) -> ApiResult<Self> {
        let conditions = read_conditions(&call.headers, "")?;
        let range = range_text(&call.headers).and_then(parse_range);
        let selection = match (call.part_number()?, range) {
            (Some(_), Some(_)) => {
                return Err(ApiError::with(
                    Code::InvalidRequest,
                    "Cannot specify both Range header and partNumber query parameter",
                ));
            }
            (Some(number), None) => Selection::Part(number),
            (None, Some(selection)) => selection,
            (None, None) => Selection::Whole,
        };
        let request = GetRequest { selection, conditions };
        Ok(Self::with_if_range(request, only_header(&call.headers, header::IF_RANGE.as_str())?))
    }

    /// `If-Range` (RFC 9110 §13.1.5): the range if the object is still that one, else all of it. It is made of a
    /// condition on the read itself, so that both see the same object.
    fn with_if_range(request: GetRequest, if_range: Option<&str>) -> Self {
        let ranged = !matches!(request.selection, Selection::Whole | Selection::Part(_));
        let (true, Some(if_range)) = (ranged, if_range) else {
            return Self { request, otherwise: None };
        };
        let whole = GetRequest { selection: Selection::Whole, ..request.clone() };
        let own = &request.conditions;
        if own.if_match.is_some() || own.if_unmodified_since.is_some() {
            // Both would have to hold, and one field holds one: the whole object is always a right answer.
            return Self { request: whole, otherwise: None };
        }
        let mut request = request;
        if let Some(etag) = if_range.strip_prefix('"').and_then(|e| e.strip_suffix('"')) {
            request.conditions.if_match = Some(EtagCondition::OneOf(vec![etag.to_owned()]));
        } else if let Some(date) = parse_http_date(if_range) {
            request.conditions.if_unmodified_since = Some(date);
        } else {
            return Self { request: whole, otherwise: None };
        }
        Self { request, otherwise: Some(whole) }
    }
}

/// The `Range` header, if it is one.
pub(super) fn range_text(headers: &HeaderMap) -> Option<&str> {
    only_header(headers, header::RANGE.as_str()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use objects::ReadConditions;

    use super::*;

    #[test]
    fn if_range_pins_the_object() {
        let ranged = GetRequest { selection: Selection::From(5), ..GetRequest::default() };
        let wanted = Wanted::with_if_range(ranged.clone(), Some("\"e\""));
        let etag = EtagCondition::OneOf(vec!["e".to_owned()]);
        assert_eq!(wanted.request.conditions.if_match, Some(etag));
        assert_eq!(wanted.otherwise, Some(GetRequest::default()));

        for odd in ["W/\"e\"", "e", "\"e", ""] {
            let wanted = Wanted::with_if_range(ranged.clone(), Some(odd));
            assert_eq!((wanted.request, wanted.otherwise), (GetRequest::default(), None), "{odd}");
        }
        let wanted = Wanted::with_if_range(ranged.clone(), None);
        assert_eq!((wanted.request, wanted.otherwise), (ranged.clone(), None));

        let conditions =
            ReadConditions { if_match: Some(EtagCondition::Any), ..ReadConditions::default() };
        let both = GetRequest { conditions, ..ranged };
        let wanted = Wanted::with_if_range(both, Some("\"e\""));
        assert_eq!(wanted.request.selection, Selection::Whole);
    }
}
